//! Dispatch of the commands about what runs.

use tidewater_kql::command::RunningCommand;

use super::{Request, journals};
use crate::answer::ResultTable;
use crate::error::{Error, Result};

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
        other => Err(Error::not_served(format!("the command '{}'", other.journal_name()))),
    }
}
