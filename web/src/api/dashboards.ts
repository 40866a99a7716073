// Dashboards at the server: `/v1/page/dashboards/DATABASE`.

import { call } from "./fetch";
import { read, type Content } from "../lib/dashboard";

export interface Listed {
  id: string;
  title: string;
  tiles: number;
  version: string;
  updated: string;
  updatedBy: string;
  createdBy: string;
  mayWrite: boolean;
  mayDelete: boolean;
}

export interface Dashboard extends Listed {
  database: string;
  content: Content;
}

function path(database: string, id?: string): string {
  return `/v1/page/dashboards/${encodeURIComponent(database)}${id ? `/${encodeURIComponent(id)}` : ""}`;
}

const JSON_BODY = { "content-type": "application/json" };

async function whole(database: string, response: Response): Promise<Dashboard> {
  const told = (await response.json()) as Listed & { content: unknown };
  return { ...told, database, content: read(told.content) };
}

export async function list(database: string): Promise<{ dashboards: Listed[]; mayCreate: boolean }> {
  return (await (await call(path(database))).json()) as { dashboards: Listed[]; mayCreate: boolean };
}

export async function get(database: string, id: string): Promise<Dashboard> {
  return whole(database, await call(path(database, id)));
}

export async function create(database: string, content: Content): Promise<Dashboard> {
  return whole(database, await call(path(database), { method: "POST", body: JSON.stringify(content), headers: JSON_BODY }));
}

/** Writes over the version that was seen; a fault with status 412 says that there is another one by now. */
export async function put(database: string, id: string, version: string, content: Content): Promise<Dashboard> {
  return whole(database, await call(path(database, id), { method: "PUT", body: JSON.stringify(content), headers: { ...JSON_BODY, "if-match": `"${version}"` } }));
}

export async function remove(database: string, id: string, version: string): Promise<void> {
  await call(path(database, id), { method: "DELETE", headers: { "if-match": `"${version}"` } });
}
