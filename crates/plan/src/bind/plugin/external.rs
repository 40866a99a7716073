//! Plugins without rows: `infer_storage_schema`, `infer_storage_schema_with_suggestions`, `http_request`, `http_request_post`.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tidewater_kql::ast::Argument;
use tidewater_kql::{KqlType, Span, diagnostic};

use super::PluginCall;
use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound};
use crate::bound::Value;
use crate::catalog::TableHandle;
use crate::external_call::{ExternalCall, HttpCall, InferMode, InferSchema};

/// A plugin without rows.
type Source = fn(&mut Binder<'_>, &PluginCall<'_>) -> Bound<Tabular>;

const SOURCES: &[(&str, Source)] = &[
    ("http_request", |binder, call| binder.http_request(call)),
    ("http_request_post", |binder, call| binder.http_request(call)),
    ("infer_storage_schema", |binder, call| binder.infer_storage_schema(call)),
    ("infer_storage_schema_with_suggestions", |binder, call| binder.infer_storage_schema(call)),
];

impl Binder<'_> {
    /// A plugin that reads no rows; `None` when the name is none of theirs.
    pub fn plugin_without_rows(
        &mut self,
        has_input: bool,
        name: &str,
        arguments: &[Argument],
        span: Span,
    ) -> Option<Bound<Tabular>> {
        let (name, plugin) = SOURCES.iter().find(|(known, _)| *known == name)?;
        if has_input {
            let message = format!("{name}() reads no rows: it stands at the beginning, 'evaluate {name}(...)'");
            return Some(self.fail(diagnostic::GENERAL, span, message));
        }
        Some(plugin(self, &PluginCall { name, arguments, span }))
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
        let Some(uri) = given[0] else { return Err(crate::bind::Stopped) };
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
