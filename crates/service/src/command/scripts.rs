//! `.execute database script`: commands one after the other, each told as a row.

use tidewater_kql::ast::Property;
use tidewater_kql::command::{Inner, property_flag};
use tidewater_kql::lexer::{Lexer, TokenKind};
use tidewater_kql::{KqlType, parse_command};
use uuid::Uuid;

use super::{Request, is_write, kind};
use crate::answer::ResultTable;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::table::{Columns, TableBuilder};

const RESULTS: Columns = &[
    ("OperationId", KqlType::Guid),
    ("CommandType", KqlType::String),
    ("CommandText", KqlType::String),
    ("Result", KqlType::String),
    ("Reason", KqlType::String),
];

/// Most commands of one script.
const MAX_COMMANDS: usize = 10_000;

/// Runs a script. Without properties it ends with the first failure, and succeeds all the same.
pub async fn execute(request: &Request<'_>, properties: &[Property], script: Inner) -> Result<ResultTable> {
    let go_on = property_flag(properties, "ContinueOnErrors");
    let throw = property_flag(properties, "ThrowOnErrors");
    if go_on && throw {
        return Err(Error::bad_request("of ContinueOnErrors and ThrowOnErrors only one can be set"));
    }
    let commands = commands_of(script.text(request.text));
    if commands.len() > MAX_COMMANDS {
        return Err(Error::bad_request(format!(
            "a script has at most {MAX_COMMANDS} commands, found {}",
            commands.len()
        )));
    }
    let mut out = TableBuilder::new(RESULTS);
    for text in commands {
        let parsed = parse_command(text);
        let (sort, shows) = (kind(&parsed.tree), parsed.diagnostics.is_empty() && !is_write(&parsed.tree));
        let id = Uuid::new_v4();
        let mut row = |result: &str, reason: &str| {
            out.row(vec![id.into(), sort.into(), text.into(), result.into(), reason.into()]);
        };
        if shows {
            row("Skipped", "");
            continue;
        }
        let context = Context { activity_id: id, ..request.context.clone() };
        match Box::pin(request.service.command_within(&context, text)).await {
            Ok(_) => row("Completed", ""),
            Err(error) if throw => return Err(error),
            Err(error) => {
                row("Failed", error.message());
                if !go_on {
                    break;
                }
            }
        }
        if request.context.cancel.is_cancelled() {
            return Err(Error::cancelled(None));
        }
    }
    out.finish()
}

/// The commands of a script: each begins with a dot and a word at the beginning of a line, outside all brackets.
fn commands_of(text: &str) -> Vec<&str> {
    let mut starts = Vec::new();
    let mut depth = 0usize;
    let tokens: Vec<_> = Lexer::new(text, 0).collect();
    for (at, token) in tokens.iter().enumerate() {
        let start = token.span.start as usize;
        match token.kind {
            TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::OpenBrace => depth += 1,
            TokenKind::CloseParen | TokenKind::CloseBracket | TokenKind::CloseBrace => depth = depth.saturating_sub(1),
            TokenKind::Dot if depth == 0 => {
                let line = text[..start].rsplit('\n').next().unwrap_or("");
                let names = tokens.get(at + 1).is_some_and(|next| next.kind == TokenKind::Name);
                if line.trim().is_empty() && names {
                    starts.push(start);
                }
            }
            _ => {}
        }
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let parts = starts.iter().zip(ends).map(|(start, end)| without_tail(&text[*start..end]));
    parts.filter(|part| !part.is_empty()).collect()
}

/// The command without the blanks and comments that stand before the next one.
fn without_tail(text: &str) -> &str {
    let last = Lexer::new(text, 0).filter(|token| !token.kind.is_trivia() && token.kind != TokenKind::End).last();
    last.map_or("", |token| &text[..token.span.end as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_begin_on_lines_of_their_own() {
        let text = "// first\n.create-merge table T(a:string)\n\n//\n// second\n.create-or-alter function F() {\n  T\n  .x\n}\n\
                    .ingest inline into table T <|\n.5\n";
        let commands = commands_of(text);
        assert_eq!(commands.len(), 3, "{commands:?}");
        assert_eq!(commands[0], ".create-merge table T(a:string)");
        assert!(commands[1].ends_with('}'));
        assert!(commands[2].ends_with(".5"));
    }
}
