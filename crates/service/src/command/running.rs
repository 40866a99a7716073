//! Dispatch of the commands about what runs.

use tidewater_kql::command::RunningCommand;

use super::{Request, journals, workloads};
use crate::answer::ResultTable;
use crate::error::Result;

/// Runs one of them.
pub async fn run(request: &Request<'_>, command: RunningCommand) -> Result<ResultTable> {
    match command {
        RunningCommand::ShowCommandsAndQueries => journals::commands_and_queries(request).await,
        RunningCommand::ShowOperationDetails { id } => journals::operation_details(request, &id).await,
        RunningCommand::ShowJournal { scope } => journals::metadata_journal(request, &scope).await,
        RunningCommand::ShowIngestionFailures { operation } => {
            journals::ingestion_failures(request, operation.as_deref()).await
        }
        RunningCommand::ShowStreamingIngestionFailures => journals::streaming_failures(request).await,
        RunningCommand::ShowDataOperations => journals::data_operations(request).await,
        RunningCommand::ShowWorkloadGroups { group } => {
            workloads::show(request, group.as_ref().map(|group| group.text.as_str()))
        }
        RunningCommand::PutWorkloadGroup { group, merge, text } => {
            workloads::put(request, &group.text, merge, &text).await
        }
        RunningCommand::DropWorkloadGroup { group } => workloads::drop(request, &group.text).await,
        RunningCommand::ShowCapacity { resource, of_group } => {
            workloads::capacity(request, resource.as_deref(), of_group)
        }
    }
}
