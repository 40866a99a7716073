// Signing in and out, and who one is.

import { me } from "../api/page";
import { isSignedIn, sessionEnds, signIn, signOut, useKey, type Settings } from "../api/session";
import { button, dialog, h, replace } from "../parts/dom";

let open: HTMLDialogElement | null = null;

export function signInDialog(settings: Settings, done: () => void, trouble = ""): void {
  if (open?.open) return;
  const told = h("div", { attributes: { role: "alert" } }, trouble ? h("p", { class: "fault", text: trouble }) : null);
  const failed = (error: unknown): void =>
    replace(told, h("p", { class: "fault", text: error instanceof Error ? error.message : String(error) }));
  const key = h("input", { attributes: { type: "password", autocomplete: "off", required: true } });
  const where = settings.issuer === "" ? "this server" : settings.issuer;
  const canSignIn = settings.issuer !== null && settings.clientId;
  const form = h("form", {
    class: "fields",
    on: {
      submit: (event) => {
        event.preventDefault();
        useKey(key.value);
        me().then(() => {
          open?.close();
          done();
        }).catch((error: unknown) => failed(error));
      },
    },
  }, h("label", {}, "Key of an account", key), h("div", { class: "row" }, h("button", { text: "Use this key", attributes: { type: "submit" } })));
  open = dialog("Sign in", told,
    h("p", { text: settings.signIn === "required" ? "This server answers those who have signed in." : "This server also answers without signing in." }),
    canSignIn ? button(`Sign in at ${where}`, () => void signIn().catch(failed), { class: "primary wide" }) : null,
    form);
}

const RIGHTS = [["query", "Read"], ["create", "Create"], ["ingest", "Load"], ["monitor", "Monitor"], ["administer", "Administer"]] as const;
/** Databases that are listed at most. */
const MAX_LISTED = 200;

export async function accountDialog(settings: Settings, database: string, left: () => void): Promise<void> {
  const name = h("strong", { text: "…" });
  const rights = h("div", {});
  const ends = sessionEnds();
  const box = dialog("Who am I",
    h("p", {}, "Queries see you as ", name),
    ends ? h("p", { class: "hint", text: ends }) : null,
    rights,
    settings.signIn === "off" ? h("p", { text: "Nobody signs in at this server: whoever reaches it may do everything." }) : null,
    isSignedIn()
      ? button("Sign out", () => void signOut().then(() => {
          box.close();
          left();
        }), { class: "primary" })
      : settings.signIn !== "off" ? button("Sign in", () => {
          box.close();
          document.dispatchEvent(new Event("tidewater-sign-in"));
        }, { class: "primary" }) : null);
  try {
    const told = await me();
    name.textContent = told.name ? `${told.principal} (${told.name})` : told.principal || "nobody";
    if (!told.isEnforced && settings.signIn === "off") return;
    const server = [told.isAdministrator && "administers the server", !told.isAdministrator && told.isMonitor && "monitors the server"].filter(Boolean).join(", ");
    const mark = (may: boolean): HTMLElement => h("td", { text: may ? "✓" : "–", attributes: { "aria-label": may ? "yes" : "no" } });
    const listed = [...told.databases].sort((a, b) => Number(b.database === database) - Number(a.database === database)).slice(0, MAX_LISTED);
    replace(rights, server ? h("p", { text: `This account ${server}.` }) : null,
      told.databases.length === 0 ? h("p", { text: "No database is open to you." }) : h("div", { class: "rights", attributes: { tabindex: 0, role: "region", "aria-label": "What you may do" } },
        h("table", { class: "list" }, h("caption", { text: "What you may do" }),
          h("thead", {}, h("tr", {}, h("th", { text: "Database", attributes: { scope: "col" } }), ...RIGHTS.map(([, label]) => h("th", { text: label, attributes: { scope: "col" } })))),
          h("tbody", {}, ...listed.map((one) => h("tr", {}, h("th", { text: one.database, attributes: { scope: "row" } }), ...RIGHTS.map(([key]) => mark(one[key]))))))));
  } catch (error) {
    name.textContent = "nobody";
    replace(rights, h("p", { class: "fault", text: error instanceof Error ? error.message : String(error) }));
  }
}
