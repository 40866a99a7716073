// The frame around every page: name, ways to the pages, account, theme and help.

import { applyTheme, isDark, switchTheme } from "../parts/theme";
import { button, dialog, h, replace } from "../parts/dom";
import type { Settings } from "../api/session";
import { isSignedIn } from "../api/session";
import type { Link } from "../lib/links";
import { accountDialog } from "./account";
import { DashboardsPage } from "./dashboards/page";
import { JobsPage } from "./jobs/page";
import { QueryPage } from "./query/page";

/** Keys that work; those of the editor are Monaco's. */
const KEYS: [string, string][] = [
  ["Shift+Enter, Ctrl+Enter, F5", "Run the selection, or the query around the cursor"],
  ["Shift+Escape", "Cancel the run"],
  ["Alt+N", "New tab"],
  ["Shift+Alt+F", "Format the query"],
  ["Ctrl+Space", "Complete"],
  ["F1", "All commands of the editor"],
  ["Ctrl+M", "Let Tab leave the editor"],
  ["Alt+1, Alt+2, Alt+3", "To the explorer, the editor, the results"],
  ["Arrows, Page Up/Down, Ctrl+Home/End", "Move in the grid; with Shift choose cells"],
  ["S, F", "In the grid: sort by the column, filter and statistics"],
  ["Enter", "In the grid: open the value; in the explorer: write the name"],
  ["M", "In the explorer: what can be done"],
  ["Arrows, Shift+Arrows, Delete", "On a tile's handle while editing a dashboard: its place, its size, away with it"],
  ["Ctrl+C, Ctrl+A", "In the grid: copy the chosen cells, choose all"],
];

const WAYS = [["query", "Query"], ["dashboards", "Dashboards"], ["jobs", "Jobs"]] as const;
type Way = (typeof WAYS)[number][0];

export class Shell {
  readonly element: HTMLElement;
  private readonly page: QueryPage;
  private readonly jobs: JobsPage;
  private readonly dashboards: DashboardsPage;
  /** What means nothing on other pages. */
  private readonly ofQueries: HTMLElement[] = [];
  private readonly ways = h("nav", { class: "ways", attributes: { "aria-label": "Pages" } });
  private readonly who = button("Account", () => void accountDialog(this.settings, this.page.database, () => this.reload()), { sign: "◔", class: "quiet" });
  private readonly theme = button("Light or dark", () => switchTheme(), { sign: "◐", class: "quiet" });

  constructor(private readonly settings: Settings, link: Link | null, database: string | null) {
    this.page = new QueryPage(settings, link, database);
    this.jobs = new JobsPage(() => this.page.databaseNames);
    this.dashboards = new DashboardsPage(() => this.page.databaseNames, (name, text) => {
      this.go("query");
      this.page.openText(name, text);
    }, (place) => note("dashboard", place));
    this.ofQueries[0] = button("Show or hide the explorer", () => this.page.toggleExplorer(), { sign: "☰", class: "quiet" });
    this.element = h("div", { class: "shell" },
      h("header", { class: "top" }, this.ofQueries[0], h("h1", {}, h("span", { class: "mark", attributes: { "aria-hidden": "true" } }), "Tidewater"), this.ways,
        h("span", { class: "grow" }),
        this.ofQueries[1] = button("Share", (event) => void this.page.share(event.currentTarget as HTMLElement)),
        this.theme, this.who, button("Keyboard help", () => keys(this.settings), { sign: "?", class: "quiet" })),
      this.page.element);
    const asked = new URLSearchParams(location.search);
    this.go(WAYS.find(([way]) => way === asked.get("page"))?.[0] ?? "query", asked.get("dashboard"));
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("tidewater-theme", () => this.page.theme(isDark()));
  }

  async start(): Promise<void> {
    await this.page.start();
    applyTheme();
    this.told();
  }

  private go(to: Way, dashboard: string | null = null): void {
    replace(this.ways, ...WAYS.map(([way, label]) => {
      const element = button(label, () => this.go(way), { class: way === to ? "way on" : "way" });
      if (way === to) element.setAttribute("aria-current", "page");
      return element;
    }));
    this.page.element.hidden = to !== "query";
    this.ofQueries.forEach((element) => (element.hidden = to !== "query"));
    note("page", to === "query" ? null : to);
    if (to !== "dashboards") {
      this.dashboards.hide();
      this.dashboards.element.remove();
      note("dashboard", null);
    } else {
      this.element.append(this.dashboards.element);
      void this.dashboards.show(this.page.database, dashboard);
    }
    if (to !== "jobs") {
      this.jobs.hide();
      this.jobs.element.remove();
    } else {
      this.element.append(this.jobs.element);
      this.jobs.show();
    }
  }

  /** Everything again, for somebody else. */
  reload(): void {
    void this.page.reload();
    this.dashboards.again();
    this.jobs.again();
    this.told();
  }

  private told(): void {
    this.who.classList.toggle("on", isSignedIn());
    this.who.title = isSignedIn() ? "Account: signed in" : "Account";
  }

  private key(event: KeyboardEvent): void {
    if (!event.altKey || event.ctrlKey || event.metaKey) return;
    const act: Record<string, () => void> = {
      Digit1: () => this.page.focusExplorer(), Digit2: () => this.page.focusEditor(), Digit3: () => this.page.focusResults(), KeyN: () => this.page.newTab(),
    };
    const found = act[event.code];
    if (!found) return;
    event.preventDefault();
    found();
  }
}

/** Keeps in the address what a reload must find again. */
function note(name: string, value: string | null): void {
  const place = new URL(location.href);
  if (value === null) place.searchParams.delete(name);
  else place.searchParams.set(name, value);
  history.replaceState(null, "", place);
}

function keys(settings: Settings): void {
  const table = h("table", { class: "keys" }, h("tbody"));
  replace(table.tBodies[0]!, ...KEYS.map(([key, what]) =>
    h("tr", {}, h("th", { attributes: { scope: "row" } }, h("kbd", { text: key })), h("td", { text: what }))));
  dialog("Keyboard", table, h("p", { class: "hint", text: `Tidewater ${settings.version}. Clients connect to ${settings.address}` }));
}
