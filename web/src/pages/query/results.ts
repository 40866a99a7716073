// What a run has given: its tables, charts, failures and figures.

import { announce, button, copy, dialog, download, h, menu, replace, select } from "../../parts/dom";
import { Grid } from "../../parts/grid";
import { asJson, tree } from "../../parts/tree";
import { isChart, KINDS } from "../../lib/chart";
import { jsonText, type Json, type Table, type Visualization } from "../../lib/columns";
import * as exports from "../../lib/export";
import { bytes, count, duration } from "../../lib/text";
import type { ChartView } from "../../parts/chart";
import { file, type FileFormat } from "../../api/page";
import { body, isCommand } from "../../lib/statements";
import { pinDialog } from "../dashboards/edit";
import type { Run } from "./run";

type Pane = { kind: "table"; table: Table } | { kind: "chart"; table: Table } | { kind: "statistics" };

/** Longest text that the detail shows at once. */
const MAX_DETAIL = 200_000;

export class Results {
  readonly element: HTMLElement;
  private run: Run | null = null;
  private pane: Pane | null = null;
  private chosen = false;
  private readonly tabs = h("div", { class: "tabs", attributes: { role: "tablist", "aria-label": "Results" } });
  private readonly tools = h("div", { class: "tools" });
  private readonly banner = h("div", { class: "banner", attributes: { role: "alert" } });
  private readonly body = h("div", { class: "result-body" });
  private readonly detail = h("aside", { class: "detail", attributes: { "aria-label": "Value", hidden: true } });
  private readonly status = h("div", { class: "status", attributes: { role: "status" } });
  private readonly grids = new WeakMap<Table, Grid>();
  private readonly kinds = new WeakMap<Table, Visualization>();
  private chart: ChartView | null = null;
  private unlisten: () => void = () => undefined;
  private timer = 0;
  private tabKey = "";
  private bannerKey = "";

  constructor(private readonly share: (anchor: HTMLElement) => void) {
    this.element = h("section", { class: "results", attributes: { "aria-label": "Results" } },
      h("div", { class: "result-head" }, this.tabs, this.tools), this.banner,
      h("div", { class: "result-main" }, this.body, this.detail), this.status);
    this.show(null);
  }

  show(run: Run | null): void {
    this.unlisten();
    this.run = run;
    this.pane = null;
    this.chosen = false;
    this.tabKey = this.bannerKey = "";
    this.detail.hidden = true;
    this.drop();
    if (!run) {
      replace(this.tabs);
      replace(this.tools);
      replace(this.banner);
      replace(this.status);
      replace(this.body, h("div", { class: "empty" },
        h("p", { text: "Results come here." }),
        h("p", {}, h("kbd", { text: "Shift" }), " + ", h("kbd", { text: "Enter" }), " runs the query at the cursor.")));
      return;
    }
    replace(this.body);
    this.unlisten = run.onChange(() => this.soon());
    this.update();
  }

  /** Shows changes at most once per frame or so. */
  private soon(): void {
    if (this.timer) return;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this.update();
    }, 60);
  }

  private update(): void {
    const run = this.run;
    if (!run) return;
    const first = run.tables[0];
    if (!this.chosen && first) {
      const drawn = run.tables.find((table) => isChart(table.visualization));
      // A chart waits for all its rows: a line over half of them would tell something else.
      const wanted: Pane = drawn && !run.running ? { kind: "chart", table: drawn } : { kind: "table", table: first };
      if (!this.pane || this.pane.kind !== wanted.kind) this.open(wanted);
    }
    this.drawTabs();
    this.drawBanner();
    this.drawStatus();
    if (this.pane?.kind === "table") {
      const grid = this.grid(this.pane.table);
      grid.grown();
      if (!run.running && (grid.filters.length || grid.search)) void grid.refresh();
    }
    if (!run.running && !first) {
      this.pane = null;
      replace(this.tools);
      replace(this.body, run.fault ? null : h("div", { class: "empty", text: run.cancelled ? "Cancelled." : "No result." }));
    }
    if (run.running) {
      window.setTimeout(() => {
        if (this.run === run && run.running) this.drawStatus();
      }, 200);
    }
  }

  private panes(): { pane: Pane; label: string }[] {
    const run = this.run!;
    const many = run.tables.length > 1;
    const found: { pane: Pane; label: string }[] = [];
    run.tables.forEach((table, at) => {
      const named = table.name && table.name !== "PrimaryResult" && !/^Table_\d+$/.test(table.name);
      const name = named ? table.name : many ? `Table ${at + 1}` : "Table";
      found.push({ pane: { kind: "table", table }, label: name });
      if (isChart(table.visualization) || this.kinds.has(table)) {
        found.push({ pane: { kind: "chart", table }, label: many ? `Chart ${at + 1}` : "Chart" });
      }
    });
    if (run.statistics) found.push({ pane: { kind: "statistics" }, label: "Statistics" });
    return found;
  }

  private drawTabs(): void {
    const panes = this.panes();
    const key = JSON.stringify([panes.map((item) => item.label), panes.findIndex((item) => this.isOpen(item.pane))]);
    if (key === this.tabKey) return;
    this.tabKey = key;
    const had = this.tabs.contains(document.activeElement);
    const buttons = panes.map((item, at) => {
      const open = this.isOpen(item.pane);
      return h("button", {
        class: open ? "tab on" : "tab", text: item.label,
        attributes: { type: "button", role: "tab", "aria-selected": String(open), tabindex: open ? 0 : -1 },
        on: {
          click: () => this.choose(item.pane),
          keydown: (event) => {
            const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
            if (!step) return;
            event.preventDefault();
            this.choose(panes[(at + step + panes.length) % panes.length]!.pane);
          },
        },
      });
    });
    replace(this.tabs, ...buttons);
    if (had) this.tabs.querySelector<HTMLElement>(".on")?.focus();
  }

  private isOpen(pane: Pane): boolean {
    const mine = this.pane;
    if (!mine || mine.kind !== pane.kind) return false;
    return pane.kind === "statistics" || (mine as { table: Table }).table === pane.table;
  }

  private choose(pane: Pane): void {
    this.chosen = true;
    this.open(pane);
    this.drawTabs();
    this.drawStatus();
  }

  private drop(): void {
    this.chart?.dispose();
    this.chart = null;
  }

  private open(pane: Pane): void {
    this.pane = pane;
    this.drop();
    this.detail.hidden = true;
    if (pane.kind === "table") {
      const grid = this.grid(pane.table);
      replace(this.body, grid.element);
      grid.grown();
      this.tableTools(pane.table, grid);
    } else if (pane.kind === "chart") {
      void this.openChart(pane.table);
    } else {
      replace(this.tools, button("Copy", () => void copy(jsonText(this.run!.statistics as Json, 2), "Statistics")));
      replace(this.body, h("div", { class: "figures-page" }, tree(this.run!.statistics as Json, 4)));
    }
  }

  private grid(table: Table): Grid {
    let grid = this.grids.get(table);
    if (!grid) {
      grid = new Grid(table, {
        cell: (row, column, opened) => {
          if (opened || !this.detail.hidden) this.tell(table, row, column);
        },
        view: () => this.drawStatus(),
      });
      this.grids.set(table, grid);
    }
    return grid;
  }

  private tableTools(table: Table, grid: Grid): void {
    const search = h("input", {
      class: "search", attributes: { type: "search", placeholder: "Search rows", "aria-label": "Search rows" },
      on: {
        input: () => {
          grid.search = search.value;
          void grid.refresh();
        },
        keydown: (event) => {
          if (event.key === "Enter" || event.key === "ArrowDown") grid.focus();
        },
      },
    });
    search.value = grid.search;
    const more = button("Copy and export", () => this.exportMenu(table, grid, more), { sign: "Export ▾" });
    replace(this.tools, search, this.kindChoice(table), this.pinButton("table"), more);
  }

  private kindChoice(table: Table): HTMLElement {
    const now = this.kinds.get(table) ?? table.visualization;
    const value = isChart(now) ? now!.Visualization!.toLowerCase() : "";
    const choices = [{ value: "", text: "Draw as…" }, ...KINDS];
    return select("Draw as", choices, choices.some((choice) => choice.value === value) ? value : "", (kind) => {
      if (!kind) return;
      this.kinds.set(table, { ...(table.visualization ?? {}), Visualization: kind });
      this.choose({ kind: "chart", table });
    });
  }

  private async openChart(table: Table): Promise<void> {
    replace(this.body, h("div", { class: "empty", text: "Drawing…" }));
    const pane = this.pane;
    const { ChartView } = await import("../../parts/chart");
    if (this.pane !== pane) return;
    this.chart = new ChartView(table, this.kinds.get(table) ?? table.visualization ?? { Visualization: "columnchart" });
    replace(this.body, this.chart.element);
    this.chart.draw();
    const save = button("Save picture", () => this.chart?.save());
    replace(this.tools, this.kindChoice(table), this.pinButton(this.kinds.get(table)?.Visualization ?? ""), save);
  }

  /** Only what runs as a query can be a tile, and only a whole one. */
  private pinButton(visual: string): HTMLElement | null {
    const run = this.run!;
    if (isCommand(run.source.text) || run.source.sql) return null;
    return button("Pin to a dashboard", () => void pinDialog(run.source.database, body(run.source.text), visual), { sign: "Pin" });
  }

  /** The rows once more, written by the server: in types of their own, and all of them. */
  private save(format: FileFormat, table: Table, name: string): void {
    const run = this.run!;
    const { database, text, parameters, readonly } = run.source;
    const stop = new AbortController();
    const told = h("p", { text: "The server begins…", attributes: { role: "status" } });
    const box = dialog(`Save ${name}.${format}`, told, h("div", { class: "row" }, button("Cancel", () => box.close())));
    box.addEventListener("close", () => stop.abort());
    file({ database, text, ...(parameters ? { parameters } : {}), readonly: readonly ?? false }, format, run.tables.indexOf(table) + 1, stop.signal,
      (size) => (told.textContent = `${bytes(size)} so far`))
      .then((blob) => {
        if (stop.signal.aborted) return;
        box.close();
        download(`${name}.${format}`, [blob], blob.type);
        announce(`${name}.${format}: ${bytes(blob.size)}.`);
      }).catch((error: unknown) => {
        if (!stop.signal.aborted) replace(told, h("span", { class: "fault", text: error instanceof Error ? error.message : String(error) }));
      });
  }

  private exportMenu(table: Table, grid: Grid, anchor: HTMLElement): void {
    const rows = grid.view;
    const total = grid.total;
    const name = (table.name && table.name !== "PrimaryResult" ? table.name : "result").replace(/[^\w.-]+/g, "_");
    const clip = rows ? rows.slice(0, exports.MAX_COPIED)
      : total > exports.MAX_COPIED ? Uint32Array.from({ length: exports.MAX_COPIED }, (_, row) => row) : null;
    const what = total > exports.MAX_COPIED ? `The first ${count(exports.MAX_COPIED)} rows` : `${count(total)} rows`;
    menu(anchor, [
      { label: "Save as CSV", act: () => void exports.csv(table, rows).then((parts) => download(`${name}.csv`, parts, "text/csv;charset=utf-8")) },
      { label: "Save as JSON", act: () => void exports.json(table, rows).then((parts) => download(`${name}.json`, parts, "application/json")) },
      ...(isCommand(this.run!.source.text) || this.run!.source.sql ? [] : ([["Parquet", "parquet"], ["CSV", "csv"], ["JSON", "json"]] as const).map(([label, format]) => ({
        label: `Save all rows as ${label}, by the server`, act: () => this.save(format, table, name),
      }))),
      { label: "Copy for a spreadsheet", act: () => void exports.tsv(table, clip).then((text) => copy(text, what)) },
      { label: "Copy as CSV", act: () => void exports.csv(table, clip).then((parts) => copy(parts.join(""), what)) },
      { label: "Copy as JSON", act: () => void exports.json(table, clip).then((parts) => copy(parts.join(""), what)) },
      { label: "Share…", act: () => this.share(anchor) },
    ]);
  }

  /** The shown rows as Markdown, for sharing. */
  markdown(): string {
    const table = this.pane && this.pane.kind !== "statistics" ? this.pane.table : this.run?.tables[0];
    return table ? exports.markdown(table, this.grids.get(table)?.view ?? null) : "";
  }

  private tell(table: Table, row: number, at: number): void {
    const column = table.columns[at]!;
    const text = column.text(row);
    const value = column.type === "dynamic" ? column.json(row) : asJson(text);
    const isTree = value !== undefined && value !== null && typeof value === "object";
    const whole = isTree ? jsonText(value, 2) : text;
    const shown = column.isNull(row) ? "null" : text.length > MAX_DETAIL ? `${text.slice(0, MAX_DETAIL)}…` : text;
    const fields = table.columns.slice(0, 200).flatMap((other, index) => [
      h("dt", {}, button(other.name, () => this.tell(table, row, index), { class: "quiet" })),
      h("dd", { text: other.isNull(row) ? "null" : other.text(row).slice(0, 300), class: index === at ? "on" : "" }),
    ]);
    const wasHidden = this.detail.hidden;
    this.detail.hidden = false;
    replace(this.detail,
      h("header", {}, h("h2", { text: column.name }), h("span", { class: "grid-type", text: `${column.type}, row ${count(row + 1)}` }),
        button("Copy", () => void copy(whole, "Value")),
        button("Close", () => {
          this.detail.hidden = true;
          this.grids.get(table)?.focus();
        }, { sign: "✕", class: "quiet" })),
      isTree ? tree(value) : h("pre", { text: shown }),
      h("h3", { text: "Row" }), h("dl", { class: "record" }, ...fields));
    if (wasHidden) this.grids.get(table)?.grown();
  }

  private drawBanner(): void {
    const run = this.run!;
    const key = JSON.stringify([run.fault?.message, run.failures]);
    if (key === this.bannerKey) return;
    this.bannerKey = key;
    const lines: HTMLElement[] = [];
    if (run.fault) {
      const fault = run.fault;
      const places = fault.places.map((place) => `line ${place.line}, column ${place.column}`);
      lines.push(h("div", { class: "fault" },
        h("strong", { text: fault.code ? `${fault.code} ` : "" }), h("span", { text: fault.message }),
        places.length ? h("small", { text: ` (${places.join("; ")})` }) : null,
        fault.activityId ? h("small", { class: "activity", text: `activity ${fault.activityId}` }) : null,
        fault.status === 401 ? button("Sign in", () => document.dispatchEvent(new Event("tidewater-sign-in"))) : null));
    }
    for (const failure of run.failures) {
      lines.push(h("div", { class: "fault partial" }, h("strong", { text: "The result is not complete. " }), h("span", { text: failure })));
    }
    replace(this.banner, ...lines);
  }

  private drawStatus(): void {
    const run = this.run;
    if (!run) return;
    const parts: string[] = [];
    if (run.running) parts.push(run.cancelled ? "Cancelling…" : run.state ? `Job ${run.state.toLowerCase().replace("_", " ")}…` : "Running…");
    else if (run.cancelled) parts.push("Cancelled");
    else if (run.fault) parts.push("Failed");
    else parts.push(run.failures.length ? "Partly done" : "Done");
    parts.push(duration(run.millis));
    const table = this.pane && this.pane.kind !== "statistics" ? this.pane.table : run.tables[0];
    if (table) {
      const grid = this.grids.get(table);
      const total = `${count(table.rows)} ${table.rows === 1 ? "row" : "rows"}`;
      parts.push(grid?.view && grid.total !== table.rows ? `${count(grid.total)} of ${total}` : total);
    }
    if (run.bytes) parts.push(bytes(run.bytes));
    parts.push(run.source.database);
    replace(this.status, run.running ? h("span", { class: "spinner" }) : null, h("span", { text: parts.join(" · ") }));
    this.element.classList.toggle("running", run.running);
  }
}
