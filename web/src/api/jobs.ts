// SQL jobs: the Query Service's `/queries`.

import { call } from "./fetch";
import { exactNumbers, Table, type Json } from "../lib/columns";

export interface Job {
  id: string;
  state: string;
  rowCount: number;
  elapsedTime: number;
  created: string;
  updated: string;
  client: string;
  userId: string;
  errors: { code?: string; message?: string; errorType?: string }[];
  request: { dbName?: string; sql?: string; name?: string; description?: string };
  effectiveSQL?: string;
  _links: { results?: { href: string }; cancel?: { href: string } };
}

/** Whose jobs: the service keeps those of each organisation and sandbox apart. */
export interface Tenant {
  organisation: string;
  sandbox: string;
}

export interface Page {
  queries: Job[];
  /** Where the next page begins; null at the end. */
  next: string | null;
}

/** States in which nothing more happens. */
export const ENDED = new Set(["SUCCESS", "FAILED", "CANCELLED", "KILLED", "TIMED_OUT"]);
const PAGE = 50;
/** Rows of a result that are fetched. */
export const MAX_ROWS = 10_000;

export function headers(tenant: Tenant): Record<string, string> {
  return { "x-gw-ims-org-id": tenant.organisation, "x-sandbox-name": tenant.sandbox, "x-api-key": "tidewater-page", "content-type": "application/json" };
}

/** Which jobs are listed; what is empty does not count. */
export interface Filter {
  state: string;
  sql: string;
  user: string;
  /** Times, or days. */
  from: string;
  until: string;
  schedule: string;
  order: string;
}

export async function list(tenant: Tenant, filter: Filter, start: string | null): Promise<Page> {
  const asked = new URLSearchParams({ limit: String(PAGE), orderby: filter.order || "-created" });
  const conditions = [
    filter.state && `state==${filter.state}`, filter.sql && `sql~${escaped(filter.sql)}`, filter.user && `userId==${escaped(filter.user)}`,
    filter.from && `created>=${escaped(filter.from)}`, filter.until && `created<=${escaped(filter.until)}`, filter.schedule && `scheduleId==${escaped(filter.schedule)}`,
  ];
  for (const condition of conditions) if (condition) asked.append("property", condition);
  if (start) asked.set("start", start);
  const response = await call(`/queries?${asked}`, { headers: headers(tenant) });
  const answer = (await response.json()) as { queries: Job[]; _page: { next?: string } };
  return { queries: answer.queries, next: answer._page.next ?? null };
}

function escaped(value: string): string {
  return value.replaceAll(",", "\\,");
}

const KEY = "tidewater.jobs";

/** Whose jobs this browser looks at. */
export function tenant(): Tenant {
  let kept: Partial<Tenant> | null = null;
  try {
    kept = JSON.parse(localStorage.getItem(KEY) ?? "null") as Partial<Tenant> | null;
  } catch {
    // What cannot be read is as good as nothing.
  }
  return { organisation: kept?.organisation || "tidewater", sandbox: kept?.sandbox || "prod" };
}

export function keepTenant(tenant: Tenant): void {
  localStorage.setItem(KEY, JSON.stringify(tenant));
}

/** A statement, or a template with values for its placeholders. */
export type Source = { sql: string } | { templateId: string; queryParameters: Record<string, Json> };

/** What a request to run something says. */
export function submission(tenant: Tenant, database: string, source: Source, name: string): Record<string, unknown> {
  return { dbName: `${tenant.sandbox}:${database}`, ...source, ...(name ? { name } : {}) };
}

export async function submitSource(tenant: Tenant, database: string, source: Source, name: string): Promise<Job> {
  const body = JSON.stringify(submission(tenant, database, source, name));
  return (await (await call("/queries", { method: "POST", body, headers: headers(tenant) })).json()) as Job;
}

export async function submit(tenant: Tenant, database: string, sql: string, name: string): Promise<Job> {
  const body = JSON.stringify(submission(tenant, database, { sql }, name));
  return (await (await call("/queries", { method: "POST", body, headers: headers(tenant) })).json()) as Job;
}

/** A job as it is now; with `wait`, when it has ended or so many seconds later. */
export async function get(tenant: Tenant, id: string, wait = 0, signal?: AbortSignal): Promise<Job> {
  const asked = { ...headers(tenant), ...(wait ? { prefer: `wait=${wait}` } : {}) };
  return (await (await call(`/queries/${encodeURIComponent(id)}`, { headers: asked, ...(signal ? { signal } : {}) })).json()) as Job;
}

/** What a job tells of itself, for the statistics of a run. */
export function figures(job: Job): Record<string, Json> {
  const { id, state, rowCount, elapsedTime, created, updated, userId, client } = job;
  return { id, state, rowCount, elapsedTime, created, updated, userId, client, effectiveSQL: job.effectiveSQL ?? null };
}

export async function change(tenant: Tenant, id: string, op: "cancel" | "soft_delete"): Promise<void> {
  await call(`/queries/${encodeURIComponent(id)}`, { method: "PATCH", body: JSON.stringify({ op }), headers: headers(tenant) });
}

/** KQL's type for a column's SQL type, for the grid. */
function kind(type: string): string {
  if (/bigint|int|long/i.test(type)) return "long";
  if (/double|float|real/i.test(type)) return "real";
  if (/decimal|numeric/i.test(type)) return "decimal";
  if (/bool/i.test(type)) return "bool";
  return /struct|array|map|list|json|variant/i.test(type) ? "dynamic" : "string";
}

export async function rows(tenant: Tenant, id: string): Promise<{ table: Table; total: number }> {
  const response = await call(`/queries/${encodeURIComponent(id)}/results?format=json&limit=${MAX_ROWS}`, { headers: headers(tenant) });
  const answer = JSON.parse(exactNumbers(await response.text())) as {
    schema: { name: string; type: string }[]; rows: (Json[] | Record<string, Json>)[]; rowCount: number;
  };
  const table = new Table(1, "Rows", answer.schema.map((column) => ({ ColumnName: column.name, ColumnType: kind(column.type) })));
  table.append(answer.rows.map((row) => (Array.isArray(row) ? row : answer.schema.map((column) => row[column.name] ?? null))));
  return { table, total: answer.rowCount };
}

/** The rows as a file, in whatever format the server writes. */
export async function file(tenant: Tenant, id: string, format: "csv" | "json" | "parquet" | "arrow-file"): Promise<Blob> {
  const response = await call(`/queries/${encodeURIComponent(id)}/results?format=${format}`, { headers: { ...headers(tenant), accept: "*/*" } });
  return response.blob();
}
