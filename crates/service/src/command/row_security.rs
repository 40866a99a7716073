//! What a row level security policy must be, and what it does not go together with. Source: row-level-security-policy page,
//! limitations; materialized-view-policies page.

use std::sync::Arc;

use serde_json::Value;
use tidewater_kql::lexer::{Lexer, TokenKind, unquote};
use tidewater_plan::RowSecurity;
use tidewater_store::{Database, PropertyOwner, Snapshot, Table};

use super::Request;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::export::continuous::{self, StoredExport};
use crate::policies::{self, RestrictedViewAccessPolicy, RowLevelSecurityPolicy};
use crate::stored::{self, StoredView};
use crate::updates;
use crate::view::View;

/// The property that lets views of a source with a policy have none themselves.
pub(super) const ALLOW_VIEWS: &str = "allowMaterializedViewsWithoutRowLevelSecurity";
/// Aggregates whose results are rows of the source as they stand.
const ROW_AGGREGATES: &[&str] = &["arg_max", "arg_min", "take_any", "take_anyif", "any", "anyif", "arg_any"];
/// Stored functions inside each other that are looked through for the names that they read.
const MAX_FUNCTIONS: usize = 64;

/// Whose policy it is.
pub(super) enum Secured<'a> {
    Table(&'a Arc<Database>, &'a Arc<Table>),
    View(&'a Arc<Database>, &'a str),
}

/// Refuses a policy that could not be applied, or that others would go round. One that is not enabled may be anything: it is how
/// a policy that no longer works is switched off.
pub(super) async fn check(
    request: &Request<'_>,
    owner: &Secured<'_>,
    policy: &RowLevelSecurityPolicy,
    allows_views: bool,
) -> Result<()> {
    if !policy.is_enabled {
        return Ok(());
    }
    let proposed = RowSecurity { is_enabled: true, query: policy.query.clone() };
    let (database, name, text) = match owner {
        Secured::Table(database, table) => (*database, table.name(), format!("table({})", Value::from(table.name()))),
        Secured::View(database, name) => (*database, *name, format!("materialized_view({})", Value::from(*name))),
    };
    let snapshot = Arc::clone(&request.snapshot);
    let view = View::with_policy(request.service, snapshot, database.name(), name, proposed.clone())?;
    let context = Context { database: database.name().to_string(), ..request.context.clone() };
    if let Err(error) = request.service.plan(&context, &text, &view, ()).await {
        let told = error.diagnostics().first().map_or(error.message(), |first| first.message.as_str());
        return Err(Error::bad_request(format!("the row level security policy of '{name}' does not work: {told}")));
    }
    match owner {
        Secured::Table(_, table) => {
            read_by_views(&request.snapshot, database, table, allows_views)?;
            read_by_update_policies(request, database, table, &proposed).await?;
            read_by_exports(request, database, table, &proposed).await
        }
        Secured::View(..) => {
            let view: StoredView = stored::found(&request.snapshot, database, name)?;
            keys_are_read(database, name, &view, &policy.query)
        }
    }
}

/// Whether a table has an enabled policy.
pub(super) fn is_secured(snapshot: &Snapshot, table: &Table) -> bool {
    let own = policies::own::<RowLevelSecurityPolicy>(snapshot, PropertyOwner::Table(table.id()));
    own.is_some_and(|policy| policy.is_enabled)
}

/// Whether only unrestricted viewers may read a table.
pub(super) fn is_restricted(snapshot: &Snapshot, table: &Table) -> bool {
    let own = policies::own::<RestrictedViewAccessPolicy>(snapshot, PropertyOwner::Table(table.id()));
    own.is_some_and(|policy| policy.0)
}

/// Whether a view has a policy of its own.
pub(super) fn is_view_secured(view: &StoredView) -> bool {
    let own = view.policies.get(tidewater_kql::command::PolicyKind::RowLevelSecurity.word());
    own.and_then(policies::parsed::<RowLevelSecurityPolicy>).is_some_and(|policy| policy.is_enabled)
}

/// The refusal of a view that would show what the policy of its source hides.
pub(super) fn view_without_policy(view: &str, source: &str) -> Error {
    Error::bad_request(format!(
        "table '{source}' has a row level security policy and its materialized view '{view}' has none, so that the view may \
         show what the policy hides; give the view a policy of its own, or allow it with the property '{ALLOW_VIEWS}'"
    ))
}

/// Whether a view's aggregates give rows of its source as they stand.
pub(super) fn shows_rows(view: &StoredView) -> bool {
    names(&view.plan.whole).iter().any(|name| ROW_AGGREGATES.contains(&name.as_str()))
}

fn read_by_views(snapshot: &Snapshot, database: &Database, table: &Table, allows_views: bool) -> Result<()> {
    if allows_views {
        return Ok(());
    }
    for (name, view) in stored::all::<StoredView>(snapshot, database) {
        if view.source == table.id() && view.enabled && shows_rows(&view) && !is_view_secured(&view) {
            return Err(view_without_policy(&name, table.name()));
        }
    }
    Ok(())
}

async fn read_by_update_policies(
    request: &Request<'_>,
    database: &Arc<Database>,
    table: &Arc<Table>,
    proposed: &RowSecurity,
) -> Result<()> {
    let refused = |target: &Table| {
        Err(Error::bad_request(format!(
            "table '{}' cannot have a row level security policy: the update policy of table '{}' reads it, and it could do so \
             with a managed identity only, which is not served",
            table.name(),
            target.name()
        )))
    };
    for other in request.snapshot.databases() {
        for target in other.tables() {
            let own = policies::own::<policies::UpdatePolicy>(&request.snapshot, PropertyOwner::Table(target.id()));
            for update in own.into_iter().flat_map(|policy| policy.0).filter(|update| update.is_enabled) {
                let is_source = other.id() == database.id() && updates::is_source(&update, table.name());
                if is_source
                    || updates::reads(request.service, request.context, &request.snapshot, other, &update, |view| {
                        view.proposing(database.name(), table.name(), proposed.clone())
                    })
                    .await
                    .iter()
                    .any(|(known, name)| known == database.name() && name == table.name())
                {
                    return refused(target);
                }
            }
        }
    }
    Ok(())
}

async fn read_by_exports(
    request: &Request<'_>,
    database: &Arc<Database>,
    table: &Arc<Table>,
    proposed: &RowSecurity,
) -> Result<()> {
    for other in request.snapshot.databases() {
        for (name, export) in stored::all::<StoredExport>(&request.snapshot, other) {
            let view = View::of_server(request.service, Arc::clone(&request.snapshot), other.name())?;
            let view = view.proposing(database.name(), table.name(), proposed.clone());
            let context = Context { database: other.name().to_string(), ..request.context.clone() };
            let text = continuous::text_of(&request.snapshot, &export, 0, 0);
            // A query that no longer works reads nothing, and will be refused when it does.
            let _ = request.service.plan(&context, &text, &view, ()).await;
            let reads = view.secured().iter().any(|(known, read)| known == database.name() && read == table.name());
            if reads || export.facts.contains(&table.id()) {
                return Err(Error::bad_request(format!(
                    "table '{}' cannot have a row level security policy: the continuous export '{name}' reads it, which is \
                     allowed with impersonation only, and that is not served",
                    table.name()
                )));
            }
        }
    }
    Ok(())
}

/// A policy of a view that aggregates must be about its groups.
fn keys_are_read(database: &Database, name: &str, view: &StoredView, query: &str) -> Result<()> {
    if shows_rows(view) {
        return Ok(());
    }
    let keys: Vec<String> = view.plan.merge.rsplit_once(" by ").map(|(_, keys)| names(keys)).unwrap_or_default();
    let mut read = names(query);
    let mut at = 0;
    // What stored functions read counts as well.
    while at < read.len() && read.len() < 10_000 {
        if at < MAX_FUNCTIONS
            && let Some(function) = database.function(&read[at])
        {
            for more in names(&function.body) {
                if !read.contains(&more) {
                    read.push(more);
                }
            }
        }
        at += 1;
    }
    match keys.iter().any(|key| read.contains(key)) {
        true => Ok(()),
        false => Err(Error::bad_request(format!(
            "the row level security policy of materialized view '{name}' must be about its groups: its query names none of \
             the columns {}",
            keys.join(", ")
        ))),
    }
}

/// The names and texts that stand in a query.
fn names(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for token in Lexer::new(text, 0) {
        let word = token.span.text(text);
        let name = match token.kind {
            TokenKind::Name => Some(word.to_string()),
            TokenKind::String => unquote(word).ok(),
            _ => None,
        };
        found.extend(name.filter(|name| !found.contains(name)));
    }
    found
}
