// A list of the Query Service with pages: newer and older, a line for each thing, and what went wrong instead.

import { button, h, replace } from "../../parts/dom";
import { why } from "./job";

export class PagedList<T> {
  readonly element: HTMLElement;
  /** Where the pages so far began. */
  private starts: (string | null)[] = [null];
  private next: string | null = null;
  private readonly table = h("tbody");
  private readonly told = h("div", { attributes: { role: "status" } });
  private readonly pager = h("div", { class: "row pager" });
  private timer = 0;
  private round = 0;

  constructor(private readonly what: {
    label: string;
    columns: string[];
    none: string;
    load: (start: string | null) => Promise<{ items: T[]; next: string | null }>;
    line: (item: T) => HTMLElement;
    /** Milliseconds until another look, or 0. */
    again: (items: T[]) => number;
  }) {
    this.element = h("div", { class: "paged" }, this.told,
      h("div", { class: "jobs-list", attributes: { tabindex: 0, role: "region", "aria-label": what.label } }, h("table", {}, h("thead", {}, h("tr", {},
        ...what.columns.map((text) => h("th", { text, attributes: { scope: "col" } })))), this.table)),
      this.pager);
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  async first(): Promise<void> {
    this.starts = [null];
    await this.load();
  }

  async load(): Promise<void> {
    clearTimeout(this.timer);
    const round = ++this.round;
    try {
      const page = await this.what.load(this.starts.at(-1)!);
      // A later question has been asked meanwhile.
      if (round !== this.round) return;
      this.next = page.next;
      replace(this.told, page.items.length === 0 ? h("p", { class: "empty", text: this.what.none }) : null);
      const focused = [...this.table.querySelectorAll("button")].indexOf(document.activeElement as HTMLButtonElement);
      replace(this.table, ...page.items.map((item) => this.what.line(item)));
      if (focused >= 0) this.table.querySelectorAll("button")[focused]?.focus();
      const again = this.what.again(page.items);
      if (this.element.isConnected && again) this.timer = window.setTimeout(() => void this.load(), again);
    } catch (error) {
      if (round === this.round) replace(this.told, h("p", { class: "fault", text: why(error) }));
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
    replace(this.pager, back, h("span", { class: "hint", text: `Page ${this.starts.length}` }), on);
  }
}

/** A time as the lists show it. */
export function time(text: string | null | undefined): string {
  return (text ?? "").replace("T", " ").replace(/(\.\d+)?Z$/, "");
}
