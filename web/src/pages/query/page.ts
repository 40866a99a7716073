// The query page: explorer, editor with tabs, results.

import { announce, button, copy, h, menu, replace, select, splitter } from "../../parts/dom";
import type { Schema } from "../../api/schema";
import type { Settings } from "../../api/session";
import { address, type Link } from "../../lib/links";
import { home } from "../../lib/place";
import { body } from "../../lib/statements";
import type { Editor } from "../../parts/editor";
import { isDark } from "../../parts/theme";
import { tenant } from "../../api/jobs";
import { Explorer } from "./explorer";
import { functionDialog } from "./functions";
import { loadDialog } from "./load";
import { Results } from "./results";
import { Run } from "./run";
import { Tabs, type Tab } from "./tabs";

const FIRST = "// Tables are listed on the left; Shift+Enter runs the query around the cursor.\nprint Welcome = \"Tidewater\"";

export class QueryPage {
  readonly element: HTMLElement;
  private readonly tabs: Tabs;
  private readonly runs = new Map<string, Run>();
  private readonly tabBar = h("div", { class: "tabs editor-tabs", attributes: { role: "tablist", "aria-label": "Queries" } });
  private readonly databases = select("Database", [], "", (name) => this.useDatabase(name));
  private readonly runButton = button("Run", () => void this.run(), { class: "primary", keys: "Shift+Enter" });
  private readonly cancelButton = button("Cancel", () => void this.cancel(), { keys: "Shift+Escape" });
  private readonly language = select("Language", [{ value: "kql", text: "KQL" }, { value: "sql", text: "SQL job" }], "kql", (language) => this.speak(language === "sql"));
  private readonly place = h("div", { class: "editor", attributes: { "aria-busy": "true" } });
  private readonly explorer: Explorer;
  private readonly results: Results;
  private readonly work: HTMLElement;
  private editor: Editor | null = null;
  private schema: Schema | null = null;

  constructor(settings: Settings, private readonly link: Link | null, private readonly asked: string | null) {
    this.tabs = new Tabs(link?.alone ?? false, asked ?? settings.defaultDatabase);
    if (link) {
      // A tab that is still empty is taken, so that links do not leave a trail of empty ones.
      const spare = this.tabs.list.find((tab) => tab.text.trim() === "");
      if (spare) {
        Object.assign(spare, { text: link.query, database: link.database ?? spare.database });
        delete spare.sql;
        if (link.name) spare.name = link.name.slice(0, 60);
        this.tabs.current = spare;
      } else {
        this.tabs.add(link.query, link.database ?? undefined, link.name?.slice(0, 60));
      }
    } else if (asked) {
      this.tabs.current.database = asked;
    }
    this.explorer = new Explorer({
      schema: (schema) => this.learn(schema),
      database: (name) => this.useDatabase(name),
      insert: (text) => this.editor?.insert(text),
      query: (text, run) => this.ask(text, run),
      load: (name, table) => this.load([], name, table),
      editFunction: (name, entity) => functionDialog(name, entity, () => void this.explorer.load()),
    });
    this.results = new Results((anchor) => void this.share(anchor));
    this.cancelButton.disabled = true;
    const bar = h("div", { class: "editor-bar", attributes: { role: "toolbar", "aria-label": "Query" } },
      this.runButton, this.cancelButton, this.databases, this.language, button("Format", () => void this.editor?.format(), { keys: "Shift+Alt+F" }),
      h("span", { class: "grow" }), button("Load data", () => this.load([], this.database, null)));
    const upper = h("div", { class: "upper" }, h("div", { class: "tab-line" }, this.tabBar, button("New tab", () => this.newTab(), { sign: "+", class: "quiet", keys: "Alt+N" })), bar, this.place);
    const lower = this.results.element;
    const bend = splitter("Height of the editor", false, () => upper.offsetHeight, (size) => {
      upper.style.height = `${Math.max(120, Math.min(size, this.element.offsetHeight - 120))}px`;
    });
    this.work = h("main", { class: "work", attributes: { "aria-label": "Query" } }, upper, bend, lower);
    const side = splitter("Width of the explorer", true, () => this.explorer.element.offsetWidth, (size) => {
      this.explorer.element.style.width = `${Math.max(140, Math.min(size, 600))}px`;
    });
    this.explorer.element.append(side);
    this.element = h("div", { class: "query-page" }, this.explorer.element, this.work);
    if (matchMedia("(max-width: 700px)").matches) this.element.classList.add("narrow");
    this.drop();
  }

  get databaseNames(): string[] {
    return this.explorer.databases;
  }

  get database(): string {
    return this.tabs.current.database;
  }

  async start(): Promise<void> {
    this.drawTabs();
    this.results.show(null);
    const [{ Editor }] = await Promise.all([import("../../parts/editor"), this.explorer.load().catch(() => undefined)]);
    this.editor = new Editor(this.place, {
      changed: (text) => {
        this.tabs.current.text = text;
        this.tabs.changed();
      },
      run: () => void this.run(),
      cancel: () => void this.cancel(),
      newTab: () => this.newTab(),
    });
    this.place.removeAttribute("aria-busy");
    this.editor.theme(isDark());
    if (!this.link && this.tabs.list.length === 1 && this.tabs.current.text === "") this.tabs.current.text = this.welcome();
    this.open(this.tabs.current);
    this.editor.focus();
    if (this.link?.runs) void this.run(true);
    else if (this.link) announce("The link's query waits for you to run it.");
  }

  /** A first query that gives something, over whatever is there. */
  private welcome(): string {
    const samples = this.schema?.Databases.Samples?.Tables;
    if (!samples?.Flights || (this.asked && this.asked !== "Samples")) return FIRST;
    this.tabs.current.database = "Samples";
    return "// Tables are listed on the left; Shift+Enter runs the query around the cursor.\nFlights\n| summarize Flights = count() by origin, bin(time_hour, 7d)\n| render timechart with (title=\"Flights per week\")\n\nFlights\n| where dep_delay > 60\n| top 100 by dep_delay";
  }

  async reload(): Promise<void> {
    await this.explorer.load().catch(() => undefined);
  }

  theme(dark: boolean): void {
    this.editor?.theme(dark);
  }

  toggleExplorer(): void {
    this.element.classList.toggle(matchMedia("(max-width: 700px)").matches ? "explorer-over" : "explorer-gone");
  }

  focusExplorer(): void {
    this.element.classList.remove("explorer-gone");
    const within = (selector: string) => this.explorer.element.querySelector<HTMLElement>(selector);
    (within("[role=treeitem][tabindex='0']") ?? within("input"))?.focus();
  }

  focusEditor(): void {
    this.editor?.focus();
  }

  focusResults(): void {
    const within = (selector: string) => this.results.element.querySelector<HTMLElement>(selector);
    (within(".grid-scroll") ?? within("[role=tab].on"))?.focus();
  }

  private learn(schema: Schema): void {
    this.schema = schema;
    const names = Object.keys(schema.Databases);
    replace(this.databases, ...names.map((name) => h("option", { text: name, attributes: { value: name } })));
    this.useDatabase(this.database);
  }

  private useDatabase(name: string): void {
    const tab = this.tabs.current;
    tab.database = name;
    this.tabs.changed();
    // A database of a link may be unknown, or hidden from whoever looks; it is still what the query names.
    if (![...this.databases.options].some((option) => option.value === name)) {
      this.databases.append(h("option", { text: name, attributes: { value: name } }));
    }
    this.databases.value = name;
    this.explorer.choose(name);
    history.replaceState(null, "", home(name) + location.search);
    if (this.schema && this.editor) void this.editor.know(this.schema, name).then(() => (this.place.dataset.knows = name));
  }

  /** Whether the tab's text is SQL, which runs as a job. */
  private speak(sql: boolean): void {
    const tab = this.tabs.current;
    if (sql) tab.sql = true;
    else delete tab.sql;
    this.open(tab);
    this.editor?.focus();
  }

  private open(tab: Tab): void {
    this.tabs.current = tab;
    this.tabs.changed();
    this.editor?.open(tab.id, tab.text, tab.sql ?? false);
    this.language.value = tab.sql ? "sql" : "kql";
    this.drawTabs();
    this.useDatabase(tab.database);
    const run = this.runs.get(tab.id) ?? null;
    this.results.show(run);
    this.buttons();
  }

  /** A query of somewhere else, in a tab of its own. */
  openText(database: string, text: string): void {
    this.tabs.add(text, database);
    this.open(this.tabs.current);
    this.editor?.focus();
  }

  newTab(): void {
    this.tabs.add("", this.database);
    this.open(this.tabs.current);
    this.editor?.focus();
  }

  private close(tab: Tab): void {
    void this.runs.get(tab.id)?.cancel();
    this.runs.delete(tab.id);
    this.tabs.remove(tab);
    this.open(this.tabs.current);
    this.editor?.close(tab.id);
    this.tabBar.querySelector<HTMLElement>("[aria-selected=true]")?.focus();
  }

  private drawTabs(): void {
    const current = this.tabs.current;
    replace(this.tabBar, ...this.tabs.list.map((tab, at) => {
      const on = tab === current;
      const go = h("button", {
        class: on ? "tab on" : "tab", title: "Double click to rename, Delete to close",
        attributes: { type: "button", role: "tab", "aria-selected": String(on), tabindex: on ? 0 : -1 },
        on: {
          click: () => this.open(tab),
          dblclick: () => this.rename(tab, go),
          keydown: (event) => {
            const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
            const all = this.tabs.list;
            if (step) {
              this.open(all[(at + step + all.length) % all.length]!);
              this.tabBar.querySelector<HTMLElement>(".on")?.focus();
            } else if (event.key === "Delete") this.close(tab);
            else if (event.key === "F2") this.rename(tab, go);
            else return;
            event.preventDefault();
          },
        },
      }, tab.name);
      if (this.tabs.list.length > 1) {
        // Inside a tab there may be no button for those who listen: they close with Delete.
        go.append(h("span", {
          class: "close", text: "✕", attributes: { "aria-hidden": "true" },
          on: {
            click: (event) => {
              event.stopPropagation();
              this.close(tab);
            },
          },
        }));
      }
      return go;
    }));
  }

  private rename(tab: Tab, place: HTMLElement): void {
    const input = h("input", { class: "rename", attributes: { "aria-label": "Name of the tab", maxlength: 60 } });
    input.value = tab.name;
    place.replaceWith(input);
    input.select();
    const done = (keep: boolean): void => {
      if (keep && input.value.trim()) tab.name = input.value.trim();
      this.tabs.changed();
      this.drawTabs();
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        input.onblur = null;
        done(event.key === "Enter");
      }
    });
    input.onblur = () => done(true);
  }

  /** A query from the explorer: below what is in the tab. */
  private ask(text: string, run: boolean): void {
    this.editor?.append(text);
    if (run) void this.run();
  }

  private async run(fromLink = false): Promise<void> {
    const editor = this.editor;
    const tab = this.tabs.current;
    const chosen = fromLink ? { text: tab.text, line: 1, column: 1 } : editor?.chosen();
    if (!editor || !chosen || !body(chosen.text).trim()) {
      announce("There is nothing to run here.");
      return;
    }
    await this.runs.get(tab.id)?.cancel();
    const run = new Run({ ...chosen, database: tab.database, readonly: fromLink, ...(tab.sql ? { sql: tenant() } : {}) });
    this.runs.set(tab.id, run);
    editor.underline([], 1, 1);
    this.results.show(run);
    this.buttons();
    await run.start();
    if (this.tabs.current === tab) {
      this.buttons();
      if (run.fault) editor.underline(run.fault.places, chosen.line, chosen.column);
    }
    announce(run.fault ? "The query failed." : run.cancelled ? "The query was cancelled." : "The query is done.", false);
    // Commands change what the explorer shows.
    if (!tab.sql && body(chosen.text).startsWith(".") && !body(chosen.text).startsWith(".show") && !run.fault) void this.explorer.load().catch(() => undefined);
  }

  private async cancel(): Promise<void> {
    await this.runs.get(this.tabs.current.id)?.cancel();
  }

  private buttons(): void {
    this.cancelButton.disabled = !this.runs.get(this.tabs.current.id)?.running;
  }

  async share(anchor: HTMLElement): Promise<void> {
    const text = this.editor?.chosen()?.text ?? this.tabs.current.text;
    if (this.tabs.current.sql) {
      // Links carry KQL.
      menu(anchor, [
        { label: "Copy statement", act: () => void copy(text, "Statement") },
        { label: "Copy as Markdown, with the results", disabled: this.results.markdown() === "", act: () => void copy(`\`\`\`sql\n${text}\n\`\`\`\n\n${this.results.markdown()}\n`, "Markdown") },
      ]);
      return;
    }
    const link = await address(this.database, text);
    menu(anchor, [
      { label: "Copy link to this query", act: () => void copy(link, "Link") },
      { label: "Copy query and link", act: () => void copy(`${text}\n\n// ${link}`, "Query") },
      {
        label: "Copy as Markdown, with the results", disabled: this.results.markdown() === "",
        act: () => void copy(`[Open in Tidewater](${link})\n\n\`\`\`kusto\n${text}\n\`\`\`\n\n${this.results.markdown()}\n`, "Markdown"),
      },
    ]);
  }

  private load(files: File[], database: string, table: string | null): void {
    loadDialog(files, {
      databases: this.explorer.databases, database, table,
      tables: (name) => Object.keys(this.schema?.Databases[name]?.Tables ?? {}),
      loaded: () => void this.explorer.load().catch(() => undefined),
    });
  }

  /** Files dropped anywhere are loaded. */
  private drop(): void {
    const holds = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
    this.element.addEventListener("dragover", (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      this.element.classList.add("dropping");
    });
    this.element.addEventListener("dragleave", (event) => {
      if (!this.element.contains(event.relatedTarget as Node | null)) this.element.classList.remove("dropping");
    });
    this.element.addEventListener("drop", (event) => {
      this.element.classList.remove("dropping");
      if (!holds(event)) return;
      event.preventDefault();
      this.load([...(event.dataTransfer?.files ?? [])], this.database, null);
    });
  }
}
