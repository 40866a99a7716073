// Columns of a result: what the grid, the charts and the exports read. Every type is kept in the smallest form that
// loses nothing, so that a million rows fit; rows are only appended.

export type KqlType =
  | "bool" | "int" | "long" | "real" | "decimal" | "string" | "datetime" | "timespan" | "guid" | "dynamic";

/** A value as the wire has it; `undefined` never occurs. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Marks an integer beyond 2^53 that `exactNumbers` has kept as text. */
export const BIG = "\u0001n:";

export interface Column {
  readonly name: string;
  readonly type: KqlType;
  /** Rows so far. */
  readonly length: number;
  push(value: Json): void;
  isNull(row: number): boolean;
  /** The value as people read it; a null is empty. */
  text(row: number): string;
  /** A number that orders rows as the values do, for types that have one; NaN is null. */
  number(row: number): number;
  /** The value for JSON, exact. */
  json(row: number): Json;
  compare(a: number, b: number): number;
}

abstract class Base {
  constructor(readonly name: string, readonly type: KqlType) {}
  abstract length: number;
  abstract isNull(row: number): boolean;
  abstract number(row: number): number;

  compare(a: number, b: number): number {
    const [x, y] = [this.number(a), this.number(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  }
}

/** Numbers with room to grow. */
class Numbers {
  values = new Float64Array(1024);
  length = 0;

  push(value: number): void {
    if (this.length === this.values.length) {
      const wider = new Float64Array(this.values.length * 2);
      wider.set(this.values);
      this.values = wider;
    }
    this.values[this.length++] = value;
  }
}

/** int, long, real: a real that is not a number is told from null by the sign of nothing, so it is kept beside. */
class NumberColumn extends Base implements Column {
  private readonly numbers = new Numbers();
  /** Exact texts of what a double cannot hold, by row: large longs, NaN of reals. */
  private readonly exact = new Map<number, string>();

  get length(): number {
    return this.numbers.length;
  }

  push(value: Json): void {
    if (typeof value === "number") {
      this.numbers.push(value);
    } else if (typeof value === "string") {
      const text = value.startsWith(BIG) ? value.slice(BIG.length) : value;
      this.exact.set(this.numbers.length, text);
      this.numbers.push(Number(text));
    } else {
      this.numbers.push(NaN);
    }
  }

  isNull(row: number): boolean {
    return Number.isNaN(this.numbers.values[row]) && !this.exact.has(row);
  }

  text(row: number): string {
    const exact = this.exact.get(row);
    if (exact !== undefined) return exact;
    const value = this.numbers.values[row]!;
    return Number.isNaN(value) ? "" : String(value);
  }

  number(row: number): number {
    return this.numbers.values[row]!;
  }

  json(row: number): Json {
    const exact = this.exact.get(row);
    if (exact !== undefined) return /^-?\d/.test(exact) ? BIG + exact : exact;
    const value = this.numbers.values[row]!;
    return Number.isNaN(value) ? null : value;
  }

  override compare(a: number, b: number): number {
    if (this.type !== "real") {
      const [x, y] = [this.exact.get(a), this.exact.get(b)];
      if (x !== undefined && y !== undefined) {
        const [m, n] = [BigInt(x), BigInt(y)];
        return m < n ? -1 : m > n ? 1 : 0;
      }
    }
    return super.compare(a, b);
  }
}

class BoolColumn extends Base implements Column {
  private bytes = new Uint8Array(1024);
  length = 0;

  push(value: Json): void {
    if (this.length === this.bytes.length) {
      const wider = new Uint8Array(this.bytes.length * 2);
      wider.set(this.bytes);
      this.bytes = wider;
    }
    this.bytes[this.length++] = value === null ? 2 : value ? 1 : 0;
  }

  isNull(row: number): boolean {
    return this.bytes[row] === 2;
  }

  text(row: number): string {
    return ["false", "true", ""][this.bytes[row]!]!;
  }

  number(row: number): number {
    return this.bytes[row] === 2 ? NaN : this.bytes[row]!;
  }

  json(row: number): Json {
    return this.bytes[row] === 2 ? null : this.bytes[row] === 1;
  }
}

/** Distinct texts up to which a column keeps each only once. */
const MAX_DICTIONARY = 20_000;

class TextColumn extends Base implements Column {
  private readonly texts: (string | null)[] = [];
  private seen: Map<string, string> | null = new Map();

  get length(): number {
    return this.texts.length;
  }

  push(value: Json): void {
    if (value === null) {
      this.texts.push(null);
      return;
    }
    let text = typeof value === "string" ? value : String(value);
    if (text.startsWith(BIG)) text = text.slice(BIG.length);
    if (this.seen) {
      const known = this.seen.get(text);
      if (known !== undefined) text = known;
      else if (this.seen.size < MAX_DICTIONARY) this.seen.set(text, text);
      else this.seen = null;
    }
    this.texts.push(text);
  }

  isNull(row: number): boolean {
    return this.texts[row] === null;
  }

  text(row: number): string {
    return this.texts[row] ?? "";
  }

  number(row: number): number {
    const text = this.texts[row];
    return this.type === "decimal" && text ? Number(text) : NaN;
  }

  json(row: number): Json {
    return this.texts[row] ?? null;
  }

  override compare(a: number, b: number): number {
    if (this.type === "decimal") return super.compare(a, b);
    const [x, y] = [this.texts[a]!, this.texts[b]!];
    return x < y ? -1 : x > y ? 1 : 0;
  }
}

const TIME = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,7}))?Z$/;

/** Milliseconds since 1970 and the ticks of 100 ns beyond them. */
class DateTimeColumn extends Base implements Column {
  private readonly millis = new Numbers();
  private readonly ticks = new Map<number, number>();

  get length(): number {
    return this.millis.length;
  }

  push(value: Json): void {
    const found = typeof value === "string" ? TIME.exec(value) : null;
    if (!found) {
      this.millis.push(NaN);
      return;
    }
    const fraction = (found[7] ?? "").padEnd(7, "0");
    // Date.parse takes the years before 1000 that Date.UTC would move.
    const millis = Date.parse(`${value!.toString().slice(0, 19)}.${fraction.slice(0, 3)}Z`);
    const ticks = Number(fraction.slice(3));
    if (ticks) this.ticks.set(this.millis.length, ticks);
    this.millis.push(millis);
  }

  isNull(row: number): boolean {
    return Number.isNaN(this.millis.values[row]);
  }

  text(row: number): string {
    const millis = this.millis.values[row]!;
    if (Number.isNaN(millis)) return "";
    const whole = new Date(millis).toISOString();
    const fraction = `${whole.slice(20, 23)}${String(this.ticks.get(row) ?? 0).padStart(4, "0")}`.replace(/0+$/, "");
    return `${whole.slice(0, 10)}T${whole.slice(11, 19)}${fraction ? "." + fraction : ""}Z`;
  }

  number(row: number): number {
    return this.millis.values[row]!;
  }

  json(row: number): Json {
    return this.isNull(row) ? null : this.text(row);
  }

  override compare(a: number, b: number): number {
    return super.compare(a, b) || (this.ticks.get(a) ?? 0) - (this.ticks.get(b) ?? 0);
  }
}

const SPAN = /^(-?)(?:(\d+)\.)?(\d{1,2}):(\d\d):(\d\d)(?:\.(\d{1,7}))?$/;

/** Milliseconds of a timespan's text; NaN when it is none. */
export function spanMillis(text: string): number {
  const found = SPAN.exec(text);
  if (!found) return NaN;
  const [, sign, days, hours, minutes, seconds, fraction] = found;
  const whole = ((Number(days ?? 0) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds);
  const millis = whole * 1000 + Number((fraction ?? "").padEnd(7, "0")) / 10_000;
  return sign ? -millis : millis;
}

class TimeSpanColumn extends TextColumn {
  override number(row: number): number {
    return this.isNull(row) ? NaN : spanMillis(this.text(row));
  }

  override compare(a: number, b: number): number {
    const [x, y] = [this.number(a), this.number(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  }
}

class DynamicColumn extends Base implements Column {
  private readonly values: Json[] = [];

  get length(): number {
    return this.values.length;
  }

  push(value: Json): void {
    this.values.push(value);
  }

  isNull(row: number): boolean {
    return this.values[row] === null;
  }

  text(row: number): string {
    const value = this.values[row]!;
    if (value === null) return "";
    return typeof value === "string" ? plain(value) : jsonText(value);
  }

  number(row: number): number {
    const value = this.values[row];
    return typeof value === "number" ? value : NaN;
  }

  json(row: number): Json {
    return this.values[row]!;
  }

  override compare(a: number, b: number): number {
    const numbers = super.compare(a, b);
    if (numbers) return numbers;
    const [x, y] = [this.text(a), this.text(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  }
}

function plain(text: string): string {
  return text.startsWith(BIG) ? text.slice(BIG.length) : text;
}

/** JSON text in which integers that were kept as text are numbers again. */
export function jsonText(value: Json, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(/"\\u0001n:(-?\d+)"/g, "$1");
}

/** Wraps integers too long for a double in strings that begin with `BIG`, so that JSON.parse keeps their digits. */
export function exactNumbers(text: string): string {
  return text.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, (token) =>
    token[0] === '"' || Number.isSafeInteger(Number(token)) ? token : `"\\u0001n:${token}"`);
}

export function column(name: string, type: string): Column {
  switch (type) {
    case "bool": return new BoolColumn(name, type);
    case "int": case "long": case "real": return new NumberColumn(name, type);
    case "datetime": return new DateTimeColumn(name, type);
    case "timespan": return new TimeSpanColumn(name, type);
    case "dynamic": return new DynamicColumn(name, type);
    case "guid": case "decimal": return new TextColumn(name, type);
    default: return new TextColumn(name, "string");
  }
}

export function isNumeric(type: KqlType): boolean {
  return type === "int" || type === "long" || type === "real" || type === "decimal";
}

/** What `render` asked for; members that were not set are absent or null. */
export interface Visualization {
  Visualization: string | null;
  Title?: string | null;
  XColumn?: string | null;
  Series?: string[] | string | null;
  YColumns?: string[] | string | null;
  AnomalyColumns?: string[] | string | null;
  XTitle?: string | null;
  YTitle?: string | null;
  XAxis?: string | null;
  YAxis?: string | null;
  Legend?: string | null;
  YSplit?: string | null;
  Accumulate?: boolean;
  Kind?: string | null;
  Ymin?: number | string | null;
  Ymax?: number | string | null;
  Xmin?: number | string | null;
  Xmax?: number | string | null;
}

/** One result: its columns and how it wants to be shown. */
export class Table {
  columns: Column[];
  rows = 0;
  visualization: Visualization | null = null;
  /** What ended the rows before their end. */
  failure: string | null = null;

  constructor(readonly id: number, readonly name: string, columns: { ColumnName: string; ColumnType?: string }[]) {
    this.columns = columns.map((item) => column(item.ColumnName, item.ColumnType ?? "string"));
  }

  append(rows: Json[]): void {
    const columns = this.columns;
    for (const row of rows) {
      // An object in a row's place tells of a failure; the reader of frames has seen it.
      if (!Array.isArray(row)) continue;
      for (let at = 0; at < columns.length; at++) columns[at]!.push(row[at] ?? null);
      this.rows++;
    }
  }
}
