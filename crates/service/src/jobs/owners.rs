//! Whose jobs, templates and schedules these are, among the callers of one organisation and sandbox.
//!
//! A job's rows are what its maker may see, so they are its maker's alone, as stored query results are. Its record,
//! its end, and schedules are its maker's and the server's administrators'. Templates are texts that an organisation shares;
//! who made one changes it. Without sign-in there is nobody to tell apart. Source: query-service-api section 12 for the
//! organisation and sandbox; stored-query-results page for rows.

use std::sync::Arc;

use tidewater_store::JobRecord;

use super::Tenant;
use crate::context::{Context, DEFAULT_DATABASE};
use crate::error::{Error, Fault, Result};
use crate::identity::{Identity, PrincipalKind};
use crate::rights::Access;
use crate::service::Service;

/// Tells who a principal is now: its present groups and roles, or `None` when it may not sign in any more.
pub type Directory = Arc<dyn Fn(&Identity) -> Option<Identity> + Send + Sync>;

/// Who asks for the records of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobCaller {
    /// The principal, or the API key of a caller who has not signed in.
    pub user: String,
    /// Who has signed in.
    pub identity: Arc<Identity>,
}

/// Which records a caller may see.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// All of the tenant.
    All,
    /// Those of this user.
    Of(String),
}

impl Seen {
    /// Whether a record is among them.
    pub(super) fn holds(&self, record: &JobRecord) -> bool {
        match self {
            Seen::All => true,
            Seen::Of(user) => record.value["user"].as_str() == Some(user),
        }
    }
}

impl Service {
    /// Lets schedules find out who their makers are when they run. The first call counts.
    pub fn know_principals(&self, directory: Directory) {
        let _ = self.inner().jobs.directory.set(directory);
    }

    /// A principal as it is now.
    ///
    /// *Errors*: it may not sign in any more.
    pub(super) fn present(&self, identity: &Identity) -> Result<Identity> {
        if !self.inner().options.rights.enforced || identity.kind == PrincipalKind::Anonymous {
            return Ok(identity.clone());
        }
        match self.inner().jobs.directory.get() {
            None => Ok(identity.clone()),
            Some(directory) => directory(identity).ok_or_else(|| {
                let message = format!("principal '{}' may not sign in any more", identity.principal());
                Error::new(Fault::Forbidden, message)
            }),
        }
    }

    /// The records that a caller may see.
    pub(super) fn seen(&self, tenant: &Tenant) -> Seen {
        let Some(caller) = &tenant.caller else { return Seen::All };
        if !self.inner().options.rights.enforced || self.administers(caller) {
            return Seen::All;
        }
        Seen::Of(caller.user.clone())
    }

    /// Whether a record is the caller's own, or nobody is told apart.
    pub(super) fn is_own(&self, tenant: &Tenant, record: &JobRecord) -> bool {
        match &tenant.caller {
            Some(caller) if self.inner().options.rights.enforced => {
                record.value["user"].as_str() == Some(caller.user.as_str())
            }
            _ => true,
        }
    }

    /// A text that differs between callers who are told apart.
    pub(super) fn own_key(&self, tenant: &Tenant, key: &str) -> String {
        match &tenant.caller {
            Some(caller) if self.inner().options.rights.enforced => format!("{}\n{key}", caller.user),
            _ => key.to_string(),
        }
    }

    /// The refusal of what only the maker of a record, or an administrator, may do.
    pub(super) fn refused(&self, tenant: &Tenant, action: &str) -> Error {
        let user = tenant.caller.as_ref().map_or("anonymous", |caller| &caller.user);
        Error::new(Fault::Forbidden, format!("Principal '{user}' is not authorized to {action}."))
    }

    fn administers(&self, caller: &JobCaller) -> bool {
        let mut context = Context::new(DEFAULT_DATABASE);
        context.sign_in(Arc::clone(&caller.identity));
        Access::of(&self.inner().options.rights, &context, self.store().snapshot()).is_cluster_admin()
    }
}
