// Deep links, both ways: Azure's encoding is base64 of the gzip of the text.

import { root } from "./place";
import { blocks, isCommand } from "./statements";

export interface Link {
  database: string | null;
  query: string;
  /** Whether the link lets its query run when it opens. */
  runs: boolean;
  /** `web=3`: without the tabs of earlier visits. */
  alone: boolean;
  name: string | null;
}

/** Longest text that a link may carry; what unpacks to more is cut off. */
const MAX_TEXT = 1024 * 1024;

/** The last argument of a name; names have no case. */
function argument(pairs: [string, string][], wanted: string): string | null {
  return pairs.findLast(([name]) => name.toLowerCase() === wanted)?.[1] || null;
}

/** The database that an address of the page names. */
export function databaseOf(pathname: string): string | null {
  const found = /\/ui\/databases\/([^/]+)$/.exec(pathname);
  try {
    return found ? decodeURIComponent(found[1]!) : null;
  } catch {
    return found![1]!;
  }
}

export async function read(pathname: string, search: string): Promise<Link | null> {
  const pairs = [...new URLSearchParams(search)];
  const carried = argument(pairs, "query");
  if (!carried) return null;
  const query = filled(await unpacked(carried), pairs);
  // Commands are never run by a link, wherever in its text they stand.
  const hasCommand = blocks(query).some((block) => isCommand(block.text));
  return {
    database: databaseOf(pathname),
    query,
    runs: !hasCommand && argument(pairs, "autorun")?.toLowerCase() !== "false",
    alone: argument(pairs, "web") === "3",
    name: argument(pairs, "name"),
  };
}

/** Replaces each `{Name}` by the argument of this name; others stay. */
function filled(text: string, pairs: [string, string][]): string {
  let room = MAX_TEXT;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = pairs.findLast(([known]) => known === name)?.[1];
    if (value === undefined) return whole;
    // A short link could otherwise grow into gigabytes.
    room -= value.length;
    return room > 0 ? value : "";
  });
}

export async function address(database: string, query: string): Promise<string> {
  return `${location.origin}${root()}/${encodeURIComponent(database)}?query=${encodeURIComponent(await packed(query))}`;
}

export async function packed(text: string): Promise<string> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

export async function unpacked(text: string): Promise<string> {
  if (!text.startsWith("H4sI")) return text.slice(0, MAX_TEXT);
  try {
    // A plus sign that was not percent-encoded has become a space; some write base64's form for addresses.
    const binary = atob(text.trim().replace(/[ -]/g, "+").replaceAll("_", "/").replace(/=+$/, ""));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
    const decoder = new TextDecoder();
    let plain = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || plain.length > MAX_TEXT) break;
      plain += decoder.decode(value, { stream: true });
    }
    return plain.slice(0, MAX_TEXT);
  } catch {
    return text.slice(0, MAX_TEXT);
  }
}
