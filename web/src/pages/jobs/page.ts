// The jobs page: SQL that runs at the server while nobody waits for it. A list with filters, what each job is and gave.

import { change, ENDED, file, get, list, MAX_ROWS, rows, submit, type Job, type Tenant } from "../../api/jobs";
import { announce, button, dialog, download, h, menu, replace, select } from "../../parts/dom";
import { Grid } from "../../parts/grid";
import { count, duration } from "../../lib/text";

const KEY = "tidewater.jobs";
const STATES = ["SUBMITTED", "QUEUED", "IN_PROGRESS", "SUCCESS", "FAILED", "CANCELLED"];
/** Milliseconds between looks at a list that has jobs under way. */
const AGAIN = 2000;

export class JobsPage {
  readonly element: HTMLElement;
  private readonly tenant: Tenant;
  private state = "";
  private sought = "";
  /** Where the pages so far began. */
  private starts: (string | null)[] = [null];
  private next: string | null = null;
  private readonly table = h("tbody");
  private readonly told = h("div", { attributes: { role: "status" } });
  private readonly pager = h("div", { class: "row pager" });
  private timer = 0;

  constructor(private readonly databases: () => string[]) {
    this.tenant = { organisation: "tidewater", sandbox: "prod", ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Tenant>) };
    const field = (label: string, key: keyof Tenant): HTMLElement => {
      const input = h("input", {
        on: {
          change: () => {
            this.tenant[key] = input.value.trim();
            localStorage.setItem(KEY, JSON.stringify(this.tenant));
            void this.first();
          },
        },
      });
      input.value = this.tenant[key];
      return h("label", { class: "inline" }, label, input);
    };
    const search = h("input", {
      attributes: { type: "search", placeholder: "SQL contains", "aria-label": "SQL contains" },
      on: {
        change: () => {
          this.sought = search.value;
          void this.first();
        },
      },
    });
    const states = [{ value: "", text: "Any state" }, ...STATES.map((value) => ({ value, text: value }))];
    this.element = h("main", { class: "jobs", attributes: { "aria-label": "Jobs" } },
      h("div", { class: "row" }, button("New job", () => this.ask(), { class: "primary" }), search,
        select("State", states, "", (state) => {
          this.state = state;
          void this.first();
        }), button("Refresh", () => void this.load()), h("span", { class: "grow" }), field("Organisation", "organisation"), field("Sandbox", "sandbox")),
      this.told,
      h("div", { class: "jobs-list", attributes: { tabindex: 0, role: "region", "aria-label": "List of jobs" } }, h("table", {}, h("thead", {}, h("tr", {},
        ...["Name or SQL", "State", "Rows", "Time", "Started", "By"].map((text) => h("th", { text, attributes: { scope: "col" } })))), this.table)),
      this.pager);
  }

  show(): void {
    void this.load();
  }

  hide(): void {
    clearTimeout(this.timer);
  }

  private async first(): Promise<void> {
    this.starts = [null];
    await this.load();
  }

  private async load(): Promise<void> {
    clearTimeout(this.timer);
    try {
      const page = await list(this.tenant, this.state, this.sought, this.starts.at(-1)!);
      this.next = page.next;
      replace(this.told, page.queries.length === 0 ? h("p", { class: "empty", text: "There are no such jobs." }) : null);
      replace(this.table, ...page.queries.map((job) => this.line(job)));
      if (this.element.isConnected && page.queries.some((job) => !ENDED.has(job.state))) this.timer = window.setTimeout(() => void this.load(), AGAIN);
    } catch (error) {
      replace(this.told, h("p", { class: "fault", text: error instanceof Error ? error.message : String(error) }));
    }
    const back = button("Newer", () => {
      this.starts.pop();
      void this.load();
    });
    back.disabled = this.starts.length === 1;
    const on = button("Older", () => {
      this.starts.push(this.next);
      void this.load();
    });
    on.disabled = this.next === null;
    replace(this.pager, back, on);
  }

  private line(job: Job): HTMLElement {
    const label = job.request.name || (job.request.sql ?? "").replace(/\s+/g, " ").slice(0, 120) || job.id;
    return h("tr", {}, h("td", {}, button(label, () => void this.open(job), { class: "link" })), h("td", { text: job.state, class: `state ${job.state}` }),
      h("td", { text: count(job.rowCount), class: "right" }), h("td", { text: duration(job.elapsedTime), class: "right" }),
      h("td", { text: job.created.replace("T", " ").replace(/\.\d+Z$/, "") }), h("td", { text: job.userId }));
  }

  private ask(): void {
    const database = select("Database", ["all", ...this.databases()].map((value) => ({ value, text: value })), "all", () => undefined);
    const name = h("input", {});
    const sql = h("textarea", { attributes: { rows: 8, required: true, spellcheck: "false" } });
    const told = h("div", { attributes: { role: "alert" } });
    const box = dialog("New job", h("form", {
      class: "fields",
      on: {
        submit: (event) => {
          event.preventDefault();
          submit(this.tenant, database.value, sql.value, name.value.trim()).then(() => {
            box.close();
            announce("The job is on its way.");
            void this.first();
          }).catch((error: unknown) => replace(told, h("p", { class: "fault", text: error instanceof Error ? error.message : String(error) })));
        },
      },
    }, h("label", {}, "Database", database), h("label", {}, "Name", name), h("label", {}, "SQL", sql), told,
    h("div", { class: "row" }, h("button", { text: "Submit", class: "primary", attributes: { type: "submit" } }))));
  }

  private async open(listed: Job): Promise<void> {
    const place = h("div", { class: "job" });
    const box = dialog(listed.request.name || "Job", place);
    box.classList.add("large");
    try {
      await this.tell(await get(this.tenant, listed.id), place, box);
    } catch (error) {
      replace(place, h("p", { class: "fault", text: error instanceof Error ? error.message : String(error) }));
    }
  }

  private async tell(job: Job, place: HTMLElement, box: HTMLDialogElement): Promise<void> {
    const act = (op: "cancel" | "soft_delete") => (): void => {
      change(this.tenant, job.id, op).then(() => {
        box.close();
        void this.load();
      }).catch((error: unknown) => announce(error instanceof Error ? error.message : String(error)));
    };
    const save = button("Save rows", () => menu(save, (["csv", "json", "parquet", "arrow-file"] as const).map((format) => ({
      label: `as ${format}`,
      act: () => void file(this.tenant, job.id, format).then((blob) => download(`${job.id}.${format === "arrow-file" ? "arrow" : format}`, [blob], blob.type))
        .catch((error: unknown) => announce(error instanceof Error ? error.message : String(error))),
    }))), { sign: "Save rows ▾" });
    const results = h("div", { class: "job-rows" });
    replace(place,
      h("dl", { class: "record" }, ...[["Id", job.id], ["State", job.state], ["Rows", count(job.rowCount)], ["Time", duration(job.elapsedTime)], ["Started", job.created],
        ["Changed", job.updated], ["By", `${job.userId}, ${job.client}`]].flatMap(([label, text]) => [h("dt", { text: label! }), h("dd", { text: text! })])),
      h("pre", { text: job.request.sql ?? job.effectiveSQL ?? "" }),
      ...job.errors.map((error) => h("p", { class: "fault", text: [error.code, error.message].filter(Boolean).join(": ") })),
      h("div", { class: "row" }, job._links.cancel ? button("Cancel job", act("cancel")) : null, button("Delete", act("soft_delete")), job._links.results ? save : null),
      results);
    if (!job._links.results) return;
    const { table, total } = await rows(this.tenant, job.id);
    const grid = new Grid(table, { cell: () => undefined, view: () => undefined });
    replace(results, total > table.rows ? h("p", { class: "hint", text: `The first ${count(MAX_ROWS)} of ${count(total)} rows; all of them can be saved.` }) : null, grid.element);
    grid.grown();
  }
}
