// Results as files and for the clipboard.

import { jsonText, type Json, type Table } from "./columns";
import { Turn } from "./patience";

type Rows = Uint32Array<ArrayBuffer> | null;

/** Rows that fit the clipboard; more go into a file. */
export const MAX_COPIED = 50_000;
const ROWS_PER_PART = 2000;

async function parts(table: Table, rows: Rows, line: (row: number) => string, separator: string): Promise<string[]> {
  const total = rows?.length ?? table.rows;
  const turn = new Turn();
  const found: string[] = [];
  for (let start = 0; start < total; start += ROWS_PER_PART) {
    const end = Math.min(start + ROWS_PER_PART, total);
    const piece: string[] = [];
    for (let at = start; at < end; at++) piece.push(line(rows ? rows[at]! : at));
    found.push((start > 0 ? separator : "") + piece.join(separator));
    await turn.over();
  }
  return found;
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** RFC 4180, with a header. */
export async function csv(table: Table, rows: Rows): Promise<string[]> {
  const head = table.columns.map((column) => quoted(column.name)).join(",");
  const lines = await parts(table, rows, (row) => table.columns.map((column) => quoted(column.text(row))).join(","), "\r\n");
  return [head, "\r\n", ...lines, "\r\n"];
}

/** An array of objects; types as on the wire. */
export async function json(table: Table, rows: Rows): Promise<string[]> {
  const object = (row: number): string => {
    const members = table.columns.map((column) => `${JSON.stringify(column.name)}:${jsonText(column.json(row) as Json)}`);
    return `{${members.join(",")}}`;
  };
  return ["[\n", ...(await parts(table, rows, object, ",\n")), "\n]\n"];
}

/** For spreadsheets: line breaks and tabs inside values become spaces. */
export async function tsv(table: Table, rows: Rows): Promise<string> {
  const flat = (text: string): string => text.replace(/[\t\r\n]+/g, " ");
  const lines = await parts(table, rows, (row) => table.columns.map((column) => flat(column.text(row))).join("\t"), "\n");
  return [table.columns.map((column) => flat(column.name)).join("\t"), ...lines].join("\n");
}

/** Rows of a Markdown table at most. */
export const MAX_MARKDOWN = 1000;

export function markdown(table: Table, rows: Rows): string {
  const cell = (text: string): string =>
    text.replace(/[\\|`*_<>[\]]/g, "\\$&").replace(/\r?\n/g, "<br>") || " ";
  const total = rows?.length ?? table.rows;
  const lines = [
    `| ${table.columns.map((column) => cell(column.name)).join(" | ")} |`,
    `|${table.columns.map((column) => (Number.isNaN(column.number(0)) ? " --- |" : " ---: |")).join("")}`,
  ];
  for (let at = 0; at < Math.min(total, MAX_MARKDOWN); at++) {
    const row = rows ? rows[at]! : at;
    lines.push(`| ${table.columns.map((column) => cell(column.text(row))).join(" | ")} |`);
  }
  if (total > MAX_MARKDOWN) lines.push("", `${total - MAX_MARKDOWN} more rows are left out.`);
  return lines.join("\n");
}
