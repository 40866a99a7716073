// The page's start: who asks, what the link carries, and the shell around it all.

import "./style.css";
import { finishSignIn, onSignInNeeded, settings } from "./api/session";
import { h, replace } from "./parts/dom";
import { databaseOf, read } from "./lib/links";
import { home } from "./lib/place";
import { applyTheme } from "./parts/theme";
import { signInDialog } from "./pages/account";
import { Shell } from "./pages/shell";

async function start(): Promise<void> {
  applyTheme();
  const place = document.querySelector("#app")!;
  let trouble = "";
  await finishSignIn().catch((error: unknown) => (trouble = error instanceof Error ? error.message : String(error)));
  const known = await settings();
  const link = await read(location.pathname, location.search);
  const database = databaseOf(location.pathname);
  // What the link carried lives on in a tab; a reload must not open and run it again.
  if (link) history.replaceState(null, "", home(database));
  const shell = new Shell(known, link, database);
  replace(place, shell.element);
  const ask = (): void => signInDialog(known, () => shell.reload(), trouble);
  onSignInNeeded(ask);
  document.addEventListener("tidewater-sign-in", ask);
  if (trouble) ask();
  await shell.start();
}

start().catch((error: unknown) => {
  document.body.append(h("p", { class: "fault", text: `The page cannot start: ${error instanceof Error ? error.message : String(error)}` }));
});
