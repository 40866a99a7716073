//! Export to partitioned external tables: which folder a row belongs to.
//!
//! A folder is made of the row's partitions by the table's path format, so that reading the table finds the same
//! partitions again. Source: external-tables-azure-storage page, partitions and path format.

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{Int32Type, Int64Type};
use tidewater_kql::value::{datetime, timespan};
use tidewater_kql::{KqlType, TableSchema};
use tidewater_plan::{ExternalSource, Partition, PartitionValue, PathPiece};

use xxhash_rust::xxh64::xxh64;

use crate::error::{Error, Result};
use crate::external::{default_pattern, path_of_moment};

/// How rows are dealt to folders.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    partitions: Vec<Partition>,
    pieces: Vec<PathPiece>,
    /// Columns that stand in files; the others are in the path only.
    kept: Vec<usize>,
}

/// A partition's value of a row.
enum Value {
    Text(String),
    Long(i64),
    Moment(i64),
}

impl Layout {
    /// The layout of an external table; `None` when it has no partitions.
    pub fn of(source: &ExternalSource) -> Result<Option<Layout>> {
        if source.partitions.is_empty() {
            return Ok(None);
        }
        let schema = source.schema();
        for partition in &source.partitions {
            let column = match &partition.value {
                PartitionValue::Virtual => &partition.name,
                PartitionValue::Column(column)
                | PartitionValue::Hash(column, _)
                | PartitionValue::StartOf(_, column)
                | PartitionValue::Bin(column, _) => column,
            };
            if !schema.columns.iter().any(|known| known.name == *column) {
                return Err(Error::bad_request(format!(
                    "partition '{}' is made of '{column}', which is no column of the external table",
                    partition.name
                )));
            }
        }
        Ok(Some(Layout {
            partitions: source.partitions.clone(),
            pieces: source.path.clone(),
            kept: (0..source.columns.len()).collect(),
        }))
    }

    /// The columns of files.
    pub fn schema(&self, schema: &TableSchema) -> TableSchema {
        TableSchema::new(self.kept.iter().filter_map(|at| schema.columns.get(*at).cloned()).collect())
    }

    /// The rows by folder, in the order in which folders come first.
    pub fn split(&self, schema: &TableSchema, batch: &RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
        let mut folders: Vec<(String, Vec<u32>)> = Vec::new();
        let mut places: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
        for row in 0..batch.num_rows() {
            let folder = self.folder(schema, batch, row)?;
            let place = *places.entry(folder.clone()).or_insert_with(|| {
                folders.push((folder, Vec::new()));
                folders.len() - 1
            });
            folders[place].1.push(u32::try_from(row).unwrap_or(u32::MAX));
        }
        let wrong = |error: arrow::error::ArrowError| Error::internal(error.to_string());
        let files = batch.project(&self.kept).map_err(wrong)?;
        let parts = folders.into_iter().map(|(folder, rows)| {
            let rows = arrow::compute::take_record_batch(&files, &UInt32Array::from(rows)).map_err(wrong)?;
            Ok((folder, rows))
        });
        parts.collect()
    }

    fn folder(&self, schema: &TableSchema, batch: &RecordBatch, row: usize) -> Result<String> {
        let mut folder = String::new();
        if self.pieces.is_empty() {
            for partition in &self.partitions {
                if !folder.is_empty() {
                    folder.push('/');
                }
                self.default(partition, schema, batch, row, &mut folder)?;
            }
            return Ok(folder);
        }
        for piece in &self.pieces {
            match piece {
                PathPiece::Text(text) => folder.push_str(text),
                PathPiece::Partition(name) => {
                    if let Some(partition) = self.partitions.iter().find(|partition| partition.name == *name) {
                        self.default(partition, schema, batch, row, &mut folder)?;
                    }
                }
                PathPiece::DateTime { pattern, partition } => {
                    let found = self.partitions.iter().find(|known| known.name == *partition);
                    let value = found.map(|partition| value(partition, schema, batch, row)).transpose()?;
                    let Some(Value::Moment(ticks)) = value else {
                        return Err(Error::bad_request(format!("partition '{partition}' of the path is no datetime")));
                    };
                    folder.push_str(&path_of_moment(pattern, ticks)?);
                }
            }
        }
        let folder = folder.trim_matches('/').to_string();
        Ok(folder)
    }

    fn default(
        &self,
        partition: &Partition,
        schema: &TableSchema,
        batch: &RecordBatch,
        row: usize,
        folder: &mut String,
    ) -> Result<()> {
        match value(partition, schema, batch, row)? {
            Value::Text(text) => folder.push_str(&escaped(&text)),
            Value::Long(value) => folder.push_str(&value.to_string()),
            Value::Moment(ticks) => {
                folder.push_str(&path_of_moment(default_pattern(partition), ticks)?);
            }
        }
        Ok(())
    }
}

/// A text as a part of a path: what would end a folder's name or lead out of it stands as `%2F`.
fn escaped(text: &str) -> String {
    // A folder without a name is none. Source: what Hive writes for null.
    if text.is_empty() {
        return "__HIVE_DEFAULT_PARTITION__".to_string();
    }
    if matches!(text, "." | "..") {
        return text.replace('.', "%2E");
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '/' | '\\' | '%' | '?' | '#' | ';' | '*' | '"' | '<' | '>' | '|' | ':' | '\0'..='\x1f' | '\x7f' => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn value(partition: &Partition, schema: &TableSchema, batch: &RecordBatch, row: usize) -> Result<Value> {
    let find = |name: &str| {
        let at = schema.columns.iter().position(|column| column.name == name);
        at.map(|at| (schema.columns[at].ty, batch.column(at).as_ref()))
            .ok_or_else(|| Error::internal(format!("the column '{name}' of a partition is missing")))
    };
    let moment = |name: &str| -> Result<i64> {
        let (ty, array) = find(name)?;
        match (ty, array.is_null(row)) {
            (KqlType::DateTime, false) => Ok(array.as_primitive::<Int64Type>().value(row)),
            // The first day of all stands for none.
            (KqlType::DateTime, true) => Ok(datetime::MIN_TICKS),
            _ => Err(Error::bad_request(format!("partition '{}' needs a datetime", partition.name))),
        }
    };
    let name = match &partition.value {
        PartitionValue::Hash(name, modulo) => {
            let (ty, array) = find(name)?;
            let modulo = (*modulo).max(1);
            // The same as the function hash().
            let hash = match ty {
                KqlType::String | KqlType::Dynamic => xxh64(text_of(array, row).as_bytes(), 0),
                _ => xxh64(&long_of(ty, array, row, partition)?.to_le_bytes(), 0),
            };
            return Ok(Value::Long((hash as i64).rem_euclid(modulo)));
        }
        PartitionValue::Bin(name, ticks) => {
            let at = moment(name)?;
            return Ok(Value::Moment(if *ticks > 0 { at - at.rem_euclid(*ticks) } else { at }));
        }
        PartitionValue::StartOf(function, name) => return Ok(Value::Moment(start_of(function, moment(name)?)?)),
        PartitionValue::Column(name) => name,
        PartitionValue::Virtual => &partition.name,
    };
    match partition.ty {
        KqlType::DateTime => moment(name).map(Value::Moment),
        KqlType::Long => find(name).and_then(|(ty, array)| long_of(ty, array, row, partition)).map(Value::Long),
        _ => match find(name)? {
            (KqlType::String | KqlType::Dynamic, array) => Ok(Value::Text(text_of(array, row).to_string())),
            _ => Err(Error::bad_request(format!("partition '{}' needs a string", partition.name))),
        },
    }
}

fn text_of(array: &dyn Array, row: usize) -> &str {
    if array.is_null(row) { "" } else { array.as_string_view().value(row) }
}

fn long_of(ty: KqlType, array: &dyn Array, row: usize, partition: &Partition) -> Result<i64> {
    match ty {
        KqlType::Int if array.is_null(row) => Ok(0),
        KqlType::Int => Ok(i64::from(array.as_primitive::<Int32Type>().value(row))),
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan if array.is_null(row) => Ok(0),
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => Ok(array.as_primitive::<Int64Type>().value(row)),
        _ => Err(Error::bad_request(format!("partition '{}' needs a long or a string", partition.name))),
    }
}

fn start_of(function: &str, ticks: i64) -> Result<i64> {
    let day = ticks - ticks.rem_euclid(timespan::TICKS_PER_DAY);
    let civil = datetime::civil(ticks);
    let made = match function {
        "startofday" => Some(day),
        "startofweek" => Some((day - datetime::day_of_week(day) * timespan::TICKS_PER_DAY).max(datetime::MIN_TICKS)),
        "startofmonth" => datetime::from_date(civil.year, civil.month, 1),
        "startofyear" => datetime::from_date(civil.year, 1, 1),
        _ => None,
    };
    made.ok_or_else(|| Error::not_served(format!("a partition by '{function}'")))
}
