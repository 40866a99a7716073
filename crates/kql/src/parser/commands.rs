//! Management commands.
use super::Parsed;
use crate::command::Command;

pub(super) fn parse(_text: &str) -> Parsed<Command> {
    Parsed { tree: Command::Error, diagnostics: Vec::new() }
}
