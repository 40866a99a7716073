//! T-SQL on the query endpoints: a statement becomes the KQL text that means the same.
//!
//! Input: the statement, a catalog view and the schemas of what the statement reads beside tables. Output: KQL text,
//! which is bound and run like any other, so that rights, limits and types are KQL's; `EXPLAIN` shows it. Translation
//! is pure: it stops with [`Fault::Needs`] where a schema must be known first, and is begun again with it.
//! Source: the T-SQL page and the SQL cheat sheet of the reference.

mod dialect;
mod expr;
mod frames;
mod functions;
mod groups;
mod join;
mod more;
mod query;
mod sources;
mod system;
mod windows;

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{DeclareAssignment, Expr, Query, Statement};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{self, Location, Token, TokenWithSpan, Tokenizer};
use serde_json::Value;
use tidewater_kql::diagnostic::{Diagnostic, SYNTAX};
use tidewater_kql::{Span, TableSchema};

use crate::catalog::CatalogView;
use expr::{Literal, Names, Typed};
use query::{Relation, ScopeColumn};

/// The longest statement.
pub const MAX_STATEMENT_BYTES: usize = 1024 * 1024;
/// The most operators of a statement: a chain of them is a tree as deep as it is long.
const MAX_OPERATORS: usize = 10_000;
/// Nesting of a statement.
const MAX_DEPTH: usize = 100;

/// Why a statement has no KQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A person's mistake, or something that is not served.
    Mistake(Box<Diagnostic>),
    /// The schema of this KQL must be known first.
    Needs(String),
}

impl From<Diagnostic> for Fault {
    fn from(mistake: Diagnostic) -> Self {
        Fault::Mistake(Box::new(mistake))
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// What a statement means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translated {
    /// KQL.
    pub text: String,
    /// Whether the KQL itself is asked for.
    pub explain: bool,
    /// Request properties that the statement sets.
    pub options: Vec<(String, Value)>,
}

/// Whether a text says that it is T-SQL: its first line is an empty comment of SQL.
pub fn is_tsql(text: &str) -> bool {
    text.lines().map(str::trim).find(|line| !line.is_empty()) == Some("--")
}

/// Translates a statement. `known` has the schemas that were needed so far.
pub fn translate(text: &str, view: &dyn CatalogView, known: &HashMap<String, TableSchema>) -> Result<Translated> {
    // The parser's tree of a long chain of operators is deep, and is dropped by recursion.
    const STACK_BYTES: usize = 64 * 1024 * 1024;
    match text.len() > 4000 {
        true => stacker::grow(STACK_BYTES, || statements(text, view, known)),
        false => tidewater_kql::stack::grow(|| statements(text, view, known)),
    }
}

fn statements(text: &str, view: &dyn CatalogView, known: &HashMap<String, TableSchema>) -> Result<Translated> {
    if text.len() > MAX_STATEMENT_BYTES {
        let message = format!("the statement has {} bytes, more than the limit of {MAX_STATEMENT_BYTES}", text.len());
        return Err(Diagnostic::new(SYNTAX, Span::new(0, 0), message).into());
    }
    let mut translator = Translator {
        text,
        view,
        known,
        views: Vec::new(),
        variables: Vec::new(),
        outer: Vec::new(),
        depth: 0,
        names: 0,
    };
    let (explain, parsed) = translator.parsed()?;
    let mut answer = Translated { explain, ..Translated::default() };
    let mut relation = None;
    for statement in &parsed {
        if relation.is_some() {
            return Err(translator.not_served("a second statement that returns rows"));
        }
        match statement {
            Statement::Declare { stmts } => {
                for declare in stmts {
                    translator.declare(declare, &mut answer.options)?;
                }
            }
            statement => relation = Some(translator.statement(statement)?),
        }
    }
    let Some(relation) = relation else {
        return Err(translator.syntax("expected a SELECT statement"));
    };
    answer.text = relation.text();
    Ok(answer)
}

/// One translation.
struct Translator<'a> {
    text: &'a str,
    view: &'a dyn CatalogView,
    known: &'a HashMap<String, TableSchema>,
    /// Common table expressions, the nearest last.
    views: Vec<(String, Relation)>,
    /// `DECLARE @name`, the nearest last.
    variables: Vec<(String, Typed)>,
    /// Columns of the statements around, to tell correlated subqueries from unknown names.
    outer: Vec<Vec<ScopeColumn>>,
    depth: usize,
    /// Names made up so far.
    names: usize,
}

impl Translator<'_> {
    fn parsed(&self) -> Result<(bool, Vec<Statement>)> {
        let dialect = dialect::Tsql;
        let tokens = Tokenizer::new(&dialect, self.text).tokenize_with_location();
        let mut tokens = tokens.map_err(|error| self.mistake_at(error.location, error.message))?;
        if tokens.iter().filter(|token| is_operator(&token.token)).count() > MAX_OPERATORS {
            return Err(self.syntax(format!("the statement has more than {MAX_OPERATORS} operators")));
        }
        let is_word = |token: &TokenWithSpan, text: &str| matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text));
        let first = tokens.iter().position(|token| !matches!(token.token, Token::Whitespace(_)));
        let explain = first.is_some_and(|at| is_word(&tokens[at], "explain"));
        if let Some(at) = first.filter(|_| explain) {
            tokens.remove(at);
        }
        let parser = Parser::new(&dialect).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(tokens);
        let statements = { parser }.parse_statements().map_err(|error| match error {
            ParserError::RecursionLimitExceeded => self.syntax("the statement is nested too deeply"),
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => self.parser_mistake(&message),
        })?;
        Ok((explain, statements))
    }

    /// The parser tells places at the end of its messages: `..., found: X at Line: 1, Column: 5`.
    fn parser_mistake(&self, message: &str) -> Fault {
        let place = message.rsplit_once(" at Line: ").and_then(|(before, place)| {
            let (line, column) = place.split_once(", Column: ")?;
            Some((before, Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?)))
        });
        match place {
            Some((before, location)) => self.mistake_at(location, before),
            None => self.syntax(message),
        }
    }

    fn mistake_at(&self, location: Location, message: impl Into<String>) -> Fault {
        let at = self.offset(location);
        Diagnostic::new(SYNTAX, Span::new(at, at), format!("T-SQL could not be parsed: {}", message.into())).into()
    }

    fn syntax(&self, message: impl Into<String>) -> Fault {
        Diagnostic::new(SYNTAX, Span::new(0, 0), format!("T-SQL could not be parsed: {}", message.into())).into()
    }

    /// The byte of a line and column, which count from 1.
    fn offset(&self, location: Location) -> usize {
        let line_start = match location.line {
            0 | 1 => 0,
            line => self.text.match_indices('\n').nth(line as usize - 2).map_or(self.text.len(), |(at, _)| at + 1),
        };
        let rest = &self.text[line_start..];
        let column =
            rest.char_indices().nth(location.column.saturating_sub(1) as usize).map_or(rest.len(), |(at, _)| at);
        line_start + column
    }

    fn span(&self, span: tokenizer::Span) -> Span {
        Span::new(self.offset(span.start), self.offset(span.end).max(self.offset(span.start)))
    }

    fn not_served(&self, what: impl std::fmt::Display) -> Fault {
        Diagnostic::not_served(Span::new(0, 0), format!("T-SQL: {what}")).into()
    }

    fn mistake(&self, code: &'static str, span: tokenizer::Span, message: impl Into<String>) -> Fault {
        Diagnostic::new(code, self.span(span), message).into()
    }

    /// A column name that nobody else has.
    fn made_up(&mut self, stem: &str) -> String {
        self.names += 1;
        format!("__{stem}{}", self.names)
    }

    fn declare(
        &mut self,
        declare: &datafusion::sql::sqlparser::ast::Declare,
        options: &mut Vec<(String, Value)>,
    ) -> Result<()> {
        let [name] = declare.names.as_slice() else { return Err(self.not_served("DECLARE of several names")) };
        let value = match &declare.assignment {
            Some(DeclareAssignment::MsSqlAssignment(value) | DeclareAssignment::Expr(value)) => value,
            Some(_) => return Err(self.not_served("this form of DECLARE")),
            None => return Err(self.not_served("DECLARE without a value")),
        };
        let Some(ty) = &declare.data_type else { return Err(self.not_served("DECLARE without a type")) };
        let typed = self.expr(value, &mut Names::none())?;
        const OPTION: &str = "@__kql_set_";
        let folded = name.value.to_ascii_lowercase();
        if let Some(option) = folded.strip_prefix(OPTION) {
            let value = option_value(&typed, &ty.to_string());
            let value = value.ok_or_else(|| {
                let message = format!("the value of '{}' must be a constant", name.value);
                self.mistake(tidewater_kql::diagnostic::NOT_CONSTANT, name.span, message)
            })?;
            options.push((option.to_string(), value));
            return Ok(());
        }
        let typed = self.converted(typed, ty, None)?;
        self.variables.push((folded, typed));
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> Result<Relation> {
        match statement {
            Statement::Query(query) => self.query(query),
            Statement::If(choice) => self.choice(choice),
            Statement::Explain { .. } | Statement::ExplainTable { .. } => {
                Err(self.syntax("EXPLAIN must be the first word"))
            }
            other => {
                let text = other.to_string();
                let words: Vec<&str> = text.split_whitespace().take(2).collect();
                let what = words.join(" ");
                Err(self.not_served(format!("the statement {what} (queries are served, changes are not)")))
            }
        }
    }

    /// `IF condition SELECT ... ELSE SELECT ...` of two equal schemas. Source: T-SQL page, Coverage.
    fn choice(&mut self, choice: &datafusion::sql::sqlparser::ast::IfStatement) -> Result<Relation> {
        let block = |block: &datafusion::sql::sqlparser::ast::ConditionalStatementBlock| -> Option<Box<Query>> {
            match block.conditional_statements.statements().as_slice() {
                [Statement::Query(query)] => Some(query.clone()),
                _ => None,
            }
        };
        let (Some(condition), Some(then), Some(otherwise)) =
            (&choice.if_block.condition, block(&choice.if_block), choice.else_block.as_ref().and_then(block))
        else {
            return Err(self.not_served("IF other than IF condition SELECT ... ELSE SELECT ..."));
        };
        if !choice.elseif_blocks.is_empty() {
            return Err(self.not_served("ELSE IF"));
        }
        let condition = self.expr(condition, &mut Names::none())?;
        let mut then = self.query(&then)?;
        let otherwise = self.query(&otherwise)?;
        let schema = |relation: &Relation| -> Vec<_> {
            relation.columns.iter().map(|column| (column.name.clone(), column.ty)).collect()
        };
        if schema(&then) != schema(&otherwise) {
            return Err(self.not_served("IF whose THEN and ELSE have different columns"));
        }
        let condition = condition.text;
        then.steps.push(format!("where ({condition})"));
        let mut rest = otherwise;
        rest.steps.push(format!("where not({condition})"));
        then.steps.push(format!("union ({})", rest.nested()));
        Ok(then)
    }
}

/// Whether a token makes the tree deeper where it is repeated.
fn is_operator(token: &Token) -> bool {
    const WORDS: &[&str] = &["and", "or", "union", "except", "intersect", "like", "is", "between", "collate"];
    match token {
        Token::Word(word) => {
            word.quote_style.is_none() && WORDS.iter().any(|operator| word.value.eq_ignore_ascii_case(operator))
        }
        Token::Whitespace(_)
        | Token::Comma
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::Period
        | Token::EOF => false,
        _ => true,
    }
}

/// The value of a request property by its T-SQL type.
fn option_value(typed: &Typed, ty: &str) -> Option<Value> {
    let is_bit = ty.eq_ignore_ascii_case("bit");
    match &typed.literal {
        Literal::Text(text) => Some(Value::from(text.clone())),
        Literal::Number(text) if is_bit => Some(Value::Bool(text != "0")),
        Literal::Number(text) => serde_json::from_str(text).ok(),
        Literal::Null | Literal::None => None,
    }
}

/// A name in KQL: in brackets unless it is a plain word that no operator uses.
fn name(name: &str) -> String {
    const WORDS: &[&str] = &[
        "and",
        "or",
        "between",
        "asc",
        "desc",
        "first",
        "last",
        "by",
        "on",
        "in",
        "to",
        "with",
        "of",
        "step",
        "from",
        "not",
        "true",
        "false",
        "null",
        "let",
        "set",
        "print",
        "range",
        "datatable",
        "union",
        "join",
        "where",
        "kind",
        "take",
        "limit",
        "project",
        "extend",
        "summarize",
        "sort",
        "order",
        "top",
        "distinct",
        "as",
        "nulls",
        "dynamic",
        "datetime",
        "timespan",
        "time",
        "date",
        "guid",
        "real",
        "double",
        "decimal",
        "int",
        "long",
        "bool",
        "boolean",
        "string",
        "typeof",
        "declare",
        "alias",
        "pattern",
        "restrict",
        "access",
        "toscalar",
        "materialize",
        "database",
        "cluster",
        "external_table",
        "materialized_view",
        "contains",
        "has",
        "startswith",
        "endswith",
        "matches",
        "like",
        "hasprefix",
        "hassuffix",
        "has_any",
        "has_all",
        "has_cs",
        "contains_cs",
        "startswith_cs",
        "endswith_cs",
        "view",
        "stored_query_result",
        "parse",
        "invoke",
        "render",
        "count",
        "find",
        "search",
        "fork",
        "facet",
        "partition",
        "notcontains",
        "shards",
        "simple",
        "relaxed",
        "flags",
        "others",
        "timechart",
        "pathformat",
        "external_data",
        "nooptimization",
        "bagexpansion",
        "expandoutput",
        "uniqueid",
        "float",
        "int16",
        "int32",
        "int64",
        "uint",
        "ulong",
        "lookup",
        "scan",
        "serialize",
        "reduce",
        "sample",
        "evaluate",
        "getschema",
        "consume",
        "execute",
        "table",
    ];
    let quoted = tidewater_kql::printer::quoted_name(name);
    match WORDS.contains(&name.to_ascii_lowercase().as_str()) {
        true => format!("['{name}']"),
        false => quoted,
    }
}

/// A text as a KQL literal.
fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    tidewater_kql::value::json::quote(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// An expression's place for a message.
fn place_of(expr: &Expr) -> tokenizer::Span {
    use datafusion::sql::sqlparser::ast::Spanned;
    expr.span()
}
