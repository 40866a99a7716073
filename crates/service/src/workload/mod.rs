//! Workload groups: which requests share what, and how much of it they may have.
//!
//! A request is classified once, when it comes (`classify`), passes its group's gate (`gate`), and runs under the group's
//! limits. Definitions are properties of the cluster; what holds now is kept parsed, and read again after each change.
//! Source: workload-groups, request-limits-policy, request-rate-limit-policy, request-queuing-policy, capacity-policy.

pub(crate) mod capacity;
pub(crate) mod classify;
pub(crate) mod definition;
pub(crate) mod gate;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;
use tidewater_kql::command::PolicyKind;
use tidewater_store::{PropertyKey, PropertyOwner, Snapshot};

use crate::policies;
use capacity::CapacityPolicy;
use classify::Classification;
use definition::Definition;

/// The group of requests that nothing puts elsewhere.
pub(crate) const DEFAULT: &str = "default";
/// The group of the service's own requests.
pub(crate) const INTERNAL: &str = "internal";
/// The group of materializations.
pub(crate) const VIEWS: &str = "$materialized-views";
/// Groups of users, beside the three of the service.
pub(crate) const MAX_GROUPS: usize = 16;
/// The kind of the properties that hold definitions.
const PROPERTY: &str = "workload group";

/// What the machine gives: the bounds of the groups that the service comes with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Bytes that queries share.
    pub memory_bytes: u64,
    /// Requests that run at once unless a group says otherwise.
    pub concurrent: u64,
    /// Processor cores.
    pub cores: u64,
}

/// A group as it holds.
#[derive(Clone, Debug)]
pub(crate) struct WorkloadGroup {
    /// Its name.
    pub name: String,
    /// Its policies, with those of `default` where it has none of its own.
    pub definition: Definition,
}

impl WorkloadGroup {
    /// Whether it is the group of requests that nothing puts elsewhere.
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT
    }
}

/// All that holds now.
#[derive(Debug)]
pub(crate) struct Workloads {
    groups: BTreeMap<String, Arc<WorkloadGroup>>,
    /// As they are shown: what was defined, not what was filled in.
    shown: BTreeMap<String, Value>,
    /// How requests are told apart.
    pub classification: Option<Arc<Classification>>,
    /// How much of each kind of work may run.
    pub capacity: CapacityPolicy,
}

impl Workloads {
    /// Reads what the catalog has. What cannot be read is told in the log and left out.
    pub fn load(snapshot: &Snapshot, machine: Machine) -> Workloads {
        let mut shown = BTreeMap::new();
        shown.insert(DEFAULT.to_string(), definition::of_default(machine));
        shown.insert(INTERNAL.to_string(), definition::of_internal());
        shown.insert(VIEWS.to_string(), definition::of_views(machine));
        for (name, value) in snapshot.properties(PropertyOwner::Cluster, PROPERTY) {
            shown.insert(name.to_string(), value.clone());
        }
        let parsed = |name: &str, value: &Value| match Definition::of(value) {
            Ok(definition) => definition,
            Err(error) => {
                tracing::error!(%error, group = name, "a workload group of the catalog cannot be read");
                Definition::default()
            }
        };
        let base = parsed(DEFAULT, &shown[DEFAULT]);
        let group = |(name, value): (&String, &Value)| {
            let definition = match name.as_str() {
                DEFAULT => base.clone(),
                INTERNAL => parsed(name, value),
                _ => parsed(name, value).over(&base),
            };
            (name.clone(), Arc::new(WorkloadGroup { name: name.clone(), definition }))
        };
        let groups = shown.iter().map(group).collect();
        let property = |kind| snapshot.property(&policies::key(PropertyOwner::Cluster, kind));
        let classification = property(PolicyKind::RequestClassification).and_then(Classification::of);
        let capacity = CapacityPolicy::of(property(PolicyKind::Capacity), machine);
        Workloads { groups, shown, classification: classification.map(Arc::new), capacity }
    }

    /// A group by its name; the default one when there is none.
    pub fn group(&self, name: &str) -> Arc<WorkloadGroup> {
        self.known(name).unwrap_or_else(|| Arc::clone(&self.groups[DEFAULT]))
    }

    /// A group by its name.
    pub fn known(&self, name: &str) -> Option<Arc<WorkloadGroup>> {
        self.groups.get(name).cloned()
    }

    /// The definitions, by name.
    pub fn shown(&self) -> &BTreeMap<String, Value> {
        &self.shown
    }
}

/// What holds now, for all requests.
pub(crate) struct Current {
    machine: Machine,
    now: RwLock<Arc<Workloads>>,
    /// Who runs and waits.
    pub gate: gate::Gate,
}

impl Current {
    /// What the catalog says.
    pub fn new(snapshot: &Snapshot, machine: Machine) -> Current {
        let now = RwLock::new(Arc::new(Workloads::load(snapshot, machine)));
        Current { machine, now, gate: gate::Gate::default() }
    }

    /// What holds.
    pub fn get(&self) -> Arc<Workloads> {
        Arc::clone(&self.now.read())
    }

    /// The catalog has changed.
    pub fn reload(&self, snapshot: &Snapshot) {
        *self.now.write() = Arc::new(Workloads::load(snapshot, self.machine));
        self.gate.look_again();
    }
}

/// The property of a group's definition.
pub(crate) fn key(name: &str) -> PropertyKey {
    PropertyKey { owner: PropertyOwner::Cluster, kind: PROPERTY.to_string(), name: name.to_string() }
}
