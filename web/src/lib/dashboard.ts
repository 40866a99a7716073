// What a dashboard holds, and what its tiles ask. Anything may stand in an imported file or at the server: `read` takes
// what it knows, within bounds, and refuses what is no dashboard.

import { KINDS } from "./chart";
import type { Json } from "./columns";
import { literal } from "./text";

export interface Tile {
  id: string;
  title: string;
  query: string;
  /** Null is the dashboard's own. */
  database: string | null;
  /** Empty is as the query renders; `table`, or a chart's name. */
  visual: string;
  /** Columns of twelve. */
  width: number;
  /** Rows of the page's raster. */
  height: number;
}

export const TYPES = ["string", "long", "real", "bool", "datetime", "timespan"] as const;
export type ParameterType = (typeof TYPES)[number];

export interface Parameter {
  name: string;
  label: string;
  type: ParameterType;
  value: string;
  /** Without choices anything can be written. */
  choices: string[];
}

export type Range = { kind: "all" } | { kind: "last"; span: string } | { kind: "between"; from: string; to: string };

export interface Content {
  title: string;
  tiles: Tile[];
  parameters: Parameter[];
  range: Range;
  /** Seconds between refreshes; 0 is never. */
  refresh: number;
}

export const WIDEST = 12;
export const NARROWEST = 2;
export const TALLEST = 16;
export const SHORTEST = 2;
const MAX_TILES = 100;
const MAX_PARAMETERS = 30;
/** What an exported file says it is. */
const KIND = "tidewater-dashboard";

export const SPANS: { value: string; text: string }[] = [
  { value: "15m", text: "Last 15 minutes" }, { value: "1h", text: "Last hour" }, { value: "6h", text: "Last 6 hours" }, { value: "1d", text: "Last day" },
  { value: "7d", text: "Last 7 days" }, { value: "30d", text: "Last 30 days" }, { value: "90d", text: "Last 90 days" }, { value: "365d", text: "Last year" },
];

export const REFRESHES: { value: string; text: string }[] = [
  { value: "0", text: "No refresh" }, { value: "10", text: "Every 10 seconds" }, { value: "30", text: "Every 30 seconds" }, { value: "60", text: "Every minute" },
  { value: "300", text: "Every 5 minutes" }, { value: "900", text: "Every 15 minutes" }, { value: "3600", text: "Every hour" },
];

export function tileId(): string {
  return `t${Date.now().toString(36)}${Math.random().toString(36).slice(2, 7)}`;
}

export function empty(title: string): Content {
  return { title, tiles: [], parameters: [], range: { kind: "all" }, refresh: 0 };
}

export function tile(title: string, query: string, database: string | null, visual: string): Tile {
  return { id: tileId(), title, query, database, visual, width: 6, height: 5 };
}

type Loose = Record<string, unknown>;

function object(value: unknown): Loose | null {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Loose) : null;
}

function text(value: unknown, most: number, otherwise = ""): string {
  return typeof value === "string" ? value.slice(0, most) : otherwise;
}

export function clamp(value: unknown, least: number, most: number, otherwise: number): number {
  const number = typeof value === "number" && Number.isFinite(value) ? Math.round(value) : otherwise;
  return Math.max(least, Math.min(most, number));
}

/** *Errors*: what is no dashboard, in words for people. */
export function read(value: unknown): Content {
  const whole = object(value);
  if (!whole || !Array.isArray(whole.tiles)) throw new Error("This is no dashboard: it has no tiles.");
  const ids = new Set<string>();
  const tiles = whole.tiles.slice(0, MAX_TILES).flatMap((entry): Tile[] => {
    const one = object(entry);
    if (!one || typeof one.query !== "string") return [];
    let id = text(one.id, 60) || tileId();
    if (ids.has(id)) id = tileId();
    ids.add(id);
    const visual = text(one.visual, 40).toLowerCase();
    return [{
      id, title: text(one.title, 200), query: one.query, database: text(one.database, 1024) || null,
      visual: visual === "table" || KINDS.some((kind) => kind.value === visual) ? visual : "",
      width: clamp(one.width, NARROWEST, WIDEST, 6), height: clamp(one.height, SHORTEST, TALLEST, 5),
    }];
  });
  const names = new Set<string>();
  const parameters = (Array.isArray(whole.parameters) ? whole.parameters : []).slice(0, MAX_PARAMETERS).flatMap((entry): Parameter[] => {
    const one = object(entry);
    const name = text(one?.name, 100);
    if (!one || !isName(name) || names.has(name)) return [];
    names.add(name);
    const type = TYPES.find((known) => known === one.type) ?? "string";
    const choices = Array.isArray(one.choices) ? one.choices.filter((choice): choice is string => typeof choice === "string").slice(0, 1000) : [];
    return [{ name, label: text(one.label, 100) || name, type, value: text(one.value, 10_000), choices }];
  });
  const range = object(whole.range);
  return {
    title: text(whole.title, 200).trim() || "Dashboard", tiles, parameters, refresh: clamp(whole.refresh, 0, 86_400, 0),
    range: range?.kind === "last" && SPANS.some((span) => span.value === range.span) ? { kind: "last", span: String(range.span) }
      : range?.kind === "between" ? { kind: "between", from: text(range.from, 40), to: text(range.to, 40) } : { kind: "all" },
  };
}

/** Whether a text can be a parameter's name; those of the time range are taken. */
export function isName(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && name !== FROM && name !== TO;
}

/** The file of a dashboard. */
export function exported(content: Content): string {
  return `${JSON.stringify({ kind: KIND, version: 1, ...content }, null, 2)}\n`;
}

/** *Errors*: text that is no JSON, or no dashboard. */
export function imported(file: string): Content {
  let value: unknown;
  try {
    value = JSON.parse(file);
  } catch {
    throw new Error("This file is not JSON.");
  }
  return read(value);
}

/** The names by which queries use the time range; the same as in Azure's dashboards. */
export const FROM = "_startTime";
export const TO = "_endTime";

/** The ends of a time range, as KQL writes times. */
export function ends(range: Range, now: number): { from: string; to: string } {
  if (range.kind === "last") {
    const units: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };
    const millis = Number.parseInt(range.span, 10) * units[range.span.at(-1)!]!;
    return { from: new Date(now - millis).toISOString(), to: new Date(now).toISOString() };
  }
  const all = { from: "0001-01-01T00:00:00Z", to: "9999-12-31T23:59:59.9999999Z" };
  if (range.kind === "all") return all;
  // What a person writes is in UTC, as all times of the page are.
  const time = (written: string, otherwise: string): string => (/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,7})?)?Z?)?$/.test(written) ? written.replace(/Z?$/, written.includes("T") ? "Z" : "") : otherwise);
  return { from: time(range.from, all.from), to: time(range.to, all.to) };
}

/** A query with the parameters that it uses declared before it, and their values. */
export function asked(query: string, content: Content, now: number): { text: string; parameters: Record<string, Json> } {
  const uses = (name: string): boolean => new RegExp(`(?<![A-Za-z0-9_])${name}(?![A-Za-z0-9_])`).test(query);
  const declared: string[] = [];
  const values: Record<string, Json> = {};
  const { from, to } = ends(content.range, now);
  for (const [name, value] of [[FROM, from], [TO, to]] as const) {
    if (!uses(name)) continue;
    declared.push(`${name}:datetime`);
    values[name] = `datetime(${value})`;
  }
  for (const parameter of content.parameters) {
    if (!uses(parameter.name)) continue;
    declared.push(`${parameter.name}:${parameter.type}`);
    values[parameter.name] = value(parameter);
  }
  return { text: declared.length ? `declare query_parameters(${declared.join(", ")}); ${query}` : query, parameters: values };
}

/** A parameter's value as the server reads it; what nobody wrote is null, for texts empty. */
function value(parameter: Parameter): Json {
  if (parameter.type === "string") return literal(parameter.value);
  const written = parameter.value.trim();
  if (written === "") return null;
  return parameter.type === "datetime" ? `datetime(${written})` : written;
}

/** The tiles with one moved to another place. */
export function moved(tiles: Tile[], id: string, place: number): Tile[] {
  const at = tiles.findIndex((one) => one.id === id);
  if (at < 0) return tiles;
  const rest = tiles.filter((one) => one.id !== id);
  rest.splice(Math.max(0, Math.min(place, rest.length)), 0, tiles[at]!);
  return rest;
}
