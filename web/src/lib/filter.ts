// Which rows of a table are shown, and what its columns hold: filters, search, statistics.

import { isNumeric, spanMillis, type Column, type Table } from "./columns";
import { Turn } from "./patience";
import { matches } from "./text";

export type Operator = "contains" | "lacks" | "equals" | "differs" | "atLeast" | "atMost" | "empty" | "filled";

export const OPERATORS: { value: Operator; text: string; needsValue: boolean }[] = [
  { value: "contains", text: "contains", needsValue: true },
  { value: "lacks", text: "does not contain", needsValue: true },
  { value: "equals", text: "is", needsValue: true },
  { value: "differs", text: "is not", needsValue: true },
  { value: "atLeast", text: "≥", needsValue: true },
  { value: "atMost", text: "≤", needsValue: true },
  { value: "empty", text: "is empty", needsValue: false },
  { value: "filled", text: "is not empty", needsValue: false },
];

export interface Filter {
  column: number;
  operator: Operator;
  value: string;
}

export function test(column: Column, filter: Filter): (row: number) => boolean {
  const value = filter.value;
  const bound = number(column, value);
  switch (filter.operator) {
    case "contains": return (row) => matches(column.text(row), value);
    case "lacks": return (row) => !matches(column.text(row), value);
    case "equals": return (row) => column.text(row) === value;
    case "differs": return (row) => column.text(row) !== value;
    case "atLeast": return Number.isNaN(bound) ? (row) => column.text(row) >= value : (row) => column.number(row) >= bound;
    case "atMost": return Number.isNaN(bound) ? (row) => column.text(row) <= value : (row) => column.number(row) <= bound;
    case "empty": return (row) => column.text(row) === "";
    case "filled": return (row) => column.text(row) !== "";
  }
}

function number(column: Column, text: string): number {
  if (isNumeric(column.type)) return Number(text);
  if (column.type === "timespan") return spanMillis(text);
  if (column.type !== "datetime") return NaN;
  // A time without a zone is UTC, as in KQL.
  return Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) || /^\d{4}-\d\d-\d\d$/.test(text) ? text : `${text}Z`);
}

/** The rows that all filters and the search let through; null is all of them. */
export async function shown(
  table: Table, filters: Filter[], search: string, check: () => void,
): Promise<Uint32Array<ArrayBuffer> | null> {
  if (filters.length === 0 && search === "") return null;
  const tests = filters.map((filter) => test(table.columns[filter.column]!, filter));
  const rows = new Uint32Array(table.rows);
  const turn = new Turn();
  let found = 0;
  for (let row = 0; row < rows.length; row++) {
    if (tests.every((holds) => holds(row)) && (search === "" || hit(table, row, search))) rows[found++] = row;
    if (row % 256 === 255) {
      await turn.over();
      check();
    }
  }
  return rows.slice(0, found);
}

function hit(table: Table, row: number, search: string): boolean {
  return table.columns.some((column) => matches(column.text(row), search));
}

export interface Statistics {
  rows: number;
  nulls: number;
  /** Different values, and whether there are more than were counted. */
  distinct: number;
  distinctMore: boolean;
  min: string;
  max: string;
  mean: number | null;
  sum: number | null;
  /** Most frequent values first. */
  top: { text: string; count: number }[];
}

/** Different values that are counted at most. */
const MAX_DISTINCT = 100_000;

export async function statistics(
  column: Column, rows: Uint32Array<ArrayBuffer> | null, check: () => void,
): Promise<Statistics> {
  const total = rows?.length ?? column.length;
  const counts = new Map<string, number>();
  let [nulls, sum, numbers, min, max, more] = [0, 0, 0, -1, -1, false];
  const turn = new Turn();
  for (let at = 0; at < total; at++) {
    const row = rows ? rows[at]! : at;
    if (column.isNull(row)) {
      nulls++;
    } else {
      const text = column.text(row);
      const known = counts.get(text);
      if (known !== undefined) counts.set(text, known + 1);
      else if (counts.size < MAX_DISTINCT) counts.set(text, 1);
      else more = true;
      if (min < 0 || column.compare(row, min) < 0) min = row;
      if (max < 0 || column.compare(row, max) > 0) max = row;
      const value = column.number(row);
      if (!Number.isNaN(value)) {
        sum += value;
        numbers++;
      }
    }
    if (at % 256 === 255) {
      await turn.over();
      check();
    }
  }
  const hasSum = isNumeric(column.type) && numbers > 0;
  return {
    rows: total,
    nulls,
    distinct: counts.size,
    distinctMore: more,
    min: min < 0 ? "" : column.text(min),
    max: max < 0 ? "" : column.text(max),
    mean: hasSum ? sum / numbers : null,
    sum: hasSum ? sum : null,
    top: [...counts].map(([text, count]) => ({ text, count })).sort((a, b) => b.count - a.count).slice(0, 8),
  };
}
