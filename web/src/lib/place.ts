// Where the server's addresses begin: a proxy may put a path before them.

export function root(): string {
  return location.pathname.slice(0, Math.max(0, location.pathname.indexOf("/ui/")));
}

/** The page's address for a database. */
export function home(database?: string | null): string {
  return `${root()}/ui/${database ? `databases/${encodeURIComponent(database)}` : ""}`;
}
