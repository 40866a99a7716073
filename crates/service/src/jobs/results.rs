//! Rows of jobs: written while the statement runs, kept for a time, read in windows. Source: query-service-api section 23.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use tidewater_plan::sql::{self, SqlFault, SqlScope};
use tidewater_store::{ResultLimits, ResultRows};

use super::submit::{KEY_KIND, KEY_LIFE_MICROS};
use super::{KIND, State, Tenant, body_of, dataset_id, now_micros};
use crate::error::{Fault, Result};
use crate::service::Service;

/// Where rows are kept, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRows {
    /// Name of the file.
    name: String,
    /// When they expire: microseconds since 1970.
    pub until: i64,
    /// In the object store.
    #[serde(default)]
    pub(super) is_away: bool,
}

/// What there is to read of a job.
pub enum JobRows {
    /// There is no such job.
    Unknown,
    /// It has not ended, or not well.
    None(State),
    /// Its statement returns no rows.
    NotReturned,
    /// They were kept for their time.
    Expired,
    /// They are here.
    Kept(Box<ResultRows>),
}

/// Ends the names of result files: `{until}-{job}.parquet`.
const SUFFIX: &str = ".parquet";

impl KeptRows {
    /// The file of a job whose rows expire at a time.
    pub(super) fn new(job: &str, until: i64) -> Self {
        Self { name: format!("{until}-{job}{SUFFIX}"), until, is_away: false }
    }

    /// When a file of this name expires.
    pub(super) fn expiry(name: &str) -> Option<i64> {
        name.strip_suffix(SUFFIX)?.split_once('-')?.0.parse().ok()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Service {
    /// The rows of a job.
    pub async fn job_rows(&self, tenant: &Tenant, id: &str, with_deleted: bool) -> Result<JobRows> {
        let Some(record) = self.seen_record(KIND, tenant, id).await? else {
            return Ok(JobRows::Unknown);
        };
        // They are what its maker may see, which may be more than an administrator may.
        if !self.is_own(tenant, &record) {
            return Err(self.refused(tenant, "read the rows of another principal's query"));
        }
        let (state, body) = body_of(&record)?;
        if body.soft_deleted && !with_deleted {
            return Ok(JobRows::Unknown);
        }
        match (state, body.kept) {
            (State::Success, None) => Ok(JobRows::NotReturned),
            (State::Success, Some(kept)) if kept.until <= now_micros() => Ok(JobRows::Expired),
            (State::Success, Some(kept)) => {
                match self.kept_rows(&kept).await {
                    Ok(rows) => Ok(JobRows::Kept(Box::new(rows))),
                    // The sweep was faster.
                    Err(error) if matches!(error.fault(), Fault::EntityNotFound) => Ok(JobRows::Expired),
                    Err(error) => Err(error),
                }
            }
            (state, _) => Ok(JobRows::None(state)),
        }
    }

    /// When rows written now expire.
    pub(super) fn rows_until(&self) -> i64 {
        const DAY_SECONDS: u64 = 24 * 3600;
        let seconds = match self.inner().options.job_result_seconds {
            0 => DAY_SECONDS,
            seconds => seconds,
        };
        now_micros().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000))
    }

    /// How large the rows of jobs may become.
    pub(super) fn result_limits(&self) -> ResultLimits {
        let options = &self.inner().options;
        let given = |bytes: u64| if bytes == 0 { u64::MAX } else { bytes };
        ResultLimits { one_bytes: given(options.job_result_bytes), all_bytes: given(options.job_results_bytes) }
    }

    /// Deletes the rows whose time is over, and forgets keys of submissions.
    pub(crate) async fn sweep_job_rows(&self) {
        let now = now_micros();
        if let Err(error) = self.store().jobs().remove_before(KEY_KIND, now - KEY_LIFE_MICROS).await {
            tracing::warn!(%error, "old keys of submissions could not be deleted");
        }
        if let Err(error) = self.sweep_alerts(now - KEY_LIFE_MICROS).await {
            tracing::warn!(%error, "old alerts could not be deleted");
        }
        let names = self.store().results().names().unwrap_or_default();
        for name in names {
            if let Some(until) = KeptRows::expiry(&name)
                && now >= until
                && let Err(error) = self.store().results().remove(&name)
            {
                tracing::warn!(%error, name, "an expired result could not be deleted");
            }
        }
        self.sweep_away().await;
    }
}

/// The columns under which rows are kept: unique names, types that every reader of Arrow and Parquet knows.
/// Times are in UTC; intervals become text.
pub(super) fn kept_schema(schema: &Schema, names: impl Iterator<Item = String>) -> Result<SchemaRef, SqlFault> {
    let fields = schema.fields().iter().zip(names).map(|(field, name)| {
        let ty = kept_type(field.data_type()).ok_or_else(|| {
            SqlFault::not_served(format!("a result with column '{name}' of type {}", field.data_type()))
        })?;
        Ok(Field::new(name, ty, true))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Fields, SqlFault>>()?)))
}

fn kept_type(ty: &DataType) -> Option<DataType> {
    let kept_field = |field: &Arc<Field>| {
        let ty = kept_type(field.data_type())?;
        Some(Arc::new(Field::new(field.name(), ty, true)))
    };
    Some(match ty {
        DataType::Null | DataType::Utf8View | DataType::LargeUtf8 | DataType::Interval(_) => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        DataType::Dictionary(_, value) => kept_type(value)?,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            DataType::List(kept_field(field)?)
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(kept_field).collect::<Option<Fields>>()?),
        DataType::Map(entries, is_sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { return None };
            let [key, value] = fields.as_ref() else { return None };
            let key = Arc::new(Field::new(key.name(), kept_type(key.data_type())?, false));
            let entry = DataType::Struct(vec![key, kept_field(value)?].into());
            DataType::Map(Arc::new(Field::new(entries.name(), entry, false)), *is_sorted)
        }
        DataType::Union(..) | DataType::RunEndEncoded(..) | DataType::ListView(_) | DataType::LargeListView(_) => {
            return None;
        }
        other => other.clone(),
    })
}

/// A batch of the statement in the form in which it is kept.
pub(super) fn kept_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, SqlFault> {
    let fault = |error: arrow::error::ArrowError| SqlFault::new(sql::SYSTEM, error.to_string());
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => cast(column, field.data_type()).map_err(fault),
    });
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect::<Result<Vec<ArrayRef>, SqlFault>>()?;
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(fault)
}

/// The rows of `SHOW TABLES`, in the columns that the Query Service shows.
pub(super) fn shown_tables(scope: &SqlScope) -> Result<RecordBatch, SqlFault> {
    let names = |database: &String| {
        let mut names = scope.view.table_names(database);
        names.extend(scope.view.materialized_view_names(database));
        names.extend(scope.views.names(database));
        names.into_iter().map(|table| (database.clone(), table)).collect::<Vec<_>>()
    };
    let all: Vec<(String, String)> = scope.search.iter().flat_map(names).collect();
    let text = |values: Vec<Option<String>>| Arc::new(StringArray::from(values)) as ArrayRef;
    let column = |value: &dyn Fn(&(String, String)) -> Option<String>| text(all.iter().map(value).collect());
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("name", column(&|(_, table)| Some(table.clone())), true),
        ("dataSetId", column(&|(database, table)| Some(dataset_id(database, table))), true),
        ("dataSet", column(&|(database, table)| Some(format!("{database}.{table}"))), true),
        ("description", column(&|_| None), true),
        ("resolved", column(&|_| Some("true".to_string())), true),
    ]);
    batch.map_err(|error| SqlFault::new(sql::SYSTEM, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_knows_the_kept_types() {
        let item = Arc::new(Field::new("item", DataType::Utf8View, false));
        let kept = kept_type(&DataType::List(item)).unwrap();
        assert_eq!(kept, DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))));
        assert_eq!(kept_type(&DataType::Null), Some(DataType::Utf8));
        assert_eq!(
            kept_type(&DataType::Timestamp(TimeUnit::Nanosecond, None)),
            Some(DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())))
        );
        assert_eq!(kept_type(&DataType::Decimal128(38, 2)), Some(DataType::Decimal128(38, 2)));
    }
}
