//! Commands about what runs: journals, operations, workload groups, capacity.
//!
//! Each function gives `None` and reads nothing when the words that follow are no command of these.

use super::{P, Parser};
use crate::command::{Command, property_text};
use crate::lexer::TokenKind;
use crate::running_command::{JournalScope, RunningCommand};

fn running(command: RunningCommand) -> P<Option<Command>> {
    Ok(Some(Command::Running(Box::new(command))))
}

impl Parser<'_> {
    /// Behind `.show NOUN`.
    pub(super) fn show_running(&mut self, noun: &str) -> P<Option<Command>> {
        match noun {
            "commands-and-queries" => running(RunningCommand::ShowCommandsAndQueries),
            "operation" | "operations" => self.show_operations(),
            "journal" => running(RunningCommand::ShowJournal { scope: JournalScope::All }),
            "cluster" if self.eat_word("journal") => {
                running(RunningCommand::ShowJournal { scope: JournalScope::Cluster })
            }
            "ingestion" if self.eat_word("failures") => {
                let operation = match self.eat_word("with") {
                    true => Some(self.operation_property()?),
                    false => None,
                };
                running(RunningCommand::ShowIngestionFailures { operation })
            }
            "streamingingestion" if self.eat_word("failures") => {
                running(RunningCommand::ShowStreamingIngestionFailures)
            }
            "data" if self.eat_word("operations") => running(RunningCommand::ShowDataOperations),
            "workload_groups" => running(RunningCommand::ShowWorkloadGroups { group: None }),
            "workload_group" => {
                let group = Some(self.entity_name()?);
                running(RunningCommand::ShowWorkloadGroups { group })
            }
            "capacity" => {
                let resource = match self.at_word("with") {
                    true => None,
                    false => Some(self.hyphenated()).filter(|word| !word.is_empty()),
                };
                let properties = self.with_properties()?;
                let scope = property_text(&properties, "scope");
                let of_group = scope.is_some_and(|scope| scope.eq_ignore_ascii_case("workloadgroup"));
                running(RunningCommand::ShowCapacity { resource, of_group })
            }
            _ => Ok(None),
        }
    }

    /// `(OperationId = id)`: the id may stand there bare.
    fn operation_property(&mut self) -> P<String> {
        self.expect(TokenKind::OpenParen)?;
        if !(self.kind() == TokenKind::Name && self.word().eq_ignore_ascii_case("OperationId")) {
            return Err(self.expected("'OperationId'"));
        }
        self.bump();
        self.expect(TokenKind::Equal)?;
        let id = self.identifier()?;
        self.expect(TokenKind::CloseParen)?;
        Ok(id)
    }

    /// `[id | (id, id)]`, `id details`.
    fn show_operations(&mut self) -> P<Option<Command>> {
        let ids = match self.kind() {
            TokenKind::OpenParen => self.parenthesized(Self::identifier)?,
            TokenKind::Pipe | TokenKind::End | TokenKind::Semicolon => Vec::new(),
            _ => vec![self.identifier()?],
        };
        match ids.first() {
            Some(id) if ids.len() == 1 && self.at_word("details") => {
                let id = id.clone();
                self.bump();
                running(RunningCommand::ShowOperationDetails { id })
            }
            _ => Ok(Some(Command::ShowOperations { ids })),
        }
    }

    /// Behind `.create-or-alter` and `.alter-merge`.
    pub(super) fn put_running(&mut self, verb: &str) -> P<Option<Command>> {
        if matches!(verb, "create-or-alter" | "alter-merge") && self.eat_word("workload_group") {
            let group = self.entity_name()?;
            let text = self.string_literal()?;
            return running(RunningCommand::PutWorkloadGroup { group, merge: verb == "alter-merge", text });
        }
        Ok(None)
    }

    /// Behind `.drop`.
    pub(super) fn drop_running(&mut self) -> P<Option<Command>> {
        if !self.eat_word("workload_group") {
            return Ok(None);
        }
        let group = self.entity_name()?;
        running(RunningCommand::DropWorkloadGroup { group })
    }
}
