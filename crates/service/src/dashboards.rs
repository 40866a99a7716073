//! Dashboards of the page: JSON that belongs to a database, changed only by whoever has seen its last version.
//!
//! What a dashboard holds is the page's matter; here it has a title, tiles with queries, and bounds. Who may query the
//! database may look, who may create in it may write, and its makers and the database's admins may delete it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewater_store::{Database, Snapshot};
use uuid::Uuid;

use crate::context::{Context, now_ticks};
use crate::error::{Error, Result};
use crate::rights::Access;
use crate::service::Service;
use crate::stored::{self, Entity};

/// Bytes of a dashboard's JSON.
pub const MAX_DASHBOARD_BYTES: usize = 256 * 1024;
/// Dashboards of one database.
const MAX_DASHBOARDS: usize = 1_000;
/// Tiles of one dashboard.
const MAX_TILES: usize = 100;
/// Characters of a title.
const MAX_TITLE: usize = 200;

/// A dashboard as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredDashboard {
    version: Uuid,
    created: i64,
    created_by: String,
    updated: i64,
    updated_by: String,
    content: Value,
}

impl Entity for StoredDashboard {
    const KIND: &'static str = "dashboard";
    const NOUN: &'static str = "Dashboard";
}

/// A dashboard and what its caller may do with it.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Its name in addresses.
    pub id: String,
    /// Another one after each change.
    pub version: Uuid,
    /// Ticks.
    pub created: i64,
    /// The principal who made it.
    pub created_by: String,
    /// Ticks.
    pub updated: i64,
    /// The principal who changed it last.
    pub updated_by: String,
    /// The page's JSON.
    pub content: Value,
    /// Whether the caller may change it.
    pub may_write: bool,
    /// Whether the caller may delete it.
    pub may_delete: bool,
}

impl Dashboard {
    /// What people call it.
    pub fn title(&self) -> &str {
        self.content.get("title").and_then(Value::as_str).unwrap_or_default()
    }

    /// How many tiles it has.
    pub fn tiles(&self) -> usize {
        self.content.get("tiles").and_then(Value::as_array).map_or(0, Vec::len)
    }
}

/// The outcome of a change that names the version it was made from.
#[derive(Debug)]
pub enum Changed {
    /// It was made; nothing is left of what was deleted.
    Done(Option<Box<Dashboard>>),
    /// The dashboard is another one by now.
    Stale,
}

/// A request into a database's dashboards.
struct Desk<'a> {
    service: &'a Service,
    context: &'a Context,
    snapshot: Arc<Snapshot>,
    access: Access,
    database: Arc<Database>,
}

impl Desk<'_> {
    fn told(&self, id: &str, stored: StoredDashboard) -> Dashboard {
        let may_write = self.access.may_create(&self.database);
        // Without sign-in everybody is everybody's maker.
        let is_maker = may_write && self.access.is_own(&stored.created_by);
        Dashboard {
            id: id.to_string(),
            version: stored.version,
            created: stored.created,
            created_by: stored.created_by,
            updated: stored.updated,
            updated_by: stored.updated_by,
            content: stored.content,
            may_write,
            may_delete: self.access.is_admin(&self.database) || is_maker,
        }
    }

    fn require_write(&self, what: &str) -> Result<()> {
        if self.context.readonly {
            return Err(Error::read_only(what));
        }
        match self.access.may_create(&self.database) {
            true => Ok(()),
            false => Err(self.access.refused(&format!("write dashboards of database '{}'", self.database.name()))),
        }
    }

    fn find(&self, id: &str) -> Result<StoredDashboard> {
        stored::found(&self.snapshot, &self.database, id)
    }

    /// Writes over `old`, which the snapshot has, unless somebody else was faster.
    async fn write(&self, id: &str, old: Option<&StoredDashboard>, new: Option<StoredDashboard>) -> Result<Changed> {
        let edit = stored::edit(&self.database, id, old, new.as_ref())?;
        if let Err(error) = self.service.store().edit_properties(vec![edit]).await {
            let now = self.service.store().snapshot();
            let known = match now.database(self.database.name()) {
                Some(database) => stored::find::<StoredDashboard>(&now, database, id),
                None => None,
            };
            return match known.as_ref() == old {
                true => Err(error.into()),
                false => Ok(Changed::Stale),
            };
        }
        Ok(Changed::Done(new.map(|new| Box::new(self.told(id, new)))))
    }
}

/// Refuses what is no dashboard, or too much of one.
fn check(content: &Value) -> Result<()> {
    let title = content.get("title").and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if title.is_empty() || title.chars().count() > MAX_TITLE {
        return Err(Error::bad_request(format!("a dashboard has a 'title' of 1 to {MAX_TITLE} characters")));
    }
    let Some(tiles) = content.get("tiles").and_then(Value::as_array) else {
        return Err(Error::bad_request("a dashboard has an array of 'tiles'"));
    };
    if tiles.len() > MAX_TILES {
        return Err(Error::bad_request(format!("a dashboard has at most {MAX_TILES} tiles, found {}", tiles.len())));
    }
    if let Some(at) = tiles.iter().position(|tile| tile.get("query").and_then(Value::as_str).is_none()) {
        return Err(Error::bad_request(format!("tile {} has no text 'query'", at + 1)));
    }
    let bytes = content.to_string().len();
    if bytes > MAX_DASHBOARD_BYTES {
        return Err(Error::bad_request(format!(
            "a dashboard has at most {MAX_DASHBOARD_BYTES} bytes of JSON, found {bytes}"
        )));
    }
    Ok(())
}

impl Service {
    fn desk<'a>(&'a self, context: &'a Context) -> Result<Desk<'a>> {
        let snapshot = self.store().snapshot();
        let access = Access::of(&self.inner().options.rights, context, Arc::clone(&snapshot));
        let database = snapshot.database(&context.database).cloned();
        let database = database.ok_or_else(|| Error::database_not_found(&context.database))?;
        access.require_query(&database)?;
        Ok(Desk { service: self, context, snapshot, access, database })
    }

    /// The dashboards of the context's database by title, and whether the caller may make more.
    ///
    /// *Errors*: the database is not there, or not the caller's to read.
    pub fn dashboards(&self, context: &Context) -> Result<(Vec<Dashboard>, bool)> {
        let desk = self.desk(context)?;
        let all = stored::all::<StoredDashboard>(&desk.snapshot, &desk.database);
        let mut all: Vec<Dashboard> = all.into_iter().map(|(id, stored)| desk.told(&id, stored)).collect();
        all.sort_by_cached_key(|dashboard| (dashboard.title().to_lowercase(), dashboard.created));
        Ok((all, desk.access.may_create(&desk.database)))
    }

    /// One dashboard.
    ///
    /// *Errors*: it is not there, or its database is not the caller's to read.
    pub fn dashboard(&self, context: &Context, id: &str) -> Result<Dashboard> {
        let desk = self.desk(context)?;
        Ok(desk.told(id, desk.find(id)?))
    }

    /// Makes a dashboard.
    ///
    /// *Errors*: the caller may not create in the database; JSON that is no dashboard; too many of them.
    pub async fn create_dashboard(&self, context: &Context, content: Value) -> Result<Dashboard> {
        let desk = self.desk(context)?;
        desk.require_write("making a dashboard")?;
        check(&content)?;
        if stored::names::<StoredDashboard>(&desk.snapshot, &desk.database).len() >= MAX_DASHBOARDS {
            return Err(Error::bad_request(format!("a database has at most {MAX_DASHBOARDS} dashboards")));
        }
        let id = Uuid::new_v4().to_string();
        let now = now_ticks();
        let new = StoredDashboard {
            version: Uuid::new_v4(),
            created: now,
            created_by: context.principal.clone(),
            updated: now,
            updated_by: context.principal.clone(),
            content,
        };
        match desk.write(&id, None, Some(new)).await? {
            Changed::Done(Some(made)) => Ok(*made),
            _ => Err(Error::internal("a new dashboard was there already")),
        }
    }

    /// Changes a dashboard, if it is still of the version that the caller has seen.
    ///
    /// *Errors*: as for making one.
    pub async fn change_dashboard(&self, context: &Context, id: &str, seen: Uuid, content: Value) -> Result<Changed> {
        let desk = self.desk(context)?;
        desk.require_write("changing a dashboard")?;
        check(&content)?;
        let old = desk.find(id)?;
        if old.version != seen {
            return Ok(Changed::Stale);
        }
        let new = StoredDashboard {
            version: Uuid::new_v4(),
            updated: now_ticks(),
            updated_by: context.principal.clone(),
            content,
            ..old.clone()
        };
        desk.write(id, Some(&old), Some(new)).await
    }

    /// Deletes a dashboard, if it is still of the version that the caller has seen.
    ///
    /// *Errors*: the caller neither made it nor administers the database.
    pub async fn delete_dashboard(&self, context: &Context, id: &str, seen: Uuid) -> Result<Changed> {
        let desk = self.desk(context)?;
        if context.readonly {
            return Err(Error::read_only("deleting a dashboard"));
        }
        let old = desk.find(id)?;
        if !desk.told(id, old.clone()).may_delete {
            let name = desk.database.name();
            return Err(desk.access.refused(&format!("delete a dashboard of somebody else in database '{name}'")));
        }
        if old.version != seen {
            return Ok(Changed::Stale);
        }
        desk.write(id, Some(&old), None).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_has_a_title_and_tiles_with_queries_is_a_dashboard() {
        assert!(check(&json!({"title": "T", "tiles": []})).is_ok());
        assert!(check(&json!({"title": "T", "tiles": [{"query": "T"}], "more": {}})).is_ok());
        for (wrong, told) in [
            (json!({"title": " ", "tiles": []}), "title"),
            (json!({"title": "T"}), "tiles"),
            (json!({"title": "T", "tiles": [{"query": "T"}, {}]}), "tile 2"),
            (json!({"title": "T", "tiles": vec![json!({"query": ""}); 101]}), "at most 100"),
            (json!({"title": "T", "tiles": [{"query": "x".repeat(MAX_DASHBOARD_BYTES)}]}), "bytes"),
            (json!([]), "title"),
        ] {
            let error = check(&wrong).unwrap_err();
            assert!(error.message().contains(told), "{}", error.message());
        }
    }
}
