//! Accounts of this server: a file with ids and hashes of secrets.
//!
//! A secret is the key of a service (`Authorization: Bearer SECRET`, or `Basic ID:SECRET`) and, where the built-in issuer
//! is on, the client secret of its sign-in. Secrets are 256 random bits made by `tidewater account add`, so a fast hash
//! is right: there is nothing to guess.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidewater_service::{Identity, PrincipalKind, ServerRole};

use crate::files::replace_private;

/// What every secret begins with, so that scanners and people know one when they see it.
pub const SECRET_PREFIX: &str = "tdw_";
/// Who vouches for an account.
pub const AUTHORITY: &str = tidewater_service::ACCOUNT_AUTHORITY;
/// Longest id.
const MAX_ID: usize = 100;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its id: letters, digits, `-`, `_`, `.`, `@`.
    pub id: String,
    /// `application` or `user`.
    #[serde(default)]
    pub kind: Kind,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// Groups it belongs to.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Roles on the whole server.
    #[serde(default)]
    pub roles: Vec<AccountRole>,
    /// SHA-256 of the secret, in hexadecimal digits.
    pub secret_sha256: String,
}

/// A role on the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountRole {
    /// AllDatabasesAdmin.
    Admin,
    /// AllDatabasesViewer.
    Viewer,
    /// AllDatabasesMonitor.
    Monitor,
}

impl AccountRole {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            AccountRole::Admin => "admin",
            AccountRole::Viewer => "viewer",
            AccountRole::Monitor => "monitor",
        }
    }

    fn role(self) -> ServerRole {
        match self {
            AccountRole::Admin => ServerRole::Admin,
            AccountRole::Viewer => ServerRole::Viewer,
            AccountRole::Monitor => ServerRole::Monitor,
        }
    }
}

/// What an account stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A program.
    #[default]
    Application,
    /// A person.
    User,
}

impl Account {
    /// Its identity.
    pub fn identity(&self) -> Identity {
        Identity {
            kind: match self.kind {
                Kind::Application => PrincipalKind::Application,
                Kind::User => PrincipalKind::User,
            },
            id: self.id.clone(),
            tenant: String::new(),
            name: self.name.clone(),
            upn: if self.kind == Kind::User { self.id.clone() } else { String::new() },
            groups: self.groups.clone(),
            authority: AUTHORITY.to_string(),
            roles: self.roles.iter().map(|role| role.role()).collect(),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "account")]
    accounts: Vec<Account>,
}

/// All accounts, by id and by hash.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    by_id: HashMap<String, Account>,
    by_hash: HashMap<String, String>,
}

impl Accounts {
    /// Reads the file. Errors name the file and what is wrong in it.
    pub fn read(path: &Path) -> Result<Accounts, String> {
        let at = |message: String| format!("accounts file {}: {message}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
        let file = parse(&text).map_err(at)?;
        Accounts::of(file.accounts).map_err(at)
    }

    /// From a list; ids and secrets must be unique.
    pub fn of(accounts: Vec<Account>) -> Result<Accounts, String> {
        let mut all = Accounts::default();
        for account in accounts {
            check_id(&account.id)?;
            let hash = account.secret_sha256.to_ascii_lowercase();
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("account '{}': secret_sha256 must have 64 hexadecimal digits", account.id));
            }
            if all.by_hash.insert(hash, account.id.clone()).is_some() {
                return Err(format!("account '{}' has the secret of another account", account.id));
            }
            let id = account.id.clone();
            if all.by_id.insert(id.clone(), account).is_some() {
                return Err(format!("account '{id}' is there twice"));
            }
        }
        Ok(all)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether one of them administers the server.
    pub fn have_admin(&self) -> bool {
        self.by_id.values().any(|account| account.roles.contains(&AccountRole::Admin))
    }

    /// The account with this secret. Found by its hash, so that time tells nothing about the secret.
    pub fn by_secret(&self, secret: &str) -> Option<&Account> {
        self.by_id.get(self.by_hash.get(&hash(secret))?)
    }

    /// The account with this id.
    pub fn by_id(&self, id: &str) -> Option<&Account> {
        self.by_id.get(id)
    }

    /// The account with this id and secret.
    pub fn by_id_and_secret(&self, id: &str, secret: &str) -> Option<&Account> {
        self.by_secret(secret).filter(|account| account.id == id)
    }
}

fn parse(text: &str) -> Result<File, String> {
    let built = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .build()
        .map_err(|error| error.to_string())?;
    built.try_deserialize().map_err(|error| error.to_string())
}

fn check_id(id: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if id.is_empty() || id.len() > MAX_ID || !id.chars().all(fits) {
        return Err(format!(
            "an account's id has 1 to {MAX_ID} letters, digits, '-', '_', '.' or '@'; found '{}'",
            id.escape_debug()
        ));
    }
    Ok(())
}

/// The hash of a secret, as the file has it.
pub fn hash(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new secret.
pub fn new_secret() -> Result<String, String> {
    Ok(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

/// Random bytes of the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_string())?;
    Ok(bytes)
}

/// Adds an account to the file, which is made when absent and readable by its owner only. Gives the new secret.
pub fn add(
    path: &Path,
    id: &str,
    kind: Kind,
    name: &str,
    groups: Vec<String>,
    roles: Vec<AccountRole>,
) -> Result<String, String> {
    check_id(id)?;
    let mut file = match path.exists() {
        true => {
            Accounts::read(path)?;
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            parse(&text)?
        }
        false => File::default(),
    };
    if file.accounts.iter().any(|account| account.id == id) {
        return Err(format!("account '{id}' exists already; remove it first to give it a new secret"));
    }
    let secret = new_secret()?;
    file.accounts.push(Account {
        id: id.to_string(),
        kind,
        name: name.to_string(),
        groups,
        roles,
        secret_sha256: hash(&secret),
    });
    write(path, &file.accounts)?;
    Ok(secret)
}

/// Takes an account out of the file; whether it was there.
pub fn remove(path: &Path, id: &str) -> Result<bool, String> {
    let mut accounts = list(path)?;
    let before = accounts.len();
    accounts.retain(|account| account.id != id);
    if accounts.len() == before {
        return Ok(false);
    }
    write(path, &accounts)?;
    Ok(true)
}

/// The accounts in the order of the file.
pub fn list(path: &Path) -> Result<Vec<Account>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("accounts file {}: {error}", path.display()))?;
    let file = parse(&text).map_err(|message| format!("accounts file {}: {message}", path.display()))?;
    Ok(file.accounts)
}

fn write(path: &Path, accounts: &[Account]) -> Result<(), String> {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = String::from("# Accounts of a Tidewater server; 'tidewater account' keeps this file.\n");
    for account in accounts {
        let kind = if account.kind == Kind::User { "user" } else { "application" };
        let roles: Vec<String> = account.roles.iter().map(|role| quote(role.word())).collect();
        let groups: Vec<String> = account.groups.iter().map(|group| quote(group)).collect();
        text.push_str(&format!(
            "\n[[account]]\nid = {}\nkind = \"{kind}\"\nname = {}\ngroups = [{}]\nroles = [{}]\nsecret_sha256 = \"{}\"\n",
            quote(&account.id),
            quote(&account.name),
            groups.join(", "),
            roles.join(", "),
            account.secret_sha256
        ));
    }
    replace_private(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_account_is_found_by_its_secret_and_gone_after_removal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts.toml");
        let secret =
            add(&path, "ci", Kind::Application, "The \"CI\" robot", vec!["robots".into()], vec![AccountRole::Viewer])
                .unwrap();
        add(&path, "ann@example.org", Kind::User, "Ann", Vec::new(), Vec::new()).unwrap();
        assert!(
            add(&path, "ci", Kind::Application, "", Vec::new(), Vec::new()).unwrap_err().contains("exists already")
        );
        let accounts = Accounts::read(&path).unwrap();
        let account = accounts.by_secret(&secret).unwrap();
        assert_eq!((account.id.as_str(), account.name.as_str()), ("ci", "The \"CI\" robot"));
        assert_eq!(account.identity().principal(), "aadapp=ci");
        assert_eq!(account.identity().roles, [ServerRole::Viewer]);
        assert!(accounts.by_id_and_secret("ann@example.org", &secret).is_none());
        assert!(accounts.by_secret("tdw_guess").is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&secret), "only the hash is kept");
        assert!(remove(&path, "ci").unwrap());
        assert!(!remove(&path, "ci").unwrap());
        assert!(Accounts::read(&path).unwrap().by_secret(&secret).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accounts.toml");
        add(&path, "ci", Kind::Application, "", Vec::new(), Vec::new()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn faults_of_the_file_are_named() {
        let wrong = |text: &str| match parse(text).and_then(|file| Accounts::of(file.accounts)) {
            Ok(_) => panic!("{text} was taken"),
            Err(message) => message,
        };
        assert!(wrong("[[account]]\nid = \"a\"\nsecret_sha256 = \"12\"\n").contains("64 hexadecimal digits"));
        assert!(wrong("[[account]]\nid = \"a b\"\nsecret_sha256 = \"12\"\n").contains("found 'a b'"));
        assert!(wrong("[[account]]\nid = \"a\"\nsecret = \"x\"\n").contains("secret"));
        let twice = format!("[[account]]\nid = \"a\"\nsecret_sha256 = \"{}\"\n", hash("x")).repeat(2);
        assert!(wrong(&twice).contains("secret of another account"));
    }
}
