// The one way to the server: adds who asks, and turns every refusal into a `Fault`.

import { root } from "../lib/place";
import { renewed, signInNeeded, token } from "./session";

/** A place in the query that a fault names; line and column count from 1. */
export interface Place {
  line: number;
  column: number;
  length: number;
  message: string;
}

/** What the server, or the way to it, refused. */
export class Fault extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string = "",
    readonly places: Place[] = [],
    readonly activityId: string = "",
  ) {
    super(message);
  }
}

interface Inner {
  code?: string;
  message?: string;
  "@message"?: string;
  "@errorMessage"?: string;
  "@line"?: string;
  "@pos"?: string;
  "@token"?: string;
  "@others"?: Inner[];
}

interface Document {
  error?: Inner & { innererror?: Inner; "@context"?: { activityId?: string } };
}

export interface Options {
  method?: string;
  body?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export async function call(path: string, options: Options = {}, again = true): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json", "x-ms-app": "Tidewater", ...options.headers };
  const shown = await token();
  if (shown) headers.authorization = `Bearer ${shown}`;
  let response: Response;
  try {
    response = await fetch(root() + path, { ...options, headers, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Fault("The server cannot be reached.", 0);
  }
  if (response.ok) return response;
  if (response.status === 401) {
    // A token can become void before its time, by a restart for example.
    if (again && shown && (await renewed())) return call(path, options, false);
    signInNeeded();
    throw new Fault("Sign in first: the server does not know who asks.", 401);
  }
  throw faultOf(response.status, await response.text());
}

function place(inner: Inner): Place[] {
  if (!inner["@line"]) return [];
  const message = [inner.code, inner["@errorMessage"] ?? inner.message].filter(Boolean).join(": ");
  return [{ line: Number(inner["@line"]), column: Number(inner["@pos"] ?? 1), length: inner["@token"]?.length || 1, message }];
}

/** The fault that an error document tells of. */
export function faultOf(status: number, text: string): Fault {
  let document: Document;
  try {
    document = JSON.parse(text) as Document;
  } catch {
    return new Fault(text.slice(0, 2000) || `The server answered with status ${status}.`, status);
  }
  const error = document.error;
  if (!error) return new Fault((document as { message?: string }).message ?? `Status ${status}.`, status);
  const inner = error.innererror;
  const message = inner?.["@errorMessage"] ?? inner?.message ?? error["@message"] ?? error.message ?? `Status ${status}`;
  const places = inner ? [inner, ...(inner["@others"] ?? [])].flatMap(place) : [];
  return new Fault(
    message.replace(/^Request is invalid and cannot be processed: /, ""), status, inner?.code ?? error.code ?? "", places,
    error["@context"]?.activityId ?? "");
}

/** A request's id, by which `.cancel query` finds it. */
export function requestId(): string {
  // `randomUUID` is missing where the page came over plain HTTP from another machine.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `Tidewater.Page;${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
