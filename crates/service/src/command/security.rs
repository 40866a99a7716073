//! Who has which role. Source: security-roles page, manage-...-security-roles pages; columns by the inventory.

use tidewater_kql::KqlType;
use tidewater_kql::command::{RoleChange, SecurityCommand, SecurityScope};
use uuid::Uuid;

use super::Request;
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::rights::principal::Principal;
use crate::rights::roles::{Grant, Named, Role, Scope};
use crate::stored::{self, StoredExternal, StoredGraph, StoredView};
use crate::table::{Columns, TableBuilder};

const PRINCIPALS: Columns = &[
    ("Role", KqlType::String),
    ("PrincipalType", KqlType::String),
    ("PrincipalDisplayName", KqlType::String),
    ("PrincipalObjectId", KqlType::String),
    ("PrincipalFQN", KqlType::String),
    ("Notes", KqlType::String),
    ("RoleAssignmentIdentifier", KqlType::String),
];

const ROLES: Columns = &[
    ("Scope", KqlType::String),
    ("DisplayName", KqlType::String),
    ("AADObjectID", KqlType::String),
    ("Role", KqlType::String),
];

/// Principals of one role: a bound on what every request reads.
const MAX_PRINCIPALS: usize = 10_000;

/// Runs a command about roles.
pub async fn run(request: &Request<'_>, command: SecurityCommand) -> Result<ResultTable> {
    let find = |scope: &SecurityScope| Scope::find(&request.snapshot, &request.context.database, scope);
    match command {
        SecurityCommand::ChangeRole { change, scope, role, principals, skip_results, notes } => {
            let scope = find(&scope)?;
            let role = scope.role(&role.text)?;
            change_role(request, &scope, role, change, &principals, notes.unwrap_or_default()).await?;
            match skip_results {
                true => TableBuilder::new(PRINCIPALS).finish(),
                false => principals_of(&request.refreshed(), &scope),
            }
        }
        SecurityCommand::ShowPrincipals { scope } => principals_of(request, &find(&scope)?),
        SecurityCommand::ShowRoles { scope, principal } => {
            let scopes = match scope {
                Some(scope) => vec![find(&scope)?],
                None => everywhere(request),
            };
            roles_of(request, &scopes, principal.as_deref())
        }
        SecurityCommand::ShowAccess => access(request),
    }
}

async fn change_role(
    request: &Request<'_>,
    scope: &Scope,
    role: Role,
    change: RoleChange,
    texts: &[String],
    notes: String,
) -> Result<()> {
    let mut principals: Vec<Principal> = Vec::with_capacity(texts.len());
    for text in texts {
        let principal = Principal::parse(text)?;
        if !principals.iter().any(|known| known.is_same(&principal)) {
            principals.push(principal);
        }
    }
    let old = scope.grants(&request.snapshot, role);
    let is_one = |grant: &Grant, principal: &Principal| grant.principal().is_some_and(|own| own.is_same(principal));
    let named = |grant: &&Grant| principals.iter().any(|principal| is_one(grant, principal));
    let mut new: Vec<Grant> = match change {
        RoleChange::Add => old.clone(),
        RoleChange::Drop => old.iter().filter(|grant| !named(grant)).cloned().collect(),
        RoleChange::Set => old.iter().filter(named).cloned().collect(),
    };
    if change != RoleChange::Drop {
        for principal in principals {
            match new.iter_mut().find(|grant| is_one(grant, &principal)) {
                Some(known) if !notes.is_empty() => known.notes.clone_from(&notes),
                Some(_) => {}
                None => new.push(Grant::new(principal, String::new(), notes.clone())),
            }
        }
    }
    if new.len() > MAX_PRINCIPALS {
        return Err(Error::bad_request(format!("a role has at most {MAX_PRINCIPALS} principals; give it to groups")));
    }
    if new == old {
        return Ok(());
    }
    let edit = scope.edit(&request.snapshot, role, &new)?;
    Ok(request.service.store().edit_properties(vec![edit]).await?)
}

fn principals_of(request: &Request<'_>, scope: &Scope) -> Result<ResultTable> {
    let mut out = TableBuilder::new(PRINCIPALS);
    let mut row = |role: String, principal: &Principal, display: &str, notes: &str, id: String| {
        let display = if display.is_empty() { principal.name() } else { display };
        let object = if Uuid::parse_str(principal.name()).is_ok() { principal.name() } else { "" };
        out.row(vec![
            role.into(),
            principal.kind_name().into(),
            display.into(),
            object.into(),
            principal.text().into(),
            notes.into(),
            id.into(),
        ]);
    };
    if matches!(scope, Scope::Cluster) {
        for principal in &request.service.inner().options.rights.administrators {
            row(scope.role_title(Role::Admin), principal, "", "by the server's settings", String::new());
        }
    }
    for role in scope.roles() {
        for grant in scope.grants(&request.snapshot, *role) {
            if let Some(principal) = grant.principal() {
                row(scope.role_title(*role), &principal, &grant.display, &grant.notes, grant.id.to_string());
            }
        }
    }
    out.finish()
}

/// Everything that roles can be granted on, as far as the caller may know of it.
fn everywhere(request: &Request<'_>) -> Vec<Scope> {
    let mut scopes = vec![Scope::Cluster];
    for database in request.databases() {
        scopes.push(Scope::Database(database.clone()));
        scopes.extend(database.tables().map(|table| Scope::Table(database.clone(), table.clone())));
        let mut named = |kind: Named, names: Vec<String>| {
            scopes.extend(names.into_iter().map(|name| Scope::Named(database.clone(), kind, name)));
        };
        named(Named::ExternalTable, stored::names::<StoredExternal>(&request.snapshot, database));
        named(Named::MaterializedView, stored::names::<StoredView>(&request.snapshot, database));
        named(Named::GraphModel, stored::names::<StoredGraph>(&request.snapshot, database));
        named(Named::Function, database.functions().map(|function| function.name.clone()).collect());
    }
    scopes
}

/// The roles that the caller, or somebody named, has been given: by name, through a group, or by the settings.
fn roles_of(request: &Request<'_>, scopes: &[Scope], of: Option<&str>) -> Result<ResultTable> {
    let wanted = of.map(Principal::parse).transpose()?;
    let identity = &request.context.identity;
    let (display, object) = match &wanted {
        Some(principal) => (principal.name().to_string(), principal.name().to_string()),
        None if identity.name.is_empty() => (request.context.principal.clone(), identity.id.clone()),
        None => (identity.name.clone(), identity.id.clone()),
    };
    let mut out = TableBuilder::new(ROLES);
    for scope in scopes {
        for role in scope.roles() {
            let grants = scope.grants(&request.snapshot, *role);
            let granted = match &wanted {
                Some(principal) => {
                    grants.iter().any(|grant| grant.principal().is_some_and(|own| own.is_same(principal)))
                }
                None => grants.iter().any(|grant| grant.is_to(identity)),
            };
            let by_settings = matches!(scope, Scope::Cluster)
                && match &wanted {
                    Some(principal) => {
                        *role == Role::Admin
                            && request
                                .service
                                .inner()
                                .options
                                .rights
                                .administrators
                                .iter()
                                .any(|own| own.is_same(principal))
                    }
                    None => request.access.cluster_roles().has(*role),
                };
            if granted || by_settings {
                out.row(vec![
                    scope.title().into(),
                    display.as_str().into(),
                    object.as_str().into(),
                    scope.role_title(*role).into(),
                ]);
            }
        }
    }
    out.finish()
}

/// `.show principal access`: what the caller may do with each database. The reference names the command only.
fn access(request: &Request<'_>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(&[
        ("DatabaseName", KqlType::String),
        ("CanQuery", KqlType::Bool),
        ("CanCreate", KqlType::Bool),
        ("CanIngest", KqlType::Bool),
        ("CanMonitor", KqlType::Bool),
        ("CanAdminister", KqlType::Bool),
        ("IsUnrestrictedViewer", KqlType::Bool),
    ]);
    let access = &request.access;
    for database in request.databases() {
        out.row(vec![
            database.name().into(),
            access.may_query(database).into(),
            access.may_create(database).into(),
            access.may_ingest_anywhere(database).into(),
            access.is_monitor(database).into(),
            access.is_admin(database).into(),
            access.is_unrestricted(database).into(),
        ]);
    }
    out.finish()
}
