// The explorer: what the databases hold, with ways to look at it, write its names, and add to it.

import { announce, button, h, menu, replace } from "../../parts/dom";
import { figures, parameters, schema, type Database, type Figures, type Schema, type SchemaEntity, type SchemaFunction } from "../../api/schema";
import { bytes, count, matches, name } from "../../lib/text";

export interface ExplorerEvents {
  schema(schema: Schema): void;
  database(name: string): void;
  insert(text: string): void;
  query(text: string, run: boolean): void;
  load(database: string, table: string | null): void;
  editFunction(database: string, entity: SchemaFunction | null): void;
}

/** Children of a branch that are shown before one asks for more. */
const STEP = 300;

type Item = { label: string; detail?: string; title?: string; sign: string; kind: string; open?: () => HTMLElement[]; act?: (anchor: HTMLElement) => void; choose?: () => void };

export class Explorer {
  readonly element: HTMLElement;
  private readonly list = h("div", { class: "explorer-list", attributes: { role: "tree", "aria-label": "Databases" } });
  private readonly sought = h("input", {
    class: "search", attributes: { type: "search", placeholder: "Find a table, column or function", "aria-label": "Find in the explorer" },
    on: { input: () => this.draw() },
  });
  private known: Schema | null = null;
  private readonly sizes = new Map<string, Map<string, Figures>>();
  private readonly opened = new Set<string>();
  private current = "";

  constructor(private readonly events: ExplorerEvents) {
    this.element = h("nav", { class: "explorer", attributes: { "aria-label": "Explorer" } },
      h("div", { class: "explorer-head" }, this.sought,
        button("Refresh", () => void this.load(), { sign: "⟳", class: "quiet" })),
      this.list);
    this.list.addEventListener("keydown", (event) => this.key(event));
  }

  get databases(): string[] {
    return Object.keys(this.known?.Databases ?? {});
  }

  /** Reads everything again. */
  async load(): Promise<void> {
    try {
      this.known = await schema();
    } catch (error) {
      replace(this.list, h("p", { class: "empty", text: error instanceof Error ? error.message : String(error) }));
      throw error;
    }
    this.sizes.clear();
    this.events.schema(this.known);
    this.draw();
    for (const database of this.opened) if (this.known.Databases[database]) void this.measure(database);
  }

  /** The database that queries go to. */
  choose(database: string): void {
    this.current = database;
    this.opened.add(database);
    void this.measure(database);
    this.draw();
  }

  private async measure(database: string): Promise<void> {
    if (this.sizes.has(database) || !this.known?.Databases[database]) return;
    this.sizes.set(database, new Map());
    this.sizes.set(database, await figures(database).catch(() => new Map<string, Figures>()));
    this.draw();
  }

  private draw(): void {
    const focused = (document.activeElement as HTMLElement | null)?.dataset?.key;
    const databases = Object.values(this.known?.Databases ?? {});
    replace(this.list, ...databases.flatMap((database) => this.database(database)));
    const again = focused && this.list.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`);
    if (again) again.focus();
    const first = this.list.querySelector<HTMLElement>("[role=treeitem]");
    if (first && !this.list.querySelector("[tabindex='0']")) first.tabIndex = 0;
  }

  private hit(text: string): boolean {
    return matches(text, this.sought.value.trim());
  }

  private searching(): boolean {
    return this.sought.value.trim() !== "";
  }

  private database(database: Database): HTMLElement[] {
    const key = database.Name;
    const groups: [string, string, string, SchemaEntity[]][] = [
      ["Tables", "▦", "table", Object.values(database.Tables ?? {})],
      ["Materialized views", "◫", "view", Object.values(database.MaterializedViews ?? {})],
      ["External tables", "◱", "external", Object.values(database.ExternalTables ?? {})],
      ["Graphs", "⬡", "graph", Object.values(database.Graphs ?? {})],
    ];
    const parts = groups.flatMap(([label, sign, kind, entities]) => {
      const found = entities.filter((entity) => this.entityHit(entity));
      if (found.length === 0) return [];
      return [this.group(key, label, found, (entity) => this.entity(database.Name, entity, sign, kind))];
    });
    const functions = Object.values(database.Functions ?? {}).filter((entity) => this.hit(entity.Name) || this.hit(entity.Folder ?? ""));
    if (functions.length) parts.push(this.group(key, "Functions", functions, (entity) => this.function(database.Name, entity)));
    if (this.searching() && parts.length === 0 && !this.hit(database.Name)) return [];
    const empty = h("p", { class: "hint", text: "Nothing here yet: drop a file onto the page to load it." });
    return this.branch(key, {
      label: database.PrettyName || database.Name, sign: "⛁", kind: database.Name === this.current ? "database current" : "database",
      title: `Database ${database.Name}`,
      open: () => (parts.length ? parts.map((part) => part()).flat() : [empty]),
      choose: () => this.events.database(database.Name),
      act: (anchor) => menu(anchor, [
        { label: "Use this database", act: () => this.events.database(database.Name) },
        { label: "Load data…", act: () => this.events.load(database.Name, null) },
        { label: "New function…", act: () => this.events.editFunction(database.Name, null) },
      ]),
    });
  }

  private entityHit(entity: SchemaEntity): boolean {
    return this.hit(entity.Name) || this.hit(entity.Folder ?? "") || (entity.OrderedColumns ?? []).some((column) => this.hit(column.Name));
  }

  private group<T extends { Name: string }>(
    parent: string, label: string, entities: T[], make: (entity: T) => HTMLElement[],
  ): () => HTMLElement[] {
    const key = `${parent}/${label}`;
    const sorted = [...entities].sort((a, b) => a.Name.localeCompare(b.Name));
    // The kinds of things stand open: few want to click twice to see their tables.
    if (!this.opened.has(`${key}!`)) {
      this.opened.add(`${key}!`);
      this.opened.add(key);
    }
    return () => this.branch(key, {
      label, detail: count(entities.length), sign: "", kind: "group",
      open: () => this.some(key, sorted, make),
    });
  }

  private some<T>(key: string, items: T[], make: (item: T) => HTMLElement[]): HTMLElement[] {
    const shown = this.opened.has(`${key}#all`) ? items : items.slice(0, STEP);
    const found = shown.flatMap(make);
    if (shown.length < items.length) {
      found.push(button(`Show all ${count(items.length)}`, () => {
        this.opened.add(`${key}#all`);
        this.draw();
      }, { class: "quiet" }));
    }
    return found;
  }

  private entity(database: string, entity: SchemaEntity, sign: string, kind: string): HTMLElement[] {
    const key = `${database}/${kind}/${entity.Name}`;
    const size = kind === "table" ? this.sizes.get(database)?.get(entity.Name) : undefined;
    const reference = kind === "external" ? `external_table(${JSON.stringify(entity.Name)})` : kind === "graph" ? `graph(${JSON.stringify(entity.Name)})` : name(entity.Name);
    const told = [entity.Name, entity.DocString, entity.Folder && `Folder ${entity.Folder}`, size && `${count(size.rows)} rows, ${bytes(size.bytes)}`];
    const columns = (entity.OrderedColumns ?? []).filter((column) => !this.searching() || this.hit(column.Name) || this.hit(entity.Name));
    return this.branch(key, {
      label: entity.Name, detail: size ? count(size.rows) : "", sign, kind, title: told.filter(Boolean).join("\n"),
      open: () => this.some(key, columns, (column) => this.branch(`${key}/${column.Name}`, {
        label: column.Name, detail: column.CslType, sign: "", kind: "column", title: [column.Name, column.CslType, column.DocString].filter(Boolean).join("\n"),
        choose: () => this.events.insert(name(column.Name)),
      })),
      choose: () => this.events.insert(reference),
      act: (anchor) => menu(anchor, [
        { label: "Preview 100 rows", act: () => this.preview(database, `${reference}\n| take 100`) },
        { label: "Count rows", act: () => this.preview(database, `${reference}\n| count`) },
        { label: "Insert name", act: () => this.events.insert(reference) },
        { label: "Insert columns", act: () => this.events.insert((entity.OrderedColumns ?? []).map((column) => name(column.Name)).join(", ")) },
        ...(kind === "table" ? [{ label: "Load data into it…", act: () => this.events.load(database, entity.Name) }] : []),
      ]),
    });
  }

  private preview(database: string, text: string): void {
    if (database !== this.current) this.events.database(database);
    this.events.query(text, true);
  }

  private function(database: string, entity: SchemaFunction): HTMLElement[] {
    const call = `${name(entity.Name)}()`;
    return this.branch(`${database}/function/${entity.Name}`, {
      label: entity.Name, detail: "", sign: "ƒ", kind: "function",
      title: [`${entity.Name}${parameters(entity)}`, entity.DocString, entity.Folder && `Folder ${entity.Folder}`].filter(Boolean).join("\n"),
      choose: () => this.events.insert(call),
      act: (anchor) => menu(anchor, [
        { label: "Insert call", act: () => this.events.insert(call) },
        { label: "Edit…", act: () => this.events.editFunction(database, entity) },
        { label: "Run", act: () => this.preview(database, call), disabled: (entity.InputParameters ?? []).length > 0 },
      ]),
    });
  }

  private branch(key: string, item: Item): HTMLElement[] {
    const opens = Boolean(item.open);
    const open = opens && (this.opened.has(key) || (this.searching() && item.kind !== "database" ? this.sought.value.trim().length > 1 : false) || (this.searching() && item.kind.startsWith("database")));
    const inside = open ? item.open!() : [];
    const toggle = (): void => {
      if (!opens) return;
      if (this.opened.has(key)) this.opened.delete(key);
      else {
        this.opened.add(key);
        if (item.kind.startsWith("database")) void this.measure(key);
      }
      this.draw();
    };
    const more = item.act ? button(`Actions for ${item.label}`, (event) => {
      event.stopPropagation();
      item.act!(more!);
    }, { sign: "⋯", class: "quiet more" }) : null;
    if (more) more.tabIndex = -1;
    const line = h("div", { class: "line", title: item.title ?? item.label },
      h("span", { class: "twist", text: opens ? (open ? "▾" : "▸") : "" }),
      item.sign ? h("span", { class: `sign ${item.kind}`, text: item.sign, attributes: { "aria-hidden": "true" } }) : null,
      h("span", { class: "label", text: item.label }), item.detail ? h("span", { class: "side", text: item.detail }) : null, more);
    line.addEventListener("click", () => {
      this.mark(element);
      if (item.kind.startsWith("database")) item.choose?.();
      toggle();
    });
    line.addEventListener("dblclick", () => {
      if (!item.kind.startsWith("database")) item.choose?.();
    });
    const element = h("div", {
      class: `branch ${item.kind}`,
      attributes: { role: "treeitem", tabindex: -1, "aria-label": item.detail ? `${item.label}, ${item.detail}` : item.label, ...(opens ? { "aria-expanded": String(open) } : {}) },
    }, line, inside.length ? h("div", { class: "inside", attributes: { role: "group" } }, ...inside) : null);
    element.dataset.key = key;
    element.addEventListener("tidewater-key", (event) => {
      const pressed = (event as CustomEvent<string>).detail;
      if (pressed === "open" && !open) toggle();
      else if (pressed === "close" && open) toggle();
      else if (pressed === "choose") item.choose ? item.choose() : toggle();
      else if (pressed === "menu" && item.act) item.act(line);
    });
    return [element];
  }

  private mark(element: HTMLElement): void {
    this.list.querySelectorAll<HTMLElement>("[tabindex='0'][role=treeitem]").forEach((other) => (other.tabIndex = -1));
    element.tabIndex = 0;
    element.focus({ preventScroll: true });
  }

  private key(event: KeyboardEvent): void {
    const items = [...this.list.querySelectorAll<HTMLElement>("[role=treeitem]")];
    const item = (event.target as HTMLElement).closest<HTMLElement>("[role=treeitem]");
    if (!item || event.target !== item) return;
    const at = items.indexOf(item);
    const tell = (what: string): void => {
      item.dispatchEvent(new CustomEvent("tidewater-key", { detail: what }));
    };
    switch (event.key) {
      case "ArrowDown": this.mark(items[Math.min(at + 1, items.length - 1)]!); break;
      case "ArrowUp": this.mark(items[Math.max(at - 1, 0)]!); break;
      case "Home": this.mark(items[0]!); break;
      case "End": this.mark(items.at(-1)!); break;
      case "ArrowRight": tell("open"); break;
      case "ArrowLeft":
        if (item.getAttribute("aria-expanded") === "true") tell("close");
        else {
          const parent = item.parentElement?.closest<HTMLElement>("[role=treeitem]");
          if (parent) this.mark(parent);
        }
        break;
      case "Enter": tell("choose"); announce(item.getAttribute("aria-label") ?? "", false); break;
      case "ContextMenu": case "m": tell("menu"); break;
      default: return;
    }
    event.preventDefault();
    (document.activeElement as HTMLElement).scrollIntoView({ block: "nearest" });
  }
}
