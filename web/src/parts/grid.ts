// The grid: draws only the cells in sight, so a million rows cost as much as forty.
//
// Rows keep their places in the table; `view` says which of them are shown, in which order. Browsers cap an element's
// height, so beyond that cap the scroll bar's way is shortened and rows are placed by the share scrolled.

import { button, copy, h, popover, replace, select } from "./dom";
import { isNumeric, type Table } from "../lib/columns";
import { OPERATORS, shown, statistics, type Filter, type Operator } from "../lib/filter";
import { Latest, sorted, Superseded } from "../lib/patience";
import { MAX_COPIED, tsv } from "../lib/export";
import { count, matches } from "../lib/text";

const ROW = 26;
const HEAD = 44;
const MAX_HEIGHT = 8_000_000;
const NARROWEST = 56;
const WIDEST = 380;
/** Longest piece of a value that a cell shows; the whole is in the detail. */
const MAX_CELL = 300;

type Rows = Uint32Array<ArrayBuffer> | null;

export interface GridEvents {
  /** A cell was chosen, or opened. */
  cell(row: number, column: number, opened: boolean): void;
  /** Other rows are shown than before. */
  view(): void;
}

export class Grid {
  readonly element: HTMLElement;
  /** Rows that are shown, in order; null is all as they came. */
  view: Rows = null;
  filters: Filter[] = [];
  search = "";
  private order: { column: number; descending: boolean } | null = null;
  private readonly scroller: HTMLElement;
  private readonly head: HTMLElement;
  private readonly pane: HTMLElement;
  private readonly space: HTMLElement;
  private readonly pool: { element: HTMLElement; number: HTMLElement; cells: Map<number, HTMLElement> }[] = [];
  private widths: number[] = [];
  private lefts: number[] = [];
  private numberWidth = 48;
  private active = { row: 0, column: 0 };
  private anchor = { row: 0, column: 0 };
  private drawn = 0;
  private sampled = 0;
  private readonly work = new Latest();
  private readonly id = `grid${Math.random().toString(36).slice(2, 8)}`;

  constructor(readonly table: Table, private readonly events: GridEvents) {
    this.head = h("div", { class: "grid-head", attributes: { role: "row", "aria-rowindex": 1 } });
    this.pane = h("div", { class: "grid-pane", attributes: { role: "rowgroup" } });
    this.space = h("div", { class: "grid-space", attributes: { role: "presentation" } });
    this.scroller = h("div", {
      class: "grid-scroll",
      attributes: { role: "grid", tabindex: 0, "aria-label": "Rows of the result", "aria-multiselectable": "true" },
      on: { scroll: () => this.draw(), keydown: (event) => this.key(event) },
    }, h("div", { class: "grid-top", attributes: { role: "presentation" } }, this.head, this.pane), this.space);
    this.element = h("div", { class: "grid" }, this.scroller);
    this.pane.addEventListener("pointerdown", (event) => this.press(event));
    this.pane.addEventListener("dblclick", () => this.open());
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    this.measure();
    this.heads();
  }

  get total(): number {
    return this.view?.length ?? this.table.rows;
  }

  /** The table's row at a place of the view. */
  row(place: number): number {
    return this.view ? this.view[place]! : place;
  }

  /** New rows have come. */
  grown(): void {
    if (this.sampled < 50) {
      this.measure();
      this.heads();
    }
    this.draw();
  }

  focus(): void {
    this.scroller.focus();
  }

  /** The view again, after filters, search or order have changed or rows have come. */
  async refresh(): Promise<void> {
    const check = this.work.begin();
    this.element.classList.add("busy");
    try {
      let view = await shown(this.table, this.filters, this.search, check);
      if (this.order) {
        const { column, descending } = this.order;
        const values = this.table.columns[column]!;
        view ??= Uint32Array.from({ length: this.table.rows }, (_, row) => row);
        // Nulls come last in whatever order, as people expect of a grid.
        const compare = (a: number, b: number): number => {
          const [x, y] = [values.isNull(a), values.isNull(b)];
          if (x || y) return Number(x) - Number(y);
          return descending ? values.compare(b, a) : values.compare(a, b);
        };
        view = await sorted(view, compare, check);
      }
      this.view = view;
      this.active = this.anchor = { row: 0, column: this.active.column };
      this.scroller.scrollTop = 0;
      this.heads();
      this.draw();
      this.events.view();
      this.element.classList.remove("busy");
    } catch (error) {
      if (!(error instanceof Superseded)) throw error;
    }
  }

  private measure(): void {
    this.sampled = Math.min(this.table.rows, 50);
    this.widths = this.table.columns.map((column) => {
      let letters = Math.max(column.name.length + 5, column.type.length + 3);
      for (let row = 0; row < this.sampled; row++) letters = Math.max(letters, Math.min(column.text(row).length, 60));
      return Math.max(NARROWEST, Math.min(WIDEST, letters * 7.6 + 20));
    });
  }

  private layout(): void {
    let left = this.numberWidth;
    this.lefts = this.widths.map((width) => {
      const mine = left;
      left += width;
      return mine;
    });
    const width = `${left}px`;
    this.head.style.width = width;
    this.pane.style.width = width;
    this.space.style.width = width;
    this.scroller.setAttribute("aria-colcount", String(this.widths.length));
  }

  private heads(): void {
    this.numberWidth = Math.max(40, String(this.table.rows).length * 8 + 16);
    this.layout();
    const cells = this.table.columns.map((column, at) => {
      const mine = this.order?.column === at ? this.order : null;
      const filtered = this.filters.some((filter) => filter.column === at);
      const name = h("button", {
        class: "grid-name", title: `Sort by ${column.name}`,
        attributes: { type: "button", tabindex: -1 },
        on: { click: () => this.sort(at) },
      }, h("span", { class: "grid-label", text: column.name }),
      h("span", { class: "grid-type", text: `${column.type}${mine ? (mine.descending ? " ↓" : " ↑") : ""}` }));
      const more = button(`Filter and statistics of ${column.name}`, () => this.about(at, more), {
        sign: filtered ? "▼" : "▽", class: filtered ? "grid-more on" : "grid-more",
      });
      more.tabIndex = -1;
      const grip = h("span", { class: "grid-grip" });
      grip.addEventListener("pointerdown", (event) => this.resize(event, at));
      const sort = mine ? (mine.descending ? "descending" : "ascending") : "none";
      const cell = h("div", {
        class: `grid-th${isNumeric(column.type) ? " right" : ""}`,
        attributes: { role: "columnheader", "aria-colindex": at + 1, "aria-sort": sort },
      }, name, more, grip);
      cell.style.left = `${this.lefts[at]}px`;
      cell.style.width = `${this.widths[at]}px`;
      return cell;
    });
    replace(this.head, ...cells);
  }

  private resize(event: PointerEvent, at: number): void {
    event.preventDefault();
    const grip = event.target as HTMLElement;
    grip.setPointerCapture(event.pointerId);
    const [start, before] = [event.clientX, this.widths[at]!];
    const move = (moved: PointerEvent): void => {
      this.widths[at] = Math.max(NARROWEST, before + moved.clientX - start);
      this.layout();
      [...this.head.children].forEach((cell, index) => {
        (cell as HTMLElement).style.left = `${this.lefts[index]}px`;
        (cell as HTMLElement).style.width = `${this.widths[index]}px`;
      });
      this.draw();
    };
    grip.addEventListener("pointermove", move);
    grip.addEventListener("pointerup", () => grip.removeEventListener("pointermove", move), { once: true });
  }

  private sort(column: number): void {
    const order = this.order;
    if (order?.column !== column) this.order = { column, descending: false };
    else if (!order.descending) this.order = { column, descending: true };
    else this.order = null;
    void this.refresh();
  }

  /** Sorts from outside, by a column's name. */
  sortBy(column: number, descending: boolean): void {
    this.order = { column, descending };
    void this.refresh();
  }

  private geometry(): { top: number; visible: number; height: number } {
    const height = Math.max(0, this.scroller.clientHeight - HEAD);
    const whole = this.total * ROW;
    const shown = Math.min(whole, MAX_HEIGHT);
    const way = shown - height;
    const scrolled = this.scroller.scrollTop;
    const top = whole <= MAX_HEIGHT || way <= 0 ? scrolled : (scrolled / way) * (whole - height);
    return { top: Math.max(0, Math.min(top, whole - height)), visible: Math.ceil(height / ROW) + 1, height };
  }

  private draw(): void {
    if (this.drawn) return;
    this.drawn = requestAnimationFrame(() => {
      this.drawn = 0;
      this.paint();
    });
  }

  private paint(): void {
    const total = this.total;
    this.scroller.setAttribute("aria-rowcount", String(total + 1));
    this.space.style.height = `${Math.min(total * ROW, MAX_HEIGHT) + HEAD}px`;
    const { top, visible } = this.geometry();
    const first = Math.floor(top / ROW);
    const last = Math.min(total, first + visible);
    const [left, right] = [this.scroller.scrollLeft, this.scroller.scrollLeft + this.scroller.clientWidth];
    const columns: number[] = [];
    this.lefts.forEach((start, at) => {
      if (start + this.widths[at]! >= left && start <= right) columns.push(at);
    });
    const chosen = this.chosen();
    for (let at = 0; at < Math.max(this.pool.length, last - first); at++) {
      const place = first + at;
      if (place >= last) {
        this.pool[at]!.element.hidden = true;
        continue;
      }
      const line = (this.pool[at] ??= this.line());
      line.element.hidden = false;
      line.element.style.transform = `translateY(${Math.round(place * ROW - top)}px)`;
      line.element.setAttribute("aria-rowindex", String(place + 2));
      line.element.classList.toggle("odd", place % 2 === 1);
      const row = this.row(place);
      line.number.textContent = count(row + 1);
      line.number.style.width = `${this.numberWidth}px`;
      for (const [column, cell] of line.cells) {
        if (columns.includes(column)) continue;
        cell.remove();
        line.cells.delete(column);
      }
      for (const column of columns) {
        let cell = line.cells.get(column);
        if (!cell) {
          cell = h("div", { attributes: { role: "gridcell", "aria-colindex": column + 1 } });
          line.cells.set(column, cell);
          line.element.append(cell);
        }
        this.fill(cell, row, place, column, chosen);
      }
    }
    const shownActive = this.active.row >= first && this.active.row < last;
    if (shownActive) this.scroller.setAttribute("aria-activedescendant", this.cellId(this.active.row, this.active.column));
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  private line(): { element: HTMLElement; number: HTMLElement; cells: Map<number, HTMLElement> } {
    const number = h("div", { class: "grid-number", attributes: { role: "presentation" } });
    const element = h("div", { class: "grid-row", attributes: { role: "row" } }, number);
    this.pane.append(element);
    return { element, number, cells: new Map() };
  }

  private cellId(place: number, column: number): string {
    return `${this.id}-${place}-${column}`;
  }

  private fill(
    cell: HTMLElement, row: number, place: number, column: number,
    chosen: { top: number; bottom: number; left: number; right: number },
  ): void {
    const values = this.table.columns[column]!;
    const isNull = values.isNull(row);
    let text = isNull ? "null" : values.text(row);
    if (text.length > MAX_CELL) text = `${text.slice(0, MAX_CELL)}…`;
    if (cell.textContent !== text) cell.textContent = text;
    const inside = place >= chosen.top && place <= chosen.bottom && column >= chosen.left && column <= chosen.right;
    const isActive = place === this.active.row && column === this.active.column;
    const names = ["grid-cell"];
    if (isNumeric(values.type)) names.push("right");
    if (isNull) names.push("null");
    if (values.type === "dynamic" || values.type === "bool") names.push(values.type);
    if (this.search && !isNull && matches(values.text(row), this.search)) names.push("hit");
    if (inside) names.push("chosen");
    if (isActive) names.push("active");
    const name = names.join(" ");
    if (cell.className !== name) cell.className = name;
    cell.id = this.cellId(place, column);
    cell.style.left = `${this.lefts[column]}px`;
    cell.style.width = `${this.widths[column]}px`;
    cell.setAttribute("aria-selected", String(inside));
  }

  private chosen(): { top: number; bottom: number; left: number; right: number } {
    const [a, b] = [this.active, this.anchor];
    return {
      top: Math.min(a.row, b.row), bottom: Math.max(a.row, b.row),
      left: Math.min(a.column, b.column), right: Math.max(a.column, b.column),
    };
  }

  private at(event: PointerEvent): { row: number; column: number } | null {
    const box = this.pane.getBoundingClientRect();
    const { top } = this.geometry();
    const row = Math.floor((event.clientY - box.top + top) / ROW);
    const x = event.clientX - box.left;
    const column = this.lefts.findIndex((left, at) => x >= left && x < left + this.widths[at]!);
    if (row < 0 || row >= this.total || column < 0) return null;
    return { row, column };
  }

  private press(event: PointerEvent): void {
    const place = this.at(event);
    if (!place || event.button !== 0) return;
    this.active = place;
    if (!event.shiftKey) this.anchor = place;
    this.draw();
    this.events.cell(this.row(place.row), place.column, false);
    if (event.pointerType === "touch") return;
    const move = (moved: PointerEvent): void => {
      const to = this.at(moved);
      if (to) {
        this.active = to;
        this.draw();
      }
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", () => window.removeEventListener("pointermove", move), { once: true });
  }

  private open(): void {
    if (this.total > 0) this.events.cell(this.row(this.active.row), this.active.column, true);
  }

  private key(event: KeyboardEvent): void {
    if (event.target !== this.scroller) return;
    const far = event.ctrlKey || event.metaKey;
    const page = Math.max(1, this.geometry().visible - 2);
    let { row, column } = this.active;
    switch (event.key) {
      case "ArrowDown": row += 1; break;
      case "ArrowUp": row -= 1; break;
      case "ArrowRight": column += 1; break;
      case "ArrowLeft": column -= 1; break;
      case "PageDown": row += page; break;
      case "PageUp": row -= page; break;
      case "Home": column = 0; if (far) row = 0; break;
      case "End": column = this.widths.length - 1; if (far) row = this.total - 1; break;
      case "Enter": this.open(); event.preventDefault(); return;
      case "s": if (!far) { this.sort(column); return; } return;
      case "f": if (!far) { this.menuOf(column); event.preventDefault(); } return;
      case "a":
        if (!far) return;
        this.anchor = { row: 0, column: 0 };
        this.active = { row: this.total - 1, column: this.widths.length - 1 };
        this.draw();
        event.preventDefault();
        return;
      case "c":
        if (far) {
          event.preventDefault();
          void this.copyChosen();
        }
        return;
      default: return;
    }
    event.preventDefault();
    row = Math.max(0, Math.min(row, this.total - 1));
    column = Math.max(0, Math.min(column, this.widths.length - 1));
    this.active = { row, column };
    if (!event.shiftKey) this.anchor = this.active;
    this.reveal();
    this.draw();
    if (this.total > 0) this.events.cell(this.row(row), column, false);
  }

  private menuOf(column: number): void {
    const head = this.head.children[column]?.querySelector<HTMLElement>(".grid-more");
    if (head) this.about(column, head);
  }

  /** Scrolls so that the active cell is in sight. */
  private reveal(): void {
    const { top, height } = this.geometry();
    const whole = this.total * ROW;
    const start = this.active.row * ROW;
    let wanted = top;
    if (start < top) wanted = start;
    else if (start + ROW > top + height) wanted = start + ROW - height;
    if (wanted !== top) {
      const way = Math.min(whole, MAX_HEIGHT) - height;
      this.scroller.scrollTop = whole <= MAX_HEIGHT ? wanted : (wanted / (whole - height)) * way;
    }
    const [left, width] = [this.lefts[this.active.column]!, this.widths[this.active.column]!];
    if (left - this.numberWidth < this.scroller.scrollLeft) this.scroller.scrollLeft = left - this.numberWidth;
    else if (left + width > this.scroller.scrollLeft + this.scroller.clientWidth) {
      this.scroller.scrollLeft = left + width - this.scroller.clientWidth;
    }
  }

  /** Scrolls to a place of the view. */
  to(place: number): void {
    this.active = this.anchor = { row: Math.max(0, Math.min(place, this.total - 1)), column: this.active.column };
    this.reveal();
    this.draw();
  }

  private async copyChosen(): Promise<void> {
    const { top, bottom, left, right } = this.chosen();
    if (this.total === 0) return;
    if (top === bottom && left === right) {
      await copy(this.table.columns[left]!.text(this.row(top)), "Value");
      return;
    }
    const size = Math.min(bottom - top + 1, MAX_COPIED);
    const rows = Uint32Array.from({ length: size }, (_, at) => this.row(top + at));
    const part = Object.assign(Object.create(Object.getPrototypeOf(this.table)), this.table) as Table;
    part.columns = this.table.columns.slice(left, right + 1);
    await copy(await tsv(part, rows), `${count(size)} rows`);
  }

  /** Filter and statistics of a column. */
  private about(at: number, anchor: HTMLElement): void {
    const column = this.table.columns[at]!;
    const mine = this.filters.find((filter) => filter.column === at);
    const value = h("input", { attributes: { type: "text", "aria-label": "Value of the filter", placeholder: "value" } });
    value.value = mine?.value ?? "";
    const first: Operator = column.type === "string" || column.type === "dynamic" ? "contains" : "equals";
    const operator = select("Kind of filter", OPERATORS.map(({ value, text }) => ({ value, text })), mine?.operator ?? first, () => {
      value.hidden = !OPERATORS.find((item) => item.value === operator.value)!.needsValue;
    });
    value.hidden = !OPERATORS.find((item) => item.value === operator.value)!.needsValue;
    const apply = (filter: Filter | null): void => {
      this.filters = this.filters.filter((item) => item.column !== at);
      if (filter) this.filters.push(filter);
      panel.hidePopover();
      void this.refresh();
      this.scroller.focus();
    };
    const figures = h("div", { class: "figures", text: "Counting…" });
    const form = h("form", {
      attributes: { method: "dialog" },
      on: {
        submit: (event) => {
          event.preventDefault();
          apply({ column: at, operator: operator.value as Operator, value: value.value });
        },
      },
    }, operator, value, h("div", { class: "row" }, h("button", { text: "Filter", class: "primary", attributes: { type: "submit" } }),
      mine ? button("Remove filter", () => apply(null)) : null,
      button("Copy column", () => {
        const size = Math.min(this.total, MAX_COPIED);
        const lines = Array.from({ length: size }, (_, place) => column.text(this.row(place)));
        void copy(lines.join("\n"), `${count(size)} values`);
      })));
    const panel = h("div", { class: "panel about", attributes: { role: "dialog", "aria-label": `Column ${column.name}` } },
      h("h2", { text: column.name }), form, figures);
    popover(anchor, panel);
    value.focus();
    const check = new Latest().begin();
    void statistics(column, this.view, check).then((found) => {
      const line = (label: string, text: string): HTMLElement[] => [h("dt", { text: label }), h("dd", { text })];
      const most = found.top[0]?.count ?? 1;
      replace(figures,
        h("dl", {},
          ...line("Rows", count(found.rows)),
          ...line("Null", count(found.nulls)),
          ...line("Different", `${found.distinctMore ? "more than " : ""}${count(found.distinct)}`),
          ...line("Least", found.min.slice(0, 80)),
          ...line("Greatest", found.max.slice(0, 80)),
          ...(found.mean === null ? [] : line("Mean", String(Number(found.mean.toPrecision(8))))),
          ...(found.sum === null ? [] : line("Sum", String(Number(found.sum.toPrecision(12)))))),
        h("h3", { text: "Most frequent" }),
        h("ol", { class: "top" }, ...found.top.map((item) => {
          const bar = h("span", { class: "bar" });
          bar.style.width = `${(item.count / most) * 100}%`;
          const choose = h("button", {
            attributes: { type: "button" }, title: "Show only these rows",
            on: { click: () => apply({ column: at, operator: "equals", value: item.text }) },
          }, bar, h("span", { class: "what", text: item.text || "(empty)" }), h("span", { text: count(item.count) }));
          return h("li", {}, choose);
        })));
    });
  }
}
