// Templates and schedules of SQL jobs: the Query Service's `/query-templates` and `/schedules`.

import { call } from "./fetch";
import { headers, type Tenant } from "./jobs";
import type { Json } from "../lib/columns";

export interface Template {
  id: string;
  name: string;
  sql: string;
  queryParameters: Record<string, Json>;
  created: string;
  updated: string;
  userId: string;
}

export interface Schedule {
  id: string;
  state: "ENABLED" | "DISABLED" | "REGISTERING";
  query: { dbName?: string; sql?: string; templateId?: string; name?: string };
  schedule: { schedule: string; startDate: string; endDate?: string; timeZone?: string; maxActiveRuns: number; catchUp?: string };
  userId: string;
  nextRun: string | null;
  /** The next few, where one schedule is asked for. */
  nextRuns?: string[];
}

export interface ScheduleRun {
  id: string;
  state: string;
  externalTrigger: boolean;
  created: string;
}

export interface Paged<T> {
  items: T[];
  next: string | null;
}

async function page<T>(tenant: Tenant, path: string, name: string, asked: URLSearchParams, start: string | null): Promise<Paged<T>> {
  asked.set("limit", "50");
  asked.set("orderby", "-created");
  if (start) asked.set("start", start);
  const answer = (await (await call(`${path}?${asked}`, { headers: headers(tenant) })).json()) as Record<string, unknown> & { _page?: { next?: string } };
  return { items: answer[name] as T[], next: answer._page?.next ?? null };
}

async function send(tenant: Tenant, method: string, path: string, body?: unknown): Promise<Response> {
  return call(path, { method, headers: headers(tenant), ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
}

export const templates = {
  list: (tenant: Tenant, sought: string, start: string | null): Promise<Paged<Template>> =>
    page(tenant, "/query-templates", "templates", new URLSearchParams(sought ? { property: `name~${sought.replaceAll(",", "\\,")}` } : {}), start),
  save: (tenant: Tenant, id: string | null, text: { name: string; sql: string; queryParameters: Record<string, Json> }): Promise<Response> =>
    send(tenant, id ? "PUT" : "POST", id ? `/query-templates/${encodeURIComponent(id)}` : "/query-templates", text),
  remove: (tenant: Tenant, id: string): Promise<Response> => send(tenant, "DELETE", `/query-templates/${encodeURIComponent(id)}`),
};

function scheduleOf(id: string): string {
  return `/schedules/${encodeURIComponent(id)}`;
}

export const schedules = {
  list: (tenant: Tenant, start: string | null): Promise<Paged<Schedule>> => page(tenant, "/schedules", "schedules", new URLSearchParams(), start),
  get: async (tenant: Tenant, id: string): Promise<Schedule> => (await (await send(tenant, "GET", scheduleOf(id))).json()) as Schedule,
  create: (tenant: Tenant, body: unknown): Promise<Response> => send(tenant, "POST", "/schedules", body),
  change: (tenant: Tenant, id: string, path: "/state" | "/schedule/schedule", value: string): Promise<Response> =>
    send(tenant, "PATCH", scheduleOf(id), { body: [{ op: "replace", path, value }] }),
  remove: (tenant: Tenant, id: string): Promise<Response> => send(tenant, "DELETE", scheduleOf(id)),
  trigger: (tenant: Tenant, id: string): Promise<Response> => send(tenant, "POST", `${scheduleOf(id)}/runs`, {}),
  runs: (tenant: Tenant, id: string, start: string | null): Promise<Paged<ScheduleRun>> =>
    page(tenant, `${scheduleOf(id)}/runs`, "runsSchedules", new URLSearchParams(), start),
  /** The job that a run is; null when none was submitted. */
  job: async (tenant: Tenant, id: string, run: string): Promise<{ job: string | null; message: string }> => {
    const told = (await (await send(tenant, "GET", `${scheduleOf(id)}/runs/${encodeURIComponent(run)}`)).json()) as { taskStatusList?: { taskId: string | null; message: string }[] };
    const task = told.taskStatusList?.[0];
    return { job: task?.taskId ?? null, message: task?.message ?? "" };
  },
};

/** The placeholders `$name` of a statement: inside quotes they count too, in comments not. */
export function parameters(sql: string): string[] {
  const plain = sql.replace(/--[^\n]*|\/\*[^]*?\*\//g, " ");
  return [...new Set([...plain.matchAll(/(?<!\$)\$([A-Za-z_][A-Za-z0-9_]*)/g)].map((found) => found[1]!))];
}
