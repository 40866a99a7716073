//! What a query asks of the world outside of its tables by a plugin: schemas of files, answers of web services.
//!
//! The binder makes an `ExternalCall`; `CatalogView::external_call` turns it into a table of one row that is computed when
//! it is read. Source: infer_storage_schema, infer_storage_schema_with_suggestions, http_request, http_request_post pages.
//! Queries of other databases have as many rows as they give.

use tidewater_kql::{Column, KqlType, TableSchema};

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub enum ExternalCall {
    /// The columns of files.
    InferSchema(InferSchema),
    /// The answer of a web service.
    Http(HttpCall),
    /// The rows of another database.
    Sql(SqlCall),
}

/// Which files to look at, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct InferSchema {
    /// Storage connection strings.
    pub containers: Vec<String>,
    /// The format's name.
    pub format: String,
    /// How the names of the files end.
    pub extension: Option<String>,
    /// How the names of the files begin.
    pub prefix: Option<String>,
    /// Which of them.
    pub mode: InferMode,
    /// The first record has the names of the columns.
    pub has_header: bool,
    /// The result recommends types as well.
    pub suggests: bool,
}

/// Which files a schema is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InferMode {
    /// The first that is found.
    Any,
    /// The one that was written last.
    Last,
    /// All.
    All,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCall {
    /// The address.
    pub uri: String,
    /// Headers beside those that every call has.
    pub headers: Vec<(String, String)>,
    /// What is sent; a call without it is a GET.
    pub content: Option<String>,
    /// The request's id, which the service is told.
    pub client_request_id: String,
}

/// A query of another database. Source: mysql_request, postgresql_request pages.
#[derive(Clone, PartialEq)]
pub struct SqlCall {
    /// Whose language it is.
    pub kind: SqlKind,
    /// The connection string, with its secrets.
    pub connection: String,
    /// The query in SQL.
    pub query: String,
    /// Values of `@name` in it.
    pub parameters: Vec<(String, serde_json::Value)>,
    /// The columns of the result; `None` asks for them: one text with `[[name, type], ...]`.
    pub schema: Option<TableSchema>,
}

impl std::fmt::Debug for SqlCall {
    // Without the connection string and the values, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlCall").field("kind", &self.kind).field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Databases that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlKind {
    /// MySQL and its kin.
    MySql,
    /// PostgreSQL and its kin.
    PostgreSql,
}

impl SqlKind {
    /// The plugin that asks it.
    pub fn plugin(self) -> &'static str {
        match self {
            SqlKind::MySql => "mysql_request",
            SqlKind::PostgreSql => "postgresql_request",
        }
    }
}

impl ExternalCall {
    /// The columns of the result.
    pub fn schema(&self) -> TableSchema {
        let columns = match self {
            ExternalCall::InferSchema(infer) if infer.suggests => {
                vec![Column::new("SuggestedTableSchema", KqlType::String)]
            }
            ExternalCall::InferSchema(_) => vec![Column::new("CslSchema", KqlType::String)],
            ExternalCall::Sql(SqlCall { schema: Some(schema), .. }) => return schema.clone(),
            ExternalCall::Sql(_) => vec![Column::new("Columns", KqlType::String)],
            ExternalCall::Http(_) => {
                vec![Column::new("ResponseHeaders", KqlType::Dynamic), Column::new("ResponseBody", KqlType::Dynamic)]
            }
        };
        TableSchema::new(columns)
    }
}
