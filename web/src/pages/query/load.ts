// Loading data from files: dropped or chosen, into a table that is there or one that is made for them. The columns of a new
// table are what the first file suggests, and can be changed before anything is loaded.

import { Fault } from "../../api/fetch";
import { command, tablesOf } from "../../api/command";
import { preview, send, type Preview } from "../../api/page";
import { announce, button, dialog, h, replace, select } from "../../parts/dom";
import { bytes, count, literal, name as quoted } from "../../lib/text";

const FORMATS = ["csv", "tsv", "psv", "json", "multijson", "parquet", "avro", "orc", "txt", "raw", "w3clogfile"];
const DELIMITED = ["csv", "tsv", "psv"];
const TYPES = ["string", "long", "int", "real", "decimal", "bool", "datetime", "timespan", "guid", "dynamic"];
const BY_ENDING: Record<string, string> = {
  csv: "csv", tsv: "tsv", psv: "psv", json: "multijson", jsonl: "json", ndjson: "json", parquet: "parquet", avro: "avro", orc: "orc",
  txt: "txt", log: "txt",
};
/** Bytes of a file's beginning that tell its columns. */
const HEAD_BYTES = 1 << 20;
/** Formats that cannot be read from their beginning are sent whole, up to this size. */
const WHOLE_BYTES = 32 << 20;
/** The mapping by which columns that were renamed or left out find their values. */
const MAPPING = "tidewater_page";

interface Target {
  databases: string[];
  database: string;
  table: string | null;
  /** Tables of a database. */
  tables: (database: string) => string[];
  loaded: (database: string, table: string) => void;
}

/** A column of the table that is to be made. */
interface Column {
  /** What the file calls it. */
  source: string;
  name: string;
  type: string;
  taken: boolean;
}

function formatOf(file: File): string {
  const ending = file.name.toLowerCase().replace(/\.(gz|zst)$/, "").split(".").at(-1) ?? "";
  return BY_ENDING[ending] ?? "csv";
}

function isPacked(file: File): boolean {
  return file.name.toLowerCase().endsWith(".gz");
}

/** A name for the table that a file makes. */
export function tableName(file: string): string {
  const stem = file.replace(/(\.(csv|tsv|psv|json|jsonl|ndjson|parquet|avro|orc|txt|log|gz|zst))+$/i, "");
  return stem.replace(/[^A-Za-z0-9_]+/g, "_").replace(/^(?=\d)/, "T").replace(/^_+|_+$/g, "") || "Data";
}

/** As much of a file as tells its columns; null when that is too much. Text ends with a whole line. */
async function head(file: File, format: string): Promise<{ body: Blob; packed: boolean } | null> {
  const lines = [...DELIMITED, "json", "txt", "raw", "w3clogfile"].includes(format);
  if (!lines) return file.size <= WHOLE_BYTES ? { body: file, packed: isPacked(file) } : null;
  if (file.size <= HEAD_BYTES) return { body: file, packed: isPacked(file) };
  const stream = isPacked(file) ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
  const reader = stream.getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  while (size < HEAD_BYTES) {
    const { done, value } = await reader.read();
    if (done) return { body: new Blob(parts), packed: false };
    parts.push(value as Uint8Array<ArrayBuffer>);
    size += value.length;
  }
  await reader.cancel();
  const all = new Uint8Array(await new Blob(parts).arrayBuffer());
  const end = all.lastIndexOf(10);
  return { body: new Blob([all.subarray(0, end < 0 ? all.length : end + 1)]), packed: false };
}

export function loadDialog(files: File[], target: Target): void {
  let chosen = files;
  let columns: Column[] | null = null;
  let found: Preview | null = null;
  let looks = 0;
  /** The table that this dialog has made, and how it is loaded: a second try finds it there. */
  let made: { name: string; mapping: string | null } | null = null;
  const stop = new AbortController();
  const names = h("datalist", { attributes: { id: "load-tables" } });
  const list = (): void => replace(names, ...target.tables(database.value).map((table) => h("option", { attributes: { value: table } })));
  const isNew = (): boolean => !target.tables(database.value).includes(table.value.trim());
  const database = select("Database", target.databases.map((value) => ({ value, text: value })), target.database, () => {
    made = null;
    list();
    void look();
  });
  const table = h("input", { attributes: { "aria-label": "Table", list: "load-tables", required: true }, on: { change: () => draw() } });
  table.value = target.table ?? (files[0] ? tableName(files[0].name) : "");
  const format = select("Format", FORMATS.map((value) => ({ value, text: value })), files[0] ? formatOf(files[0]) : "csv", () => void look());
  const header = select("First line", [
    { value: "auto", text: "names of columns when it looks so" }, { value: "true", text: "names of columns" }, { value: "false", text: "data" },
  ], "auto", () => void look());
  const told = h("div", { class: "load-list", attributes: { role: "status" } });
  const schema = h("div", { class: "load-columns" });
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
        void look();
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
  h("label", {}, "First line", header), h("label", {}, "Files", input), schema, told, h("div", { class: "row" }, go));
  const box = dialog("Load data", form);
  box.classList.add("wide");
  box.addEventListener("close", () => stop.abort());
  list();
  show();
  void look();

  /** Asks what the first file looks like. */
  async function look(): Promise<void> {
    const round = ++looks;
    const first = chosen[0];
    columns = found = null;
    draw();
    if (!first) return;
    try {
      const part = await head(first, format.value);
      if (!part) return;
      const seen = await preview(database.value, format.value, header.value, part.body, part.packed);
      if (round !== looks) return;
      found = seen;
      columns = seen.columns.map((column) => ({ source: column.name, name: column.name, type: column.type, taken: true }));
      draw();
    } catch (error) {
      // Loading tells what is wrong with it, if it still is.
      if (round === looks) replace(schema, h("p", { class: "hint", text: error instanceof Error ? error.message : String(error) }));
    }
  }

  /** The columns and the first rows; of a table that is there they are only shown. */
  function draw(): void {
    if (!columns || !found) {
      replace(schema);
      return;
    }
    const fixed = !isNew();
    const preview = found;
    const line = (column: Column, at: number): HTMLElement => {
      const name = h("input", { attributes: { "aria-label": `Name of column ${at + 1}`, maxlength: 1024, readonly: fixed }, on: { change: () => (column.name = name.value.trim()) } });
      name.value = column.name;
      const type = select(`Type of column ${at + 1}`, TYPES.map((value) => ({ value, text: value })), column.type, (value) => (column.type = value));
      const taken = h("input", { attributes: { type: "checkbox", "aria-label": `Load column ${at + 1}` }, on: { change: () => (column.taken = taken.checked) } });
      taken.checked = column.taken;
      type.disabled = taken.disabled = fixed;
      const values = preview.rows.map((row) => row[at]).map((value) => (value === null || value === undefined ? "null" : value));
      return h("tr", {}, h("td", {}, taken), h("td", {}, name), h("td", {}, type), h("td", { class: "load-values", text: values.join("  ·  ").slice(0, 200), title: values.join("\n") }));
    };
    replace(schema,
      h("h3", { text: fixed ? "What the file holds" : "Columns of the new table" }),
      h("div", { class: "load-scroll", attributes: { tabindex: 0, role: "region", "aria-label": "Columns" } }, h("table", { class: "list" },
        h("thead", {}, h("tr", {}, ...["Load", "Name", "Type", "First values"].map((text) => h("th", { text, attributes: { scope: "col" } })))),
        h("tbody", {}, ...columns.map(line)))));
  }

  /** Makes the table that was asked for. Gives the mapping by which it is loaded, if it needs one. */
  async function make(name: string): Promise<string | null> {
    const taken = columns!.filter((column) => column.taken);
    if (taken.length === 0) throw new Fault("Choose at least one column.", 400);
    const twice = taken.find((column, at) => !column.name || taken.findIndex((other) => other.name === column.name) !== at);
    if (twice) throw new Fault(twice.name ? `Two columns are called ${twice.name}.` : "A column has no name.", 400);
    await command(database.value, `.create table ${quoted(name)} (${taken.map((column) => `${quoted(column.name)}:${column.type}`).join(", ")})`);
    const all = columns!;
    const delimited = DELIMITED.includes(format.value);
    const renamed = taken.some((column) => column.name !== column.source);
    // By position nothing but what is left out changes; by name also what is called otherwise.
    if (delimited ? taken.length === all.length : taken.length === all.length && !renamed) return null;
    const kind = delimited ? "csv" : format.value === "multijson" ? "json" : format.value;
    if (!["csv", "json", "parquet"].includes(kind)) {
      if (renamed) throw new Fault(`Columns of ${format.value} keep their names: change them in the table afterwards.`, 400);
      return null;
    }
    const mapping = taken.map((column) => ({
      Column: column.name,
      Properties: delimited ? { Ordinal: String(all.indexOf(column)) } : { Path: `$[${JSON.stringify(column.source).replace(/^"|"$/g, "'")}]` },
    }));
    await command(database.value, `.create-or-alter table ${quoted(name)} ingestion ${kind} mapping ${literal(MAPPING)} ${literal(JSON.stringify(mapping))}`);
    return MAPPING;
  }

  async function start(): Promise<void> {
    if (chosen.length === 0) {
      replace(told, h("p", { class: "fault", text: "Choose a file first." }));
      return;
    }
    go.disabled = true;
    const name = table.value.trim();
    const lines = chosen.map((file) => h("div", { class: "load-file" }, h("p", { text: `${file.name}: waiting` })));
    replace(told, ...lines);
    let [good, first]: [number, string] = [0, header.value];
    try {
      if (!name) throw new Fault("The table needs a name.", 400);
      if (columns && isNew() && made?.name !== name) {
        made = { name, mapping: await make(name) };
        target.loaded(database.value, name);
      }
      if (made?.name === name && found && chosen.length === 1 && DELIMITED.includes(format.value)) first = String(found.hasHeader);
    } catch (error) {
      replace(told, h("p", { class: "fault", text: error instanceof Error ? error.message : String(error) }));
      go.disabled = false;
      return;
    }
    for (const [at, file] of chosen.entries()) {
      const line = lines[at]!;
      const bar = h("progress", { attributes: { max: 1, value: 0, "aria-label": `Sent of ${file.name}` } });
      const text = h("p", { text: `${file.name}: sending ${bytes(file.size)}…` });
      replace(line, text, bar);
      try {
        const outcome = await load(database.value, name, format.value, first, made?.name === name ? made.mapping : null, file, (share) => {
          bar.value = share;
          text.textContent = share < 1 ? `${file.name}: sent ${bytes(file.size * share)} of ${bytes(file.size)}` : `${file.name}: the server reads it…`;
        }, stop.signal);
        const rows = `${file.name}: ${count(outcome.rows)} rows`;
        if (outcome.rejected === 0) replace(line, h("p", { class: "good", text: rows }));
        else {
          replace(line, h("p", { class: "fault partial", text: `${rows}, ${count(outcome.rejected)} values did not fit their column and are null` }),
            h("details", { class: "rejected" }, h("summary", { text: outcome.rejected > outcome.samples.length ? "The first of them" : "Which" }),
              h("ul", {}, ...outcome.samples.map((sample) => h("li", { text: sample })))));
        }
        good++;
      } catch (error) {
        replace(line, h("p", { class: "fault", text: `${file.name}: ${error instanceof Error ? error.message : String(error)}` }));
      }
    }
    go.disabled = false;
    if (good > 0) {
      target.loaded(database.value, name);
      announce(`${good} of ${chosen.length} files loaded into ${name}.`);
      go.replaceWith(button("Done", () => box.close(), { class: "primary" }));
    }
  }
}

async function load(
  database: string, table: string, format: string, header: string, mapping: string | null, file: File, progress: (share: number) => void, signal: AbortSignal,
): Promise<{ rows: number; rejected: number; samples: string[] }> {
  const asked = new URLSearchParams({ streamFormat: format, createTable: "true", ...(mapping ? { mappingName: mapping } : {}) });
  if (DELIMITED.includes(format)) asked.set("ignoreFirstRecord", header);
  const place = `/v1/rest/ingest/${encodeURIComponent(database)}/${encodeURIComponent(table)}`;
  const answered = await send(`${place}?${asked}`, file, {
    "content-type": "application/octet-stream", ...(isPacked(file) ? { "content-encoding": "gzip" } : {}),
  }, progress, signal);
  const [answer] = tablesOf(answered.text);
  let samples: string[] = [];
  try {
    samples = JSON.parse(decodeURIComponent(answered.header("x-tidewater-rejected-samples") ?? "[]")) as string[];
  } catch {
    // A proxy has cut the header: the count is told all the same.
  }
  return { rows: answer && answer.rows > 0 ? answer.columns[0]!.number(0) : 0, rejected: Number(answered.header("x-tidewater-rejected-values") ?? 0), samples };
}
