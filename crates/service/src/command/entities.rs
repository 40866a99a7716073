//! `.show databases entities`: tables and functions in one list.

use std::sync::Arc;

use tidewater_kql::KqlType;
use tidewater_kql::ast::Name;
use tidewater_store::Database;

use super::Request;
use super::schema::csl_schema;
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::stored::{self, StoredExternal, StoredView};
use crate::table::{Columns, TableBuilder};

const ENTITIES: Columns = &[
    ("DatabaseName", KqlType::String),
    ("EntityType", KqlType::String),
    ("EntityName", KqlType::String),
    ("DocString", KqlType::String),
    ("Folder", KqlType::String),
    ("CslInputSchema", KqlType::String),
    ("Content", KqlType::String),
    ("CslOutputSchema", KqlType::String),
    ("Properties", KqlType::Dynamic),
];

/// All entities of these databases, or of all.
pub fn show(request: &Request<'_>, names: &[Name]) -> Result<ResultTable> {
    let mut out = TableBuilder::new(ENTITIES);
    for database in super::databases::chosen(request, names)? {
        add(request, &database, None, &mut out);
    }
    out.finish()
}

/// The entities of one database that have a name.
pub fn show_one(request: &Request<'_>, database: &Name, entity: &Name) -> Result<ResultTable> {
    let mut out = TableBuilder::new(ENTITIES);
    let database = request.named_database(&database.text)?;
    match add(request, database, Some(&entity.text), &mut out) {
        0 => Err(Error::entity_not_found("Entity", &entity.text)),
        _ => out.finish(),
    }
}

/// Adds the entities of a database, of one name if one is wanted, and tells how many they are.
fn add(request: &Request<'_>, database: &Arc<Database>, wanted: Option<&str>, out: &mut TableBuilder) -> usize {
    let mut count = 0;
    let mut is_wanted = |name: &str| {
        let found = wanted.is_none_or(|wanted| wanted == name);
        count += usize::from(found);
        found
    };
    {
        for table in request.tables(database).filter(|table| is_wanted(table.name())) {
            out.row(vec![
                database.name().into(),
                "Table".into(),
                table.name().into(),
                table.docstring().into(),
                table.folder().into(),
                "".into(),
                "".into(),
                csl_schema(table.schema()).into(),
                "{}".into(),
            ]);
        }
        let mut row = |kind: &str, name: &str, docstring: &str, folder: &str, content: &str, schema: String| {
            out.row(vec![
                database.name().into(),
                kind.into(),
                name.into(),
                docstring.into(),
                folder.into(),
                "".into(),
                content.into(),
                schema.into(),
                "{}".into(),
            ]);
        };
        for (name, external) in stored::all::<StoredExternal>(&request.snapshot, database) {
            if !is_wanted(&name) {
                continue;
            }
            let schema = csl_schema(&external.source.schema());
            row("ExternalTable", &name, &external.docstring, &external.folder, "", schema);
        }
        for (name, view) in stored::all::<StoredView>(&request.snapshot, database) {
            if !is_wanted(&name) {
                continue;
            }
            let schema = csl_schema(&view.plan.schema);
            row("MaterializedView", &name, &view.docstring, &view.folder, &view.query, schema);
        }
        for function in database.functions().filter(|function| is_wanted(&function.name)) {
            out.row(vec![
                database.name().into(),
                "Function".into(),
                function.name.as_str().into(),
                function.docstring.as_deref().into(),
                function.folder.as_deref().into(),
                function.parameters.as_str().into(),
                function.body.as_str().into(),
                "".into(),
                "{}".into(),
            ]);
        }
    }
    count
}
