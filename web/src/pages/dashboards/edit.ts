// The forms of dashboards: a tile, the parameters, pinning a query.

import { create, get, list, put } from "../../api/dashboards";
import { Fault } from "../../api/fetch";
import { announce, button, dialog, h, replace, select } from "../../parts/dom";
import { KINDS } from "../../lib/chart";
import { empty, FROM, isName, tile as newTile, TO, TYPES, type Content, type Parameter, type ParameterType, type Tile } from "../../lib/dashboard";

const VISUALS = [{ value: "", text: "As the query renders" }, { value: "table", text: "Rows" }, ...KINDS];

export function why(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function input(value: string, attributes: Record<string, string | boolean | number> = {}): HTMLInputElement {
  const element = h("input", { attributes });
  element.value = value;
  return element;
}

/** Asks for a tile's parts; `done` gets the changed tile. */
export function tileDialog(tile: Tile, databases: string[], own: string, done: (tile: Tile) => void): void {
  const title = input(tile.title, { maxlength: 200, required: true });
  const query = h("textarea", { attributes: { rows: 10, required: true, spellcheck: "false" } });
  query.value = tile.query;
  const database = select("Database", [{ value: "", text: `${own} (the dashboard's)` }, ...databases.filter((name) => name !== own).map((name) => ({ value: name, text: name }))], tile.database ?? "", () => undefined);
  const visual = select("Shown as", VISUALS, tile.visual, () => undefined);
  const box = dialog(tile.query ? "Edit tile" : "New tile", h("form", {
    class: "fields",
    on: {
      submit: (event) => {
        event.preventDefault();
        box.close();
        done({ ...tile, title: title.value.trim(), query: query.value.trim(), database: database.value || null, visual: visual.value });
      },
    },
  }, h("label", {}, "Title", title), h("label", {}, "Query", query),
  h("p", { class: "hint", text: `The time range is ${FROM} and ${TO} in a query; parameters have their own names.` }),
  h("label", {}, "Database", database), h("label", {}, "Shown as", visual),
  h("div", { class: "row" }, h("button", { text: "Apply", class: "primary", attributes: { type: "submit" } }))));
  box.classList.add("large");
}

/** Asks for the parameters and their defaults. */
export function parametersDialog(parameters: Parameter[], done: (parameters: Parameter[]) => void): void {
  const lines = h("div", { class: "fields" });
  const told = h("div", { attributes: { role: "alert" } });
  const rows: { name: HTMLInputElement; label: HTMLInputElement; type: HTMLSelectElement; value: HTMLInputElement; choices: HTMLInputElement; line: HTMLElement }[] = [];
  const add = (parameter: Parameter): void => {
    const row = {
      name: input(parameter.name, { required: true, "aria-label": "Name" }), label: input(parameter.label, { "aria-label": "Label" }),
      type: select("Type", TYPES.map((type) => ({ value: type, text: type })), parameter.type, () => undefined),
      value: input(parameter.value, { "aria-label": "Value" }), choices: input(parameter.choices.join(", "), { "aria-label": "Choices, separated by commas", placeholder: "choices: a, b, c" }),
      line: h("div", { class: "parameter-line" }),
    };
    row.line.append(row.name, row.label, row.type, row.value, row.choices, button(`Remove ${parameter.name || "this parameter"}`, () => {
      rows.splice(rows.indexOf(row), 1);
      row.line.remove();
    }, { sign: "✕", class: "quiet" }));
    rows.push(row);
    lines.append(row.line);
  };
  parameters.forEach(add);
  const box = dialog("Parameters", h("form", {
    class: "fields",
    on: {
      submit: (event) => {
        event.preventDefault();
        const wrong = rows.find((row, at) => !isName(row.name.value.trim()) || rows.findIndex((other) => other.name.value.trim() === row.name.value.trim()) !== at);
        if (wrong) {
          replace(told, h("p", { class: "fault", text: "Names are letters, digits and underscores, and each is there once." }));
          wrong.name.focus();
          return;
        }
        box.close();
        done(rows.map((row) => ({
          name: row.name.value.trim(), label: row.label.value.trim() || row.name.value.trim(), type: row.type.value as ParameterType, value: row.value.value,
          choices: row.choices.value.split(",").map((choice) => choice.trim()).filter(Boolean),
        })));
      },
    },
  }, h("p", { class: "hint", text: "Queries use a parameter by its name: | where origin == city" }), lines, told, h("div", { class: "row" },
    button("Add parameter", () => {
      add({ name: "", label: "", type: "string", value: "", choices: [] });
      rows.at(-1)!.name.focus();
    }), h("button", { text: "Apply", class: "primary", attributes: { type: "submit" } }))));
  box.classList.add("large");
}

/** Times that a pin is tried when others save the same dashboard. */
const TRIES = 4;

/** Asks which dashboard of a database a query becomes a tile of. */
export async function pinDialog(database: string, query: string, visual: string): Promise<void> {
  const told = h("div", { attributes: { role: "alert" } });
  const place = h("div", {}, h("p", { class: "hint", text: "Looking for dashboards…" }));
  const box = dialog("Pin to a dashboard", place, told);
  const failed = (error: unknown): void => replace(told, h("p", { class: "fault", text: why(error) }));
  try {
    const { dashboards, mayCreate } = await list(database);
    if (!mayCreate) throw new Error(`You may look at dashboards of ${database}, but not change them.`);
    const which = select("Dashboard", [...dashboards.map((one) => ({ value: one.id, text: one.title })), { value: "", text: "A new dashboard" }], dashboards[0]?.id ?? "", () => named());
    const name = input("", { maxlength: 200 });
    const label = h("label", {}, "Name of the dashboard", name);
    const title = input("", { maxlength: 200, required: true });
    const named = (): void => {
      label.hidden = which.value !== "";
      name.required = which.value === "";
    };
    named();
    replace(place, h("form", {
      class: "fields",
      on: {
        submit: (event) => {
          event.preventDefault();
          pin(which.value, name.value.trim(), newTile(title.value.trim(), query, null, visual)).then(() => {
            box.close();
            announce("Pinned.");
          }).catch(failed);
        },
      },
    }, h("label", {}, "Dashboard", which), label, h("label", {}, "Title of the tile", title),
    h("div", { class: "row" }, h("button", { text: "Pin", class: "primary", attributes: { type: "submit" } }))));
    (which.value === "" ? name : title).focus();
  } catch (error) {
    replace(place);
    failed(error);
  }

  async function pin(id: string, name: string, tile: Tile): Promise<void> {
    if (id === "") {
      await create(database, { ...empty(name), tiles: [tile] });
      return;
    }
    for (let tries = 1; ; tries++) {
      const known = await get(database, id);
      try {
        const content: Content = { ...known.content, tiles: [...known.content.tiles, tile] };
        await put(database, id, known.version, content);
        return;
      } catch (error) {
        // A tile more does not touch what somebody else has just saved.
        if (!(error instanceof Fault && error.status === 412) || tries === TRIES) throw error;
      }
    }
  }
}
