// One run of a query or command, from its start to what is kept of it.

import { command } from "../../api/command";
import { Fault, requestId } from "../../api/fetch";
import { cancel, query, type Statistics } from "../../api/query";
import * as jobs from "../../api/jobs";
import type { Tenant } from "../../api/jobs";
import type { Json, Table } from "../../lib/columns";
import { isCommand } from "../../lib/statements";

export interface Source {
  database: string;
  text: string;
  /** Where the text begins in the editor, so that the server's places can be shown there; lines count from 1. */
  line: number;
  column: number;
  /** Options and parameters of the request. */
  options?: Record<string, Json>;
  parameters?: Record<string, Json>;
  /** A statement of SQL, which runs as a job of this organisation and sandbox. */
  sql?: Tenant;
  /** From a link: must not change anything. */
  readonly?: boolean;
}

export class Run {
  readonly id = requestId();
  readonly started = performance.now();
  readonly at = new Date();
  ended: number | null = null;
  tables: Table[] = [];
  failures: string[] = [];
  fault: Fault | null = null;
  cancelled = false;
  statistics: Statistics | null = null;
  bytes = 0;
  /** What the run does besides running: a job's state. */
  state = "";
  private job: string | null = null;
  private readonly stop = new AbortController();
  private readonly listeners = new Set<() => void>();

  constructor(readonly source: Source) {}

  get running(): boolean {
    return this.ended === null;
  }

  get millis(): number {
    return (this.ended ?? performance.now()) - this.started;
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
  }

  async start(): Promise<void> {
    const { database, text, options, parameters, readonly } = this.source;
    try {
      if (this.source.sql) {
        await this.submit(this.source.sql);
      } else if (isCommand(text)) {
        if (readonly) throw new Fault("A link does not run commands.", 400);
        this.tables = await command(database, text, this.stop.signal, this.id);
      } else {
        const outcome = await query({
          database, text, id: this.id, signal: this.stop.signal, readonly: readonly ?? false,
          ...(options ? { options } : {}), ...(parameters ? { parameters } : {}),
        }, {
          table: (table) => {
            this.tables.push(table);
            this.changed();
          },
          rows: () => this.changed(),
        });
        this.failures = outcome.failures;
        this.cancelled ||= outcome.cancelled;
        this.statistics = outcome.statistics;
        this.bytes = outcome.bytes;
      }
    } catch (error) {
      if (this.stop.signal.aborted) this.cancelled = true;
      else if (error instanceof Fault) this.fault = error;
      else this.fault = new Fault(error instanceof Error ? error.message : String(error), 0);
    }
    this.ended = performance.now();
    this.changed();
  }

  /** Submits a job and waits for its end; leaving the page lets it run on. */
  private async submit(tenant: Tenant): Promise<void> {
    let job = await jobs.submit(tenant, this.source.database, this.source.text, "");
    this.job = job.id;
    for (;;) {
      this.state = job.state;
      this.changed();
      if (jobs.ENDED.has(job.state)) break;
      job = await jobs.get(tenant, job.id, 10, this.stop.signal);
    }
    this.statistics = jobs.figures(job);
    this.cancelled ||= job.state === "CANCELLED" || job.state === "KILLED";
    const [first] = job.errors;
    if (first && !this.cancelled) throw new Fault(first.message ?? job.state, 400, first.code ?? "");
    if (!job._links.results) return;
    const { table, total } = await jobs.rows(tenant, job.id);
    this.tables = [table];
    if (total > table.rows) this.failures.push(`These are the first ${table.rows} of ${total} rows; the job on the page “Jobs” saves all of them.`);
  }

  /** Ends a run that must not begin. */
  refuse(why: string): void {
    this.fault = new Fault(why, 400);
    this.ended = performance.now();
    this.changed();
  }

  /** Ends the run: here by hanging up, at the server by name, for it may sit in a long step. */
  async cancel(): Promise<void> {
    if (!this.running) return;
    this.cancelled = true;
    if (this.source.sql && this.job) await jobs.change(this.source.sql, this.job, "cancel").catch(() => undefined);
    else await cancel(this.source.database, this.id).catch(() => undefined);
    this.stop.abort();
  }
}
