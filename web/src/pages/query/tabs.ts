// The tabs of the editor, kept in the browser.

export interface Tab {
  id: string;
  name: string;
  text: string;
  database: string;
  /** SQL runs as a job; without this it is KQL. */
  sql?: boolean;
}

interface Kept {
  tabs: Tab[];
  current: string;
}

const KEY = "tidewater.tabs";
const MAX_TABS = 50;

export class Tabs {
  list: Tab[] = [];
  current!: Tab;
  private timer = 0;

  /** `alone` starts without those of earlier visits, and leaves them untouched. */
  constructor(private readonly alone: boolean, private readonly fallback: string) {
    const kept = alone ? null : this.read();
    this.list = kept?.tabs ?? [];
    if (this.list.length === 0) this.add("", fallback);
    this.current = this.list.find((tab) => tab.id === kept?.current) ?? this.list[0]!;
    addEventListener("pagehide", () => this.write());
  }

  private read(): Kept | null {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "null") as Kept | null;
      const whole = (tab: Partial<Tab>): boolean =>
        [tab.id, tab.name, tab.text, tab.database].every((part) => typeof part === "string");
      return kept && Array.isArray(kept.tabs) ? { tabs: kept.tabs.filter(whole).slice(0, MAX_TABS), current: String(kept.current) } : null;
    } catch {
      return null;
    }
  }

  private write(): void {
    if (this.alone) return;
    try {
      localStorage.setItem(KEY, JSON.stringify({ tabs: this.list, current: this.current.id } satisfies Kept));
    } catch {
      // A full store keeps what it had; the tabs live on in this window.
    }
  }

  /** Keeps them soon; typing does not wait for the disk. */
  changed(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.write(), 400);
  }

  add(text: string, database?: string, named?: string): Tab {
    if (this.list.length >= MAX_TABS) this.list.shift();
    let number = this.list.length + 1;
    while (this.list.some((tab) => tab.name === `Query ${number}`)) number++;
    const tab = { id: `t${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`, name: named || `Query ${number}`, text, database: database ?? this.fallback };
    this.list.push(tab);
    this.current = tab;
    this.changed();
    return tab;
  }

  remove(tab: Tab): void {
    const at = this.list.indexOf(tab);
    this.list.splice(at, 1);
    if (this.list.length === 0) this.add("", tab.database);
    else if (this.current === tab) this.current = this.list[Math.min(at, this.list.length - 1)]!;
    this.changed();
  }
}
