// The jobs page: SQL that runs at the server while nobody waits for it. Jobs, the templates they are made of, and the
// schedules that submit them.

import { ENDED, keepTenant, list, tenant, type Filter, type Job } from "../../api/jobs";
import { schedules, templates, type Schedule, type ScheduleRun, type Template } from "../../api/plans";
import { announce, button, dialog, h, replace, select } from "../../parts/dom";
import { count, duration } from "../../lib/text";
import { newJob, newSchedule, templateForm } from "./forms";
import { jobDialog, why } from "./job";
import { PagedList, time } from "./list";

const STATES = ["SUBMITTED", "QUEUED", "IN_PROGRESS", "SUCCESS", "FAILED", "CANCELLED", "KILLED", "TIMED_OUT"];
const ORDERS = [
  { value: "-created", text: "Newest first" }, { value: "+created", text: "Oldest first" }, { value: "-updated", text: "Last changed first" },
];
/** Milliseconds between looks at a list that has something under way. */
const AGAIN = 2000;
/** Between looks at schedules, whose next runs come near. */
const AGAIN_SCHEDULES = 10_000;

type Part = "jobs" | "templates" | "schedules";
const PARTS: [Part, string][] = [["jobs", "Jobs"], ["templates", "Templates"], ["schedules", "Schedules"]];

export class JobsPage {
  readonly element: HTMLElement;
  private readonly tenant = tenant();
  private readonly filter: Filter = { state: "", sql: "", user: "", from: "", until: "", schedule: "", order: "-created" };
  private named = "";
  private part: Part = "jobs";
  private readonly tabs = h("div", { class: "tabs", attributes: { role: "tablist", "aria-label": "Jobs, templates, schedules" } });
  private readonly tools = h("div", { class: "row" });
  private readonly place = h("div", { class: "jobs-part", attributes: { role: "tabpanel", "aria-label": "List" } });
  private readonly lists: { jobs: PagedList<Job>; templates: PagedList<Template>; schedules: PagedList<Schedule> };

  constructor(private readonly databases: () => string[]) {
    const field = (label: string, key: "organisation" | "sandbox"): HTMLElement => {
      const input = h("input", {
        on: {
          change: () => {
            this.tenant[key] = input.value.trim();
            keepTenant(this.tenant);
            void this.list.first();
          },
        },
      });
      input.value = this.tenant[key];
      return h("label", { class: "inline" }, label, input);
    };
    this.lists = {
      jobs: new PagedList<Job>({
        label: "List of jobs", columns: ["Name or SQL", "State", "Rows", "Time", "Started", "By"], none: "There are no such jobs.",
        load: (start) => list(this.tenant, this.filter, start).then((page) => ({ items: page.queries, next: page.next })),
        line: (job) => this.job(job), again: (jobs) => (jobs.some((job) => !ENDED.has(job.state)) ? AGAIN : 0),
      }),
      templates: new PagedList<Template>({
        label: "List of templates", columns: ["Name", "SQL", "Changed", "By", "Actions"], none: "There are no such templates.",
        load: (start) => templates.list(this.tenant, this.named, start), line: (template) => this.template(template), again: () => 0,
      }),
      schedules: new PagedList<Schedule>({
        label: "List of schedules", columns: ["Name or SQL", "State", "When", "Next run", "By"], none: "There are no schedules.",
        load: (start) => schedules.list(this.tenant, start), line: (schedule) => this.schedule(schedule), again: () => AGAIN_SCHEDULES,
      }),
    };
    this.element = h("main", { class: "jobs", attributes: { "aria-label": "Jobs" } },
      h("div", { class: "row" }, this.tabs, h("span", { class: "grow" }), field("Organisation", "organisation"), field("Sandbox", "sandbox")), this.tools, this.place);
  }

  show(): void {
    this.choose(this.part);
  }

  /** The same again, for somebody else. */
  again(): void {
    if (this.element.isConnected) void this.list.first();
  }

  hide(): void {
    Object.values(this.lists).forEach((one) => one.stop());
  }

  private get list(): PagedList<Job> | PagedList<Template> | PagedList<Schedule> {
    return this.lists[this.part];
  }

  private choose(part: Part): void {
    this.hide();
    this.part = part;
    const had = this.tabs.contains(document.activeElement);
    replace(this.tabs, ...PARTS.map(([one, text], at) => h("button", {
      class: one === part ? "tab on" : "tab", text,
      attributes: { type: "button", role: "tab", "aria-selected": String(one === part), tabindex: one === part ? 0 : -1 },
      on: {
        click: () => this.choose(one),
        keydown: (event) => {
          const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
          if (!step) return;
          event.preventDefault();
          this.choose(PARTS[(at + step + PARTS.length) % PARTS.length]![0]);
        },
      },
    })));
    if (had) this.tabs.querySelector<HTMLElement>(".on")?.focus();
    replace(this.tools, ...this.toolsOf(part));
    replace(this.place, this.list.element);
    void this.list.load();
  }

  private get where(): { tenant: JobsPage["tenant"]; databases: string[] } {
    return { tenant: this.tenant, databases: this.databases() };
  }

  private toolsOf(part: Part): HTMLElement[] {
    const refresh = button("Refresh", () => void this.list.load());
    const again = (): void => void this.list.first();
    if (part === "templates") {
      const sought = h("input", {
        attributes: { type: "search", placeholder: "Name contains", "aria-label": "Name contains" },
        on: {
          change: () => {
            this.named = sought.value;
            again();
          },
        },
      });
      sought.value = this.named;
      return [button("New template", () => templateForm(this.where, null, again), { class: "primary" }), sought, refresh];
    }
    if (part === "schedules") return [button("New schedule", () => newSchedule(this.where, null, again), { class: "primary" }), refresh];
    const write = (label: string, key: "sql" | "user" | "from" | "until", attributes: Record<string, string>): HTMLInputElement => {
      const input = h("input", {
        attributes: { "aria-label": label, title: label, ...attributes },
        on: {
          change: () => {
            const value = input.value.trim();
            this.filter[key] = value && input.type === "date" ? `${value}T${key === "from" ? "00:00:00" : "23:59:59.999"}Z` : value;
            again();
          },
        },
      });
      input.value = input.type === "date" ? this.filter[key].slice(0, 10) : this.filter[key];
      return input;
    };
    return [
      button("New job", () => newJob(this.where, null, again), { class: "primary" }),
      write("SQL contains", "sql", { type: "search", placeholder: "SQL contains" }),
      select("State", [{ value: "", text: "Any state" }, ...STATES.map((value) => ({ value, text: value }))], this.filter.state, (state) => {
        this.filter.state = state;
        again();
      }),
      write("By", "user", { type: "search", placeholder: "By" }),
      h("label", { class: "inline" }, "From", write("Started on or after", "from", { type: "date" })), h("label", { class: "inline" }, "to", write("Started on or before", "until", { type: "date" })),
      select("Order", ORDERS, this.filter.order, (order) => {
        this.filter.order = order;
        again();
      }), refresh,
    ];
  }

  private job(job: Job): HTMLElement {
    const label = job.request.name || (job.request.sql ?? job.effectiveSQL ?? "").replace(/\s+/g, " ").slice(0, 120) || job.id;
    return h("tr", {}, h("td", {}, button(label, () => void jobDialog(this.tenant, job.id, job.request.name || "Job", () => void this.list.load()), { class: "link" })), h("td", { text: job.state, class: `state ${job.state}` }),
      h("td", { text: count(job.rowCount), class: "right" }), h("td", { text: duration(job.elapsedTime), class: "right" }),
      h("td", { text: time(job.created) }), h("td", { text: job.userId }));
  }

  private template(template: Template): HTMLElement {
    const again = (): void => void this.lists.templates.load();
    return h("tr", {}, h("td", {}, button(template.name, () => templateForm(this.where, template, again), { class: "link" })),
      h("td", { text: template.sql.replace(/\s+/g, " ").slice(0, 120) }), h("td", { text: time(template.updated) }), h("td", { text: template.userId }),
      h("td", { class: "row" },
        button(`Run ${template.name}`, () => newJob(this.where, template, () => this.choose("jobs")), { sign: "Run" }),
        button(`Schedule ${template.name}`, () => newSchedule(this.where, template, () => this.choose("schedules")), { sign: "Schedule" }),
        button(`Delete ${template.name}`, () => void templates.remove(this.tenant, template.id).then(again, (error: unknown) => announce(why(error))), { sign: "Delete" })));
  }

  private schedule(schedule: Schedule): HTMLElement {
    const label = schedule.query.name || (schedule.query.sql ?? "").replace(/\s+/g, " ").slice(0, 120) || schedule.id;
    const zone = schedule.schedule.timeZone ? ` (${schedule.schedule.timeZone})` : "";
    return h("tr", {}, h("td", {}, button(label, () => this.openSchedule(schedule, label), { class: "link" })), h("td", { text: schedule.state, class: `state ${schedule.state}` }),
      h("td", { text: `${schedule.schedule.schedule}${zone}` }), h("td", { text: schedule.nextRun ? time(schedule.nextRun) : "–" }), h("td", { text: schedule.userId }));
  }

  /** A schedule with its runs, each of which leads to its job and rows. */
  private openSchedule(schedule: Schedule, label: string): void {
    const runs = new PagedList<ScheduleRun>({
      label: "Runs of the schedule", columns: ["Run", "State", "Started by"], none: "It has not run yet.",
      load: (start) => schedules.runs(this.tenant, schedule.id, start),
      line: (run) => h("tr", {}, h("td", {}, button(time(run.created), () => void this.openRun(schedule, run, label), { class: "link" })), h("td", { text: run.state, class: `state ${run.state}` }),
        h("td", { text: run.externalTrigger ? "somebody" : "the schedule" })),
      again: (items) => (items.some((run) => run.state === "IN_PROGRESS") ? AGAIN : AGAIN_SCHEDULES),
    });
    const told = h("div", { attributes: { role: "alert" } });
    const next = h("dd", {});
    const state = h("dd", {});
    const cron = h("input", { attributes: { "aria-label": "When (cron)" } });
    const buttons = h("div", { class: "row" });
    const does = (act: () => Promise<unknown>, said: string, closes = false) => (): void => {
      act().then(async () => {
        announce(said);
        if (closes) box.close();
        else await Promise.all([look(), runs.first()]);
        void this.lists.schedules.load();
      }).catch((error: unknown) => replace(told, h("p", { class: "fault", text: why(error) })));
    };
    const look = async (): Promise<void> => {
      const now = await schedules.get(this.tenant, schedule.id);
      const times = now.nextRuns ?? [];
      replace(next, times.length ? h("ol", { class: "times" }, ...times.map((each) => h("li", { text: time(each) }))) : "–");
      state.textContent = now.state;
      cron.value = now.schedule.schedule;
      const enabled = now.state === "ENABLED";
      replace(told);
      replace(buttons,
        button("Run now", does(() => schedules.trigger(this.tenant, schedule.id), "It is on its way."), { class: "primary" }),
        enabled ? button("Disable", does(() => schedules.change(this.tenant, schedule.id, "/state", "disable"), "Disabled."))
          : button("Enable", does(() => schedules.change(this.tenant, schedule.id, "/state", "enable"), "Enabled.")),
        button("Change when", does(() => schedules.change(this.tenant, schedule.id, "/schedule/schedule", cron.value.trim()), "Changed.")),
        button("Delete", does(() => schedules.remove(this.tenant, schedule.id), "Deleted.", true)));
    };
    const box = dialog(`Schedule ${label}`, h("div", { class: "job" },
      h("dl", { class: "record" }, h("dt", { text: "State" }), state, h("dt", { text: "Next runs" }), next, h("dt", { text: "From" }), h("dd", { text: time(schedule.schedule.startDate) }),
        h("dt", { text: "Until" }), h("dd", { text: schedule.schedule.endDate ? time(schedule.schedule.endDate) : "–" })),
      h("pre", { text: schedule.query.sql ?? `Template ${schedule.query.templateId ?? ""}`, attributes: { tabindex: 0, "aria-label": "SQL" } }),
      h("label", { class: "inline" }, "When (cron)", cron), buttons, told, h("h3", { text: "Runs" }), runs.element));
    box.classList.add("large");
    box.addEventListener("close", () => runs.stop());
    void look().catch((error: unknown) => replace(told, h("p", { class: "fault", text: why(error) })));
    void runs.first();
  }

  private async openRun(schedule: Schedule, run: ScheduleRun, label: string): Promise<void> {
    try {
      const { job, message } = await schedules.job(this.tenant, schedule.id, run.id);
      if (job) await jobDialog(this.tenant, job, `${label}, ${time(run.created)}`, () => undefined);
      else announce(message || "This run has no job.");
    } catch (error) {
      announce(why(error));
    }
  }
}
