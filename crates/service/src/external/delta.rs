//! Delta tables of other engines: what their log says, read from its JSON versions and its checkpoints.
//!
//! Input: the folder of a table. Output: its columns and the files that its newest version names. The data is read as
//! Parquet. What a reader must understand and this one does not is refused by name. Source: the Delta transaction log
//! protocol, "Reader requirements for table features".

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tidewater_formats::{DecodeOptions, Format, Input, Mapping, MappingColumn, Source, decode};
use tidewater_kql::value::datetime;
use tidewater_kql::{Column, KqlType, TableSchema};
use tidewater_plan::{ExternalSource, Partition, PartitionValue};

use super::deleted;
use super::location::{Location, Policy};
use super::objects::Place;
use super::paths::PathValue;
use crate::error::{Error, Fault, Result};

/// The folder of the log.
const LOG: &str = "_delta_log";
/// Files that one table may name.
const MAX_FILES: usize = 1_000_000;
/// Bytes of one line of the log.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Features that need nothing of a reader beyond what is done here.
const FEATURES: &[&str] = &[
    "columnMapping",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "vacuumProtocolCheck",
    "v2Checkpoint",
    "deletionVectors",
];

/// A Delta table in its newest version.
#[derive(Debug, Default)]
pub(crate) struct DeltaTable {
    /// Its columns, without those that are partitions.
    pub columns: Vec<Column>,
    /// Partition columns.
    pub partitions: Vec<Column>,
    /// Names in data files, of columns that have others there.
    pub physical: HashMap<String, String>,
    /// Its files.
    pub files: Vec<DeltaFile>,
}

/// A file of a table.
#[derive(Debug)]
pub(crate) struct DeltaFile {
    pub path: PathBuf,
    pub size: Option<u64>,
    /// Values of partition columns; none for null.
    pub values: BTreeMap<String, PathValue>,
    /// Rows that are deleted, in order.
    pub deleted: Option<Arc<Vec<u64>>>,
}

/// How files of a table are opened.
#[derive(Clone, Copy)]
pub(crate) enum Files<'a> {
    /// Where they are, if that is allowed.
    Allowed(&'a Policy),
    /// Copies that were fetched for this.
    Copies,
}

impl Files<'_> {
    /// Opens one.
    pub fn open(self, path: &Path) -> Result<File> {
        match self {
            Files::Allowed(policy) => policy.open(path),
            Files::Copies => File::open(path)
                .map_err(|_| Error::new(Fault::BadData, "a file that the log of a Delta table names is not there")),
        }
    }
}

/// Where a table is.
pub(crate) enum Root {
    Folder(String),
    Place(Box<Place>),
}

impl DeltaTable {
    /// Reads the table in a folder. Blocks.
    pub fn read(policy: &Policy, folder: &str) -> Result<DeltaTable> {
        let root = Path::new(folder).canonicalize().map_err(|_| Policy::refused(folder))?;
        if !policy.covers(&root) {
            return Err(Policy::refused(folder));
        }
        if !root.join(LOG).is_dir() {
            return Err(Error::new(Fault::BadData, format!("'{folder}' is no Delta table: it has no folder {LOG}")));
        }
        let log = Log::read(Files::Allowed(policy), &root, folder)?;
        log.table(Files::Allowed(policy), &root, folder)
    }

    /// How the columns of the files are named, when that is not how the table names them.
    pub fn mapping(physical: &HashMap<String, String>, columns: &[Column]) -> Mapping {
        let columns = columns.iter().map(|column| MappingColumn {
            column: column.name.clone(),
            source: Source::Field(physical.get(&column.name).unwrap_or(&column.name).clone()),
            transform: None,
            data_type: None,
        });
        Mapping { columns: columns.collect() }
    }

    /// The source with what the log tells: columns where none are declared, and partitions.
    pub fn complete(&self, source: &mut ExternalSource) {
        let is_partition = |name: &str| self.partitions.iter().any(|column| column.name == name);
        if source.columns.is_empty() {
            source.columns = self.columns.clone();
        } else {
            source.columns.retain(|column| !is_partition(&column.name));
        }
        let virtuals = self.partitions.iter();
        source.partitions = virtuals
            .map(|column| Partition { name: column.name.clone(), ty: column.ty, value: PartitionValue::Virtual })
            .collect();
        source.format = Some(Format::Parquet.name().to_string());
    }
}

/// Where the one table is that a source names.
///
/// *Errors*: several places, and plain web addresses.
pub(crate) fn root_of(source: &ExternalSource) -> Result<Root> {
    let [uri] = source.uris.as_slice() else {
        return Err(Error::bad_request("external data of kind 'delta' needs exactly one storage connection string"));
    };
    match Location::parse(uri)?.into_place() {
        Location::File(path) => Ok(Root::Folder(path)),
        Location::Object(place) => Ok(Root::Place(place)),
        Location::Url(_) => {
            Err(Error::not_served("a Delta table at a plain web address, whose files cannot be listed,"))
        }
    }
}

/// What the actions of the log come to.
#[derive(Default)]
pub(crate) struct Log {
    protocol: Option<Value>,
    metadata: Option<Value>,
    files: HashMap<String, Value>,
}

/// The parts of checkpoints of one version, by how many there should be and what names them.
type Checkpoints = BTreeMap<(u64, String), Vec<(u64, String)>>;

/// The files of a log by what they are.
#[derive(Default)]
struct Listing {
    versions: HashSet<u64>,
    /// Parts of checkpoints by version and number of parts.
    checkpoints: BTreeMap<u64, Checkpoints>,
}

impl Listing {
    fn of(log: &Path, folder: &str) -> Result<Listing> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(log).map_err(|error| broken(folder, &error))? {
            let entry = entry.map_err(|error| broken(folder, &error))?;
            names.extend(entry.file_name().into_string());
        }
        Ok(Listing::of_names(names))
    }

    fn of_names(names: Vec<String>) -> Listing {
        let mut listing = Listing::default();
        for name in names {
            let Some((version, rest)) = name.split_once('.') else { continue };
            let Some(version) = number(version, 20) else { continue };
            let parts: Vec<&str> = rest.split('.').collect();
            let mut part = |of: (u64, String), part: u64| {
                listing.checkpoints.entry(version).or_default().entry(of).or_default().push((part, name.clone()));
            };
            match parts.as_slice() {
                ["json"] => {
                    listing.versions.insert(version);
                }
                ["checkpoint", "parquet"] => part((1, String::new()), 1),
                ["checkpoint", at, of, "parquet"] => {
                    if let (Some(at), Some(of)) = (number(at, 10), number(of, 10)) {
                        part((of, String::new()), at);
                    }
                }
                ["checkpoint", id, "parquet" | "json"] => part((1, (*id).to_string()), 1),
                _ => {}
            }
        }
        listing
    }

    /// The newest checkpoint of which every part is there.
    fn newest(&self) -> Option<(u64, Vec<String>)> {
        self.checkpoints.iter().rev().find_map(|(version, kinds)| {
            let whole = kinds.iter().find(|((of, _), parts)| {
                let found: HashSet<u64> = parts.iter().map(|(part, _)| *part).collect();
                (1..=*of).all(|part| found.contains(&part))
            })?;
            Some((*version, whole.1.iter().map(|(_, name)| name.clone()).collect()))
        })
    }
}

fn number(digits: &str, length: usize) -> Option<u64> {
    (digits.len() == length && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn broken(folder: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::new(Fault::BadData, format!("the log of the Delta table '{folder}' cannot be read: {reason}"))
}

impl Log {
    /// Of the files of a log those that its newest version needs.
    pub fn needed(names: Vec<String>) -> Vec<String> {
        let listing = Listing::of_names(names);
        let (next, mut needed) = match listing.newest() {
            Some((version, parts)) => (version + 1, parts),
            None => (0, Vec::new()),
        };
        let mut versions: Vec<u64> = listing.versions.into_iter().filter(|version| *version >= next).collect();
        versions.sort_unstable();
        needed.extend(versions.into_iter().map(|version| format!("{version:020}.json")));
        needed
    }

    /// The files below the table's folder that hold its deletion vectors.
    pub fn vectors(&self) -> Vec<String> {
        let vectors = self.files.values().filter_map(|add| add.get("deletionVector"));
        let mut names: Vec<String> = vectors.filter_map(deleted::file_of).collect();
        names.sort();
        names.dedup();
        names
    }

    pub fn read(files: Files<'_>, root: &Path, folder: &str) -> Result<Log> {
        let directory = root.join(LOG);
        let listing = Listing::of(&directory, folder)?;
        let mut log = Log::default();
        let mut next = 0;
        if let Some((version, parts)) = listing.newest() {
            for path in parts {
                log.checkpoint(files, &directory, &directory.join(path), folder)?;
            }
            next = version + 1;
        }
        let newest = listing.versions.iter().max().copied();
        while newest.is_some_and(|newest| next <= newest) {
            if !listing.versions.contains(&next) {
                return Err(broken(folder, &format!("version {next} is not there")));
            }
            log.version(files, &directory.join(format!("{next:020}.json")), folder)?;
            next += 1;
        }
        Ok(log)
    }

    fn version(&mut self, files: Files<'_>, path: &Path, folder: &str) -> Result<()> {
        let mut reader = BufReader::new(files.open(path)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = std::io::Read::take(&mut reader, MAX_LINE_BYTES + 1);
            let count = bounded.read_until(b'\n', &mut line).map_err(|error| broken(folder, &error))?;
            if count == 0 {
                return Ok(());
            }
            if line.len() as u64 > MAX_LINE_BYTES {
                return Err(broken(folder, &format!("a line has more than {MAX_LINE_BYTES} bytes")));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let action: Value = serde_json::from_slice(&line).map_err(|error| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                broken(folder, &format!("{name}: {error}"))
            })?;
            self.act(&action, folder)?;
        }
    }

    fn checkpoint(&mut self, files: Files<'_>, directory: &Path, path: &Path, folder: &str) -> Result<()> {
        if path.extension().is_some_and(|extension| extension == "json") {
            return self.version(files, path, folder);
        }
        let mut sidecars = Vec::new();
        self.actions(files.open(path)?, folder, &mut sidecars)?;
        for name in sidecars {
            // A name, never a path that leads elsewhere.
            let name = Path::new(&name).file_name().unwrap_or_default();
            let file = files.open(&directory.join("_sidecars").join(name))?;
            self.actions(file, folder, &mut Vec::new())?;
        }
        Ok(())
    }

    /// The actions of a Parquet file: one column for each kind.
    fn actions(&mut self, file: File, folder: &str, sidecars: &mut Vec<String>) -> Result<()> {
        const KINDS: [&str; 5] = ["protocol", "metaData", "add", "remove", "sidecar"];
        let schema = TableSchema::new(KINDS.iter().map(|kind| Column::new(*kind, KqlType::Dynamic)).collect());
        let fault = |error: tidewater_formats::Error| broken(folder, &error);
        let decoder = decode(Input::File(file), &schema, DecodeOptions::new(Format::Parquet)).map_err(fault)?;
        for batch in decoder {
            let batch = batch.map_err(fault)?;
            for (kind, column) in KINDS.iter().zip(batch.columns()) {
                let texts = column.as_string_view();
                for row in (0..texts.len()).filter(|row| texts.is_valid(*row)) {
                    let value: Value =
                        serde_json::from_str(texts.value(row)).map_err(|error| broken(folder, &error))?;
                    if *kind == "sidecar" {
                        sidecars.extend(value.get("path").and_then(Value::as_str).map(str::to_string));
                        continue;
                    }
                    self.act(&Value::Object([((*kind).to_string(), value)].into_iter().collect()), folder)?;
                }
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Value, folder: &str) -> Result<()> {
        let path = |value: &Value| match value.get("path").and_then(Value::as_str) {
            Some(path) => Ok(path.to_string()),
            None => Err(broken(folder, &"a file without a path")),
        };
        if let Some(add) = action.get("add").filter(|add| !add.is_null()) {
            self.files.insert(path(add)?, add.clone());
            if self.files.len() > MAX_FILES {
                return Err(Error::bad_request(format!("the Delta table '{folder}' has more than {MAX_FILES} files")));
            }
        } else if let Some(remove) = action.get("remove").filter(|remove| !remove.is_null()) {
            // A file with a new vector is removed with its old one, before or after it is added.
            let path = path(remove)?;
            let vector = |file: &Value| file.pointer("/deletionVector/pathOrInlineDv").cloned();
            if self.files.get(&path).is_some_and(|known| vector(known) == vector(remove)) {
                self.files.remove(&path);
            }
        } else if let Some(metadata) = action.get("metaData").filter(|metadata| !metadata.is_null()) {
            self.metadata = Some(metadata.clone());
        } else if let Some(protocol) = action.get("protocol").filter(|protocol| !protocol.is_null()) {
            self.protocol = Some(protocol.clone());
        }
        Ok(())
    }

    fn check(&self, folder: &str) -> Result<()> {
        let protocol = self.protocol.as_ref().ok_or_else(|| broken(folder, &"it names no protocol"))?;
        let version = protocol.get("minReaderVersion").and_then(Value::as_u64).unwrap_or(0);
        if version > 3 {
            return Err(Error::not_served(format!("reader version {version} of the Delta table '{folder}'")));
        }
        let features = protocol.get("readerFeatures").and_then(Value::as_array);
        for feature in features.into_iter().flatten().filter_map(Value::as_str) {
            if !FEATURES.contains(&feature) {
                return Err(Error::not_served(format!("the feature '{feature}' of the Delta table '{folder}'")));
            }
        }
        Ok(())
    }

    pub fn table(self, files: Files<'_>, root: &Path, folder: &str) -> Result<DeltaTable> {
        self.check(folder)?;
        let metadata = self.metadata.as_ref().ok_or_else(|| broken(folder, &"it names no columns"))?;
        let provider = metadata.pointer("/format/provider").and_then(Value::as_str).unwrap_or("parquet");
        if !provider.eq_ignore_ascii_case("parquet") {
            return Err(Error::not_served(format!("data files of the format '{provider}' in a Delta table")));
        }
        let schema = metadata.get("schemaString").and_then(Value::as_str).unwrap_or_default();
        let schema: Value = serde_json::from_str(schema).map_err(|error| broken(folder, &error))?;
        let is_mapped = metadata
            .pointer("/configuration/delta.columnMapping.mode")
            .and_then(Value::as_str)
            .is_some_and(|mode| mode != "none");
        let partitions: Vec<&str> = metadata
            .get("partitionColumns")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut table = DeltaTable::default();
        // By the name in the log: the physical one where names are mapped.
        let mut keys: HashMap<String, Column> = HashMap::new();
        for field in schema.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let name =
                field.get("name").and_then(Value::as_str).ok_or_else(|| broken(folder, &"a column without a name"))?;
            let ty = type_of(field.get("type").unwrap_or(&Value::Null));
            let physical = field.pointer("/metadata/delta.columnMapping.physicalName").and_then(Value::as_str);
            let physical = physical.filter(|_| is_mapped);
            if let Some(physical) = physical {
                table.physical.insert(name.to_string(), physical.to_string());
            }
            if partitions.contains(&name) {
                let column = Column::new(name, partition_type(ty));
                keys.insert(physical.unwrap_or(name).to_string(), column.clone());
                table.partitions.push(column);
            } else {
                table.columns.push(Column::new(name, ty));
            }
        }
        let mut named: Vec<(String, Value)> = self.files.into_iter().collect();
        named.sort_by(|left, right| left.0.cmp(&right.0));
        for (path, add) in named {
            let mut values = BTreeMap::new();
            for (key, value) in add.get("partitionValues").and_then(Value::as_object).into_iter().flatten() {
                if let (Some(column), Some(text)) = (keys.get(key), value.as_str().filter(|text| !text.is_empty())) {
                    values.extend(partition_value(column.ty, text).map(|value| (column.name.clone(), value)));
                }
            }
            let size = add.get("size").and_then(Value::as_u64);
            let deleted = match add.get("deletionVector").filter(|vector| !vector.is_null()) {
                None => None,
                Some(vector) => {
                    let rows = deleted::rows(files, root, vector);
                    let rows =
                        rows.map_err(|reason| broken(folder, &format!("the deletion vector of {path}: {reason}")));
                    Some(Arc::new(rows?))
                }
            };
            table.files.push(DeltaFile { path: place(root, &path, folder)?, size, values, deleted });
        }
        Ok(table)
    }
}

/// Where a file lies: below the table's folder, or where an address says.
fn place(root: &Path, path: &str, folder: &str) -> Result<PathBuf> {
    let plain = percent_decode_str(path).decode_utf8_lossy().into_owned();
    match plain.split_once("://") {
        Some(("file", rest)) => Ok(PathBuf::from(rest)),
        Some((scheme, _)) => {
            Err(Error::not_served(format!("files at '{scheme}://' addresses of the Delta table '{folder}'")))
        }
        None => Ok(root.join(plain.strip_prefix("file:").unwrap_or(&plain))),
    }
}

/// The KQL type of a column of Delta.
fn type_of(ty: &Value) -> KqlType {
    match ty.as_str() {
        Some("byte" | "short" | "integer") => KqlType::Int,
        Some("long") => KqlType::Long,
        Some("float" | "double") => KqlType::Real,
        Some("boolean") => KqlType::Bool,
        Some("date" | "timestamp" | "timestamp_ntz") => KqlType::DateTime,
        Some(decimal) if decimal.starts_with("decimal") => KqlType::Decimal,
        Some(_) => KqlType::String,
        // Structures, arrays and maps.
        None => KqlType::Dynamic,
    }
}

/// Virtual columns are texts, whole numbers and moments.
fn partition_type(ty: KqlType) -> KqlType {
    match ty {
        KqlType::Int | KqlType::Long => KqlType::Long,
        KqlType::DateTime => KqlType::DateTime,
        _ => KqlType::String,
    }
}

fn partition_value(ty: KqlType, text: &str) -> Option<PathValue> {
    match ty {
        KqlType::Long => text.parse().ok().map(PathValue::Long),
        KqlType::DateTime => datetime::parse(text).map(PathValue::DateTime),
        _ => Some(PathValue::Text(text.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(actions: &[&str]) -> Result<DeltaTable> {
        let mut log = Log::default();
        for action in actions {
            log.act(&serde_json::from_str(action).unwrap(), "T")?;
        }
        log.table(Files::Allowed(&Policy::default()), Path::new("/t"), "T")
    }

    const PROTOCOL: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
    const METADATA: &str = r#"{"metaData":{"id":"x","format":{"provider":"parquet"},"partitionColumns":["day"],
        "schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":\"long\"},{\"name\":\"day\",\"type\":\"date\"},{\"name\":\"l\",\"type\":{\"type\":\"array\",\"elementType\":\"long\"}}]}"}}"#;

    #[test]
    fn the_newest_version_counts() {
        let table = log(&[
            PROTOCOL,
            METADATA,
            r#"{"add":{"path":"day=2024-01-02/a%20b.parquet","size":7,"partitionValues":{"day":"2024-01-02"}}}"#,
            r#"{"add":{"path":"old.parquet","size":1,"partitionValues":{"day":null}}}"#,
            r#"{"remove":{"path":"old.parquet"}}"#,
        ])
        .unwrap();
        assert_eq!(table.columns, [Column::new("a", KqlType::Long), Column::new("l", KqlType::Dynamic)]);
        assert_eq!(table.partitions, [Column::new("day", KqlType::DateTime)]);
        assert_eq!(table.files.len(), 1);
        assert_eq!(table.files[0].path, Path::new("/t/day=2024-01-02/a b.parquet"));
        assert!(matches!(table.files[0].values["day"], PathValue::DateTime(_)));
    }

    #[test]
    fn of_a_log_the_newest_checkpoint_and_what_follows_is_needed() {
        let names = [0, 1, 10, 11, 12].map(|version| format!("{version:020}.json"));
        let mut names = names.to_vec();
        assert_eq!(Log::needed(names.clone()), names);
        names.extend([format!("{:020}.checkpoint.parquet", 10), "_last_checkpoint".into(), "x.crc".into()]);
        let wanted = [format!("{:020}.checkpoint.parquet", 10), format!("{:020}.json", 11), format!("{:020}.json", 12)];
        assert_eq!(Log::needed(names), wanted);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let refusal = |actions: &[&str]| log(actions).unwrap_err().message().to_string();
        let feature = r#"{"protocol":{"minReaderVersion":3,"readerFeatures":["variantType"]}}"#;
        assert!(refusal(&[feature, METADATA]).contains("variantType"));
        assert!(refusal(&[r#"{"protocol":{"minReaderVersion":4}}"#, METADATA]).contains("reader version 4"));
        let vector = r#"{"add":{"path":"a","deletionVector":{"storageType":"z","pathOrInlineDv":"","sizeInBytes":1}}}"#;
        assert!(refusal(&[PROTOCOL, METADATA, vector]).contains("deletion vector of a"));
        assert!(refusal(&[METADATA]).contains("no protocol"));
        assert!(refusal(&[PROTOCOL]).contains("no columns"));
        let far = r#"{"add":{"path":"s3://bucket/a.parquet"}}"#;
        assert!(refusal(&[PROTOCOL, METADATA, far]).contains("s3://"));
    }
}
