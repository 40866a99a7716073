//! Commands about what runs and how much of it may: journals, operations, workload groups, capacity.

use crate::ast::Name;

/// A command about running things.
#[derive(Clone, Debug, PartialEq)]
pub enum RunningCommand {
    /// `.show commands-and-queries`.
    ShowCommandsAndQueries,
    /// `.show operation id details`.
    ShowOperationDetails {
        /// The operation.
        id: String,
    },
    /// `.show journal`, `.show database X journal`, `.show cluster journal`.
    ShowJournal {
        /// Whose changes of metadata.
        scope: JournalScope,
    },
    /// `.show ingestion failures [with (OperationId = id)]`.
    ShowIngestionFailures {
        /// Of this operation only.
        operation: Option<String>,
    },
    /// `.show streamingingestion failures`.
    ShowStreamingIngestionFailures,
    /// `.show data operations`.
    ShowDataOperations,
    /// `.show workload_groups`, `.show workload_group G`.
    ShowWorkloadGroups {
        /// One of them.
        group: Option<Name>,
    },
    /// `.create-or-alter workload_group G "JSON"`, `.alter-merge workload_group G "JSON"`.
    PutWorkloadGroup {
        /// The group.
        group: Name,
        /// Keep what the text does not name.
        merge: bool,
        /// Its policies as JSON.
        text: String,
    },
    /// `.drop workload_group G`.
    DropWorkloadGroup {
        /// The group.
        group: Name,
    },
    /// `.show capacity [resource] [with (scope = cluster | workloadgroup)]`.
    ShowCapacity {
        /// One resource.
        resource: Option<String>,
        /// What the request's workload group may use, not the server.
        of_group: bool,
    },
}

/// Whose journal is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum JournalScope {
    /// All that the caller may see.
    All,
    /// Of the server itself.
    Cluster,
    /// Of one database.
    Database(Name),
}

impl RunningCommand {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        matches!(self, RunningCommand::PutWorkloadGroup { .. } | RunningCommand::DropWorkloadGroup { .. })
    }

    /// Its name in the journals.
    pub fn journal_name(&self) -> &'static str {
        match self {
            RunningCommand::ShowCommandsAndQueries => "CommandsAndQueriesShow",
            RunningCommand::ShowOperationDetails { .. } => "OperationDetailsShow",
            RunningCommand::ShowJournal { .. } => "JournalShow",
            RunningCommand::ShowIngestionFailures { .. } => "IngestionFailuresShow",
            RunningCommand::ShowStreamingIngestionFailures => "StreamingIngestionFailuresShow",
            RunningCommand::ShowDataOperations => "DataOperationsShow",
            RunningCommand::ShowWorkloadGroups { .. } => "WorkloadGroupsShow",
            RunningCommand::PutWorkloadGroup { merge: true, .. } => "WorkloadGroupAlterMerge",
            RunningCommand::PutWorkloadGroup { .. } => "WorkloadGroupCreateOrAlter",
            RunningCommand::DropWorkloadGroup { .. } => "WorkloadGroupDrop",
            RunningCommand::ShowCapacity { .. } => "CapacityShow",
        }
    }
}
