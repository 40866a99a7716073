// Elements. Text only ever becomes text: nothing here, or anywhere in the page, reads HTML from data.

type Child = Node | string | null | undefined | false;

interface Properties {
  class?: string;
  text?: string;
  title?: string;
  /** Attributes; `false` and null leave one out, `true` is an empty one. */
  attributes?: Record<string, string | number | boolean | null>;
  on?: { [E in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[E]) => void };
}

export function h<T extends keyof HTMLElementTagNameMap>(
  tag: T, properties: Properties = {}, ...children: Child[]
): HTMLElementTagNameMap[T] {
  const element = document.createElement(tag);
  if (properties.class) element.className = properties.class;
  if (properties.text !== undefined) element.textContent = properties.text;
  if (properties.title) element.title = properties.title;
  for (const [name, value] of Object.entries(properties.attributes ?? {})) {
    if (value === false || value === null) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [name, listener] of Object.entries(properties.on ?? {})) {
    element.addEventListener(name, listener as EventListener);
  }
  element.append(...children.filter((child): child is Node | string => Boolean(child)));
  return element;
}

/** A button with a label that everybody gets, and perhaps only a sign that is seen. */
export function button(
  label: string, act: (event: MouseEvent) => void, look: { sign?: string; class?: string; keys?: string } = {},
): HTMLButtonElement {
  const title = look.keys ? `${label} (${look.keys})` : label;
  return h("button", {
    class: look.class ?? "", text: look.sign ?? label, title,
    attributes: { type: "button", "aria-label": look.sign ? label : null },
    on: { click: act },
  });
}

/** A labelled choice. */
export function select(
  label: string, choices: { value: string; text: string }[], value: string, change: (value: string) => void,
): HTMLSelectElement {
  const element = h("select", {
    attributes: { "aria-label": label }, title: label,
    on: { change: () => change(element.value) },
  }, ...choices.map((choice) => h("option", { text: choice.text, attributes: { value: choice.value } })));
  element.value = value;
  return element;
}

export function replace(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => Boolean(child)));
}

let liveRegion: HTMLElement | null = null;

/** Says something to people who listen, and shows it for a while unless it can be seen anyhow. */
export function announce(text: string, seen = true): void {
  liveRegion ??= document.body.appendChild(
    h("div", { class: "toast", attributes: { role: "status", "aria-live": "polite" } }));
  liveRegion.textContent = text;
  liveRegion.classList.toggle("shown", seen);
  window.setTimeout(() => {
    if (liveRegion?.textContent === text) liveRegion.classList.remove("shown");
  }, 4000);
}

/** Shows a dialog; it goes when closed. */
export function dialog(title: string, ...children: Child[]): HTMLDialogElement {
  const element = h("dialog", { attributes: { "aria-label": title } },
    h("header", {}, h("h2", { text: title }), button("Close", () => element.close(), { sign: "✕", class: "quiet" })),
    ...children);
  element.addEventListener("close", () => element.remove());
  document.body.append(element);
  element.showModal();
  return element;
}

/** A menu below a button: closes by itself when something else is chosen. */
export function menu(
  anchor: HTMLElement, items: { label: string; act: () => void; keys?: string; disabled?: boolean }[],
): void {
  const element = h("div", { class: "menu", attributes: { popover: "auto", role: "menu" } });
  for (const item of items) {
    element.append(h("button", {
      attributes: { type: "button", role: "menuitem", disabled: item.disabled ?? false },
      on: {
        click: () => {
          element.hidePopover();
          item.act();
        },
      },
    }, h("span", { text: item.label }), item.keys ? h("kbd", { text: item.keys }) : null));
  }
  element.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const buttons = [...element.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    buttons[(at + step + buttons.length) % buttons.length]?.focus();
  });
  popover(anchor, element);
  element.querySelector("button")?.focus();
}

/** Height that a panel should have room for. */
const PANEL = 500;

/** Shows an element below another one, inside the window. */
export function popover(anchor: HTMLElement, element: HTMLElement): void {
  if (!element.hasAttribute("popover")) element.setAttribute("popover", "auto");
  element.addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState === "closed") {
      element.remove();
      if (document.activeElement === document.body) anchor.focus();
    }
  });
  // Beside an open dialog nothing can be used but what is inside it.
  (anchor.closest("dialog") ?? document.body).append(element);
  element.showPopover();
  const [place, size] = [anchor.getBoundingClientRect(), element.getBoundingClientRect()];
  const left = Math.max(4, Math.min(place.left, innerWidth - size.width - 4));
  const below = place.bottom + 4 + size.height <= innerHeight;
  element.style.left = `${left}px`;
  const top = below ? place.bottom + 4 : Math.max(4, place.top - size.height - 4);
  // What fills itself later grows down to the window's edge, and then scrolls.
  const moved = element.classList.contains("panel") ? Math.max(4, Math.min(top, innerHeight - PANEL)) : top;
  element.style.top = `${moved}px`;
  element.style.maxHeight = `${innerHeight - moved - 4}px`;
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    announce(`${what} copied.`);
  } catch {
    // Browsers keep the clipboard from pages that came over plain HTTP from another machine.
    const area = h("textarea", { attributes: { "aria-label": what, readonly: true, rows: 8 } });
    area.value = text;
    dialog(`Copy ${what.toLowerCase()} from here`, area);
    area.select();
  }
}

export function download(name: string, parts: BlobPart[], type: string): void {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  const link = h("a", { attributes: { href: url, download: name } });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A bar between two parts that can be dragged, or moved by arrow keys. `size` gets the first part's new size. */
export function splitter(
  label: string, vertical: boolean, current: () => number, size: (pixels: number) => void, invert = false,
): HTMLElement {
  const sign = invert ? -1 : 1;
  const element = h("div", {
    class: `splitter ${vertical ? "vertical" : "horizontal"}`,
    attributes: {
      role: "separator", tabindex: 0, "aria-label": label, "aria-orientation": vertical ? "vertical" : "horizontal",
      "aria-valuenow": 50,
    },
  });
  element.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    element.setPointerCapture(event.pointerId);
    const [start, before] = [vertical ? event.clientX : event.clientY, current()];
    const move = (moved: PointerEvent): void =>
      size(before + sign * ((vertical ? moved.clientX : moved.clientY) - start));
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", () => element.removeEventListener("pointermove", move), { once: true });
  });
  element.addEventListener("keydown", (event) => {
    const [less, more] = vertical ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
    if (event.key !== less && event.key !== more) return;
    event.preventDefault();
    size(current() + sign * (event.key === more ? 24 : -24));
  });
  return element;
}
