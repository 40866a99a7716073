// The pivot of a result: people choose rows, columns and what is counted.

import { h, replace, select } from "./dom";
import { isNumeric, type Table } from "../lib/columns";
import { count } from "../lib/text";

/** Rows and columns of the pivot that are shown. */
const MAX_SIDE = 200;
const TOTALS = ["sum", "count", "average", "least", "greatest"] as const;
type Total = (typeof TOTALS)[number];

export function pivot(table: Table): HTMLElement {
  const labels = table.columns.filter((column) => !isNumeric(column.type));
  const numbers = table.columns.filter((column) => isNumeric(column.type));
  const sides = (labels.length ? labels : table.columns).map((column) => column.name);
  const chosen = { row: sides[0]!, column: sides[1] ?? "", value: numbers[0]?.name ?? "", total: (numbers.length ? "sum" : "count") as Total };
  const place = h("div", { class: "pivot-table" });
  const all = table.columns.map((column) => ({ value: column.name, text: column.name }));
  const draw = (): void => replace(place, drawn(table, chosen));
  const choices = h("div", { class: "pivot-choices" },
    "Rows", select("Rows", all, chosen.row, (name) => { chosen.row = name; draw(); }),
    "Columns", select("Columns", [{ value: "", text: "(none)" }, ...all], chosen.column, (name) => { chosen.column = name; draw(); }),
    "Value", select("Value", [{ value: "", text: "(rows)" }, ...numbers.map((column) => ({ value: column.name, text: column.name }))], chosen.value,
      (name) => { chosen.value = name; draw(); }),
    "Total", select("Total", TOTALS.map((total) => ({ value: total, text: total })), chosen.total, (total) => { chosen.total = total as Total; draw(); }));
  draw();
  return h("div", { class: "pivot" }, choices, place);
}

function drawn(table: Table, chosen: { row: string; column: string; value: string; total: Total }): HTMLElement {
  const find = (name: string) => table.columns.find((column) => column.name === name);
  const [rows, columns, value] = [find(chosen.row)!, find(chosen.column), find(chosen.value)];
  const cells = new Map<string, Map<string, { sum: number; count: number; min: number; max: number }>>();
  const across = new Set<string>();
  for (let row = 0; row < table.rows; row++) {
    const [down, over] = [rows.text(row), columns ? columns.text(row) : ""];
    across.add(over);
    const line = cells.get(down) ?? new Map();
    cells.set(down, line);
    const cell = line.get(over) ?? { sum: 0, count: 0, min: Infinity, max: -Infinity };
    line.set(over, cell);
    const number = value ? value.number(row) : 1;
    if (Number.isNaN(number)) continue;
    cell.count++;
    cell.sum += number;
    cell.min = Math.min(cell.min, number);
    cell.max = Math.max(cell.max, number);
  }
  const show = (cell: { sum: number; count: number; min: number; max: number } | undefined): string => {
    if (!cell || cell.count === 0) return "";
    const figure = { sum: cell.sum, count: cell.count, average: cell.sum / cell.count, least: cell.min, greatest: cell.max }[chosen.total];
    return String(Number(figure.toPrecision(10)));
  };
  const heads = [...across].sort().slice(0, MAX_SIDE);
  const lines = [...cells].sort((a, b) => (a[0] < b[0] ? -1 : 1)).slice(0, MAX_SIDE);
  const left = Math.max(0, cells.size - MAX_SIDE) + Math.max(0, across.size - MAX_SIDE);
  return h("div", {},
    h("table", {},
      h("thead", {}, h("tr", {}, h("th", { text: chosen.row }), ...heads.map((name) => h("th", { text: columns ? name || "(empty)" : chosen.value || "rows" })))),
      h("tbody", {}, ...lines.map(([name, line]) =>
        h("tr", {}, h("th", { text: name || "(empty)" }), ...heads.map((head) => h("td", { text: show(line.get(head)) })))))),
    left ? h("p", { text: `${count(left)} more rows or columns are left out.` }) : null);
}
