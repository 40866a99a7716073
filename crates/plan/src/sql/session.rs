//! Statements about a session: settings, prepared statements, transactions, cursors.

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, CloseCursor, Expr, FetchDirection, Reset, Set, Statement as Ast, Value, ValueWithSpan,
};

use super::{SYNTAX, SqlFault, Statement, classify};

/// What a statement does to its session.
#[derive(Clone, Debug)]
pub enum SessionStatement {
    /// `SET name = value`; no value is the default.
    Set {
        /// In lower case.
        name: String,
        /// As text.
        value: Option<String>,
    },
    /// `RESET ALL`, `DISCARD ...`.
    ResetAll,
    /// `SHOW name`, `SHOW ALL`.
    Show {
        /// In lower case; `all` for all settings.
        name: String,
    },
    /// `PREPARE name AS statement`.
    Prepare {
        /// Its name.
        name: String,
        /// What it runs.
        statement: Box<Statement>,
    },
    /// `EXECUTE name(values)`.
    Execute {
        /// Its name.
        name: String,
        /// Values of `$1`, `$2`, ...
        values: Vec<Expr>,
    },
    /// `DEALLOCATE name`; no name is all.
    Deallocate {
        /// Its name.
        name: Option<String>,
    },
    /// `BEGIN`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
    /// `SAVEPOINT`, `RELEASE SAVEPOINT`, `ROLLBACK TO SAVEPOINT`.
    Savepoint(&'static str),
    /// `DECLARE name CURSOR FOR query`.
    Declare {
        /// Its name.
        name: String,
        /// What it reads.
        query: Box<Ast>,
    },
    /// `FETCH count FROM name`; no count is all.
    Fetch {
        /// Its name.
        name: String,
        /// How many rows.
        count: Option<u64>,
    },
    /// `CLOSE name`; no name is all.
    Close {
        /// Its name.
        name: Option<String>,
    },
}

/// Reads a statement about the session; gives others back.
pub(super) fn classify_session(statement: Ast) -> Result<Result<SessionStatement, Ast>, SqlFault> {
    let name_of = |name: &ast::ObjectName| {
        let parts: Vec<String> = name.0.iter().map(ToString::to_string).collect();
        parts.join(".").to_ascii_lowercase()
    };
    Ok(Ok(match statement {
        Ast::Set(Set::SingleAssignment { variable, values, .. }) => {
            let name = name_of(&variable);
            let values: Vec<String> = values.iter().map(text_of).collect();
            let value = values.join(", ");
            let is_default = value.eq_ignore_ascii_case("default");
            SessionStatement::Set { name, value: (!is_default).then_some(value) }
        }
        Ast::Set(Set::SetTimeZone { value, .. }) => {
            SessionStatement::Set { name: "timezone".to_string(), value: Some(text_of(&value)) }
        }
        Ast::Set(Set::SetNames { charset_name, .. }) => {
            SessionStatement::Set { name: "client_encoding".to_string(), value: Some(charset_name.value) }
        }
        Ast::Set(Set::SetTransaction { .. }) => {
            SessionStatement::Set { name: "transaction_isolation".to_string(), value: None }
        }
        Ast::Set(Set::SetRole { .. }) => return Err(SqlFault::not_served("SET ROLE")),
        Ast::Reset(reset) => match reset.reset {
            Reset::ALL => SessionStatement::ResetAll,
            Reset::ConfigurationParameter(name) => SessionStatement::Set { name: name_of(&name), value: None },
        },
        Ast::Discard { .. } => SessionStatement::ResetAll,
        Ast::ShowVariable { variable } => {
            let words: Vec<String> = variable.iter().map(|word| word.value.to_ascii_lowercase()).collect();
            SessionStatement::Show { name: words.join(" ") }
        }
        Ast::Prepare { name, statement, .. } => {
            SessionStatement::Prepare { name: name.value, statement: Box::new(classify(*statement)?) }
        }
        Ast::Execute { name: Some(name), parameters, immediate: false, .. } => {
            SessionStatement::Execute { name: name.to_string(), values: parameters }
        }
        Ast::Deallocate { name, .. } => {
            let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            SessionStatement::Deallocate { name: (!is_all).then_some(name.value) }
        }
        Ast::StartTransaction { statements, .. } if statements.is_empty() => SessionStatement::Begin,
        Ast::Commit { .. } => SessionStatement::Commit,
        Ast::Rollback { savepoint: None, .. } => SessionStatement::Rollback,
        Ast::Rollback { .. } => SessionStatement::Savepoint("ROLLBACK"),
        Ast::Savepoint { .. } => SessionStatement::Savepoint("SAVEPOINT"),
        Ast::ReleaseSavepoint { .. } => SessionStatement::Savepoint("RELEASE"),
        Ast::Declare { mut stmts } if stmts.len() == 1 => {
            let mut declared = stmts.remove(0);
            match (declared.names.pop(), declared.for_query.take()) {
                (Some(name), Some(query)) if declared.names.is_empty() => {
                    SessionStatement::Declare { name: name.value, query: Box::new(Ast::Query(query)) }
                }
                _ => return Err(SqlFault::not_served("DECLARE of something that is no cursor")),
            }
        }
        Ast::Fetch { name, direction, into: None, .. } => {
            let count = |limit: ValueWithSpan| match &limit.value {
                Value::Number(text, _) => text
                    .parse::<u64>()
                    .map(Some)
                    .map_err(|_| SqlFault::new(SYNTAX, format!("FETCH: found '{text}', expected a number of rows"))),
                other => Err(SqlFault::new(SYNTAX, format!("FETCH: found '{other}', expected a number of rows"))),
            };
            let count = match direction {
                FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => count(limit)?,
                FetchDirection::Next | FetchDirection::Forward { limit: None } => Some(1),
                FetchDirection::All | FetchDirection::ForwardAll => None,
                other => return Err(SqlFault::not_served(format!("FETCH {other} (cursors only move forward)"))),
            };
            SessionStatement::Fetch { name: name.value, count }
        }
        Ast::Close { cursor } => SessionStatement::Close {
            name: match cursor {
                CloseCursor::All => None,
                CloseCursor::Specific { name } => Some(name.value),
            },
        },
        other => return Ok(Err(other)),
    }))
}

/// A setting's value without its quotes.
fn text_of(value: &Expr) -> String {
    match value {
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text) | Value::DoubleQuotedString(text), ..
        }) => text.clone(),
        Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    }
}

/// The constants among the values of `EXECUTE`.
///
/// *Errors*: a value that is no literal.
pub fn literal_values(values: &[Expr]) -> Result<Vec<ScalarValue>, SqlFault> {
    let refused = |value: &Expr| SqlFault::not_served(format!("EXECUTE with the value {value} (literals are taken)"));
    let literal = |value: &Expr| -> Option<ScalarValue> {
        let (negative, value) = match value {
            Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => (true, expr.as_ref()),
            value => (false, value),
        };
        let Expr::Value(ValueWithSpan { value, .. }) = value else { return None };
        Some(match value {
            Value::Number(text, _) => {
                let text = if negative { format!("-{text}") } else { text.clone() };
                match text.parse::<i64>() {
                    Ok(number) => ScalarValue::Int64(Some(number)),
                    Err(_) => ScalarValue::Float64(Some(text.parse().ok()?)),
                }
            }
            Value::SingleQuotedString(text) if !negative => ScalarValue::Utf8(Some(text.clone())),
            Value::Boolean(flag) if !negative => ScalarValue::Boolean(Some(*flag)),
            Value::Null if !negative => ScalarValue::Null,
            _ => return None,
        })
    };
    values.iter().map(|value| literal(value).ok_or_else(|| refused(value))).collect()
}
