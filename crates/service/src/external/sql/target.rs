//! Connection strings of databases: `Host=...; Port=...; Database=...; User ID=...; Password=...;`.

use tidewater_plan::SqlKind;

use crate::error::{Error, Result};

/// Where a database is, and who asks it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub host: String,
    pub port: u16,
    pub database: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// Connections are encrypted, unless the server is on this machine and the string says so.
    pub is_encrypted: bool,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// The port that a string without one means.
pub(in crate::external) fn standard_port(kind: SqlKind) -> u16 {
    match kind {
        SqlKind::MySql => 3306,
        SqlKind::PostgreSql => 5432,
    }
}

impl Target {
    /// Reads a connection string.
    ///
    /// *Errors*: a key that is not known, a server that is missing. Values are never repeated.
    pub fn parse(kind: SqlKind, text: &str) -> Result<Target> {
        let bad = |reason: String| Error::bad_request(format!("{}(): the connection string {reason}", kind.plugin()));
        let mut target = Target {
            host: String::new(),
            port: standard_port(kind),
            database: None,
            user: None,
            password: None,
            is_encrypted: true,
        };
        let mut wants_plain = false;
        for (key, value) in pairs(text).ok_or_else(|| bad("is not a list of 'Key=Value;'".into()))? {
            let folded: String = key.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
            match folded.as_str() {
                "host" | "server" | "datasource" | "address" | "addr" => target.host = value,
                "port" => {
                    target.port =
                        value.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad("has no port 'Port'".into()))?;
                }
                "database" | "initialcatalog" | "db" => target.database = Some(value),
                "userid" | "uid" | "username" | "user" => target.user = Some(value),
                "password" | "pwd" => target.password = Some(value),
                "sslmode" => match value.to_lowercase().as_str() {
                    "disable" | "disabled" | "none" => wants_plain = true,
                    "require" | "required" | "verifyca" | "verify-ca" | "verifyfull" | "verify-full" | "prefer"
                    | "preferred" => {}
                    _ => return Err(bad("has no mode 'SslMode'".into())),
                },
                _ => return Err(bad(format!("has an unknown key '{key}'"))),
            }
        }
        if target.host.is_empty() {
            return Err(bad("names no server".into()));
        }
        if target.host.contains(['/', ',', '@']) {
            return Err(bad("must name one server".into()));
        }
        if wants_plain {
            if !is_this_machine(&target.host) {
                return Err(bad(
                    "asks for a connection without encryption, which only this machine's servers get".into()
                ));
            }
            target.is_encrypted = false;
        }
        Ok(target)
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `Key=Value;...`, values bare, in `'...'` or in `"..."`, where a doubled quote stands for one.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches([';', ' ', '\t', '\r', '\n']);
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim();
        if key.is_empty() || key.contains(';') {
            return None;
        }
        let after = after.trim_start();
        let (value, next) = match after.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                let mut value = String::new();
                let mut letters = after[1..].char_indices().peekable();
                let end = loop {
                    let (at, letter) = letters.next()?;
                    if letter != quote {
                        value.push(letter);
                    } else if letters.next_if(|(_, next)| *next == quote).is_some() {
                        value.push(quote);
                    } else {
                        break at + 2;
                    }
                };
                let next = after[end..].trim_start();
                (value, if next.is_empty() { next } else { next.strip_prefix(';')? })
            }
            _ => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_string(), next)
            }
        };
        pairs.push((key.to_string(), value));
        rest = next.trim_start_matches([';', ' ', '\t', '\r', '\n']);
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_strings_of_the_pages_are_read() {
        let text = "Server=contoso.mysql.database.azure.com; Port = 3307;Database=Fabrikam;UID=me;Pwd='a;b''c';";
        let target = Target::parse(SqlKind::MySql, text).unwrap();
        assert_eq!((target.host.as_str(), target.port), ("contoso.mysql.database.azure.com", 3307));
        assert_eq!(target.password.as_deref(), Some("a;b'c"));
        assert_eq!((target.database.as_deref(), target.user.as_deref()), (Some("Fabrikam"), Some("me")));
        assert!(target.is_encrypted);
        let target = Target::parse(SqlKind::PostgreSql, "Host=h;User Id=u;Password=p").unwrap();
        assert_eq!((target.port, target.user.as_deref()), (5432, Some("u")));
    }

    #[test]
    fn wrong_strings_are_refused_without_their_values() {
        for text in ["", "Host=", "secret", "Host=h;Weird=secret", "Host=h;Port=secret", "Host='secret", "Host=a,b"] {
            let error = Target::parse(SqlKind::PostgreSql, text).unwrap_err();
            assert!(!error.message().contains("secret"), "{text}: {}", error.message());
        }
        assert!(Target::parse(SqlKind::PostgreSql, "Host=far.example;SslMode=Disable").is_err());
        assert!(!Target::parse(SqlKind::PostgreSql, "Host=127.0.0.1;SslMode=Disable").unwrap().is_encrypted);
    }
}
