//! What commands show of databases beside their names: identity, policies, sizes, violations; pretty names; the health of
//! the server.

use std::sync::Arc;

use tidewater_kql::KqlType;
use tidewater_kql::ast::Name;
use tidewater_kql::command::{DatabaseAspect, DatabaseChoice};
use tidewater_store::{Database, Extent};

use super::{Request, databases};
use crate::answer::ResultTable;
use crate::error::{Error, Result};
use crate::journal::Sort;
use crate::maintenance::machine_memory_bytes;
use crate::policies::{
    self, CachingPolicy, IngestionBatchingPolicy, MergePolicy, RetentionPolicy, ShardingPolicy,
    StreamingIngestionPolicy,
};
use crate::stored::{self, StoredView};
use crate::table::{Cell, Columns, TableBuilder};

const NAMES: Columns = &[
    ("DatabaseName", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("Version", KqlType::String),
    ("IsCurrent", KqlType::Bool),
    ("DatabaseAccessMode", KqlType::String),
    ("PrettyName", KqlType::String),
    ("ReservedSlot1", KqlType::Bool),
    ("DatabaseId", KqlType::Guid),
    ("InTransitionTo", KqlType::String),
];

const IDENTITY: Columns = &[
    ("DatabaseName", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("Version", KqlType::String),
    ("IsCurrent", KqlType::Bool),
    ("DatabaseAccessMode", KqlType::String),
    ("PrettyName", KqlType::String),
    ("CurrentUserIsUnrestrictedViewer", KqlType::Bool),
    ("DatabaseId", KqlType::Guid),
    ("InTransitionTo", KqlType::String),
];

const POLICIES: Columns = &[
    ("DatabaseName", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("Version", KqlType::String),
    ("IsCurrent", KqlType::Bool),
    ("DatabaseAccessMode", KqlType::String),
    ("PrettyName", KqlType::String),
    ("DatabaseId", KqlType::Guid),
    ("AuthorizedPrincipals", KqlType::String),
    ("RetentionPolicy", KqlType::String),
    ("MergePolicy", KqlType::String),
    ("CachingPolicy", KqlType::String),
    ("ShardingPolicy", KqlType::String),
    ("StreamingIngestionPolicy", KqlType::String),
    ("IngestionBatchingPolicy", KqlType::String),
];

/// One database: with the right of the caller.
const DATA_STATS: Columns = &[
    ("DatabaseName", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("Version", KqlType::String),
    ("IsCurrent", KqlType::Bool),
    ("DatabaseAccessMode", KqlType::String),
    ("PrettyName", KqlType::String),
    ("CurrentUseIsUnrestrictedViewer", KqlType::Bool),
    ("DatabaseId", KqlType::Guid),
    ("OriginalSize", KqlType::Real),
    ("ExtentSize", KqlType::Real),
    ("CompressedSize", KqlType::Real),
    ("IndexSize", KqlType::Real),
    ("RowCount", KqlType::Long),
    ("HotOriginalSize", KqlType::Real),
    ("HotExtentSize", KqlType::Real),
    ("HotCompressedSize", KqlType::Real),
    ("HotIndexSize", KqlType::Real),
    ("HotRowCount", KqlType::Long),
];

/// All databases: without it.
const ALL_DATA_STATS: Columns = &[
    ("DatabaseName", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("Version", KqlType::String),
    ("IsCurrent", KqlType::Bool),
    ("DatabaseAccessMode", KqlType::String),
    ("PrettyName", KqlType::String),
    ("DatabaseId", KqlType::Guid),
    ("OriginalSize", KqlType::Real),
    ("ExtentSize", KqlType::Real),
    ("CompressedSize", KqlType::Real),
    ("IndexSize", KqlType::Real),
    ("RowCount", KqlType::Long),
    ("HotOriginalSize", KqlType::Real),
    ("HotExtentSize", KqlType::Real),
    ("HotCompressedSize", KqlType::Real),
    ("HotIndexSize", KqlType::Real),
    ("HotRowCount", KqlType::Long),
];

const METADATA: Columns = &[
    ("DatabaseName", KqlType::String),
    ("Version", KqlType::String),
    ("PersistentStorage", KqlType::String),
    ("MetadataPersistentStorage", KqlType::String),
    ("DatabaseAccessMode", KqlType::String),
];

const VIOLATIONS: Columns = &[
    ("EntityKind", KqlType::String),
    ("EntityName", KqlType::String),
    ("Property", KqlType::String),
    ("Reason", KqlType::String),
];

/// `.show database ...`, `.show databases ...`
pub async fn show(request: &Request<'_>, choice: &DatabaseChoice, aspect: DatabaseAspect) -> Result<ResultTable> {
    let (chosen, is_one) = match choice {
        DatabaseChoice::One(None) => (vec![Arc::clone(request.database()?)], true),
        DatabaseChoice::One(Some(name)) => (vec![Arc::clone(request.named_database(&name.text)?)], true),
        DatabaseChoice::Many(names) => (databases::chosen(request, names)?, false),
    };
    let columns = match aspect {
        DatabaseAspect::Names => NAMES,
        DatabaseAspect::Details => databases::DETAILS,
        DatabaseAspect::Identity => IDENTITY,
        DatabaseAspect::Policies => POLICIES,
        DatabaseAspect::DataStats if is_one => DATA_STATS,
        DatabaseAspect::DataStats => ALL_DATA_STATS,
        DatabaseAspect::Metadata => METADATA,
        DatabaseAspect::Violations => VIOLATIONS,
        DatabaseAspect::KeyVaultSecrets => &[("KeyVaultSecretId", KqlType::String)],
    };
    let mut out = TableBuilder::new(columns);
    for database in &chosen {
        match aspect {
            DatabaseAspect::Details => out.row(databases::detailed(request, database)),
            DatabaseAspect::Metadata => out.row(vec![
                database.name().into(),
                databases::version(request).into(),
                "".into(),
                "".into(),
                crate::library::access_mode(&request.snapshot, database).into(),
            ]),
            DatabaseAspect::Violations => violations(request, database, &mut out).await,
            // No secrets are kept.
            DatabaseAspect::KeyVaultSecrets => {}
            DatabaseAspect::Names | DatabaseAspect::Identity => {
                let mut cells = databases::head(request, database);
                let slot = if aspect == DatabaseAspect::Names { Cell::Null } else { Cell::Bool(true) };
                cells.extend([slot, database.id().0.into(), "".into()]);
                out.row(cells);
            }
            DatabaseAspect::Policies => {
                let snapshot = &request.snapshot;
                let mut cells = databases::head(request, database);
                let merge: MergePolicy = policies::of_database(snapshot, database).unwrap_or_default();
                let sharding: ShardingPolicy = policies::of_database(snapshot, database).unwrap_or_default();
                cells.extend([
                    database.id().0.into(),
                    "".into(),
                    policies::text(policies::of_database::<RetentionPolicy>(snapshot, database)).into(),
                    policies::text(Some(merge)).into(),
                    policies::text(policies::of_database::<CachingPolicy>(snapshot, database)).into(),
                    policies::text(Some(sharding)).into(),
                    policies::text(policies::of_database::<StreamingIngestionPolicy>(snapshot, database)).into(),
                    policies::text(policies::of_database::<IngestionBatchingPolicy>(snapshot, database)).into(),
                ]);
                out.row(cells);
            }
            DatabaseAspect::DataStats => {
                let mut cells = databases::head(request, database);
                if is_one {
                    cells.push(true.into());
                }
                cells.push(database.id().0.into());
                for hot in [false, true] {
                    cells.extend(sizes(request, database, hot));
                }
                out.row(cells);
            }
        }
    }
    out.finish()
}

/// Original, file, compressed and index size, and rows, of all data or of what is hot.
fn sizes(request: &Request<'_>, database: &Database, hot: bool) -> Vec<Cell> {
    let (mut original, mut bytes, mut rows) = (0u64, 0u64, 0u64);
    for table in database.tables() {
        let caching: Option<CachingPolicy> = policies::of_table(&request.snapshot, table);
        let counts = |extent: &Extent| {
            let is_hot =
                || caching.as_ref().is_none_or(|policy| policy.is_hot(extent.created(), request.context.now_ticks));
            !hot || is_hot()
        };
        for extent in table.extents().iter().filter(|extent| counts(extent)) {
            original += extent.original_bytes();
            bytes += extent.bytes();
            rows += extent.rows();
        }
    }
    let real = |value: u64| Cell::Real(value as f64);
    vec![real(original), real(bytes), real(bytes), Cell::Real(0.0), rows.into()]
}

/// Functions that no longer bind, views whose source is gone or that are disabled.
async fn violations(request: &Request<'_>, database: &Arc<Database>, out: &mut TableBuilder) {
    for function in database.functions() {
        if let Err(error) = super::functions::check_stored(request, database, function).await {
            out.row(vec!["Function".into(), function.name.as_str().into(), "".into(), error.message().into()]);
        }
    }
    for (name, view) in stored::all::<StoredView>(&request.snapshot, database) {
        let reason = match request.snapshot.table_by_id(view.source) {
            None => Some(format!("Entity ID '{}' of kind 'Table' was not found.", view.source_name)),
            Some(_) if !view.enabled => Some(format!("Materialized view '{name}' is disabled")),
            Some(_) => None,
        };
        if let Some(reason) = reason {
            out.row(vec!["MaterializedView".into(), name.as_str().into(), "".into(), reason.into()]);
        }
    }
}

/// `.alter database X prettyname "p"`, `.drop database X prettyname`
pub async fn set_pretty_name(
    request: &Request<'_>,
    database: Option<&Name>,
    text: Option<String>,
) -> Result<ResultTable> {
    let database = match database {
        Some(name) => request.named_database(&name.text)?,
        None => request.database()?,
    };
    if text.as_ref().is_some_and(|text| text.chars().count() > 1024) {
        return Err(Error::bad_request("a pretty name has at most 1024 characters"));
    }
    let text = text.filter(|text| !text.is_empty());
    request.service.store().set_pretty_name(database.id(), text.clone()).await?;
    let mut out = TableBuilder::new(&[("DatabaseName", KqlType::String), ("PrettyName", KqlType::String)]);
    out.row(vec![database.name().into(), text.as_deref().into()]);
    out.finish()
}

/// `.show diagnostics`: the members of the reference that have a meaning on one machine; others are zero or null.
pub fn diagnostics(request: &Request<'_>) -> Result<ResultTable> {
    let mut out = TableBuilder::new(DIAGNOSTICS);
    let tables = || request.snapshot.databases().flat_map(|database| database.stored_tables());
    let extents = || tables().flat_map(|table| table.extents());
    let (total, _) = machine_memory_bytes().unwrap_or_default();
    let ingesting = request.service.inner().journal.running(|sort| match sort {
        Sort::Command(name) => name.contains("Ingest") || name.starts_with("TableSet") || name == "TableAppend",
        Sort::Streaming => true,
        Sort::Query => false,
    });
    let value = |name: &str| -> Cell {
        match name {
            "IsHealthy" => true.into(),
            "EnvironmentDescription" => serde_json::json!({ "MachineTotalMemory": total }).to_string().into(),
            "MachinesTotal" => 1i64.into(),
            "NodeLastRestartedOn" | "AdminLastElectedOn" => request.service.inner().started_ticks.into(),
            "ExtentsTotal" => extents().count().into(),
            "DiskColdAllocationPercentage" | "MachinesOffline" => 0i64.into(),
            "InstancesTargetBasedOnDataCapacity" => 1i64.into(),
            "TotalOriginalDataSize" => Cell::Real(extents().map(|extent| extent.original_bytes()).sum::<u64>() as f64),
            "TotalExtentSize" => Cell::Real(extents().map(|extent| extent.bytes()).sum::<u64>() as f64),
            "IngestionsInProgress" => ingesting.len().into(),
            "NumberOfDatabases" => request.snapshot.databases().len().into(),
            "MaxExtentsInSingleTable" => tables().map(|table| table.extents().len()).max().unwrap_or_default().into(),
            "TableWithMaxExtents" => {
                tables().max_by_key(|table| table.extents().len()).map(|table| table.name()).into()
            }
            "BuildVersion" => request.service.version().into(),
            "ProductVersion" => format!("Tidewater {}", request.service.version()).into(),
            "BuildTime" => request.service.inner().started_ticks.into(),
            _ => Cell::Null,
        }
    };
    let cells = DIAGNOSTICS.iter().map(|(name, ty)| match (value(name), ty) {
        (Cell::Null, KqlType::Bool) => false.into(),
        (Cell::Null, KqlType::Int | KqlType::Long) => 0i64.into(),
        (Cell::Null, KqlType::Real) => Cell::Real(0.0),
        (cell, _) => cell,
    });
    let cells = cells.collect();
    out.row(cells);
    out.finish()
}

/// Source: the reference parser's columns, of which one is named twice.
const DIAGNOSTICS: Columns = &[
    ("IsHealthy", KqlType::Bool),
    ("EnvironmentDescription", KqlType::String),
    ("IsScaleOutRequired", KqlType::Bool),
    ("MachinesTotal", KqlType::Int),
    ("MachinesOffline", KqlType::Int),
    ("NodeLastRestartedOn", KqlType::DateTime),
    ("AdminLastElectedOn", KqlType::DateTime),
    ("ExtentsTotal", KqlType::Int),
    ("DiskColdAllocationPercentage", KqlType::Int),
    ("InstancesTargetBasedOnDataCapacity", KqlType::Int),
    ("TotalOriginalDataSize", KqlType::Real),
    ("TotalExtentSize", KqlType::Real),
    ("IngestionsLoadFactor", KqlType::Real),
    ("IngestionsInProgress", KqlType::Long),
    ("IngestionsSuccessRate", KqlType::Real),
    ("MergesInProgress", KqlType::Long),
    ("BuildVersion", KqlType::String),
    ("BuildTime", KqlType::DateTime),
    ("ClusterDataCapacityFactor", KqlType::Real),
    ("IsDataWarmingRequired", KqlType::Bool),
    ("DataWarmingLastRunOn", KqlType::DateTime),
    ("MergesSuccessRate", KqlType::Real),
    ("NotHealthyReason", KqlType::String),
    ("IsAttentionRequired", KqlType::Bool),
    ("AttentionRequiredReason", KqlType::String),
    ("ProductVersion", KqlType::String),
    ("FailedIngestOperations", KqlType::Int),
    ("FailedMergeOperations", KqlType::Int),
    ("MaxExtentsInSingleTable", KqlType::Int),
    ("TableWithMaxExtents", KqlType::String),
    ("MergesLoadFactor", KqlType::Real),
    ("WarmExtentSize", KqlType::Real),
    ("NumberOfDatabases", KqlType::Int),
    ("PurgeExtentsRebuildLoadFactor", KqlType::Real),
    ("PurgeExtentsRebuildInProgress", KqlType::Long),
    ("PurgesInProgress", KqlType::Long),
    ("RowStoreLocalStorageCapacityFactor", KqlType::Real),
    ("ExportsLoadFactor", KqlType::Real),
    ("ExportsInProgress", KqlType::Long),
    ("PendingContinuousExports", KqlType::Long),
    ("MaxContinuousExportLatenessMinutes", KqlType::Long),
    ("RowStoreSealsInProgress", KqlType::Long),
    ("IsRowStoreUnhealthy", KqlType::Bool),
    ("MachinesSuspended", KqlType::Int),
    ("DataPartitioningLoadFactor", KqlType::Real),
    ("DataPartitioningOperationsInProgress", KqlType::Long),
    ("MinPartitioningPercentageInSingleTable", KqlType::Real),
    ("TableWithMinPartitioningPercentage", KqlType::String),
    ("V3DataCapacityFactor", KqlType::Real),
    ("MaterializedViewsInProgress", KqlType::Long),
    ("IngestionCapacityUtilization", KqlType::Real),
    ("ShardsWarmingStatus", KqlType::String),
    ("ShardsWarmingTemperature", KqlType::Real),
    ("ShardsWarmingDetails", KqlType::String),
    ("StoredQueryResultsInProgress", KqlType::Long),
    ("HotDataDiskSpaceUsage", KqlType::Real),
    ("MirroringOperationsLoadFactor", KqlType::Real),
    ("MirroringOperationsInProgress", KqlType::Long),
    ("QueryAccelerationLoadFactor", KqlType::Real),
    ("QueryAccelerationInProgress", KqlType::Long),
    ("QueryAccelerationCapacityUtilization", KqlType::Real),
    ("GraphSnapshotsLoadFactor", KqlType::Real),
    ("GraphSnapshotsInProgress", KqlType::Long),
];
