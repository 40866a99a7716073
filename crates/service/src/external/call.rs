//! Calls of plugins: schemas of files, answers of web services. The policy is that of external data.
//!
//! Input: an `ExternalCall` of the binder. Output: a table of one row, computed when it is read.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value as Json, json};
use tidewater_formats::{DecodeOptions, Format, decode, infer_schema};
use tidewater_kql::printer::quoted_name;
use tidewater_kql::value::datetime::{self, UNIX_EPOCH_TICKS};
use tidewater_kql::{Column, KqlType, TableSchema};
use tidewater_plan::{ExternalCall, ExternalSource, HttpCall, InferMode, InferSchema};

use super::location::{Location, shown};
use super::{Artifact, External, PATIENCE};
use crate::error::{Error, Fault, Result};

/// An answer may have this many bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Files whose schemas are put together.
const MAX_INFERRED_FILES: usize = 1_000;

impl External {
    /// The call as a table.
    pub fn call(self: &Arc<Self>, call: &ExternalCall) -> Result<Arc<dyn TableProvider>> {
        match call {
            ExternalCall::Sql(sql) => return self.sql(sql),
            ExternalCall::InferSchema(infer) => {
                super::Reading::of(&source_of(infer), None)?;
                infer.containers.iter().try_for_each(|uri| Location::parse(uri).map(drop))?;
            }
            ExternalCall::Http(http) => {
                address(http)?;
                headers_of(http)?;
            }
        }
        Ok(Arc::new(CallTable { external: Arc::clone(self), call: call.clone() }))
    }

    async fn answer(self: &Arc<Self>, call: &ExternalCall) -> Result<Vec<String>> {
        match call {
            ExternalCall::InferSchema(infer) => Ok(vec![self.infer(infer).await?]),
            ExternalCall::Http(http) => self.request(http).await,
            ExternalCall::Sql(_) => Err(Error::internal("queries of other databases have rows of their own")),
        }
    }

    async fn infer(self: &Arc<Self>, infer: &InferSchema) -> Result<String> {
        let source = source_of(infer);
        let mut artifacts = self.artifacts(&source).await?;
        if artifacts.is_empty() {
            return Err(Error::new(Fault::BadData, "no file is found to infer a schema from".to_string()));
        }
        match infer.mode {
            InferMode::Any => artifacts.truncate(1),
            InferMode::Last => {
                // Addresses do not tell when they were written: the last one that is named counts.
                artifacts.sort_by_key(Artifact::written);
                artifacts.drain(..artifacts.len() - 1);
            }
            InferMode::All if artifacts.len() > MAX_INFERRED_FILES => {
                return Err(Error::bad_request(format!(
                    "a schema is inferred from at most {MAX_INFERRED_FILES} files, found {}",
                    artifacts.len()
                )));
            }
            InferMode::All => {}
        }
        let Some(format) = Format::parse(&infer.format) else {
            return Err(Error::new(Fault::FormatNotSupported, format!("data format '{}' is not known", infer.format)));
        };
        let mut columns: Vec<Column> = Vec::new();
        for artifact in &artifacts {
            for column in self.columns_of(artifact, format, infer.has_header).await? {
                match columns.iter_mut().find(|known| known.name == column.name) {
                    None => columns.push(column),
                    Some(known) if known.ty == column.ty => {}
                    Some(known) => known.ty = common(known.ty, column.ty),
                }
            }
        }
        if !infer.suggests {
            let listed: Vec<String> =
                columns.iter().map(|column| format!("{}:{}", quoted_name(&column.name), column.ty.name())).collect();
            return Ok(listed.join(", "));
        }
        let moments = match artifacts.last() {
            Some(artifact) => self.moments(artifact, format, infer.has_header, &columns).await?,
            None => Vec::new(),
        };
        Ok(suggestions(&columns, &moments).to_string())
    }

    async fn columns_of(
        self: &Arc<Self>,
        artifact: &Artifact,
        format: Format,
        has_header: bool,
    ) -> Result<Vec<Column>> {
        let (input, compression, spooled) = self.open(artifact, format).await?;
        let mut options = DecodeOptions::new(format);
        options.compression = compression;
        options.ignore_first_record = has_header && format.delimiter().is_some();
        let uri = artifact.uri.clone();
        let inferred = tokio::task::spawn_blocking(move || {
            let inferred = infer_schema(input, &options);
            drop(spooled);
            inferred
        });
        let inferred = inferred.await.map_err(|_| Error::internal("inferring a schema failed"))?;
        let inferred = inferred.map_err(|error| {
            let error = Error::from(error);
            Error::new(error.fault().clone(), format!("{uri}: {}", error.message()))
        })?;
        let mut columns = inferred.schema.columns;
        if inferred.has_header && !has_header {
            // Without a header the first record is one like all others: its texts make texts of the columns.
            columns = (1..=columns.len()).map(|at| Column::new(format!("Column{at}"), KqlType::String)).collect();
        }
        Ok(columns)
    }

    /// For each column of numbers that are moments, how they count.
    async fn moments(
        self: &Arc<Self>,
        artifact: &Artifact,
        format: Format,
        has_header: bool,
        columns: &[Column],
    ) -> Result<Vec<(String, &'static str)>> {
        if !columns.iter().any(|column| column.ty == KqlType::Long) {
            return Ok(Vec::new());
        }
        let (input, compression, spooled) = self.open(artifact, format).await?;
        let mut options = DecodeOptions::new(format);
        options.compression = compression;
        options.ignore_first_record = has_header && format.delimiter().is_some();
        let columns = columns.to_vec();
        let read = tokio::task::spawn_blocking(move || {
            let schema = TableSchema::new(columns.clone());
            let batch = decode(input, &schema, options)?.next().transpose()?;
            drop(spooled);
            let mut moments = Vec::new();
            for (at, column) in columns.iter().enumerate().filter(|(_, column)| column.ty == KqlType::Long) {
                let Some(batch) = &batch else { continue };
                let values: Vec<i64> = batch.column(at).as_primitive::<Int64Type>().iter().flatten().collect();
                if let Some(unit) = unit_of(&values) {
                    moments.push((column.name.clone(), unit));
                }
            }
            Ok::<_, tidewater_formats::Error>(moments)
        });
        read.await.map_err(|_| Error::internal("reading a sample failed"))?.map_err(Error::from)
    }

    /// Refuses an address that may not be called.
    pub fn check_call(&self, uri: &str) -> Result<()> {
        let http =
            HttpCall { uri: uri.to_string(), headers: Vec::new(), content: None, client_request_id: String::new() };
        self.policy.check(&address(&http)?)
    }

    /// Sends a call whose answer does not matter beyond its being taken.
    pub async fn send(&self, http: &HttpCall) -> Result<()> {
        self.request(http).await.map(drop)
    }

    async fn request(&self, http: &HttpCall) -> Result<Vec<String>> {
        let url = address(http)?;
        self.policy.check(&url)?;
        let place = shown(&http.uri).to_string();
        let client = self.client()?;
        let request = match &http.content {
            None => client.get(url),
            Some(content) => client.post(url).header(CONTENT_TYPE, "application/json").body(content.clone()),
        };
        let failed = |error: reqwest::Error| {
            // The address may hold a secret: it is not repeated.
            let error = error.without_url();
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text.push_str(&format!(": {inner}"));
                source = inner.source();
            }
            let fault = if text.contains("denied by policy") { Fault::Forbidden } else { Fault::BadData };
            Error::new(fault, format!("the call to {place} failed: {text}"))
        };
        let late = || Error::new(Fault::BadData, format!("the call to {place} failed: no answer in time"));
        let sent = tokio::time::timeout(PATIENCE, request.headers(headers_of(http)?).send());
        let mut response = sent.await.map_err(|_| late())?.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Error::new(
                Fault::BadData,
                format!("the call to {place} failed: the service answered {status}"),
            ));
        }
        let mut headers = Map::new();
        for (name, value) in response.headers() {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            match headers.get_mut(name.as_str()) {
                Some(Json::String(known)) => known.push_str(&format!(", {text}")),
                _ => {
                    headers.insert(name.as_str().to_string(), Json::String(text));
                }
            }
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_json = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        let mut body = Vec::new();
        loop {
            let part = tokio::time::timeout(PATIENCE, response.chunk()).await.map_err(|_| late())?.map_err(failed)?;
            let Some(part) = part else { break };
            if body.len() + part.len() > MAX_ANSWER_BYTES {
                return Err(Error::bad_request(format!(
                    "the answer of {place} has more than {MAX_ANSWER_BYTES} bytes, the limit of an answer"
                )));
            }
            body.extend_from_slice(&part);
        }
        let text = String::from_utf8_lossy(&body);
        let parsed = if is_json { tidewater_kql::value::json::canonical(&text) } else { None };
        let body = parsed.unwrap_or_else(|| Json::String(text.into_owned()).to_string());
        Ok(vec![Json::Object(headers).to_string(), body])
    }
}

/// The files of a call as a source.
fn source_of(infer: &InferSchema) -> ExternalSource {
    let properties = [("namePrefix", &infer.prefix), ("fileExtension", &infer.extension)];
    ExternalSource {
        columns: Vec::new(),
        partitions: Vec::new(),
        path: Vec::new(),
        kind: "storage".to_string(),
        format: Some(infer.format.clone()),
        uris: infer.containers.clone(),
        properties: properties
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.clone()?)))
            .collect(),
    }
}

fn address(http: &HttpCall) -> Result<reqwest::Url> {
    let wrong = |reason: &str| Error::bad_request(format!("the address '{}' {reason}", shown(&http.uri)));
    let url = reqwest::Url::parse(http.uri.trim()).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    match url.scheme() {
        "https" => {}
        // Source: http_request page: no sign-in without encryption.
        "http" if !http.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) => {}
        "http" => return Err(wrong("must begin with https: the call signs in")),
        _ => return Err(wrong("must begin with https")),
    }
    Ok(url)
}

fn headers_of(http: &HttpCall) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let own = [("x-ms-client-request-id", http.client_request_id.as_str()), ("x-ms-readonly", "true")];
    let given = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in given.chain(own) {
        let wrong = || Error::bad_request(format!("'{name}' is no header of a request, or its value none"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

/// The type of a column that has two in different files.
fn common(left: KqlType, right: KqlType) -> KqlType {
    use KqlType::{Int, Long, Real, String};
    match (left, right) {
        (Int, Long) | (Long, Int) => Long,
        (Int | Long | Real, Int | Long | Real) => Real,
        _ => String,
    }
}

/// The transformation of ingestion mappings by which all values are moments of the years 1990 to 2100. The service's own
/// limits are not published.
fn unit_of(values: &[i64]) -> Option<&'static str> {
    let since_1970 = |text: &str| datetime::parse(text).map(|ticks| ticks - UNIX_EPOCH_TICKS);
    let (first, last) = (since_1970("1990-01-01")?, since_1970("2100-01-01")?);
    let units: [(&str, i128, i128); 4] = [
        ("DateTimeFromUnixSeconds", 10_000_000, 1),
        ("DateTimeFromUnixMilliseconds", 10_000, 1),
        ("DateTimeFromUnixMicroseconds", 10, 1),
        ("DateTimeFromUnixNanoseconds", 1, 100),
    ];
    let fits = |(_, times, parts): &&(&str, i128, i128)| {
        let ticks = |value: &i64| i128::from(*value) * times / parts;
        values.iter().all(|value| (i128::from(first)..i128::from(last)).contains(&ticks(value)))
    };
    if values.is_empty() { None } else { units.iter().find(fits).map(|(name, ..)| *name) }
}

/// Source: infer_storage_schema_with_suggestions page.
fn suggestions(columns: &[Column], moments: &[(String, &'static str)]) -> Json {
    let described = |name: &str, ty: KqlType| {
        let is_numeric = ty.is_numeric();
        let is_summable = is_numeric || matches!(ty, KqlType::DateTime | KqlType::TimeSpan);
        json!({ "Name": name, "CslType": { "type": ty.name(), "IsNumeric": is_numeric, "IsSummable": is_summable } })
    };
    let columns: Vec<Json> = columns
        .iter()
        .map(|column| {
            let is_id = column.ty == KqlType::Long && column.name.to_ascii_lowercase().ends_with("id");
            let moment = moments.iter().find(|(name, _)| *name == column.name).map(|(_, unit)| *unit);
            let (ty, mapping) = match (is_id, moment) {
                (true, _) => (KqlType::String, "None"),
                (false, Some(unit)) => (KqlType::DateTime, unit),
                (false, None) => (column.ty, "None"),
            };
            json!({
                "OriginalColumn": described(&column.name, column.ty),
                "RecommendedColumn": described(&column.name, ty),
                "ApplicableTransformationMapping": mapping,
            })
        })
        .collect();
    json!({ "Columns": columns })
}

/// A call as the engine reads it.
struct CallTable {
    external: Arc<External>,
    call: ExternalCall,
}

impl std::fmt::Debug for CallTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallTable").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TableProvider for CallTable {
    fn schema(&self) -> SchemaRef {
        self.call.schema().arrow()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let whole = self.schema();
        let wanted = projection.cloned().unwrap_or_else(|| (0..whole.fields().len()).collect());
        let schema: SchemaRef = Arc::new(whole.project(&wanted)?);
        let stream = Arc::new(Answer {
            external: Arc::clone(&self.external),
            call: self.call.clone(),
            wanted,
            schema: Arc::clone(&schema),
        });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![stream], None, None, false, limit)?))
    }
}

struct Answer {
    external: Arc<External>,
    call: ExternalCall,
    wanted: Vec<usize>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl PartitionStream for Answer {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 1);
        let sender = builder.tx();
        let (external, call) = (Arc::clone(&self.external), self.call.clone());
        let (wanted, schema) = (self.wanted.clone(), Arc::clone(&self.schema));
        builder.spawn(async move {
            let texts = external.answer(&call).await.map_err(Error::into_engine)?;
            let columns: Vec<ArrayRef> = wanted
                .iter()
                .map(|at| Arc::new(StringViewArray::from(vec![texts.get(*at).map(String::as_str)])) as ArrayRef)
                .collect();
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let batch = RecordBatch::try_new_with_options(schema, columns, &options).map_err(DataFusionError::from)?;
            // Whoever does not wait for it any more does not miss it.
            let _ = sender.send(Ok(batch)).await;
            Ok(())
        });
        builder.build()
    }
}
