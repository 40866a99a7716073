// What the server does for the page beside Kusto's interface: who one is, results as files, a look at data.

import { call, Fault, faultOf, requestId } from "./fetch";
import { records } from "./command";
import { signInNeeded, token } from "./session";
import { root } from "../lib/place";
import { literal } from "../lib/text";
import type { Json } from "../lib/columns";

export interface DatabaseRights {
  database: string;
  query: boolean;
  create: boolean;
  ingest: boolean;
  monitor: boolean;
  administer: boolean;
}

export interface Me {
  principal: string;
  name: string;
  isEnforced: boolean;
  isAdministrator: boolean;
  isMonitor: boolean;
  databases: DatabaseRights[];
}

export async function me(): Promise<Me> {
  return (await (await call("/v1/page/me")).json()) as Me;
}

export type FileFormat = "csv" | "tsv" | "json" | "jsonl" | "parquet";

/** The rows of a query's result, as a file that the server writes. `table` counts from 1. */
export async function file(
  asked: { database: string; text: string; parameters?: Record<string, Json>; readonly?: boolean }, format: FileFormat, table: number, signal: AbortSignal, progress: (bytes: number) => void,
): Promise<Blob> {
  const id = requestId();
  const response = await call(`/v1/page/download?format=${format}&table=${table}`, {
    method: "POST",
    body: JSON.stringify({
      db: asked.database, csl: asked.text,
      // A file has room for what the grid has not.
      properties: { Options: { notruncation: true, ...(asked.readonly ? { request_readonly: true } : {}) }, ...(asked.parameters ? { Parameters: asked.parameters } : {}) },
    }),
    headers: { "content-type": "application/json", "x-ms-client-request-id": id, accept: "*/*" },
    signal,
  });
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    transform: (part, out) => {
      size += part.length;
      progress(size);
      out.enqueue(part);
    },
  });
  let size = 0;
  try {
    // A blob of the browser's lies on its disk when it is large; parts kept here would lie in memory.
    return await new Response(response.body!.pipeThrough(counted), { headers: { "content-type": response.headers.get("content-type") ?? "" } }).blob();
  } catch (error) {
    if (signal.aborted) throw error;
    const why = await records(asked.database, `.show queries | where ClientActivityId == ${literal(id)} | project FailureReason`).catch(() => []);
    throw new Fault(String(why[0]?.FailureReason || "The file broke off before its end."), 0);
  }
}

export interface Preview {
  columns: { name: string; type: string }[];
  hasHeader: boolean;
  rows: (string | null)[][];
}

/** What the server takes a file's beginning for. */
export async function preview(database: string, format: string, header: string, body: Blob, packed: boolean): Promise<Preview> {
  const asked = new URLSearchParams({ format, header });
  const response = await call(`/v1/page/preview/${encodeURIComponent(database)}?${asked}`, {
    method: "POST", body, headers: { "content-type": "application/octet-stream", ...(packed ? { "content-encoding": "gzip" } : {}) },
  });
  return (await response.json()) as Preview;
}

export interface Sent {
  text: string;
  header(name: string): string | null;
}

/** Sends a file and tells how far it is, which `fetch` cannot. */
export async function send(path: string, body: Blob, headers: Record<string, string>, progress: (share: number) => void, signal: AbortSignal): Promise<Sent> {
  const shown = await token();
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", root() + path);
    for (const [name, value] of Object.entries({ accept: "application/json", "x-ms-app": "Tidewater", ...headers })) request.setRequestHeader(name, value);
    if (shown) request.setRequestHeader("authorization", `Bearer ${shown}`);
    request.upload.addEventListener("progress", (event) => event.lengthComputable && progress(event.loaded / event.total));
    request.addEventListener("load", () => {
      if (request.status >= 200 && request.status < 300) resolve({ text: request.responseText, header: (name) => request.getResponseHeader(name) });
      else reject(faultOfAnswer(request.status, request.responseText));
    });
    request.addEventListener("error", () => reject(new Fault("The server cannot be reached, or hung up.", 0)));
    request.addEventListener("abort", () => reject(new Fault("Cancelled.", 0)));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function faultOfAnswer(status: number, text: string): Fault {
  if (status !== 401) return faultOf(status, text);
  signInNeeded();
  return new Fault("Sign in first: the server does not know who asks.", 401);
}
