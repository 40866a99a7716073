// Queries: POST /v2/rest/query, frames on lines of their own, read as they come.

import { call, Fault, faultOf, requestId } from "./fetch";
import { command } from "./command";
import { exactNumbers, Table, type Json, type Visualization } from "../lib/columns";
import { literal } from "../lib/text";
import { Turn } from "../lib/patience";

export interface Statistics {
  [name: string]: Json;
}

/** What is told while an answer comes in. */
export interface Listener {
  table(table: Table): void;
  /** Rows were appended. */
  rows(table: Table): void;
}

export interface Outcome {
  tables: Table[];
  /** Partial failures: the rows so far are there. */
  failures: string[];
  cancelled: boolean;
  statistics: Statistics | null;
  /** Bytes of the answer, unpacked. */
  bytes: number;
  requestId: string;
}

export interface Asked {
  database: string;
  text: string;
  signal: AbortSignal;
  id?: string;
  /** Refuses whatever would change something. */
  readonly?: boolean;
  options?: Record<string, Json>;
  parameters?: Record<string, Json>;
}

type Frame = {
  FrameType: string;
  TableId?: number;
  TableKind?: string;
  TableName?: string;
  Columns?: { ColumnName: string; ColumnType?: string }[];
  Rows?: Json[];
  OneApiErrors?: Json[];
  HasErrors?: boolean;
  Cancelled?: boolean;
};

const OPTIONS = {
  results_v2_newlines_between_frames: true,
  results_v2_fragment_primary_tables: true,
  results_error_reporting_placement: "end_of_table",
};

/** Whether a line has an integer that a double cannot hold. */
const LONG_NUMBER = /\d{16}/;

/** Reads one line: a frame, with a comma or bracket before it. */
export function frameOf(line: string): Frame | null {
  const text = line.replace(/^[\[,]/, "").trim();
  if (text === "" || text === "]") return null;
  return JSON.parse(LONG_NUMBER.test(text) ? exactNumbers(text) : text) as Frame;
}

/** Puts an answer together from its frames. */
export class Reader {
  readonly tables: Table[] = [];
  readonly failures = new Set<string>();
  statistics: Statistics | null = null;
  cancelled = false;
  complete = false;
  private readonly shown = new Map<number, Visualization>();

  constructor(private readonly listener: Listener) {}

  take(frame: Frame): void {
    switch (frame.FrameType) {
      case "TableHeader":
        this.open(frame);
        break;
      case "TableFragment": {
        const table = this.tables.find((table) => table.id === frame.TableId);
        if (table) this.append(table, frame.Rows ?? []);
        break;
      }
      case "TableCompletion": {
        const table = this.tables.find((table) => table.id === frame.TableId);
        const told = this.fail(frame.OneApiErrors);
        if (table && told) table.failure = told;
        break;
      }
      case "DataTable":
        this.whole(frame);
        break;
      case "DataSetCompletion":
        this.complete = true;
        this.cancelled = frame.Cancelled === true;
        this.fail(frame.OneApiErrors);
        break;
    }
  }

  private open(frame: Frame): Table {
    const table = new Table(frame.TableId ?? 0, frame.TableName ?? "", frame.Columns ?? []);
    table.visualization = this.shown.get(table.id) ?? null;
    this.tables.push(table);
    this.listener.table(table);
    return table;
  }

  private append(table: Table, rows: Json[]): void {
    table.append(rows);
    for (const row of rows.slice(-1)) {
      if (row !== null && typeof row === "object" && !Array.isArray(row)) {
        const told = this.fail(row.OneApiErrors as Json[]);
        if (told) table.failure = told;
      }
    }
    this.listener.rows(table);
  }

  private whole(frame: Frame): void {
    const rows = frame.Rows ?? [];
    if (frame.TableKind === "PrimaryResult") {
      this.append(this.open(frame), rows);
    } else if (frame.TableKind === "QueryProperties") {
      for (const row of rows as Json[][]) {
        if (row[1] !== "Visualization" || typeof row[2] !== "string") continue;
        const asked = JSON.parse(row[2]) as Visualization;
        if (asked.Visualization) this.shown.set(row[0] as number, asked);
      }
    } else if (frame.TableKind === "QueryCompletionInformation") {
      const at = (name: string): number => (frame.Columns ?? []).findIndex((column) => column.ColumnName === name);
      const [kind, payload, level] = [at("EventTypeName"), at("Payload"), at("Level")];
      for (const row of rows as Json[][]) {
        if (row[kind] === "QueryResourceConsumption") this.statistics = JSON.parse(String(row[payload])) as Statistics;
        else if (Number(row[level]) <= 2) this.failures.add(String((JSON.parse(String(row[payload])) as Statistics).Text));
      }
    }
  }

  private fail(errors: Json[] | undefined): string | null {
    let last: string | null = null;
    for (const error of errors ?? []) {
      last = faultOf(200, JSON.stringify(error)).message;
      this.failures.add(last);
    }
    return last;
  }
}

export async function query(asked: Asked, listener: Listener): Promise<Outcome> {
  const id = asked.id ?? requestId();
  const response = await call("/v2/rest/query", {
    method: "POST",
    body: JSON.stringify({
      db: asked.database,
      csl: asked.text,
      properties: {
        Options: { ...OPTIONS, ...(asked.readonly ? { request_readonly: true } : {}), ...asked.options },
        ...(asked.parameters ? { Parameters: asked.parameters } : {}),
      },
    }),
    headers: { "content-type": "application/json", "x-ms-client-request-id": id },
    signal: asked.signal,
  });
  const reader = new Reader(listener);
  const bytes = await lines(response, (line) => {
    const frame = frameOf(line);
    if (frame) reader.take(frame);
  });
  if (!reader.complete) throw new Fault("The answer broke off before its end.", 200);
  const { tables, failures, cancelled, statistics } = reader;
  return { tables, failures: [...failures], cancelled, statistics, bytes, requestId: id };
}

/** Hands on the lines of a body in turns, so that the page stays awake. */
async function lines(response: Response, take: (line: string) => void): Promise<number> {
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  const turn = new Turn();
  let [rest, bytes]: [string[], number] = [[], 0];
  for (;;) {
    const { done, value } = await reader.read();
    const text = done ? decoder.decode() : decoder.decode(value, { stream: true });
    bytes += value?.length ?? 0;
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      rest.push(text.slice(from, end));
      take(rest.length === 1 ? rest[0]! : rest.join(""));
      rest = [];
      from = end + 1;
      await turn.over();
    }
    if (from < text.length) rest.push(text.slice(from));
    if (done) break;
  }
  if (rest.length) take(rest.join(""));
  return bytes;
}

/** Asks the server to end a query that runs. */
export async function cancel(database: string, id: string): Promise<void> {
  await command(database, `.cancel query ${literal(id)}`);
}
