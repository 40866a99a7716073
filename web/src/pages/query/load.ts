// Loading data from files: dropped or chosen, into a table that is there or one that is made for them.

import { call, Fault } from "../../api/fetch";
import { tablesOf } from "../../api/command";
import { announce, button, dialog, h, replace, select } from "../../parts/dom";
import { bytes, count } from "../../lib/text";

const FORMATS = ["csv", "tsv", "psv", "json", "multijson", "parquet", "avro", "orc", "txt", "raw", "w3clogfile"];
const BY_ENDING: Record<string, string> = {
  csv: "csv", tsv: "tsv", psv: "psv", json: "multijson", jsonl: "json", ndjson: "json", parquet: "parquet", avro: "avro", orc: "orc",
  txt: "txt", log: "txt",
};

interface Target {
  databases: string[];
  database: string;
  table: string | null;
  /** Tables of a database. */
  tables: (database: string) => string[];
  loaded: (database: string, table: string) => void;
}

function formatOf(file: File): string {
  const ending = file.name.toLowerCase().replace(/\.(gz|zst)$/, "").split(".").at(-1) ?? "";
  return BY_ENDING[ending] ?? "csv";
}

/** A name for the table that a file makes. */
export function tableName(file: string): string {
  const stem = file.replace(/(\.(csv|tsv|psv|json|jsonl|ndjson|parquet|avro|orc|txt|log|gz|zst))+$/i, "");
  return stem.replace(/[^A-Za-z0-9_]+/g, "_").replace(/^(?=\d)/, "T").replace(/^_+|_+$/g, "") || "Data";
}

export function loadDialog(files: File[], target: Target): void {
  let chosen = files;
  const names = h("datalist", { attributes: { id: "load-tables" } });
  const list = (): void => replace(names, ...target.tables(database.value).map((table) => h("option", { attributes: { value: table } })));
  const database = select("Database", target.databases.map((value) => ({ value, text: value })), target.database, list);
  const table = h("input", { attributes: { "aria-label": "Table", list: "load-tables", required: true } });
  table.value = target.table ?? (files[0] ? tableName(files[0].name) : "");
  const format = select("Format", FORMATS.map((value) => ({ value, text: value })), files[0] ? formatOf(files[0]) : "csv", () => undefined);
  const header = select("First line", [
    { value: "auto", text: "names of columns when it looks so" }, { value: "true", text: "names of columns" }, { value: "false", text: "data" },
  ], "auto", () => undefined);
  const told = h("div", { class: "load-list", attributes: { role: "status" } });
  const input = h("input", {
    attributes: { type: "file", multiple: true, "aria-label": "Files" },
    on: {
      change: () => {
        chosen = [...(input.files ?? [])];
        if (chosen[0]) {
          format.value = formatOf(chosen[0]);
          if (!target.table) table.value = tableName(chosen[0].name);
        }
        show();
      },
    },
  });
  const show = (): void =>
    replace(told, ...chosen.map((file) => h("p", { text: `${file.name}, ${bytes(file.size)}` })));
  const go = h("button", { text: "Load", class: "primary", attributes: { type: "submit" } });
  const form = h("form", {
    class: "fields",
    on: {
      submit: (event) => {
        event.preventDefault();
        void start();
      },
    },
  },
  h("label", {}, "Database", database), h("label", {}, "Table", table), names, h("label", {}, "Format", format),
  h("label", {}, "First line", header), h("label", {}, "Files", input), told, h("div", { class: "row" }, go));
  const box = dialog("Load data", form);
  list();
  show();

  async function start(): Promise<void> {
    if (chosen.length === 0) {
      replace(told, h("p", { class: "fault", text: "Choose a file first." }));
      return;
    }
    go.disabled = true;
    const lines = chosen.map((file) => h("p", { text: `${file.name}: waiting` }));
    replace(told, ...lines);
    let good = 0;
    for (const [at, file] of chosen.entries()) {
      const line = lines[at]!;
      try {
        line.textContent = `${file.name}: loading ${bytes(file.size)}…`;
        const outcome = await load(database.value, table.value.trim(), format.value, header.value, file);
        line.textContent = `${file.name}: ${count(outcome.rows)} rows${outcome.rejected ? `, ${count(outcome.rejected)} values did not fit their column and are null` : ""}`;
        line.className = outcome.rejected ? "fault partial" : "good";
        good++;
      } catch (error) {
        line.textContent = `${file.name}: ${error instanceof Error ? error.message : String(error)}`;
        line.className = "fault";
      }
    }
    go.disabled = false;
    if (good > 0) {
      target.loaded(database.value, table.value.trim());
      announce(`${good} of ${chosen.length} files loaded into ${table.value.trim()}.`);
      go.replaceWith(button("Done", () => box.close(), { class: "primary" }));
    }
  }
}

async function load(
  database: string, table: string, format: string, header: string, file: File,
): Promise<{ rows: number; rejected: number }> {
  if (!table) throw new Fault("The table needs a name.", 400);
  const asked = new URLSearchParams({ streamFormat: format, createTable: "true" });
  if (["csv", "tsv", "psv"].includes(format)) asked.set("ignoreFirstRecord", header);
  const place = `/v1/rest/ingest/${encodeURIComponent(database)}/${encodeURIComponent(table)}`;
  const response = await call(`${place}?${asked}`, {
    method: "POST", body: file,
    headers: { "content-type": "application/octet-stream", ...(file.name.toLowerCase().endsWith(".gz") ? { "content-encoding": "gzip" } : {}) },
  });
  const rejected = Number(response.headers.get("x-tidewater-rejected-values") ?? 0);
  const [answer] = tablesOf(await response.text());
  return { rows: answer && answer.rows > 0 ? answer.columns[0]!.number(0) : 0, rejected };
}

