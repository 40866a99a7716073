// What the databases hold: `.show schema as json` for names and types, other commands for figures.

import { records } from "./command";

export interface SchemaColumn {
  Name: string;
  Type: string;
  CslType: string;
  DocString?: string;
}

export interface SchemaEntity {
  Name: string;
  Folder?: string;
  DocString?: string;
  OrderedColumns?: SchemaColumn[];
}

export interface SchemaParameter {
  Name: string;
  CslType?: string;
  CslDefaultValue?: string;
  Columns?: SchemaColumn[];
}

export interface SchemaFunction {
  Name: string;
  Folder?: string;
  DocString?: string;
  Body?: string;
  InputParameters?: SchemaParameter[];
}

export interface Database {
  Name: string;
  PrettyName?: string;
  Tables?: Record<string, SchemaEntity>;
  ExternalTables?: Record<string, SchemaEntity>;
  MaterializedViews?: Record<string, SchemaEntity>;
  Functions?: Record<string, SchemaFunction>;
  Graphs?: Record<string, SchemaEntity>;
  EntityGroups?: Record<string, unknown>;
  StoredQueryResults?: Record<string, SchemaEntity>;
}

export interface Schema {
  Plugins: unknown[];
  Databases: Record<string, Database>;
}

export async function schema(): Promise<Schema> {
  const [row] = await records("", ".show schema as json");
  return JSON.parse(String(row?.DatabaseSchema ?? '{"Plugins":[],"Databases":{}}')) as Schema;
}

export interface Figures {
  rows: number;
  bytes: number;
}

/** Rows and bytes of each table of a database. */
export async function figures(database: string): Promise<Map<string, Figures>> {
  const rows = await records(database, ".show tables details");
  return new Map(rows.map((row) => [
    String(row.TableName), { rows: Number(row.TotalRowCount ?? 0), bytes: Number(row.TotalExtentSize ?? 0) },
  ]));
}

/** A function's parameters as its declaration writes them. */
export function parameters(entity: SchemaFunction): string {
  const written = (entity.InputParameters ?? []).map((parameter) => {
    if (parameter.Columns) {
      const columns = parameter.Columns.map((column) => `${column.Name}:${column.CslType}`);
      return `${parameter.Name}:(${columns.join(", ") || "*"})`;
    }
    const fallback = parameter.CslDefaultValue ? ` = ${parameter.CslDefaultValue}` : "";
    return `${parameter.Name}:${parameter.CslType ?? "dynamic"}${fallback}`;
  });
  return `(${written.join(", ")})`;
}
