// A tile: a query's chart or rows, with what can be done about it. Dragged, or moved by keys, while one arranges.

import { button, h, menu, replace } from "../../parts/dom";
import { Grid } from "../../parts/grid";
import type { ChartView } from "../../parts/chart";
import { isChart } from "../../lib/chart";
import { asked, SHORTEST, TALLEST, WIDEST, NARROWEST, type Content, type Tile } from "../../lib/dashboard";
import type { Visualization } from "../../lib/columns";
import { count, duration } from "../../lib/text";
import { isCommand } from "../../lib/statements";
import { Run } from "../query/run";

export interface TileEvents {
  edit(tile: Tile): void;
  remove(tile: Tile): void;
  /** To another place in the order, from 0. */
  move(tile: Tile, place: number): void;
  resize(tile: Tile, width: number, height: number): void;
  open(tile: Tile): void;
}

/** Height of a row of the raster and the gap below it, as the style has them. */
const ROW = 60;
const GAP = 10;

export class TileView {
  readonly element: HTMLElement;
  private readonly title = h("h2", {});
  private readonly body = h("div", { class: "tile-body" });
  private readonly foot = h("div", { class: "tile-foot" });
  private readonly grip: HTMLButtonElement;
  private readonly corner = h("div", { class: "tile-corner", attributes: { "aria-hidden": "true" } });
  private run: Run | null = null;
  private chart: ChartView | null = null;

  constructor(private tile: Tile, private place: number, private readonly database: string, private readonly events: TileEvents) {
    this.grip = button("", () => undefined, { sign: "⠿", class: "quiet tile-grip" });
    this.grip.addEventListener("keydown", (event) => this.key(event));
    const more = button("", () => this.menu(more), { sign: "⋯", class: "quiet" });
    more.classList.add("tile-more");
    this.element = h("section", { class: "tile" }, h("header", {}, this.grip, this.title, more), this.body, this.foot, this.corner);
    this.element.addEventListener("dragstart", (event) => {
      event.dataTransfer?.setData("application/x-tidewater-tile", this.tile.id);
      this.element.classList.add("dragged");
    });
    this.element.addEventListener("dragend", () => {
      this.element.draggable = false;
      this.element.classList.remove("dragged");
    });
    // Only the grip begins a drag: text and charts are for other things.
    this.grip.addEventListener("pointerdown", () => (this.element.draggable = true));
    this.grip.addEventListener("pointerup", () => (this.element.draggable = false));
    this.corner.addEventListener("pointerdown", (event) => this.stretch(event));
    this.show(tile, place);
  }

  get id(): string {
    return this.tile.id;
  }

  /** Takes another state of the same tile. Gives whether its rows must be asked for again. */
  show(tile: Tile, place: number): boolean {
    const before = this.tile;
    this.tile = tile;
    this.place = place;
    const name = tile.title || "Tile";
    this.title.textContent = name;
    this.element.setAttribute("aria-label", name);
    this.element.dataset.tile = tile.id;
    this.element.style.setProperty("--wide", String(tile.width));
    this.element.style.setProperty("--tall", String(tile.height));
    this.grip.setAttribute("aria-label", `Move ${name}: arrows for its place, with Shift for its size`);
    this.grip.title = "Drag to move; arrows move it, with Shift they change its size";
    this.element.querySelector(".tile-more")?.setAttribute("aria-label", `Actions for ${name}`);
    return before.query !== tile.query || before.database !== tile.database || before.visual !== tile.visual;
  }

  focus(): void {
    this.grip.focus();
  }

  private menu(anchor: HTMLElement): void {
    const arranging = Boolean(this.element.closest(".arranging"));
    menu(anchor, [
      { label: "Open its query", act: () => this.events.open(this.tile) },
      ...(arranging ? [
        { label: "Edit…", act: () => this.events.edit(this.tile) },
        { label: "Move back", act: () => this.events.move(this.tile, this.place - 1), disabled: this.place === 0 },
        { label: "Move on", act: () => this.events.move(this.tile, this.place + 1) },
        { label: "Remove", act: () => this.events.remove(this.tile) },
      ] : []),
    ]);
  }

  private key(event: KeyboardEvent): void {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Delete") this.events.remove(this.tile);
    else if (!step) return;
    else if (event.shiftKey) this.resize(this.tile.width + step[0]!, this.tile.height + step[1]!);
    else this.events.move(this.tile, this.place + step[0]! + step[1]!);
    event.preventDefault();
  }

  private resize(width: number, height: number): void {
    const [wide, tall] = [Math.max(NARROWEST, Math.min(WIDEST, width)), Math.max(SHORTEST, Math.min(TALLEST, height))];
    if (wide !== this.tile.width || tall !== this.tile.height) this.events.resize(this.tile, wide, tall);
  }

  private stretch(event: PointerEvent): void {
    event.preventDefault();
    this.corner.setPointerCapture(event.pointerId);
    const column = (this.element.parentElement!.clientWidth + GAP) / WIDEST;
    const place = this.element.getBoundingClientRect();
    const move = (moved: PointerEvent): void =>
      this.resize(Math.round((moved.clientX - place.left + GAP) / column), Math.round((moved.clientY - place.top + GAP) / (ROW + GAP)));
    this.corner.addEventListener("pointermove", move);
    this.corner.addEventListener("pointerup", () => this.corner.removeEventListener("pointermove", move), { once: true });
  }

  /** Asks for the rows and shows them; what was shown before stays until then. */
  async load(content: Content, now: number): Promise<void> {
    await this.run?.cancel();
    const { text, parameters } = asked(this.tile.query, content, now);
    const run = new Run({ database: this.tile.database ?? this.database, text, line: 1, column: 1, parameters, readonly: true });
    this.run = run;
    this.element.classList.add("loading");
    this.element.setAttribute("aria-busy", "true");
    if (isCommand(this.tile.query)) run.refuse("A tile shows queries, not management commands.");
    else await run.start();
    // Another load has begun, or the tile is gone.
    if (this.run !== run) return;
    this.element.classList.remove("loading");
    this.element.removeAttribute("aria-busy");
    await this.draw(run);
    this.element.dataset.loaded = String(Number(this.element.dataset.loaded ?? 0) + 1);
  }

  private async draw(run: Run): Promise<void> {
    this.chart?.dispose();
    this.chart = null;
    const table = run.tables.find((one) => isChart(one.visualization)) ?? run.tables[0];
    replace(this.foot, h("span", { text: [duration(run.millis), table ? `${count(table.rows)} ${table.rows === 1 ? "row" : "rows"}` : "", ...run.failures].filter(Boolean).join(" · ") }));
    if (run.fault || !table) {
      replace(this.body, run.fault ? h("p", { class: "fault", text: run.fault.message }) : h("p", { class: "empty", text: run.cancelled ? "Cancelled." : "No result." }));
      return;
    }
    const rendered = isChart(table.visualization) ? table.visualization : null;
    const visual: Visualization | null = this.tile.visual === "" ? rendered
      : this.tile.visual === "table" ? null : { ...(rendered ?? {}), Visualization: this.tile.visual };
    if (!visual) {
      const grid = new Grid(table, { cell: () => undefined, view: () => undefined });
      replace(this.body, grid.element);
      grid.grown();
      return;
    }
    const { ChartView } = await import("../../parts/chart");
    if (this.run !== run) return;
    this.chart = new ChartView(table, visual, true);
    replace(this.body, this.chart.element);
    this.chart.draw();
  }

  dispose(): void {
    const run = this.run;
    this.run = null;
    void run?.cancel();
    this.chart?.dispose();
    this.chart = null;
    this.element.remove();
  }
}
