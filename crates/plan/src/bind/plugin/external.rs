//! Plugins without rows: `infer_storage_schema`, `infer_storage_schema_with_suggestions`, `http_request`,
//! `http_request_post`, `mysql_request`, `postgresql_request`.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tidewater_kql::ast::{Argument, ColumnDeclaration};
use tidewater_kql::{Column, KqlType, Span, TableSchema, diagnostic};

use super::PluginCall;
use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{Known, NeedWhat, Value};
use crate::catalog::TableHandle;
use crate::external_call::{ExternalCall, HttpCall, InferMode, InferSchema, SqlCall, SqlKind};

/// A plugin without rows.
type Source = fn(&mut Binder<'_>, &PluginCall<'_>) -> Bound<Tabular>;

const SOURCES: &[(&str, Source)] = &[
    ("http_request", |binder, call| binder.http_request(call)),
    ("http_request_post", |binder, call| binder.http_request(call)),
    ("infer_storage_schema", |binder, call| binder.infer_storage_schema(call)),
    ("infer_storage_schema_with_suggestions", |binder, call| binder.infer_storage_schema(call)),
];

/// Plugins that ask another database, which may declare their columns.
const DATABASES: &[SqlKind] = &[SqlKind::MySql, SqlKind::PostgreSql];

/// Columns as `[[name, type], ...]`.
fn columns_told(text: &str) -> Option<Vec<Column>> {
    let told: Vec<(String, String)> = serde_json::from_str(text).ok()?;
    let columns: Option<Vec<Column>> =
        told.into_iter().map(|(name, ty)| Some(Column::new(name, KqlType::parse(&ty)?))).collect();
    columns.filter(|columns| !columns.is_empty())
}

impl Binder<'_> {
    /// A plugin that reads no rows; `None` when the name is none of theirs.
    pub fn plugin_without_rows(
        &mut self,
        has_input: bool,
        name: &str,
        arguments: &[Argument],
        schema: Option<&[ColumnDeclaration]>,
        span: Span,
    ) -> Option<Bound<Tabular>> {
        let database = DATABASES.iter().find(|kind| kind.plugin() == name);
        let source = SOURCES.iter().find(|(known, _)| *known == name);
        if database.is_none() && source.is_none() {
            return None;
        }
        if has_input {
            let message = format!("{name}() reads no rows: it stands at the beginning, 'evaluate {name}(...)'");
            return Some(self.fail(diagnostic::GENERAL, span, message));
        }
        if let Some(kind) = database {
            return Some(self.sql_request(*kind, &PluginCall { name: kind.plugin(), arguments, span }, schema));
        }
        let (name, plugin) = source?;
        Some(plugin(self, &PluginCall { name, arguments, span }))
    }

    /// `mysql_request(connection, query [, parameters]) [: (schema)]` and its kin.
    fn sql_request(
        &mut self,
        kind: SqlKind,
        call: &PluginCall<'_>,
        schema: Option<&[ColumnDeclaration]>,
    ) -> Bound<Tabular> {
        // Reserved first, so that it is the same one each time the query is bound.
        let key = self.need_key();
        let name = call.name;
        self.count(name, call.arguments.len(), 2, 3, call.span)?;
        if self.flag("request_callout_disabled") {
            return self.fail(diagnostic::GENERAL, call.span, "the request disables callouts");
        }
        let given = self.parameters(call, &["ConnectionString", "SqlQuery", "SqlParameters"], 2)?;
        let (Some(connection), Some(query)) = (given[0], given[1]) else { return Err(Stopped) };
        let connection = self.text_argument(connection, &format!("{name}(): the connection string"))?;
        let query = self.text_argument(query, &format!("{name}(): the query"))?;
        let mut parameters = Vec::new();
        if let Some(argument) = given[2] {
            for (parameter, value) in self.plugin_bag(argument, &format!("{name}(): the parameters"))? {
                if value.is_array() || value.is_object() {
                    let message = format!("{name}(): the parameter '{parameter}' must be one value");
                    return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
                }
                parameters.push((parameter, value));
            }
        }
        let mut sql = SqlCall { kind, connection, query, parameters, schema: None };
        let columns = match schema {
            Some(declared) => {
                if let Some(star) = declared.iter().find(|declared| declared.name.text == "*") {
                    let message = format!("{name}() reads no rows that '*' could mean");
                    return self.fail(diagnostic::GENERAL, star.name.span, message);
                }
                declared.iter().map(|declared| Column::new(&declared.name.text, declared.ty)).collect()
            }
            None => {
                // Without declared columns the other database is asked for them first.
                let asked = self.called(call, &ExternalCall::Sql(sql.clone()))?;
                let Some(Known::Scalar(told)) = self.need(key, &asked.rel, NeedWhat::Scalar) else {
                    return Err(Stopped);
                };
                let columns = match &told.value {
                    Value::String(text) => columns_told(text),
                    _ => None,
                };
                match columns {
                    Some(columns) => columns,
                    None => {
                        let message = format!("{name}(): the query has no columns");
                        return self.fail(diagnostic::GENERAL, call.span, message);
                    }
                }
            }
        };
        sql.schema = Some(TableSchema::new(columns));
        self.called(call, &ExternalCall::Sql(sql))
    }

    fn called(&mut self, call: &PluginCall<'_>, external: &ExternalCall) -> Bound<Tabular> {
        let provider = match self.view.external_call(external) {
            Ok(provider) => provider,
            Err(message) => return self.fail(diagnostic::GENERAL, call.span, message),
        };
        let (name, schema) = (call.name.to_string(), external.schema());
        let table = TableHandle { database: String::new(), name, schema, provider, is_filled: true };
        let tabular = self.table_rows(Arc::new(table), call.span)?;
        Ok(Tabular { table: None, name: None, ..tabular })
    }

    /// A constant bag.
    fn plugin_bag(&mut self, argument: &Argument, what: &str) -> Bound<Map<String, Json>> {
        let span = argument.value.span;
        let bound = self.expr(&argument.value, &mut Row::none())?;
        let constant = self.constant(&bound, span, what)?;
        let bag = match &constant.value {
            Value::Null if constant.ty == KqlType::Dynamic => Some(Map::new()),
            Value::Dynamic(text) => match serde_json::from_str(text) {
                Ok(Json::Object(bag)) => Some(bag),
                _ => None,
            },
            _ => None,
        };
        match bag {
            Some(bag) => Ok(bag),
            None => self.fail(diagnostic::ARGUMENT_TYPE, span, format!("{what} must be a property bag")),
        }
    }

    /// `infer_storage_schema(options)`.
    fn infer_storage_schema(&mut self, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.count(call.name, call.arguments.len(), 1, 1, call.span)?;
        if self.flag("request_external_data_disabled") {
            return self.fail(diagnostic::GENERAL, call.span, "the request disables external data");
        }
        let argument = &call.arguments[0];
        let span = argument.value.span;
        let bag = self.plugin_bag(argument, &format!("{}(): the options", call.name))?;
        let mut infer = InferSchema {
            containers: Vec::new(),
            format: String::new(),
            extension: None,
            prefix: None,
            mode: InferMode::Last,
            has_header: false,
            suggests: call.name.ends_with("_with_suggestions"),
        };
        const NAMES: &[&str] =
            &["StorageContainers", "DataFormat", "FileExtension", "FileNamePrefix", "Mode", "InferenceOptions"];
        for (name, value) in &bag {
            let known = NAMES.iter().find(|known| known.eq_ignore_ascii_case(name)).copied();
            match (known, value) {
                (_, Json::Null) if known.is_some() => {}
                (Some("StorageContainers"), Json::Array(list)) => {
                    let texts = list.iter().map(|text| text.as_str().map(str::to_string));
                    infer.containers = match texts.collect::<Option<Vec<String>>>() {
                        Some(texts) => texts,
                        None => {
                            let message = format!("{}(): 'StorageContainers' is an array of texts", call.name);
                            return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
                        }
                    };
                }
                (Some("DataFormat"), Json::String(text)) => infer.format = text.clone(),
                (Some("FileExtension"), Json::String(text)) => infer.extension = Some(text.clone()),
                (Some("FileNamePrefix"), Json::String(text)) => infer.prefix = Some(text.clone()),
                (Some("Mode"), Json::String(text)) => {
                    infer.mode = match text.to_ascii_lowercase().as_str() {
                        "any" => InferMode::Any,
                        "last" => InferMode::Last,
                        "all" => InferMode::All,
                        _ => {
                            let message = format!("{}(): 'Mode' is any, last or all, found '{text}'", call.name);
                            return self.fail(diagnostic::NOT_IN_LIST, span, message);
                        }
                    };
                }
                (Some("InferenceOptions"), Json::Object(options)) => {
                    let header = options.iter().find(|(name, _)| name.eq_ignore_ascii_case("UseFirstRowAsHeader"));
                    infer.has_header = match header {
                        None => false,
                        Some((_, Json::Bool(value))) => *value,
                        Some((_, Json::String(text))) => text.eq_ignore_ascii_case("true"),
                        Some(_) => {
                            let message = format!("{}(): 'UseFirstRowAsHeader' is true or false", call.name);
                            return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
                        }
                    };
                }
                (Some(known), _) => {
                    let message = format!("{}(): '{known}' has a value of the wrong type", call.name);
                    return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
                }
                (None, _) => {
                    let message = format!("{}() has no option '{name}'", call.name);
                    let hint = tidewater_kql::Diagnostic::new(diagnostic::NOT_IN_LIST, span, message);
                    return Err(self.report(hint.hint_nearest(name, NAMES.iter().copied())));
                }
            }
        }
        for (name, is_missing) in
            [("StorageContainers", infer.containers.is_empty()), ("DataFormat", infer.format.is_empty())]
        {
            if is_missing {
                return self.fail(diagnostic::ARGUMENT_COUNT, span, format!("{}(): '{name}' is missing", call.name));
            }
        }
        self.called(call, &ExternalCall::InferSchema(infer))
    }

    /// `http_request(uri [, headers [, options]])`, `http_request_post(uri [, headers [, options [, content]]])`.
    fn http_request(&mut self, call: &PluginCall<'_>) -> Bound<Tabular> {
        let is_post = call.name == "http_request_post";
        let names = ["Uri", "RequestHeaders", "Options", "Content"];
        let names = if is_post { &names[..] } else { &names[..3] };
        self.count(call.name, call.arguments.len(), 1, names.len(), call.span)?;
        if self.flag("request_callout_disabled") {
            return self.fail(diagnostic::GENERAL, call.span, "the request disables callouts");
        }
        let given = self.parameters(call, names, 1)?;
        let Some(uri) = given[0] else { return Err(Stopped) };
        let uri = self.text_argument(uri, &format!("{}(): the address", call.name))?;
        let mut headers = Vec::new();
        if let Some(argument) = given[1] {
            for (name, value) in self.plugin_bag(argument, &format!("{}(): the headers", call.name))? {
                let text = match value {
                    Json::String(text) => text,
                    other => other.to_string(),
                };
                headers.push((name, text));
            }
        }
        if let Some(argument) = given[2] {
            self.plugin_bag(argument, &format!("{}(): the options", call.name))?;
        }
        let content = match given.get(3).copied().flatten() {
            Some(argument) => Some(self.text_argument(argument, "http_request_post(): the content")?),
            None => is_post.then(String::new),
        };
        let client_request_id = self.context.client_request_id.clone();
        self.called(call, &ExternalCall::Http(HttpCall { uri, headers, content, client_request_id }))
    }
}
