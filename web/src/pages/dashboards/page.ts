// Dashboards: the list of a database's, and the one that is open with its tiles, parameters, time range and refresh.

import { create, get, list, put, remove, type Dashboard } from "../../api/dashboards";
import { Fault } from "../../api/fetch";
import { announce, button, copy, dialog, download, h, menu, replace, select } from "../../parts/dom";
import { empty, exported, imported, moved, REFRESHES, SPANS, tile as newTile, type Content, type Parameter, type Range, type Tile } from "../../lib/dashboard";
import { home } from "../../lib/place";
import { count } from "../../lib/text";
import { parametersDialog, tileDialog, why } from "./edit";
import { TileView } from "./tile";

/** Tiles whose queries run at once. */
const AT_ONCE = 4;
/** Milliseconds that typing into a parameter rests before the tiles are asked again. */
const REST = 600;

export class DashboardsPage {
  readonly element = h("main", { class: "dashboards", attributes: { "aria-label": "Dashboards" } });
  private readonly told = h("div", { attributes: { role: "alert" } });
  private readonly bar = h("div", { class: "row dashboard-bar", attributes: { role: "toolbar", "aria-label": "Dashboard" } });
  private readonly choices = h("div", { class: "row dashboard-choices" });
  private readonly body = h("div", { class: "dashboard-body", attributes: { tabindex: 0, role: "region", "aria-label": "Tiles" } });
  private database = "";
  private open: Dashboard | null = null;
  /** What is shown, which differs from the saved while somebody arranges or chooses values. */
  private content: Content = empty("");
  private arranging = false;
  private views: TileView[] = [];
  private timer = 0;
  private rest = 0;
  private round = 0;

  constructor(private readonly databases: () => string[], private readonly query: (database: string, text: string) => void, private readonly placed: (place: string | null) => void) {
    this.element.append(this.told, this.bar, this.choices, this.body);
    this.body.addEventListener("dragover", (event) => {
      if (this.arranging && event.dataTransfer?.types.includes("application/x-tidewater-tile")) event.preventDefault();
    });
    this.body.addEventListener("drop", (event) => this.drop(event));
    document.addEventListener("visibilitychange", () => this.schedule());
  }

  /** `place` is `DATABASE/ID`, as the address carries it. */
  async show(database: string, place: string | null): Promise<void> {
    const cut = place?.indexOf("/") ?? -1;
    if (place && cut > 0) {
      await this.load(decodeURIComponent(place.slice(0, cut)), place.slice(cut + 1));
    } else if (this.open) {
      this.placed(`${encodeURIComponent(this.database)}/${this.open.id}`);
      this.schedule();
    } else {
      await this.list(this.database || database);
    }
  }

  hide(): void {
    clearTimeout(this.timer);
  }

  private fail(error: unknown): void {
    replace(this.told, h("p", { class: "fault", text: why(error) }));
  }

  /** The database's dashboards. */
  private async list(database: string): Promise<void> {
    this.close();
    this.database = database;
    this.placed(null);
    const input = h("input", { attributes: { type: "file", accept: ".json,application/json", "aria-label": "File of a dashboard", hidden: true } });
    input.addEventListener("change", () => void this.take(input.files?.[0]));
    const names = [...new Set([database, ...this.databases()])];
    const make = [
      button("New dashboard", () => this.ask(), { class: "primary" }), button("Import…", () => input.click()), input,
    ];
    const choice = select("Database", names.map((value) => ({ value, text: value })), database, (name) => void this.list(name));
    // The names may come after this page.
    choice.addEventListener("focus", () => {
      for (const name of this.databases()) if (![...choice.options].some((one) => one.value === name)) choice.append(h("option", { text: name, attributes: { value: name } }));
    });
    replace(this.bar, h("h2", { text: "Dashboards" }), choice, h("span", { class: "grow" }), ...make);
    replace(this.choices);
    const round = ++this.round;
    try {
      const { dashboards, mayCreate } = await list(database);
      if (round !== this.round) return;
      replace(this.told);
      if (!mayCreate) make.forEach((element) => element.remove());
      if (dashboards.length === 0) {
        replace(this.body, h("p", { class: "empty", text: mayCreate ? "There are no dashboards here yet. Pin a result to make the first one." : "There are no dashboards here." }));
        return;
      }
      const line = (one: (typeof dashboards)[number]): HTMLElement => h("tr", {},
        h("td", {}, button(one.title, () => void this.load(database, one.id), { class: "link" })), h("td", { text: count(one.tiles), class: "right" }),
        h("td", { text: one.updatedBy }), h("td", { text: one.updated.replace("T", " ").replace(/(\.\d+)?Z$/, "") }),
        h("td", {}, one.mayDelete ? button(`Delete ${one.title}`, () => this.delete(one.id, one.title, one.version), { sign: "Delete" }) : null));
      replace(this.body, h("table", { class: "list" }, h("thead", {}, h("tr", {},
        ...["Dashboard", "Tiles", "Changed by", "Changed"].map((text) => h("th", { text, attributes: { scope: "col" } })), h("td"))), h("tbody", {}, ...dashboards.map(line))));
    } catch (error) {
      replace(this.body);
      this.fail(error);
    }
  }

  private ask(): void {
    const title = h("input", { attributes: { maxlength: 200, required: true } });
    const box = dialog("New dashboard", h("form", {
      class: "fields",
      on: {
        submit: (event) => {
          event.preventDefault();
          box.close();
          void this.make(empty(title.value.trim()), true);
        },
      },
    }, h("label", {}, "Title", title), h("div", { class: "row" }, h("button", { text: "Make", class: "primary", attributes: { type: "submit" } }))));
  }

  private async take(file: File | undefined): Promise<void> {
    if (!file) return;
    try {
      if (file.size > 4_000_000) throw new Error("This file is too large for a dashboard.");
      await this.make(imported(await file.text()), false);
    } catch (error) {
      this.fail(error);
    }
  }

  private async make(content: Content, arranging: boolean): Promise<void> {
    try {
      this.opened(await create(this.database, content));
      if (arranging) this.arrange(true);
    } catch (error) {
      this.fail(error);
    }
  }

  private delete(id: string, title: string, version: string): void {
    const box = dialog("Delete dashboard", h("p", { text: `“${title}” goes for everybody.` }), h("div", { class: "row" },
      button("Delete", () => {
        box.close();
        remove(this.database, id, version).then(() => this.list(this.database), (error: unknown) => this.fail(error));
      }, { class: "primary" }), button("Keep it", () => box.close())));
  }

  private async load(database: string, id: string): Promise<void> {
    this.close();
    this.database = database;
    const round = ++this.round;
    try {
      const found = await get(database, id);
      if (round === this.round) this.opened(found);
    } catch (error) {
      // Who signs in meanwhile gets what the address asks for.
      if (error instanceof Fault && error.status === 401) return this.fail(error);
      await this.list(database);
      this.fail(error);
    }
  }

  /** The same again, for somebody else. */
  again(): void {
    if (!this.element.isConnected) return;
    replace(this.told);
    void this.show(this.database, this.open ? null : new URLSearchParams(location.search).get("dashboard"));
    if (this.open) void this.refresh();
  }

  private opened(dashboard: Dashboard): void {
    this.close();
    replace(this.told);
    this.open = dashboard;
    this.database = dashboard.database;
    this.content = dashboard.content;
    this.arranging = false;
    this.placed(`${encodeURIComponent(dashboard.database)}/${dashboard.id}`);
    this.draw();
    this.tiles();
    void this.refresh();
  }

  private close(): void {
    clearTimeout(this.timer);
    this.views.forEach((view) => view.dispose());
    this.views = [];
    this.open = null;
    this.arranging = false;
    this.element.classList.remove("arranging");
    replace(this.body);
  }

  private draw(): void {
    const dashboard = this.open;
    if (!dashboard) return;
    this.element.classList.toggle("arranging", this.arranging);
    const more = button("More", () => menu(more, [
      { label: "Copy link", act: () => void copy(`${location.origin}${home(this.database)}?page=dashboards&dashboard=${encodeURIComponent(`${encodeURIComponent(this.database)}/${dashboard.id}`)}`, "Link") },
      { label: "Export as JSON", act: () => download(`${this.content.title.replace(/[^\w.-]+/g, "_")}.json`, [exported(this.content)], "application/json") },
      { label: "Copy of this dashboard", act: () => void this.make({ ...this.content, title: `${this.content.title} (copy)`.slice(0, 200) }, false) },
      { label: "Delete…", act: () => this.delete(dashboard.id, this.content.title, dashboard.version), disabled: !dashboard.mayDelete },
    ]), { sign: "⋯" });
    const refresh = select("Refresh", REFRESHES.some((choice) => choice.value === String(this.content.refresh)) ? REFRESHES : [...REFRESHES, { value: String(this.content.refresh), text: `Every ${this.content.refresh} seconds` }],
      String(this.content.refresh), (seconds) => {
        this.content = { ...this.content, refresh: Number(seconds) };
        this.schedule();
      });
    const title = h("input", { class: "dashboard-title", attributes: { "aria-label": "Title of the dashboard", maxlength: 200 } });
    title.value = this.content.title;
    title.addEventListener("change", () => (this.content = { ...this.content, title: title.value.trim() || this.content.title }));
    replace(this.bar,
      button("All dashboards", () => void this.leave(), { sign: "‹ All", class: "quiet" }),
      this.arranging ? title : h("h2", { text: this.content.title }), h("span", { class: "grow" }),
      ...(this.arranging ? [
        refresh, button("Add tile", () => this.add()), button("Parameters", () => parametersDialog(this.content.parameters, (parameters) => this.parameters(parameters))),
        button("Discard", () => this.discard()), button("Save", () => void this.save(dashboard.version), { class: "primary" }),
      ] : [
        refresh, button("Refresh now", () => void this.refresh(), { sign: "⟳" }), dashboard.mayWrite ? button("Edit", () => this.arrange(true)) : null, more,
      ]));
    replace(this.choices, this.range(), ...this.content.parameters.map((parameter) => this.parameter(parameter)));
  }

  private async leave(): Promise<void> {
    await this.list(this.database);
  }

  private changed(): void {
    clearTimeout(this.rest);
    this.rest = window.setTimeout(() => void this.refresh(), REST);
  }

  private range(): HTMLElement {
    const range = this.content.range;
    const set = (next: Range): void => {
      this.content = { ...this.content, range: next };
      this.changed();
    };
    const day = new Date().toISOString().slice(0, 10);
    const ends = h("span", { class: "row" });
    const between = (from: string, to: string): void => {
      const at = (label: string, value: string, change: (value: string) => void): HTMLElement => {
        const element = h("input", { attributes: { type: "datetime-local", "aria-label": label, step: 1 }, on: { change: () => change(element.value) } });
        element.value = value.replace("Z", "");
        return element;
      };
      replace(ends, at("From, in UTC", from, (value) => {
        from = value;
        set({ kind: "between", from, to });
      }), "to", at("Until, in UTC", to, (value) => {
        to = value;
        set({ kind: "between", from, to });
      }), "UTC");
    };
    if (range.kind === "between") between(range.from, range.to);
    const choice = select("Time range", [{ value: "all", text: "All of time" }, ...SPANS, { value: "between", text: "From … to" }],
      range.kind === "last" ? range.span : range.kind, (value) => {
        replace(ends);
        if (value === "between") {
          between(`${day}T00:00:00`, `${day}T23:59:59`);
          set({ kind: "between", from: `${day}T00:00:00`, to: `${day}T23:59:59` });
        } else set(value === "all" ? { kind: "all" } : { kind: "last", span: value });
      });
    return h("span", { class: "row" }, h("label", { class: "inline" }, "Time range", choice), ends);
  }

  private parameter(parameter: Parameter): HTMLElement {
    const set = (value: string): void => {
      this.content = { ...this.content, parameters: this.content.parameters.map((one) => (one.name === parameter.name ? { ...one, value } : one)) };
      this.changed();
    };
    const offered = parameter.type === "bool" ? ["true", "false"] : parameter.choices;
    if (offered.length) {
      const choices = [...new Set([parameter.value, ...offered])].map((value) => ({ value, text: value || "—" }));
      return h("label", { class: "inline" }, parameter.label, select(parameter.label, choices, parameter.value, set));
    }
    const element = h("input", { attributes: { "aria-label": parameter.label }, on: { input: () => set(element.value) } });
    element.value = parameter.value;
    return h("label", { class: "inline" }, parameter.label, element);
  }

  private parameters(parameters: Parameter[]): void {
    this.content = { ...this.content, parameters };
    this.draw();
    void this.refresh();
  }

  /** Makes the tiles' elements those of the content; those that are there already stay. */
  private tiles(): TileView[] {
    const events = {
      edit: (tile: Tile) => tileDialog(tile, this.databases(), this.database, (changed) => this.put(changed)),
      remove: (tile: Tile) => this.set(this.content.tiles.filter((one) => one.id !== tile.id)),
      move: (tile: Tile, place: number) => this.move(tile, place),
      resize: (tile: Tile, width: number, height: number) => {
        if (!this.arranging) return;
        this.set(this.content.tiles.map((one) => (one.id === tile.id ? { ...one, width, height } : one)));
        announce(`${width} of 12 columns wide, ${height} rows high.`, false);
      },
      open: (tile: Tile) => this.query(tile.database ?? this.database, tile.query),
    };
    const stale: TileView[] = [];
    const views = this.content.tiles.map((tile, place) => {
      const known = this.views.find((view) => view.id === tile.id);
      const view = known ?? new TileView(tile, place, this.database, events);
      if (!known || view.show(tile, place)) stale.push(view);
      return view;
    });
    this.views.filter((view) => !views.includes(view)).forEach((view) => view.dispose());
    this.views = views;
    const raster = this.body.querySelector<HTMLElement>(".raster") ?? h("div", { class: "raster" });
    // Elements that keep their place are left alone: moving one would take the focus from what is in it.
    views.forEach((view, at) => {
      if (raster.children[at] !== view.element) raster.insertBefore(view.element, raster.children[at] ?? null);
    });
    if (views.length === 0) replace(this.body, h("p", { class: "empty", text: "This dashboard has no tiles yet." }));
    else if (!raster.isConnected) replace(this.body, raster);
    return stale;
  }

  private set(tiles: Tile[]): void {
    if (!this.arranging) return;
    this.content = { ...this.content, tiles };
    void this.fill(this.tiles());
  }

  private put(tile: Tile): void {
    const known = this.content.tiles.some((one) => one.id === tile.id);
    this.set(known ? this.content.tiles.map((one) => (one.id === tile.id ? tile : one)) : [...this.content.tiles, tile]);
  }

  private add(): void {
    tileDialog(newTile("", "", null, ""), this.databases(), this.database, (tile) => this.put(tile));
  }

  private move(tile: Tile, place: number): void {
    if (!this.arranging || place < 0 || place >= this.content.tiles.length) return;
    this.set(moved(this.content.tiles, tile.id, place));
    this.views.find((view) => view.id === tile.id)?.focus();
    announce(`${tile.title || "Tile"}: place ${place + 1} of ${this.content.tiles.length}.`, false);
  }

  private drop(event: DragEvent): void {
    const id = event.dataTransfer?.getData("application/x-tidewater-tile");
    const over = (event.target as HTMLElement).closest<HTMLElement>(".tile");
    if (!id || !this.arranging) return;
    event.preventDefault();
    const tiles = this.content.tiles;
    const from = tiles.findIndex((one) => one.id === id);
    const to = over ? tiles.findIndex((one) => one.id === over.dataset.tile) : tiles.length - 1;
    if (from >= 0 && to >= 0 && from !== to) this.move(tiles[from]!, to);
  }

  private arrange(on: boolean): void {
    this.arranging = on;
    clearTimeout(this.timer);
    if (on && this.open && this.content !== this.open.content) {
      // Values that somebody only looked with must not become everybody's by a save.
      this.content = this.open.content;
      void this.fill(this.views);
    }
    this.draw();
    if (!on) this.schedule();
  }

  private discard(): void {
    if (!this.open) return;
    this.content = this.open.content;
    this.arrange(false);
    void this.fill(this.tiles());
  }

  private async save(version: string): Promise<void> {
    const dashboard = this.open;
    if (!dashboard) return;
    try {
      this.open = await put(this.database, dashboard.id, version, this.content);
      this.content = this.open.content;
      replace(this.told);
      this.arrange(false);
      announce("Saved.");
    } catch (error) {
      if (error instanceof Fault && error.status === 412) await this.conflict(dashboard.id);
      else this.fail(error);
    }
  }

  /** Somebody else has saved meanwhile: nothing is lost without being asked for. */
  private async conflict(id: string): Promise<void> {
    const theirs = await get(this.database, id).catch(() => null);
    const choose = (act: () => void): (() => void) => () => {
      box.close();
      act();
    };
    const box = dialog("Changed by somebody else",
      h("p", { text: theirs ? `${theirs.updatedBy} has saved this dashboard since you opened it.` : "Somebody has deleted this dashboard." }),
      h("div", { class: "row" },
        button("Save mine as a copy", choose(() => void this.make({ ...this.content, title: `${this.content.title} (copy)`.slice(0, 200) }, false)), { class: "primary" }),
        theirs ? button("Show theirs", choose(() => this.opened(theirs))) : null,
        theirs ? button("Overwrite theirs", choose(() => void this.save(theirs.version))) : null));
  }

  /** Asks for all tiles' rows again. */
  private async refresh(): Promise<void> {
    clearTimeout(this.timer);
    await this.fill(this.views);
    this.schedule();
  }

  /** A few tiles at once, in their order: the first ones are seen first. */
  private async fill(views: TileView[]): Promise<void> {
    const [now, content, waiting] = [Date.now(), this.content, [...views]];
    const work = async (): Promise<void> => {
      for (let view = waiting.shift(); view; view = waiting.shift()) await view.load(content, now);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  /** The next refresh, while somebody can see it and nobody arranges. */
  private schedule(): void {
    clearTimeout(this.timer);
    const seconds = this.content.refresh;
    if (!this.open || !seconds || this.arranging || document.hidden || !this.element.isConnected) return;
    this.timer = window.setTimeout(() => void this.refresh(), seconds * 1000);
  }
}
