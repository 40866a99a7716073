// From a result and what `render` asked for to the series of a chart: which columns are x, y and series, as the render
// operator's page tells. Nothing here knows how charts are drawn.

import { isNumeric, spanMillis, type Column, type Json, type Table, type Visualization } from "./columns";

export type Stack = "none" | "stacked" | "stacked100";
export type Mark = "line" | "bar" | "area" | "scatter";

export interface Series {
  name: string;
  /** The y column it comes from, for `ysplit`. */
  column: string;
  /** x and y; x is milliseconds, a number, or the index of a category. */
  points: [number, number | null][];
  /** Points that an anomaly column flags. */
  anomalies: [number, number][];
}

export interface Axes {
  xTitle: string;
  yTitle: string;
  xLog: boolean;
  yLog: boolean;
  yMin: number | null;
  yMax: number | null;
  xMin: number | null;
  xMax: number | null;
}

export interface Common {
  title: string;
  legend: boolean;
  /** What was left out because there was too much. */
  note: string;
}

export type Chart = Common & (
  | { kind: "xy"; mark: Mark; horizontal: boolean; stack: Stack; x: "time" | "number" | "category"; categories: string[];
      series: Series[]; split: "none" | "axes" | "panels"; axes: Axes }
  | { kind: "pie"; slices: { name: string; value: number }[] }
  | { kind: "card"; cards: { name: string; value: string }[] }
  | { kind: "treemap"; nodes: Node[] }
  | { kind: "ladder"; lanes: string[]; time: boolean; spans: { lane: number; from: number; to: number; name: string }[]; axes: Axes }
  | { kind: "map"; points: { name: string; lon: number; lat: number; value: number }[] }
  | { kind: "pivot" }
  | { kind: "plotly"; figure: Json }
  | { kind: "none"; why: string });

export interface Node {
  name: string;
  value: number;
  children?: Node[];
}

/** Series drawn at most; `MAX_POINTS` points over all of them. */
export const MAX_SERIES = 100;
export const MAX_POINTS = 500_000;
const MAX_SLICES = 60;
const MAX_CATEGORIES = 2000;

/** Every visualization that people can choose by hand. */
export const KINDS: { value: string; text: string }[] = [
  { value: "timechart", text: "Time chart" }, { value: "linechart", text: "Line chart" },
  { value: "columnchart", text: "Column chart" }, { value: "barchart", text: "Bar chart" },
  { value: "areachart", text: "Area chart" }, { value: "stackedareachart", text: "Stacked area chart" },
  { value: "scatterchart", text: "Scatter chart" }, { value: "piechart", text: "Pie chart" },
  { value: "card", text: "Card" }, { value: "treemap", text: "Treemap" }, { value: "ladderchart", text: "Ladder chart" },
  { value: "anomalychart", text: "Anomaly chart" }, { value: "pivotchart", text: "Pivot" }, { value: "plotly", text: "Plotly" },
];

export function isChart(visualization: Visualization | null): boolean {
  const kind = visualization?.Visualization?.toLowerCase();
  return Boolean(kind) && kind !== "table";
}

function list(value: string[] | string | null | undefined): string[] {
  if (!value) return [];
  return (Array.isArray(value) ? value : value.split(",")).map((item) => item.trim()).filter(Boolean);
}

function bound(value: number | string | null | undefined): number | null {
  if (value === null || value === undefined || value === "" || value === "NaN") return null;
  const number = typeof value === "number" ? value : Number(value);
  if (Number.isFinite(number)) return number;
  const time = Date.parse(String(value));
  return Number.isNaN(time) ? null : time;
}

/** Columns by name, whatever the case when nothing matches exactly. */
function named(table: Table, names: string[]): Column[] {
  return names.flatMap((name) => {
    const found = table.columns.find((column) => column.name === name)
      ?? table.columns.find((column) => column.name.toLowerCase() === name.toLowerCase());
    return found ? [found] : [];
  });
}

/** Whether a dynamic column's first values are arrays of numbers, as make-series makes them. */
function holdsArrays(column: Column, items: (item: Json) => boolean): boolean {
  if (column.type !== "dynamic") return false;
  for (let row = 0; row < Math.min(column.length, 20); row++) {
    const value = column.json(row);
    if (value === null) continue;
    return Array.isArray(value) && value.every((item) => item === null || items(item)) && value.length > 0;
  }
  return false;
}

const isTime = (item: Json): boolean => typeof item === "string" && !Number.isNaN(Date.parse(item)) && /^\d{4}-/.test(item);
const isFigure = (item: Json): boolean => typeof item === "number" || item === "NaN" || item === "Infinity" || item === "-Infinity";

function figure(item: Json | undefined): number | null {
  if (typeof item === "number") return item;
  if (typeof item === "boolean") return item ? 1 : 0;
  return null;
}

/** A place on the x axis. */
function place(item: Json | undefined): number {
  if (typeof item === "number") return item;
  if (typeof item !== "string") return NaN;
  const span = spanMillis(item);
  return Number.isNaN(span) ? Date.parse(item) : span;
}

export function chart(table: Table, asked: Visualization): Chart {
  const kind = (asked.Visualization ?? "").toLowerCase();
  const common: Common = { title: asked.Title ?? "", legend: (asked.Legend ?? "").toLowerCase() !== "hidden", note: "" };
  if (table.columns.length === 0 || table.rows === 0) return { ...common, kind: "none", why: "There are no rows to draw." };
  const way = (asked.Kind ?? "").toLowerCase();
  switch (kind) {
    case "card": return { ...common, kind: "card", cards: cards(table) };
    case "piechart": return way === "map" ? map(table, asked, common) : pie(table, asked, common);
    case "treemap": return treemap(table, common);
    case "ladderchart": case "timepivot": return ladder(table, asked, common);
    case "pivotchart": return { ...common, kind: "pivot" };
    case "plotly": return plotly(table, common);
    case "scatterchart": return way === "map" ? map(table, asked, common) : xy(table, asked, common, "scatter");
    case "columnchart": return xy(table, asked, common, "bar", way);
    case "barchart": return xy(table, asked, common, "bar", way, true);
    case "areachart": return xy(table, asked, common, "area", way);
    case "stackedareachart": return xy(table, asked, common, "area", way === "stacked100" ? way : "stacked");
    case "timechart": case "linechart": case "anomalychart": return xy(table, asked, common, "line");
    default: return { ...common, kind: "none", why: `The page draws no '${asked.Visualization}'.` };
  }
}

function cards(table: Table): { name: string; value: string }[] {
  return table.columns.slice(0, 24).map((column) => ({ name: column.name, value: column.text(0) }));
}

function pie(table: Table, asked: Visualization, common: Common): Chart {
  const [x] = named(table, list(asked.XColumn ?? null));
  const [y] = named(table, list(asked.YColumns));
  const label = x ?? table.columns.find((column) => column !== y && !isNumeric(column.type)) ?? table.columns[0]!;
  const value = y ?? table.columns.find((column) => column !== label && isNumeric(column.type));
  if (!value) return { ...common, kind: "none", why: "A pie chart needs a column of numbers beside its labels." };
  const sums = new Map<string, number>();
  for (let row = 0; row < table.rows; row++) {
    const number = value.number(row);
    if (Number.isNaN(number)) continue;
    const name = label.text(row) || "(empty)";
    sums.set(name, (sums.get(name) ?? 0) + number);
  }
  const slices = [...sums].map(([name, value]) => ({ name, value })).filter((slice) => slice.value > 0);
  let note = "";
  if (slices.length > MAX_SLICES) {
    const rest = slices.sort((a, b) => b.value - a.value).splice(MAX_SLICES);
    slices.push({ name: "(others)", value: rest.reduce((sum, slice) => sum + slice.value, 0) });
    note = `${rest.length} small slices are drawn as one.`;
  }
  return { ...common, kind: "pie", slices, note };
}

function treemap(table: Table, common: Common): Chart {
  const value = table.columns.findLast((column) => isNumeric(column.type));
  const steps = table.columns.filter((column) => column !== value);
  if (!value || steps.length === 0) return { ...common, kind: "none", why: "A treemap needs labels and a column of numbers." };
  const root: Node = { name: "", value: 0, children: [] };
  const known = new Map<string, Node>();
  for (let row = 0; row < Math.min(table.rows, 20_000); row++) {
    const number = value.number(row);
    if (!(number > 0)) continue;
    let [node, path] = [root, ""];
    for (const step of steps) {
      const name = step.text(row) || "(empty)";
      path += `\u0000${name}`;
      let next = known.get(path);
      if (!next) {
        next = { name, value: 0 };
        known.set(path, next);
        (node.children ??= []).push(next);
      }
      next.value += number;
      node = next;
    }
  }
  return { ...common, kind: "treemap", nodes: root.children ?? [] };
}

/** Bars from a start to an end: the last two columns of times or numbers, named by the others. */
function ladder(table: Table, asked: Visualization, common: Common): Chart {
  const measures = table.columns.filter((column) => column.type === "datetime" || isNumeric(column.type));
  const times = measures.filter((column) => column.type === "datetime");
  const [from, to] = times.length >= 2 ? times.slice(-2) : measures.slice(-2);
  if (!from || !to) return { ...common, kind: "none", why: "A ladder chart needs two columns: where a bar begins and ends." };
  const labels = table.columns.filter((column) => column !== from && column !== to);
  const lanes = new Map<string, number>();
  const spans: { lane: number; from: number; to: number; name: string }[] = [];
  for (let row = 0; row < Math.min(table.rows, MAX_CATEGORIES); row++) {
    const [start, end] = [from.number(row), to.number(row)];
    if (Number.isNaN(start) || Number.isNaN(end)) continue;
    const name = labels.map((column) => column.text(row)).join(", ") || String(row + 1);
    if (!lanes.has(name)) lanes.set(name, lanes.size);
    spans.push({ lane: lanes.get(name)!, from: Math.min(start, end), to: Math.max(start, end), name });
  }
  const note = table.rows > MAX_CATEGORIES ? `The first ${MAX_CATEGORIES} of ${table.rows} rows are drawn.` : "";
  return { ...common, kind: "ladder", lanes: [...lanes.keys()], time: from.type === "datetime", spans, axes: axes(asked, from.name, ""), note };
}

function map(table: Table, asked: Visualization, common: Common): Chart {
  const [x] = named(table, list(asked.XColumn ?? null));
  const [y] = named(table, list(asked.YColumns));
  const numbers = table.columns.filter((column) => isNumeric(column.type));
  const byName = (pattern: RegExp): Column | undefined => numbers.find((column) => pattern.test(column.name));
  const lon = x ?? byName(/^(lon|lng|long|longitude|x)$/i) ?? numbers[0];
  const lat = y ?? byName(/^(lat|latitude|y)$/i) ?? numbers.find((column) => column !== lon);
  const point = geoPoint(table);
  if (!point && (!lon || !lat)) {
    return { ...common, kind: "none", why: "A map needs columns of longitude and latitude, or one of GeoJSON points." };
  }
  const series = named(table, list(asked.Series));
  const labels = series.length ? series : table.columns.filter((column) => column.type === "string");
  const size = numbers.find((column) => column !== lon && column !== lat);
  const points: { name: string; lon: number; lat: number; value: number }[] = [];
  for (let row = 0; row < Math.min(table.rows, 100_000); row++) {
    const pair = point ? point(row) : [lon!.number(row), lat!.number(row)];
    if (!pair || !(Math.abs(pair[0]!) <= 180) || !(Math.abs(pair[1]!) <= 90)) continue;
    const value = point ? numbers[0]?.number(row) : size?.number(row);
    points.push({ name: labels.map((column) => column.text(row)).join(", "), lon: pair[0]!, lat: pair[1]!, value: value ?? NaN });
  }
  return { ...common, kind: "map", points };
}

function geoPoint(table: Table): ((row: number) => [number, number] | null) | null {
  const column = table.columns.find((column) => column.type === "dynamic");
  const read = (row: number): [number, number] | null => {
    const value = column!.json(row) as { type?: string; coordinates?: Json[] } | null;
    if (!value || value.type !== "Point" || !Array.isArray(value.coordinates)) return null;
    return [Number(value.coordinates[0]), Number(value.coordinates[1])];
  };
  return column && read(0) ? read : null;
}

function plotly(table: Table, common: Common): Chart {
  for (const column of table.columns) {
    let value = column.json(0);
    if (typeof value === "string") {
      try {
        value = JSON.parse(value) as Json;
      } catch {
        continue;
      }
    }
    if (value && typeof value === "object" && !Array.isArray(value) && "data" in value) {
      return { ...common, kind: "plotly", figure: value };
    }
  }
  return { ...common, kind: "none", why: "The result has no column with a Plotly figure (an object with 'data')." };
}

function axes(asked: Visualization, x: string, y: string): Axes {
  return {
    xTitle: asked.XTitle ?? x,
    yTitle: asked.YTitle ?? y,
    xLog: (asked.XAxis ?? "").toLowerCase() === "log",
    yLog: (asked.YAxis ?? "").toLowerCase() === "log",
    yMin: bound(asked.Ymin),
    yMax: bound(asked.Ymax),
    xMin: bound(asked.Xmin),
    xMax: bound(asked.Xmax),
  };
}

/** Which columns are what. */
function roles(table: Table, asked: Visualization): { x: Column; ys: Column[]; series: Column[]; anomalies: Column[] } | string {
  const kind = (asked.Visualization ?? "").toLowerCase();
  const anomalies = named(table, list(asked.AnomalyColumns));
  const askedSeries = named(table, list(asked.Series));
  const askedY = named(table, list(asked.YColumns));
  const taken = new Set([...askedSeries, ...askedY, ...anomalies]);
  const [askedX] = named(table, list(asked.XColumn ?? null));
  const free = table.columns.filter((column) => !taken.has(column));
  const timely = kind === "timechart" || kind === "anomalychart";
  const x = askedX
    ?? (timely ? free.find((column) => column.type === "datetime" || holdsArrays(column, isTime)) : undefined)
    ?? free.find((column) => holdsArrays(column, isTime))
    ?? free[0];
  if (!x) return "There is no column left for the x axis.";
  const arrays = holdsArrays(x, isTime) || holdsArrays(x, isFigure);
  const measures = (column: Column): boolean =>
    arrays ? holdsArrays(column, isFigure) : isNumeric(column.type) || (column.type === "dynamic" && holdsArrays(column, isFigure));
  const rest = table.columns.filter((column) => column !== x && !askedSeries.includes(column) && !anomalies.includes(column));
  const ys = askedY.length ? askedY : rest.filter(measures);
  if (ys.length === 0) return "There is no column of numbers for the y axis.";
  const series = askedSeries.length
    ? askedSeries
    : rest.filter((column) => !ys.includes(column) && (arrays ? column.type !== "dynamic" || !Array.isArray(column.json(0)) : ["string", "guid", "bool"].includes(column.type)));
  return { x, ys, series: askedY.length && !askedSeries.length && !arrays && kind !== "timechart" && kind !== "anomalychart" ? series.filter((column) => column.type === "string") : series, anomalies };
}

function xy(
  table: Table, asked: Visualization, common: Common, mark: Mark, way = "", horizontal = false,
): Chart {
  const found = roles(table, asked);
  if (typeof found === "string") return { ...common, kind: "none", why: found };
  const { x, ys, series: parts, anomalies } = found;
  const arrays = x.type === "dynamic" && Array.isArray(x.json(0));
  const time = x.type === "datetime" || (arrays && holdsArrays(x, isTime));
  const numeric = isNumeric(x.type) || x.type === "timespan" || (arrays && holdsArrays(x, isFigure));
  const type = mark === "bar" ? "category" : time ? "time" : numeric ? "number" : "category";
  const categories = new Map<string, number>();
  const series = new Map<string, Series>();
  let [points, dropped] = [0, 0];
  const of = (row: number, y: Column): Series | null => {
    const label = parts.map((column) => column.text(row) || "(empty)").join(", ");
    const name = parts.length === 0 ? y.name : ys.length > 1 ? `${label}: ${y.name}` : label;
    const key = `${y.name}\u0000${name}`;
    let mine = series.get(key);
    if (!mine) {
      if (series.size >= MAX_SERIES) return null;
      mine = { name, column: y.name, points: [], anomalies: [] };
      series.set(key, mine);
    }
    return mine;
  };
  const spot = (text: string): number => {
    let at = categories.get(text);
    if (at === undefined) categories.set(text, (at = categories.size));
    return at;
  };
  for (let row = 0; row < table.rows; row++) {
    if (points >= MAX_POINTS) {
      dropped += table.rows - row;
      break;
    }
    ys.forEach((y, at) => {
      const mine = of(row, y);
      if (!mine) {
        dropped++;
        return;
      }
      const flags = anomalies[at] ?? (at === 0 ? anomalies[0] : undefined);
      if (arrays) {
        const [places, values, marks] = [x.json(row), y.json(row), flags?.json(row)];
        if (!Array.isArray(places) || !Array.isArray(values)) return;
        places.forEach((item, index) => {
          const value = figure(values[index]);
          const where = type === "category" ? spot(String(item)) : place(item);
          mine.points.push([where, value]);
          if (Array.isArray(marks) && figure(marks[index]) && value !== null) mine.anomalies.push([where, value]);
        });
        points += places.length;
        return;
      }
      const where = type === "category" ? spot(x.text(row) || (x.isNull(row) ? "(null)" : "(empty)")) : x.number(row);
      if (Number.isNaN(where)) return;
      const value = y.number(row);
      mine.points.push([where, Number.isFinite(value) ? value : null]);
      if (flags && flags.number(row) && Number.isFinite(value)) mine.anomalies.push([where, value]);
      points++;
    });
  }
  let names = [...categories.keys()];
  if (mark === "bar" && time) names = inOrder(names, series);
  const notes: string[] = [];
  if (dropped) notes.push(`Only ${series.size} series and ${points} points are drawn; summarize further to see all.`);
  if (type === "category" && names.length > MAX_CATEGORIES) {
    notes.push(`Only the first ${MAX_CATEGORIES} of ${names.length} values of ${x.name} are drawn.`);
    names = names.slice(0, MAX_CATEGORIES);
    for (const one of series.values()) one.points = one.points.filter(([at]) => at < MAX_CATEGORIES);
  }
  if (type !== "category" && mark !== "scatter") {
    for (const one of series.values()) one.points.sort((a, b) => a[0] - b[0]);
  }
  if (asked.Accumulate) for (const one of series.values()) accumulate(one);
  const split = (asked.YSplit ?? "").toLowerCase();
  const stack: Stack = way === "stacked" || way === "stacked100" ? way : "none";
  return {
    ...common, kind: "xy", mark, horizontal, stack, x: type, categories: names, series: [...series.values()],
    split: split === "axes" || split === "panels" ? split : "none",
    axes: axes(asked, x.name, ys.length === 1 ? ys[0]!.name : ""),
    note: notes.join(" "),
  };
}

/** Times as categories stand in order, and lose what all of them share. */
function inOrder(names: string[], series: Map<string, Series>): string[] {
  const order = names.map((_, at) => at).sort((a, b) => Date.parse(names[a]!) - Date.parse(names[b]!));
  const moved = new Map(order.map((old, at) => [old, at]));
  for (const one of series.values()) one.points = one.points.map(([at, value]) => [moved.get(at) ?? at, value]);
  const sorted = order.map((old) => names[old]!);
  const midnight = sorted.every((name) => name.endsWith("T00:00:00Z") || !name.endsWith("Z"));
  return sorted.map((name) => (midnight ? name.slice(0, 10) : name.replace("T", " ").replace(/(:00)?Z$/, "")));
}

function accumulate(series: Series): void {
  let sum = 0;
  series.points = series.points.map(([at, value]) => [at, (sum += value ?? 0)]);
}
