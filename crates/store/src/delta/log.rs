//! One table's log: what its versions say, and the next version.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use tidewater_kql::KqlType;

use crate::UNIX_EPOCH_TICKS;
use crate::catalog::ColumnRow;
use crate::catalog::snapshot::{Extent, Table};
use crate::delta::folder::Folder;
use crate::delta::{checkpoint, schema};
use crate::error::{Error, Result};
use crate::extent::rest::split_ticks;
use crate::extent::stats::{Bound, ColumnStats};
use crate::fault::{FaultPoint, Faults};

/// What the versions written so far amount to.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The next version.
    next: u64,
    /// Paths of live files.
    live: HashSet<String>,
    /// Schema of the last metadata.
    schema: Option<String>,
    /// Name and description of the last metadata.
    title: (Option<String>, Option<String>),
}

impl Log {
    /// Reads a table's log; a missing one is empty.
    pub(super) fn read(folder: &Folder) -> Result<Self> {
        let mut log = Log::default();
        let names = folder.names()?;
        if let Some((version, contents)) = checkpoint::newest(folder, &names) {
            log.live = contents.live;
            log.schema = contents.schema;
            log.title = contents.title;
            log.next = version + 1;
        }
        let mut versions: Vec<u64> = names.iter().filter_map(|name| version_of(name)).collect();
        versions.sort_unstable();
        versions.retain(|version| *version >= log.next);
        for version in versions {
            log.read_version(folder, &version_name(version))?;
            log.next = version + 1;
        }
        Ok(log)
    }

    /// Paths of live files.
    pub(super) fn into_live(self) -> HashSet<String> {
        self.live
    }

    fn read_version(&mut self, folder: &Folder, name: &str) -> Result<()> {
        let bytes = folder.read(name)?;
        for line in bytes.split(|byte| *byte == b'\n') {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let action: Value = serde_json::from_slice(line)
                .map_err(|error| Error::Corrupt(format!("delta log '{}': {error}", folder.shown(name).display())))?;
            let text = |action: &Value, key: &str| action.get(key).and_then(Value::as_str).map(str::to_string);
            if let Some(add) = action.get("add") {
                self.live.extend(text(add, "path"));
            } else if let Some(remove) = action.get("remove") {
                if let Some(path) = text(remove, "path") {
                    self.live.remove(&path);
                }
            } else if let Some(metadata) = action.get("metaData") {
                self.schema = text(metadata, "schemaString");
                self.title = (text(metadata, "name"), text(metadata, "description"));
            }
        }
        Ok(())
    }

    /// Writes what differs from the table as the next version. `None` when that version exists already.
    pub(super) fn follow(mut self, table: &Table, sequence: u64, faults: &Faults) -> Result<Option<Self>> {
        let now = milliseconds(table.extents().iter().map(|extent| extent.created()).fold(table.created(), i64::max));
        let mut actions = vec![];
        if self.next == 0 {
            actions.push(protocol());
        }
        let schema = schema::schema_string(table.columns());
        let title = (Some(table.name().to_string()), table.docstring().map(str::to_string));
        if self.schema.as_ref() != Some(&schema) || self.title != title {
            actions.push(metadata(table, &schema));
        }
        let wanted: HashSet<String> = table.extents().iter().map(|extent| path_of(extent)).collect();
        let mut gone: Vec<&String> = self.live.difference(&wanted).collect();
        gone.sort();
        for path in gone {
            actions.push(json!({ "remove": { "path": path, "deletionTimestamp": now, "dataChange": true } }));
        }
        for extent in table.extents() {
            if !self.live.contains(&path_of(extent)) {
                actions.push(add(table, extent));
            }
        }
        if actions.is_empty() {
            return Ok(Some(self));
        }
        actions.insert(
            0,
            json!({ "commitInfo": {
                "timestamp": now,
                "operation": "WRITE",
                "operationParameters": {},
                "engineInfo": concat!("tidewater/", env!("CARGO_PKG_VERSION")),
                "tidewater.commit": sequence,
            }}),
        );
        let folder = Folder::of(table.directory())?;
        table.directory().place().check_writable(table.database_id())?;
        let mut text = String::new();
        for action in &actions {
            text.push_str(&action.to_string());
            text.push('\n');
        }
        if !folder.create(&version_name(self.next), text.into_bytes(), faults)? {
            return Ok(None);
        }
        if self.next.is_multiple_of(checkpoint::EVERY) && self.next > 0 {
            let head = [protocol(), metadata(table, &schema)];
            let files = table.extents().iter().map(|extent| add(table, extent));
            let all: Vec<Value> = head.into_iter().chain(files).collect();
            // Readers do without it; the next hundred versions bring another.
            let written = checkpoint::write(&folder, self.next, &all, faults).and_then(|()| {
                faults.at(FaultPoint::Checkpoint).map_err(Error::io("clean", &folder.shown("")))?;
                checkpoint::clean(&folder)
            });
            if let Err(error) = written {
                tracing::warn!(%error, table = table.name(), "a checkpoint of the delta log could not be written");
            }
        }
        self.next += 1;
        self.live = wanted;
        self.schema = Some(schema);
        self.title = title;
        Ok(Some(self))
    }
}

pub(super) fn version_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

pub(super) fn version_name(version: u64) -> String {
    format!("{version:020}.json")
}

fn path_of(extent: &Extent) -> String {
    // Our names need no escaping.
    extent.file().name().to_string()
}

fn milliseconds(ticks: i64) -> i64 {
    ticks.saturating_sub(UNIX_EPOCH_TICKS).div_euclid(10_000)
}

fn protocol() -> Value {
    json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } })
}

fn metadata(table: &Table, schema: &str) -> Value {
    let mut metadata = json!({
        "id": table.id().to_string(),
        "name": table.name(),
        "format": { "provider": "parquet", "options": {} },
        "schemaString": schema,
        "partitionColumns": [],
        "configuration": {},
        "createdTime": milliseconds(table.created()),
    });
    if let Some(docstring) = table.docstring() {
        metadata["description"] = json!(docstring);
    }
    json!({ "metaData": metadata })
}

fn add(table: &Table, extent: &Extent) -> Value {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    for column in table.columns() {
        let name = column.at_rest().to_string();
        let Some(stats) = extent.column(&name) else {
            // Readers fill a column that the file lacks with nulls.
            nulls.insert(name, json!(extent.rows()));
            continue;
        };
        let (low, high) = bounds(column, stats);
        min.extend(low.map(|low| (name.clone(), low)));
        max.extend(high.map(|high| (name.clone(), high)));
        nulls.insert(name, json!(stats.nulls));
    }
    let stats = json!({ "numRecords": extent.rows(), "minValues": min, "maxValues": max, "nullCount": nulls });
    json!({ "add": {
        "path": path_of(extent),
        "partitionValues": {},
        "size": extent.bytes(),
        "modificationTime": milliseconds(extent.created()),
        "dataChange": true,
        "stats": stats.to_string(),
    }})
}

/// Bounds as Delta writes them. Left out where its order is not ours, or where it has none.
fn bounds(column: &ColumnRow, stats: &ColumnStats) -> (Option<Value>, Option<Value>) {
    let (min, max) = (stats.min.as_ref(), stats.max.as_ref());
    match column.ty {
        KqlType::Int | KqlType::Long | KqlType::TimeSpan | KqlType::Real | KqlType::String => {
            (min.and_then(plain), max.and_then(plain))
        }
        KqlType::DateTime => (min.and_then(timestamp), max.and_then(timestamp)),
        // Texts of guids sort as their bytes do; those of decimals do not.
        KqlType::Guid => (min.and_then(plain), max.and_then(plain)),
        KqlType::Bool | KqlType::Decimal | KqlType::Dynamic => (None, None),
    }
}

fn plain(bound: &Bound) -> Option<Value> {
    match bound {
        Bound::Int(value) => Some(json!(value)),
        Bound::Real(value) => value.is_finite().then(|| json!(value)),
        Bound::Text(value) => Some(json!(value)),
        Bound::Bytes(value) => Some(json!(value.hyphenated().to_string())),
        Bound::Bool(_) => None,
    }
}

/// The time in whole microseconds, which is what the file holds.
fn timestamp(bound: &Bound) -> Option<Value> {
    let Bound::Int(ticks) = bound else { return None };
    let time = chrono::DateTime::from_timestamp_micros(split_ticks(*ticks).0)?;
    Some(json!(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)))
}
