// Management commands: POST /v1/rest/mgmt, answered by one table (version 1).

import { call, requestId } from "./fetch";
import { exactNumbers, Table, type Json } from "../lib/columns";

interface V1 {
  Tables: { TableName: string; Columns: { ColumnName: string; ColumnType?: string }[]; Rows: Json[] }[];
}

/** The tables of an answer; a command gives one, a command with a query behind it four. */
export function tablesOf(text: string): Table[] {
  const answer = JSON.parse(exactNumbers(text)) as V1;
  const contents = answer.Tables.length >= 3 ? answer.Tables.at(-1)! : null;
  return answer.Tables.flatMap((item, at) => {
    if (contents && (at === answer.Tables.length - 1 || (contents.Rows[at] as Json[])?.[1] !== "QueryResult")) return [];
    const table = new Table(at, item.TableName, item.Columns);
    table.append(item.Rows);
    return [table];
  });
}

export async function command(database: string, text: string, signal?: AbortSignal, id = requestId()): Promise<Table[]> {
  const response = await call("/v1/rest/mgmt", {
    method: "POST",
    body: JSON.stringify({ db: database, csl: text }),
    headers: { "content-type": "application/json", "x-ms-client-request-id": id },
    ...(signal ? { signal } : {}),
  });
  return tablesOf(await response.text());
}

/** The rows of a command as objects, for the page's own use. */
export async function records(database: string, text: string): Promise<Record<string, Json>[]> {
  const [table] = await command(database, text);
  if (!table) return [];
  const rows: Record<string, Json>[] = [];
  for (let row = 0; row < table.rows; row++) {
    rows.push(Object.fromEntries(table.columns.map((column) => [column.name, column.json(row)])));
  }
  return rows;
}
