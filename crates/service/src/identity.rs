//! Who sends a request, as sign-in found out.

use serde::{Deserialize, Serialize};

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PrincipalKind {
    /// Nobody signed in.
    Anonymous,
    /// A person.
    User,
    /// A program.
    Application,
}

/// A role on the whole server that an account has by itself, beside those that commands grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServerRole {
    /// AllDatabasesAdmin.
    Admin,
    /// AllDatabasesViewer.
    Viewer,
    /// AllDatabasesMonitor.
    Monitor,
}

/// Who vouches for the accounts of this server.
pub const ACCOUNT_AUTHORITY: &str = "account";

/// A signed-in principal. Source: referencing-security-principals page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What it is.
    pub kind: PrincipalKind,
    /// The stable id: a user's object id, an application's client id, an account's id.
    pub id: String,
    /// The tenant that knows the id; empty for accounts of this server.
    pub tenant: String,
    /// A name for people; may be empty.
    pub name: String,
    /// The user principal name or mail address; may be empty.
    pub upn: String,
    /// Ids and names of the groups that the token lists.
    pub groups: Vec<String>,
    /// Who vouches: the token's issuer, or `account` for a key of this server.
    pub authority: String,
    /// Roles of an account of this server.
    pub roles: Vec<ServerRole>,
}

impl Identity {
    /// Nobody.
    pub fn anonymous() -> Identity {
        Identity {
            kind: PrincipalKind::Anonymous,
            id: String::new(),
            tenant: String::new(),
            name: String::new(),
            upn: String::new(),
            groups: Vec::new(),
            authority: String::new(),
            roles: Vec::new(),
        }
    }

    /// The server itself, for its own work.
    pub fn server() -> Identity {
        Identity {
            kind: PrincipalKind::Application,
            id: "tidewater".to_string(),
            authority: ACCOUNT_AUTHORITY.to_string(),
            roles: vec![ServerRole::Admin],
            ..Identity::anonymous()
        }
    }

    /// Whether somebody has signed in.
    pub fn is_signed_in(&self) -> bool {
        self.kind != PrincipalKind::Anonymous
    }

    /// Whether this server itself vouches.
    pub fn is_account(&self) -> bool {
        self.authority == ACCOUNT_AUTHORITY
    }

    /// Kusto's fully qualified name: `aaduser=ID;TENANT`, `aadapp=ID;TENANT`, or `anonymous`.
    pub fn principal(&self) -> String {
        let kind = match self.kind {
            PrincipalKind::Anonymous => return "anonymous".to_string(),
            PrincipalKind::User => "aaduser",
            PrincipalKind::Application => "aadapp",
        };
        match self.tenant.is_empty() {
            true => format!("{kind}={}", self.id),
            false => format!("{kind}={};{}", self.id, self.tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_written_as_kusto_writes_it() {
        let mut identity = Identity { kind: PrincipalKind::User, id: "u".into(), ..Identity::anonymous() };
        assert_eq!(identity.principal(), "aaduser=u");
        identity.tenant = "t".into();
        assert_eq!(identity.principal(), "aaduser=u;t");
        identity.kind = PrincipalKind::Application;
        assert_eq!(identity.principal(), "aadapp=u;t");
        assert_eq!(Identity::anonymous().principal(), "anonymous");
    }
}
