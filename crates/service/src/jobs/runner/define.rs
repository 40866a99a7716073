//! Statements that make, change and remove tables and databases, with the rights that the commands of KQL ask for.

use tidewater_plan::sql::{self, Definition, SqlFault, SqlScope};
use tidewater_store::{Alteration, CreateMode, TableSpec};

use super::{Done, forbidden, new_table, of_service, unknown_table};
use crate::context::{Context, DEFAULT_DATABASE};
use crate::rights::roles::admins_of_new;
use crate::service::Service;
use crate::view::View;

/// SQLSTATE of a database that exists already.
const DATABASE_EXISTS: &str = "42P04";
/// SQLSTATE of a schema that is not empty.
const HAS_TABLES: &str = "2BP01";

pub(super) async fn carry_out(
    service: &Service,
    context: &Context,
    scope: &SqlScope,
    seen: &View,
    definition: &Definition,
) -> Result<Done, SqlFault> {
    let (access, snapshot) = (seen.access(), seen.snapshot());
    let unknown = |name: &str| SqlFault::new(super::UNKNOWN_DATABASE, format!("the database '{name}' does not exist"));
    match definition {
        Definition::CreateTable { table, schema, if_not_exists } => {
            let database = match new_table(scope, table) {
                Err(fault) if fault.code == sql::TABLE_EXISTS && *if_not_exists => return Ok(Done::default()),
                database => database?,
            };
            let owner = snapshot.database(&database).ok_or_else(|| unknown(&database))?;
            if !access.may_create(owner) {
                let action = format!("make entities in database '{}'", owner.name());
                return Err(forbidden(&access.refused(&action)));
            }
            let spec =
                TableSpec { properties: admins_of_new(context), ..TableSpec::new(table.table.clone(), schema.clone()) };
            let made = service.store().create_table(owner.id(), spec, CreateMode::New).await;
            made.map_err(|error| of_service(&error.into()))?;
            Ok(Done { created: Some((database, table.table.clone())), ..Done::default() })
        }
        Definition::AddColumns { table, columns, if_exists } => {
            let Some(handle) = scope.table(table) else {
                return if *if_exists { Ok(Done::default()) } else { Err(unknown_table(table)) };
            };
            let owner = snapshot.database(&handle.database).ok_or_else(|| unknown(&handle.database))?;
            let own = owner.table(&handle.name).ok_or_else(|| unknown_table(table))?;
            if !access.is_table_admin(owner, own) {
                let action = format!("administer table '{}' of database '{}'", own.name(), owner.name());
                return Err(forbidden(&access.refused(&action)));
            }
            let mut added = Vec::new();
            for (column, if_not_exists) in columns {
                let known = handle.schema.columns.iter().chain(&added);
                match known.into_iter().any(|known| known.name.eq_ignore_ascii_case(&column.name)) {
                    true if *if_not_exists => {}
                    true => {
                        let message = format!("the column '{}' exists already", column.name);
                        return Err(SqlFault::new("42701", message));
                    }
                    false => added.push(column.clone()),
                }
            }
            let steps = vec![Alteration::MergeColumns(tidewater_kql::TableSchema::new(added))];
            service.store().alter_table(own.id(), steps).await.map_err(|error| of_service(&error.into()))?;
            Ok(Done::default())
        }
        Definition::CreateDatabase { name, if_not_exists } => {
            if !access.is_cluster_admin() {
                return Err(forbidden(&access.refused("make databases")));
            }
            match (scope.view.database(name), if_not_exists) {
                (Some(_), true) => return Ok(Done::default()),
                (Some(_), false) => {
                    return Err(SqlFault::new(DATABASE_EXISTS, format!("the database '{name}' exists already")));
                }
                (None, _) => {}
            }
            let mode = if *if_not_exists { CreateMode::IfNotExists } else { CreateMode::New };
            service.store().create_database(name, mode).await.map_err(|error| of_service(&error.into()))?;
            Ok(Done::default())
        }
        Definition::DropDatabase { name, if_exists, with_tables } => {
            if !access.is_cluster_admin() {
                return Err(forbidden(&access.refused("drop databases")));
            }
            let found = scope.view.database(name).and_then(|own| snapshot.database(&own));
            let Some(database) = found else {
                return if *if_exists { Ok(Done::default()) } else { Err(unknown(name)) };
            };
            if database.name().eq_ignore_ascii_case(DEFAULT_DATABASE) {
                let message = format!("the database '{DEFAULT_DATABASE}' cannot be dropped: clients fall back to it");
                return Err(SqlFault::new("42501", message));
            }
            if !with_tables && database.tables().next().is_some() {
                let message = format!("the schema '{name}' has tables (DROP SCHEMA ... CASCADE drops them too)");
                return Err(SqlFault::new(HAS_TABLES, message));
            }
            service.store().drop_database(database.id()).await.map_err(|error| of_service(&error.into()))?;
            Ok(Done::default())
        }
    }
}
