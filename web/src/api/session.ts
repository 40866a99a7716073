// Who the page is to the server: nobody, the holder of a key, or somebody who signed in at an issuer with the code
// flow and PKCE (RFC 6749 section 4.1, RFC 7636). Tokens live as long as the browser's tab.

import { home, root } from "../lib/place";

export interface Settings {
  version: string;
  defaultDatabase: string;
  address: string;
  signIn: "off" | "optional" | "required";
  /** Empty: this server; null: nobody to sign in at. */
  issuer: string | null;
  clientId: string | null;
  scope: string;
}

interface Kept {
  token: string;
  /** Milliseconds since 1970; a key does not end. */
  endsAt: number | null;
  refresh: string | null;
}

interface Discovery {
  authorization_endpoint: string;
  token_endpoint: string;
  end_session_endpoint?: string;
}

const KEPT = "tidewater.session";
const ASKED = "tidewater.signing-in";
/** A token is renewed when it has less than this left. */
const RENEW_MILLIS = 60_000;

let known: Settings | null = null;
let renewing: Promise<void> | null = null;
const needed = new EventTarget();

export async function settings(): Promise<Settings> {
  if (!known) {
    const response = await fetch(`${home()}settings.json`, { cache: "no-store" });
    if (!response.ok) throw new Error("The server does not tell its settings.");
    known = (await response.json()) as Settings;
  }
  return known;
}

export function onSignInNeeded(listener: () => void): void {
  needed.addEventListener("needed", listener);
}

export function signInNeeded(): void {
  needed.dispatchEvent(new Event("needed"));
}

function kept(): Kept | null {
  const text = sessionStorage.getItem(KEPT);
  return text ? (JSON.parse(text) as Kept) : null;
}

/** What the next request shows, renewed when it is about to end. */
export async function token(): Promise<string | null> {
  const session = kept();
  if (session?.endsAt && session.refresh && session.endsAt - Date.now() < RENEW_MILLIS) {
    renewing ??= renew(session.refresh).finally(() => (renewing = null));
    await renewing;
  }
  return kept()?.token ?? null;
}

/** Another token, whatever the time: the server no longer takes the one it was shown. Whether there is one. */
export async function renewed(): Promise<boolean> {
  const session = kept();
  if (!session?.refresh) return false;
  renewing ??= renew(session.refresh).finally(() => (renewing = null));
  await renewing;
  return kept() !== null;
}

/** How long the sign-in lasts, in words; null when that is known to nobody. */
export function sessionEnds(): string | null {
  const session = kept();
  if (!session) return null;
  if (session.refresh) return "This sign-in renews itself while the tab is open.";
  return session.endsAt ? `This sign-in ends at ${new Date(session.endsAt).toLocaleTimeString()}.` : "Signed in with a key.";
}

export function isSignedIn(): boolean {
  return kept() !== null;
}

/** Signs in with an account's key. */
export function useKey(key: string): void {
  sessionStorage.setItem(KEPT, JSON.stringify({ token: key.trim(), endsAt: null, refresh: null } satisfies Kept));
}

async function discover(issuer: string): Promise<Discovery> {
  const response = await fetch(`${issuer === "" ? root() : issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
  if (!response.ok) throw new Error("The issuer does not tell where to sign in.");
  const found = (await response.json()) as Discovery;
  if (issuer !== "") return found;
  // The built-in issuer is reached by the address that the page came from, whatever its public one is.
  const own = (url: string): string => new URL(new URL(url).pathname, location.origin).href;
  return { ...found, authorization_endpoint: own(found.authorization_endpoint), token_endpoint: own(found.token_endpoint) };
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function random(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

/** Where the issuer sends people back to. */
function back(): string {
  return location.origin + home();
}

/** Leaves the page for the issuer; what stands in the address is found again afterwards. */
export async function signIn(): Promise<void> {
  const { issuer, clientId, scope } = await settings();
  if (issuer === null || !clientId) throw new Error("This server has no issuer to sign in at.");
  const place = await discover(issuer);
  const [verifier, state] = [random(), random()];
  sessionStorage.setItem(ASKED, JSON.stringify({ verifier, state, back: location.pathname + location.search }));
  const challenge = base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
  const asked = new URLSearchParams({
    response_type: "code", client_id: clientId, redirect_uri: back(), scope, state,
    code_challenge: challenge, code_challenge_method: "S256",
  });
  location.assign(`${place.authorization_endpoint}?${asked}`);
}

async function exchange(fields: Record<string, string>): Promise<void> {
  const { issuer, clientId } = await settings();
  const place = await discover(issuer ?? "");
  const response = await fetch(place.token_endpoint, {
    method: "POST", body: new URLSearchParams({ client_id: clientId ?? "", ...fields }),
  });
  const answer = (await response.json()) as {
    access_token?: string; expires_in?: number; refresh_token?: string; error_description?: string; error?: string;
  };
  if (!response.ok || !answer.access_token) {
    throw new Error(answer.error_description ?? answer.error ?? "The issuer gave no token.");
  }
  const endsAt = answer.expires_in ? Date.now() + answer.expires_in * 1000 : null;
  // An issuer that gives no other token to renew with means the same one again.
  const session: Kept = { token: answer.access_token, endsAt, refresh: answer.refresh_token ?? fields.refresh_token ?? null };
  sessionStorage.setItem(KEPT, JSON.stringify(session));
}

async function renew(refresh: string): Promise<void> {
  try {
    await exchange({ grant_type: "refresh_token", refresh_token: refresh });
  } catch {
    sessionStorage.removeItem(KEPT);
  }
}

/** Ends a sign-in when the address has an issuer's answer. Gives what stood in the address before. */
export async function finishSignIn(): Promise<void> {
  const answer = new URLSearchParams(location.search);
  const [code, state, error] = [answer.get("code"), answer.get("state"), answer.get("error")];
  const text = sessionStorage.getItem(ASKED);
  if (!text || !state || (!code && !error)) return;
  sessionStorage.removeItem(ASKED);
  const asked = JSON.parse(text) as { verifier: string; state: string; back: string };
  history.replaceState(null, "", asked.back);
  if (state !== asked.state) throw new Error("The issuer answered another question; sign in again.");
  if (!code) throw new Error(answer.get("error_description") ?? error ?? "The issuer refused.");
  await exchange({ grant_type: "authorization_code", code, redirect_uri: back(), code_verifier: asked.verifier });
}

/** Forgets the token, and tells the issuer when it wants to know. */
export async function signOut(): Promise<void> {
  sessionStorage.removeItem(KEPT);
  const { issuer, clientId } = await settings();
  if (!issuer) return;
  const place = await discover(issuer).catch(() => null);
  if (place?.end_session_endpoint) {
    const asked = new URLSearchParams({ client_id: clientId ?? "", post_logout_redirect_uri: back() });
    location.assign(`${place.end_session_endpoint}?${asked}`);
  }
}
