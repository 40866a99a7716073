//! Principals as commands and settings write them, and who they are. Source: reference-security-principals page.
//!
//! `aaduser=UPN`, `aaduser=ID;TENANT`, `aadapp=ID;TENANT`, `aadgroup=NAME;TENANT`, `msauser=UPN`. Accounts of this server have no
//! tenant: `aadapp=ci` is the account `ci`. A bare name means an account of this server only: anybody's tenant or issuer
//! may have a user, program or group of that name too.

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::identity::{Identity, PrincipalKind};

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A person.
    User,
    /// A person with an account of Microsoft's own.
    MsaUser,
    /// A program.
    Application,
    /// Whoever belongs to a group.
    Group,
    /// Whoever has not signed in, where that is allowed.
    Anonymous,
}

/// A principal as a text names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    kind: Kind,
    /// Id, UPN, mail address or name.
    name: String,
    /// Empty when the text has none.
    tenant: String,
}

const LONGEST: usize = 512;

impl Principal {
    /// Reads a text.
    ///
    /// *Errors*: another prefix, no name, a text longer than 512 characters.
    pub fn parse(text: &str) -> Result<Principal> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(80).collect();
            Err(Error::bad_request(format!(
                "principal '{shown}' {why}; 'aaduser=UPN', 'aaduser=ID;TENANT', 'aadapp=ID;TENANT', 'aadgroup=NAME;TENANT' \
                 and 'msauser=UPN' are principals"
            )))
        };
        let text = text.trim();
        if text.chars().count() > LONGEST || text.contains(char::is_control) {
            return wrong("is too long or has control characters");
        }
        if text.eq_ignore_ascii_case("anonymous") {
            return Ok(Principal { kind: Kind::Anonymous, name: String::new(), tenant: String::new() });
        }
        let Some((prefix, rest)) = text.split_once('=') else { return wrong("has no kind") };
        let kind = match prefix.trim().to_ascii_lowercase().as_str() {
            "aaduser" => Kind::User,
            "msauser" => Kind::MsaUser,
            "aadapp" => Kind::Application,
            "aadgroup" => Kind::Group,
            _ => return wrong("is of an unknown kind"),
        };
        let (name, tenant) = rest.split_once(';').unwrap_or((rest, ""));
        let (name, tenant) = (name.trim().to_string(), tenant.trim().to_string());
        if name.is_empty() {
            return wrong("has no name");
        }
        Ok(Principal { kind, name, tenant })
    }

    /// The principal that an identity is, as its creator's grants are written.
    pub fn of(identity: &Identity) -> Principal {
        let kind = match identity.kind {
            PrincipalKind::Anonymous => Kind::Anonymous,
            PrincipalKind::User => Kind::User,
            PrincipalKind::Application => Kind::Application,
        };
        Principal { kind, name: identity.id.clone(), tenant: identity.tenant.clone() }
    }

    /// The fully qualified name.
    pub fn text(&self) -> String {
        let prefix = match self.kind {
            Kind::User => "aaduser",
            Kind::MsaUser => "msauser",
            Kind::Application => "aadapp",
            Kind::Group => "aadgroup",
            Kind::Anonymous => return "anonymous".to_string(),
        };
        match self.tenant.is_empty() {
            true => format!("{prefix}={}", self.name),
            false => format!("{prefix}={};{}", self.name, self.tenant),
        }
    }

    /// The id, UPN or name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tables of principals call its kind.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::User => "Microsoft Entra user",
            Kind::MsaUser => "Microsoft account",
            Kind::Application => "Microsoft Entra app",
            Kind::Group => "Microsoft Entra group",
            Kind::Anonymous => "Anonymous",
        }
    }

    /// Whether two texts mean one principal.
    pub fn is_same(&self, other: &Principal) -> bool {
        let lower = |text: &str| text.to_lowercase();
        self.kind == other.kind
            && lower(&self.name) == lower(&other.name)
            && lower(&self.tenant) == lower(&other.tenant)
    }

    /// Whether somebody who has signed in is this principal, or belongs to this group.
    pub fn is(&self, identity: &Identity) -> bool {
        match self.kind {
            Kind::Anonymous => identity.kind == PrincipalKind::Anonymous,
            Kind::User | Kind::MsaUser => identity.kind == PrincipalKind::User && self.names(identity),
            Kind::Application => identity.kind == PrincipalKind::Application && self.names(identity),
            Kind::Group => {
                identity.kind != PrincipalKind::Anonymous
                    && identity.groups.iter().any(|group| same(group, &self.name))
                    && self.is_of_tenant(identity)
            }
        }
    }

    fn names(&self, identity: &Identity) -> bool {
        // Several may share a name; it counts beside a tenant that vouches for it, and among this server's accounts.
        let by_name = same(&self.name, &identity.name) && (!self.tenant.is_empty() || identity.tenant.is_empty());
        let named = same(&self.name, &identity.id) || same(&self.name, &identity.upn) || by_name;
        named && self.is_of_tenant(identity)
    }

    fn is_of_tenant(&self, identity: &Identity) -> bool {
        if !self.tenant.is_empty() {
            let domain = identity.upn.rsplit_once('@').map_or("", |(_, domain)| domain);
            return same(&self.tenant, &identity.tenant)
                || same(&self.tenant, domain)
                || same(&self.tenant, &identity.authority);
        }
        // UPNs and mail addresses name their tenant, ids that are GUIDs belong to one only.
        identity.is_account() || self.name.contains('@') || Uuid::parse_str(&self.name).is_ok()
    }
}

/// Whether both say the same; nothing says nothing.
fn same(left: &str, right: &str) -> bool {
    !left.is_empty() && left.to_lowercase() == right.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Identity {
        Identity {
            kind: PrincipalKind::User,
            id: "1111".into(),
            tenant: "contoso-id".into(),
            name: "Ann".into(),
            upn: "ann@contoso.com".into(),
            groups: vec!["readers".into(), "all@contoso.com".into()],
            authority: "https://issuer".into(),
            ..Identity::anonymous()
        }
    }

    fn is(text: &str, identity: &Identity) -> bool {
        Principal::parse(text).unwrap().is(identity)
    }

    #[test]
    fn a_person_is_known_by_id_upn_and_name_of_their_tenant() {
        let ann = person();
        for text in [
            "aaduser=ann@contoso.com",
            "AadUser=ANN@Contoso.com",
            "aaduser=1111;contoso-id",
            "aaduser=1111;contoso.com",
            "aaduser=ann;CONTOSO-ID",
            "aadgroup=readers;contoso-id",
            "aadgroup=all@contoso.com",
            "msauser=ann@contoso.com",
        ] {
            assert!(is(text, &ann), "{text}");
        }
        for text in [
            "aaduser=1111",
            "aaduser=Ann",
            "aaduser=1111;fabrikam",
            "aadapp=1111;contoso-id",
            "aadgroup=readers",
            "aadgroup=readers;fabrikam",
            "anonymous",
        ] {
            assert!(!is(text, &ann), "{text}");
        }
    }

    #[test]
    fn an_account_of_this_server_is_known_by_its_bare_id() {
        let account = Identity {
            kind: PrincipalKind::Application,
            id: "ci".into(),
            groups: vec!["robots".into()],
            authority: "account".into(),
            ..Identity::anonymous()
        };
        assert!(is("aadapp=ci", &account) && is("aadgroup=robots", &account));
        let elsewhere = Identity { authority: "https://issuer".into(), ..account };
        assert!(!is("aadapp=ci", &elsewhere) && !is("aadgroup=robots", &elsewhere));
    }

    #[test]
    fn texts_that_name_nobody_are_refused() {
        for text in ["", "ann", "aaduser=", "aaduser= ;x", "dsuser=x", "aad user=x"] {
            assert!(Principal::parse(text).is_err(), "{text}");
        }
        assert_eq!(Principal::parse("AADAPP = a ; b").unwrap().text(), "aadapp=a;b");
    }
}
