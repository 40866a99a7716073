// The forms of jobs: a new job, a template, a schedule.

import { submission, submitSource, type Source, type Tenant } from "../../api/jobs";
import { parameters, schedules, templates, type Template } from "../../api/plans";
import { announce, dialog, h, replace, select } from "../../parts/dom";
import type { Json } from "../../lib/columns";
import { why } from "./job";

function field(value = "", attributes: Record<string, string | boolean | number> = {}): HTMLInputElement {
  const element = h("input", { attributes });
  element.value = value;
  return element;
}

function statement(value = ""): HTMLTextAreaElement {
  const element = h("textarea", { attributes: { rows: 8, required: true, spellcheck: "false" } });
  element.value = value;
  return element;
}

/** A form in a dialog that closes when what it asks for was done. */
function ask(title: string, action: string, parts: (HTMLElement | null)[], act: () => Promise<unknown>, done: () => void): void {
  const told = h("div", { attributes: { role: "alert" } });
  const go = h("button", { text: action, class: "primary", attributes: { type: "submit" } });
  const box = dialog(title, h("form", {
    class: "fields",
    on: {
      submit: (event) => {
        event.preventDefault();
        go.disabled = true;
        act().then(() => {
          box.close();
          done();
        }).catch((error: unknown) => {
          go.disabled = false;
          replace(told, h("p", { class: "fault", text: why(error) }));
        });
      },
    },
  }, ...parts, told, h("div", { class: "row" }, go)));
}

/** Fields for the placeholders of a statement; they follow it as it is written. */
function values(defaults: Record<string, Json>): { element: HTMLElement; follow: (sql: string) => void; read: () => Record<string, Json> } {
  const element = h("div", { class: "fields" });
  const inputs = new Map<string, HTMLInputElement>();
  const follow = (sql: string): void => {
    const names = parameters(sql);
    const kept = new Map(inputs);
    inputs.clear();
    for (const name of names) inputs.set(name, kept.get(name) ?? field(String(defaults[name] ?? defaults[`$${name}`] ?? "")));
    replace(element, ...[...inputs].map(([name, input]) => h("label", {}, `Value of $${name}`, input)));
  };
  // Numbers and booleans keep their types: the service puts texts into quotes.
  const typed = (text: string): Json => (/^-?(0|[1-9]\d{0,14})(\.\d+)?$/.test(text) ? Number(text) : text === "true" ? true : text === "false" ? false : text);
  return { element, follow, read: () => Object.fromEntries([...inputs].map(([name, input]) => [name, typed(input.value)])) };
}

interface Place {
  tenant: Tenant;
  databases: string[];
}

function databases(place: Place): HTMLSelectElement {
  return select("Database", ["all", ...place.databases].map((value) => ({ value, text: value })), "all", () => undefined);
}

/** SQL of one's own, or a template with values. */
function source(template: Template | null): { parts: HTMLElement[]; read: () => Source } {
  if (template) {
    const given = values(template.queryParameters);
    given.follow(template.sql);
    return {
      parts: [h("pre", { text: template.sql, attributes: { tabindex: 0, "aria-label": "SQL of the template" } }), given.element],
      read: () => ({ templateId: template.id, queryParameters: given.read() }),
    };
  }
  const area = statement();
  return { parts: [h("label", {}, "SQL", area)], read: () => ({ sql: area.value }) };
}

export function newJob(place: Place, template: Template | null, done: () => void): void {
  const [database, name] = [databases(place), field(template?.name ?? "")];
  const what = source(template);
  ask(template ? `Run ${template.name}` : "New job", "Submit", [h("label", {}, "Database", database), h("label", {}, "Name", name), ...what.parts],
    () => submitSource(place.tenant, database.value, what.read(), name.value.trim()), () => {
      announce("The job is on its way.");
      done();
    });
}

export function templateForm(place: Place, template: Template | null, done: () => void): void {
  const [name, sql] = [field(template?.name ?? "", { required: true }), statement(template?.sql ?? "")];
  const given = values(template?.queryParameters ?? {});
  given.follow(sql.value);
  sql.addEventListener("input", () => given.follow(sql.value));
  ask(template ? "Edit template" : "New template", "Save", [
    h("label", {}, "Name", name), h("label", {}, "SQL", sql), h("p", { class: "hint", text: "$name stands for a value that is given when the template runs." }), given.element,
  ], () => templates.save(place.tenant, template?.id ?? null, { name: name.value.trim(), sql: sql.value, queryParameters: given.read() }), () => {
    announce("Template saved.");
    done();
  });
}

const CATCH_UP = [{ value: "last", text: "run the last missed one" }, { value: "all", text: "run all missed ones" }, { value: "none", text: "leave missed ones out" }];

export function newSchedule(place: Place, template: Template | null, done: () => void): void {
  const [database, name] = [databases(place), field(template?.name ?? "", { required: true })];
  const what = source(template);
  const cron = field("0 * * * *", { required: true, pattern: "\\S+\\s+\\S+\\s+\\S+\\s+\\S+\\s+\\S+.*" });
  const zone = field("", { placeholder: "UTC", list: "time-zones" });
  const zones = h("datalist", { attributes: { id: "time-zones" } }, ...Intl.supportedValuesOf("timeZone").map((value) => h("option", { attributes: { value } })));
  const now = new Date().toISOString().slice(0, 19);
  const [start, end] = [field(now, { type: "datetime-local", step: 1, required: true }), field("", { type: "datetime-local", step: 1 })];
  const active = field("1", { type: "number", min: 1, max: 100, required: true });
  const missed = select("Missed runs", CATCH_UP, "last", () => undefined);
  ask("New schedule", "Save", [
    h("label", {}, "Database", database), h("label", {}, "Name", name), ...what.parts,
    h("label", {}, "When (cron: minute hour day month weekday)", cron), h("label", {}, "Time zone of these hours", zone), zones,
    h("label", {}, "First run not before (UTC)", start), h("label", {}, "Last run not after (UTC)", end), h("label", {}, "Runs at once", active), h("label", {}, "After a time without the server", missed),
  ], () => schedules.create(place.tenant, {
    query: submission(place.tenant, database.value, what.read(), name.value.trim()),
    schedule: {
      schedule: cron.value.trim(), startDate: `${start.value}Z`, maxActiveRuns: Number(active.value), catchUp: missed.value,
      ...(zone.value.trim() ? { timeZone: zone.value.trim() } : {}), ...(end.value ? { endDate: `${end.value}Z` } : {}),
    },
  }), () => {
    announce("Schedule saved.");
    done();
  });
}
