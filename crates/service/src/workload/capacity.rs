//! The capacity policy: how much of each kind of work may run at once. Source: capacity-policy and show-capacity pages.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::Machine;
use super::gate::{Asked, throttled};
use crate::error::Result;

/// A kind of work whose capacity is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Ingestions,
    ExtentsMerge,
    ExtentsPartition,
    DataExport,
    MaterializedView,
    StoredQueryResults,
    GraphSnapshots,
}

impl Resource {
    pub const ALL: &'static [Resource] = &[
        Resource::Ingestions,
        Resource::ExtentsMerge,
        Resource::ExtentsPartition,
        Resource::DataExport,
        Resource::MaterializedView,
        Resource::StoredQueryResults,
        Resource::GraphSnapshots,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Ingestions => "ingestions",
            Resource::ExtentsMerge => "extents-merge",
            Resource::ExtentsPartition => "extents-partition",
            Resource::DataExport => "data-export",
            Resource::MaterializedView => "materialized-view",
            Resource::StoredQueryResults => "stored-query-results",
            Resource::GraphSnapshots => "graph-snapshots",
        }
    }

    /// Where the limit comes from, as messages say it.
    pub fn origin(self) -> &'static str {
        match self {
            Resource::Ingestions => "CapacityPolicy/Ingestion",
            Resource::ExtentsMerge => "CapacityPolicy/ExtentsMerge",
            Resource::ExtentsPartition => "CapacityPolicy/ExtentsPartition",
            Resource::DataExport => "CapacityPolicy/Export",
            Resource::MaterializedView => "CapacityPolicy/MaterializedViews",
            Resource::StoredQueryResults => "CapacityPolicy/StoredQueryResults",
            Resource::GraphSnapshots => "CapacityPolicy/GraphSnapshots",
        }
    }

    /// The kind of work that a command is, by its name in the journals.
    pub fn of_command(name: &str) -> Option<Resource> {
        match name {
            "DataIngestInline" | "DataIngestPull" | "TableSet" | "TableAppend" | "TableSetOrAppend"
            | "TableSetOrReplace" => Some(Resource::Ingestions),
            _ if name.starts_with("StoredQueryResultSet") => Some(Resource::StoredQueryResults),
            _ if name.starts_with("GraphSnapshotMake") => Some(Resource::GraphSnapshots),
            _ if name.starts_with("DataExport") || name.starts_with("Export") => Some(Resource::DataExport),
            _ => None,
        }
    }
}

/// The policy as it holds.
#[derive(Clone, Debug)]
pub(crate) struct CapacityPolicy {
    value: Value,
    cores: u64,
}

fn defaults() -> Value {
    json!({
        // One machine that its users share takes more ingestions at once than a core's share of a cluster.
        "IngestionCapacity": {"ClusterMaximumConcurrentOperations": 512, "CoreUtilizationCoefficient": 10.0},
        "ExtentsMergeCapacity": {"MinimumConcurrentOperationsPerNode": 1, "MaximumConcurrentOperationsPerNode": 3},
        "ExtentsPurgeRebuildCapacity": {"MaximumConcurrentOperationsPerNode": 1},
        "ExportCapacity": {"ClusterMaximumConcurrentOperations": 100, "CoreUtilizationCoefficient": 0.25},
        "ExtentsPartitionCapacity": {"ClusterMinimumConcurrentOperations": 1, "ClusterMaximumConcurrentOperations": 32},
        "MaterializedViewsCapacity": {
            "ClusterMaximumConcurrentOperations": 1,
            "ExtentsRebuildCapacity": {
                "ClusterMaximumConcurrentOperations": 50,
                "MaximumConcurrentOperationsPerNode": 5,
            },
        },
        "StoredQueryResultsCapacity": {"MaximumConcurrentOperationsPerDbAdmin": 250, "CoreUtilizationCoefficient": 10.0},
        "StreamingIngestionPostProcessingCapacity": {"MaximumConcurrentOperationsPerNode": 4},
        "PurgeStorageArtifactsCleanupCapacity": {"MaximumConcurrentOperationsPerCluster": 2},
        "PeriodicStorageArtifactsCleanupCapacity": {"MaximumConcurrentOperationsPerCluster": 2},
        "QueryAccelerationCapacity": {"ClusterMaximumConcurrentOperations": 100, "CoreUtilizationCoefficient": 0.5},
        "GraphSnapshotsCapacity": {"ClusterMaximumConcurrentOperations": 5},
    })
}

/// What `new` names laid over `old`, under the names that the policy has.
///
/// Errors: an unknown member, or a value that is no positive number.
fn laid_over(old: &Value, new: &Value, known: &Value, path: &str) -> Result<Value, String> {
    let Some(new) = new.as_object() else { return Err(format!("{path} must be an object, found {new}")) };
    let known = known.as_object().cloned().unwrap_or_default();
    let mut out: Map<String, Value> = old.as_object().cloned().unwrap_or_default();
    for (name, value) in new {
        let Some((name, pattern)) = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
            return Err(format!("{path} has no member '{name}'"));
        };
        let value = match pattern {
            Value::Object(_) => laid_over(out.get(name).unwrap_or(&Value::Null), value, pattern, name)?,
            _ if value.as_f64().is_some_and(|number| number > 0.0) => value.clone(),
            _ => return Err(format!("{name} must be a positive number, found {value}")),
        };
        out.insert(name.clone(), value);
    }
    Ok(Value::Object(out))
}

/// Every member that the documentation names.
fn known() -> Value {
    let extra = json!({
        "ExtentsMergeCapacity": {"ClusterMaximumConcurrentOperations": 1},
        "ExtentsPartitionCapacity": {"MaximumConcurrentOperationsPerNode": 1},
        "MaterializedViewsCapacity": {"ClusterMinimumConcurrentOperations": 1},
    });
    super::definition::merged(&defaults(), &extra)
}

impl CapacityPolicy {
    /// From what is stored.
    pub fn of(stored: Option<&Value>, machine: Machine) -> CapacityPolicy {
        let value = match stored.map(|stored| laid_over(&defaults(), stored, &known(), "the policy")) {
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                tracing::error!(error, "the capacity policy of the catalog cannot be read");
                defaults()
            }
            None => defaults(),
        };
        CapacityPolicy { value, cores: machine.cores }
    }

    /// The policy after `.alter` (over the defaults) or `.alter-merge` (over what holds).
    pub fn altered(&self, given: &Value, merge: bool) -> Result<Value, String> {
        let base = if merge { self.value.clone() } else { defaults() };
        laid_over(&base, given, &known(), "the policy")
    }

    /// As it is shown.
    pub fn value(&self) -> &Value {
        &self.value
    }

    fn number(&self, path: &str) -> f64 {
        self.value.pointer(path).and_then(Value::as_f64).unwrap_or(f64::MAX)
    }

    /// How many may run at once: the formulas of the documentation for one node.
    pub fn total(&self, resource: Resource) -> u64 {
        let by_cores = |most: &str, coefficient: &str| {
            self.number(most).min((self.cores as f64 * self.number(coefficient)).floor().max(1.0))
        };
        let total = match resource {
            Resource::Ingestions => by_cores(
                "/IngestionCapacity/ClusterMaximumConcurrentOperations",
                "/IngestionCapacity/CoreUtilizationCoefficient",
            ),
            Resource::DataExport => by_cores(
                "/ExportCapacity/ClusterMaximumConcurrentOperations",
                "/ExportCapacity/CoreUtilizationCoefficient",
            ),
            Resource::StoredQueryResults => by_cores(
                "/StoredQueryResultsCapacity/MaximumConcurrentOperationsPerDbAdmin",
                "/StoredQueryResultsCapacity/CoreUtilizationCoefficient",
            ),
            Resource::ExtentsMerge => self
                .number("/ExtentsMergeCapacity/MaximumConcurrentOperationsPerNode")
                .min(self.number("/ExtentsMergeCapacity/ClusterMaximumConcurrentOperations")),
            Resource::ExtentsPartition => self.number("/ExtentsPartitionCapacity/ClusterMaximumConcurrentOperations"),
            Resource::MaterializedView => self.number("/MaterializedViewsCapacity/ClusterMaximumConcurrentOperations"),
            Resource::GraphSnapshots => self.number("/GraphSnapshotsCapacity/ClusterMaximumConcurrentOperations"),
        };
        total.clamp(0.0, 1e15) as u64
    }
}

/// What runs of each kind. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Consumed {
    counts: Arc<Mutex<HashMap<Resource, u64>>>,
}

/// One that runs; ends when dropped.
pub(crate) struct Share {
    consumed: Consumed,
    resource: Resource,
}

impl Consumed {
    /// Takes a share, if there is one left.
    pub fn take(&self, resource: Resource, policy: &CapacityPolicy, asked: Asked) -> Result<Share> {
        let most = policy.total(resource);
        let mut counts = self.counts.lock();
        let count = counts.entry(resource).or_default();
        if *count >= most {
            return Err(throttled(asked, most, resource.origin()));
        }
        *count += 1;
        Ok(Share { consumed: self.clone(), resource })
    }

    /// Counts one that runs without a limit.
    pub fn begin(&self, resource: Resource) -> Share {
        *self.counts.lock().entry(resource).or_default() += 1;
        Share { consumed: self.clone(), resource }
    }

    /// How many run.
    pub fn of(&self, resource: Resource) -> u64 {
        self.counts.lock().get(&resource).copied().unwrap_or(0)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(count) = self.consumed.counts.lock().get_mut(&self.resource) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { memory_bytes: 1 << 30, concurrent: 20, cores: 16 };

    #[test]
    fn the_formulas_are_those_of_the_documentation() {
        let stored = json!({"IngestionCapacity": {"CoreUtilizationCoefficient": 0.75}});
        let policy = CapacityPolicy::of(Some(&stored), MACHINE);
        assert_eq!(policy.total(Resource::Ingestions), 12);
        assert_eq!(policy.total(Resource::DataExport), 4);
        assert_eq!(policy.total(Resource::ExtentsMerge), 3);
        let small = CapacityPolicy::of(Some(&stored), Machine { cores: 1, ..MACHINE });
        assert_eq!(small.total(Resource::Ingestions), 1);
        let capped = json!({"IngestionCapacity": {"ClusterMaximumConcurrentOperations": 2}});
        assert_eq!(CapacityPolicy::of(Some(&capped), MACHINE).total(Resource::Ingestions), 2);
    }

    #[test]
    fn altering_starts_from_the_defaults_and_merging_from_what_holds() {
        let stored = json!({"GraphSnapshotsCapacity": {"ClusterMaximumConcurrentOperations": 9}});
        let policy = CapacityPolicy::of(Some(&stored), MACHINE);
        let given = json!({"ExportCapacity": {"ClusterMaximumConcurrentOperations": 1}});
        let most = |value: &Value| value["GraphSnapshotsCapacity"]["ClusterMaximumConcurrentOperations"].clone();
        assert_eq!(most(&policy.altered(&given, true).unwrap()), 9);
        assert_eq!(most(&policy.altered(&given, false).unwrap()), 5);
        assert!(policy.altered(&json!({"Nonsense": {}}), true).is_err());
        assert!(policy.altered(&json!({"ExportCapacity": {"CoreUtilizationCoefficient": -1}}), true).is_err());
    }

    #[test]
    fn what_runs_is_counted_and_bounded() {
        let capped = json!({"IngestionCapacity": {"ClusterMaximumConcurrentOperations": 1}});
        let policy = CapacityPolicy::of(Some(&capped), MACHINE);
        let consumed = Consumed::default();
        let share = consumed.take(Resource::Ingestions, &policy, Asked::Command("TableSetOrAppend")).ok();
        let refused = consumed.take(Resource::Ingestions, &policy, Asked::Command("TableSetOrAppend"));
        assert_eq!(
            refused.err().map(|error| error.message().to_string()).unwrap_or_default(),
            "The management command was aborted due to throttling. Retrying after some backoff might succeed. CommandType: \
             'TableSetOrAppend', Capacity: 1, Origin: 'CapacityPolicy/Ingestion'."
        );
        drop(share);
        assert_eq!(consumed.of(Resource::Ingestions), 0);
    }
}
