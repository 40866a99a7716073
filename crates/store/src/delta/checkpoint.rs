//! Checkpoints of the mirror: all that a version says in one Parquet file, so that readers need not read every version,
//! and old versions can go. Source: Delta transaction log protocol, "Checkpoints".

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::ReaderBuilder;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::delta::folder::Folder;
use crate::error::{Error, Result};
use crate::fault::Faults;

/// Versions from one checkpoint to the next.
pub(super) const EVERY: u64 = 100;
/// The file that names the newest checkpoint.
const LAST: &str = "_last_checkpoint";

/// What a checkpoint amounts to.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub live: HashSet<String>,
    pub schema: Option<String>,
    pub title: (Option<String>, Option<String>),
}

fn name_of(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

/// The version of a checkpoint's file.
pub(super) fn version_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".checkpoint.parquet")?;
    (digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn texts(name: &str) -> Field {
    let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
    let entries = Field::new("key_value", DataType::Struct(entries), false);
    Field::new(name, DataType::Map(Arc::new(entries), false), true)
}

fn structure(name: &str, fields: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(fields.into()), true)
}

fn schema() -> Schema {
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    let list = Field::new("partitionColumns", DataType::List(Arc::new(text("element"))), true);
    Schema::new(vec![
        structure("protocol", vec![int("minReaderVersion"), int("minWriterVersion")]),
        structure(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                structure("format", vec![text("provider"), texts("options")]),
                text("schemaString"),
                list,
                texts("configuration"),
                long("createdTime"),
            ],
        ),
        structure(
            "add",
            vec![
                text("path"),
                texts("partitionValues"),
                long("size"),
                long("modificationTime"),
                Field::new("dataChange", DataType::Boolean, true),
                text("stats"),
            ],
        ),
        structure(
            "remove",
            vec![text("path"), long("deletionTimestamp"), Field::new("dataChange", DataType::Boolean, true)],
        ),
    ])
}

/// Writes the checkpoint of a version; its actions are protocol, metadata and the live files.
pub(super) fn write(folder: &Folder, version: u64, actions: &[Value], faults: &Faults) -> Result<()> {
    let schema = Arc::new(schema());
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(actions.len().max(1)).build_decoder()?;
    decoder.serialize(actions)?;
    let Some(batch) = decoder.flush()? else { return Ok(()) };
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None)?;
    writer.write(&batch)?;
    folder.put(&name_of(version), writer.into_inner()?, faults)?;
    let last = json!({ "version": version, "size": actions.len() }).to_string();
    folder.put(LAST, last.into_bytes(), faults)?;
    folder.sync()
}

/// The newest checkpoint that can be read, with its version.
pub(super) fn newest(folder: &Folder, names: &[String]) -> Option<(u64, Contents)> {
    let mut versions: Vec<u64> = names.iter().filter_map(|name| version_of(name)).collect();
    versions.sort_unstable();
    // A damaged one is as good as none, as long as the versions before it are there.
    versions.into_iter().rev().find_map(|version| Some((version, read(folder, &name_of(version)).ok()?)))
}

fn read(folder: &Folder, name: &str) -> Result<Contents> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(folder.read(name)?)?;
    let mask = ProjectionMask::columns(
        builder.parquet_schema(),
        ["add.path", "metaData.schemaString", "metaData.name", "metaData.description"],
    );
    let mut contents = Contents::default();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let column = |group: &str, name: &str| -> Option<Vec<Option<String>>> {
            let group = batch.column_by_name(group)?.as_struct_opt()?.clone();
            let values = group.column_by_name(name)?.as_string_opt::<i32>()?.clone();
            let value =
                |row: usize| (group.is_valid(row) && values.is_valid(row)).then(|| values.value(row).to_string());
            Some((0..values.len()).map(value).collect())
        };
        contents.live.extend(column("add", "path").into_iter().flatten().flatten());
        let first = |name: &str| column("metaData", name).into_iter().flatten().flatten().next();
        if let Some(schema) = first("schemaString") {
            contents.schema = Some(schema);
            contents.title = (first("name"), first("description"));
        }
    }
    match contents.schema {
        Some(_) => Ok(contents),
        None => Err(Error::Corrupt(format!("checkpoint '{}' has no metadata", folder.shown(name).display()))),
    }
}

/// Removes what nobody needs to read the table from its newest checkpoints: readers may still be at the one before.
pub(super) fn clean(folder: &Folder) -> Result<()> {
    let names = folder.names()?;
    let checkpoints: BTreeSet<u64> = names.iter().filter_map(|name| version_of(name)).collect();
    let Some(kept) = checkpoints.iter().rev().nth(1).copied() else { return Ok(()) };
    let version = |name: &String| version_of(name).or_else(|| super::log::version_of(name));
    for name in names.iter().filter(|name| version(name).is_some_and(|version| version < kept)) {
        folder.remove(name)?;
    }
    Ok(())
}
