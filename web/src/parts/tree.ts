// A dynamic value as a tree that opens step by step: large values cost only what is looked at.

import { h, button } from "./dom";
import { BIG, jsonText, type Json } from "../lib/columns";
import { count } from "../lib/text";

/** Items of an array or object that are shown before one asks for more. */
const STEP = 200;

export function tree(value: Json, open = 2): HTMLElement {
  return h("div", { class: "tree" }, node(null, value, open));
}

function node(name: string | null, value: Json, open: number): HTMLElement {
  const label = name === null ? [] : [h("span", { class: "tree-name", text: name }), ": "];
  if (value === null || typeof value !== "object") {
    return h("div", { class: "tree-leaf" }, ...label, leaf(value));
  }
  const entries: [string, Json][] = Array.isArray(value)
    ? value.map((item, at) => [String(at), item])
    : Object.entries(value);
  const size = `${count(entries.length)} ${entries.length === 1 ? "item" : "items"}`;
  const kind = Array.isArray(value) ? `[ ${size} ]` : `{ ${size} }`;
  const inside = h("div", { class: "tree-inside" });
  const element = h("details", {}, h("summary", {}, ...label, h("span", { class: "tree-kind", text: kind })), inside);
  let shown = 0;
  const more = (): void => {
    const part = entries.slice(shown, shown + STEP);
    shown += part.length;
    inside.append(...part.map(([key, item]) => node(key, item, open - 1)));
    if (shown < entries.length) {
      const next = button(`Show ${count(Math.min(STEP, entries.length - shown))} more`, () => {
        next.remove();
        more();
      }, { class: "quiet" });
      inside.append(next);
    }
  };
  element.addEventListener("toggle", () => {
    if (element.open && shown === 0) more();
  });
  if (open > 0) {
    element.open = true;
    more();
  }
  return element;
}

function leaf(value: null | boolean | number | string): HTMLElement {
  if (typeof value === "string" && !value.startsWith(BIG)) {
    return h("span", { class: "tree-string", text: value });
  }
  return h("span", { class: `tree-${value === null ? "null" : typeof value}`, text: jsonText(value) });
}

/** The value that a text holds when it is JSON of an array or object. */
export function asJson(text: string): Json | undefined {
  if (!/^\s*[[{]/.test(text) || text.length > 5_000_000) return undefined;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}
