//! Stored functions.

use serde_json::json;
use std::sync::Arc;

use tidewater_kql::KqlType;
use tidewater_kql::ast::{Name, Property};
use tidewater_kql::command::{FunctionDefinition, FunctionMode, TextKind, property_flag, property_text};
use tidewater_store::{CreateMode, Database, FunctionRow, FunctionSpec};

use super::Request;
use super::schema::{TABLE_SCHEMA, columns_json, input_parameters, quoted_name};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::rights::roles::creator_of;
use crate::stored;
use crate::table::{Columns, TableBuilder};
use crate::view::View;

const FUNCTIONS: Columns = &[
    ("Name", KqlType::String),
    ("Parameters", KqlType::String),
    ("Body", KqlType::String),
    ("Folder", KqlType::String),
    ("DocString", KqlType::String),
];

fn rows<'a>(functions: impl Iterator<Item = &'a FunctionRow>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(FUNCTIONS);
    for function in functions {
        out.row(vec![
            function.name.as_str().into(),
            function.parameters.as_str().into(),
            function.body.as_str().into(),
            function.folder.as_deref().into(),
            function.docstring.as_deref().into(),
        ]);
    }
    out.finish()
}

fn found<'a>(database: &'a Database, name: &str) -> Result<&'a FunctionRow> {
    match database.function(name) {
        Some(function) => Ok(function),
        None => Err(Error::entity_not_found("Function", name)),
    }
}

/// `.create function`, `.alter function`, `.create-or-alter function`
pub async fn create(
    request: &Request<'_>,
    mode: FunctionMode,
    if_not_exists: bool,
    properties: &[Property],
    function: FunctionDefinition,
) -> Result<ResultTable> {
    let database = request.database()?;
    let name = function.name.text;
    let known = database.function(&name);
    let create_mode = match (mode, known) {
        (FunctionMode::Create, Some(known)) if if_not_exists => return rows(std::iter::once(known.as_ref())),
        (FunctionMode::Create, _) => CreateMode::New,
        (FunctionMode::Alter, None) => return Err(Error::entity_not_found("Function", &name)),
        (FunctionMode::Alter | FunctionMode::CreateOrAlter, _) => CreateMode::Merge,
    };
    // Folder and docstring stay when an alteration does not name them.
    let kept =
        |text: Option<String>, old: Option<&String>| text.or_else(|| old.cloned()).filter(|text| !text.is_empty());
    let old = known.map(|known| known.as_ref());
    let spec = FunctionSpec {
        name: name.clone(),
        parameters: function.parameters_text,
        body: function.body_text,
        folder: kept(property_text(properties, "folder"), old.and_then(|old| old.folder.as_ref())),
        docstring: kept(property_text(properties, "docstring"), old.and_then(|old| old.docstring.as_ref())),
        is_view: match property_text(properties, "view") {
            Some(_) => property_flag(properties, "view"),
            None => old.is_some_and(|old| old.is_view),
        },
        companion: creator_of(request.context),
    };
    if known.is_none() {
        stored::name_is_free(&request.snapshot, database, &name, "function")?;
    }
    if !property_flag(properties, "skipvalidation") {
        check(request, &function.lambda)?;
    }
    request.service.store().put_function(database.id(), spec, create_mode).await?;
    let request = request.refreshed();
    rows(std::iter::once(found(request.database()?, &name)?))
}

/// Refuses a function whose body is wrong whatever it is called with.
fn check(request: &Request<'_>, lambda: &tidewater_kql::ast::Lambda) -> Result<()> {
    let context = request.context;
    let snapshot = std::sync::Arc::clone(&request.snapshot);
    let view = View::new(request.service, context, snapshot, &context.database)?;
    let diagnostics = tidewater_plan::check_function(lambda, &view, &crate::query::plan_context(context)?);
    match diagnostics.is_empty() {
        true => Ok(()),
        false => Err(Error::of_diagnostics(request.text, diagnostics)),
    }
}

/// `.alter function f folder "..."`, `.alter function f docstring "..."`
/// Whether a stored function still binds.
pub async fn check_stored(request: &Request<'_>, database: &Database, function: &FunctionRow) -> Result<()> {
    let parsed = tidewater_kql::parse_function_body(&function.parameters, &function.body);
    let Some(lambda) = parsed.tree.filter(|_| parsed.diagnostics.is_empty()) else {
        return Err(Error::of_diagnostics(&function.body, parsed.diagnostics));
    };
    let context = crate::context::Context { database: database.name().to_string(), ..request.context.clone() };
    check(
        &Request {
            context: &context,
            snapshot: Arc::clone(&request.snapshot),
            access: request.access.clone(),
            ..*request
        },
        &lambda,
    )
}

/// `.alter function f docstring "..."`, `.alter function f folder "..."`
pub async fn alter_text(request: &Request<'_>, name: &str, which: TextKind, text: String) -> Result<ResultTable> {
    let database = request.database()?;
    let old = found(database, name)?;
    let text = Some(text).filter(|text| !text.is_empty());
    let (folder, docstring) = match which {
        TextKind::Folder => (text, old.docstring.clone()),
        TextKind::DocString => (old.folder.clone(), text),
    };
    let spec = FunctionSpec {
        name: name.to_string(),
        parameters: old.parameters.clone(),
        body: old.body.clone(),
        folder,
        docstring,
        is_view: old.is_view,
        companion: None,
    };
    request.service.store().put_function(database.id(), spec, CreateMode::Merge).await?;
    let request = request.refreshed();
    rows(std::iter::once(found(request.database()?, name)?))
}

/// `.drop function f [ifexists]`
pub async fn drop_one(request: &Request<'_>, name: &str, if_exists: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let mut out = TableBuilder::new(&[("Name", KqlType::String)]);
    match (database.function(name), if_exists) {
        (Some(_), _) => {
            request.service.store().drop_function(database.id(), name).await?;
            out.row(vec![name.into()]);
        }
        (None, true) => {}
        (None, false) => return Err(Error::entity_not_found("Function", name)),
    }
    out.finish()
}

/// `.drop functions (f, g) [ifexists]`: answered by the functions that remain.
pub async fn drop_many(request: &Request<'_>, names: &[Name], if_exists: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let mut known: Vec<String> = Vec::new();
    for name in names {
        match database.function(&name.text) {
            Some(_) if !known.contains(&name.text) => known.push(name.text.clone()),
            Some(_) => {}
            None if if_exists => {}
            None => return Err(Error::entity_not_found("Function", &name.text)),
        }
    }
    request.service.store().drop_functions(database.id(), known).await?;
    show_all(&request.refreshed())
}

/// `.show functions`
pub fn show_all(request: &Request<'_>) -> Result<ResultTable> {
    rows(request.database()?.functions().map(|function| function.as_ref()))
}

/// `.show function f [schema as json]`
pub async fn show(request: &Request<'_>, name: &str, schema_as_json: bool) -> Result<ResultTable> {
    let database = request.database()?;
    let function = found(database, name)?;
    if !schema_as_json {
        return rows(std::iter::once(function));
    }
    let schema = json!({
        "Name": function.name,
        "InputParameters": input_parameters(function),
        "OutputColumns": output_columns(request, function).await,
    });
    let mut out = TableBuilder::new(TABLE_SCHEMA);
    out.row(vec![
        function.name.as_str().into(),
        schema.to_string().into(),
        database.name().into(),
        function.folder.as_deref().into(),
        function.docstring.as_deref().into(),
    ]);
    out.finish()
}

/// The columns of a function that needs no arguments and gives a table; none for others.
async fn output_columns(request: &Request<'_>, function: &FunctionRow) -> serde_json::Value {
    let snapshot = std::sync::Arc::clone(&request.snapshot);
    let context = request.context;
    let view = View::new(request.service, context, snapshot, &context.database);
    let text = format!("{}()", quoted_name(&function.name));
    if let Ok(view) = view
        && let Ok(planned) = request.service.plan(context, &text, &view, ()).await
        && let Some(result) = planned.results.first()
    {
        return columns_json(&result.schema);
    }
    json!([])
}
