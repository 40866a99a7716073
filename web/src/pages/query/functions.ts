// Stored functions: made and changed in a form, by `.create-or-alter function`.

import { command } from "../../api/command";
import { parameters, type SchemaFunction } from "../../api/schema";
import { announce, dialog, h, replace } from "../../parts/dom";
import { literal, name } from "../../lib/text";

export function functionDialog(database: string, entity: SchemaFunction | null, saved: () => void): void {
  const text = (value: string, label: string, attributes: Record<string, string | boolean> = {}): HTMLInputElement => {
    const input = h("input", { attributes: { "aria-label": label, ...attributes } });
    input.value = value;
    return input;
  };
  const named = text(entity?.Name ?? "", "Name", { required: true, ...(entity ? { readonly: true } : {}) });
  const taken = text(entity ? parameters(entity) : "()", "Parameters");
  const folder = text(entity?.Folder ?? "", "Folder");
  const docs = text(entity?.DocString ?? "", "Description");
  const body = h("textarea", { attributes: { "aria-label": "Body", rows: 12, spellcheck: "false", required: true } });
  body.value = (entity?.Body ?? "{\n    \n}").trim();
  const told = h("div", { attributes: { role: "alert" } });
  const form = h("form", {
    class: "fields",
    on: {
      submit: (event) => {
        event.preventDefault();
        void save();
      },
    },
  },
  h("label", {}, "Name", named), h("label", {}, "Parameters", taken), h("label", {}, "Folder", folder), h("label", {}, "Description", docs),
  h("label", {}, "Body", body), told, h("div", { class: "row" }, h("button", { text: "Save", class: "primary", attributes: { type: "submit" } })));
  const box = dialog(entity ? `Function ${entity.Name}` : `New function in ${database}`, form);

  async function save(): Promise<void> {
    const inside = body.value.trim();
    const whole = inside.startsWith("{") ? inside : `{\n${inside}\n}`;
    const list = taken.value.trim() || "()";
    try {
      await command(database,
        `.create-or-alter function with (folder=${literal(folder.value)}, docstring=${literal(docs.value)}) ${name(named.value.trim())}${list.startsWith("(") ? list : `(${list})`} ${whole}`);
    } catch (error) {
      replace(told, h("p", { class: "fault", text: error instanceof Error ? error.message : String(error) }));
      return;
    }
    box.close();
    announce(`Function ${named.value.trim()} saved.`);
    saved();
  }
}
