//! Statements as users of the Query Service write them, where the parser of the engine knows another form or none: tokens are put
//! right before they are parsed. Blocks and variables have no form in the engine at all.
//!
//! Source: query-service-api section 21; the page on the syntax of Query Service.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, SetExpr, Statement as Ast, Value, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::{Dialect, DuckDbDialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::{SYNTAX, SessionStatement, SqlFault, Statement, classify, refused_clause, syntax};

/// How deep expressions may be.
const MAX_DEPTH: usize = 128;
/// SQLSTATE of a variable that has no value.
const UNKNOWN_VARIABLE: &str = "42P02";

/// Statements that the parser does not know, by their first word.
const UNREAD: &[&str] = &["ANALYZE", "COPY"];

/// Reads statements that `;` separates.
pub(super) fn read(text: &str) -> Result<Vec<Statement>, SqlFault> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(begin) = block_begin(rest) {
        let (before, inner) = (&rest[..begin], &rest[begin + 2..]);
        let Some(end) = dollars(inner, 0) else {
            return Err(SqlFault::new(SYNTAX, "found $$BEGIN without the $$ that ends the block"));
        };
        let groups = tokens_of(before)?;
        let last = groups.split(|token| token.token == Token::SemiColon).next_back().unwrap_or_default();
        if !meaning(last).is_empty() {
            return Err(SqlFault::new(SYNTAX, "found a block inside a statement"));
        }
        found.extend(statements(before)?);
        let after = inner[end + 2..].trim_start();
        let has_end = after.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("end"))
            && !after[3..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        found.push(block(&inner[..end], has_end)?);
        rest = if has_end { after[3..].trim_start() } else { after };
        if !rest.is_empty() && !rest.starts_with(';') {
            return Err(SqlFault::new(SYNTAX, "found something after the end of a block, expected ';'"));
        }
    }
    found.extend(statements(rest)?);
    Ok(found)
}

/// Where `$$` stands outside of quotes and comments. Values that are put into quotes may hold it: they must not end a block.
fn dollars(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        let rest = &text[at..];
        at += match bytes[at] {
            b'$' if rest.starts_with("$$") => return Some(at),
            quote @ (b'\'' | b'"' | b'`') => rest[1..].find(quote as char)? + 2,
            b'-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => rest[2..].find("*/")? + 4,
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    None
}

/// Where a block begins.
fn block_begin(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = dollars(text, from)?;
        let inner = text[at + 2..].trim_start();
        let is_begin = inner.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("begin"));
        if is_begin && inner[5..].starts_with(|c: char| c.is_whitespace() || c == '-' || c == '/') {
            return Some(at);
        }
        // Another text between dollars.
        from = at + 2 + text[at + 2..].find("$$")? + 2;
    }
}

fn tokens_of(text: &str) -> Result<Vec<TokenWithSpan>, SqlFault> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    tokens.map_err(|error| syntax(&error.into()))
}

fn statements(text: &str) -> Result<Vec<Statement>, SqlFault> {
    let tokens = tokens_of(text)?;
    let mut found = Vec::new();
    for tokens in tokens.split(|token| token.token == Token::SemiColon) {
        if tokens.iter().any(|token| !matches!(token.token, Token::Whitespace(_))) {
            found.push(statement(tokens, text)?);
        }
    }
    Ok(found)
}

/// The tokens that mean something.
fn meaning(tokens: &[TokenWithSpan]) -> Vec<&Token> {
    tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_))).collect()
}

fn word(token: &Token) -> Option<&Word> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word),
        _ => None,
    }
}

fn is_word(token: Option<&&Token>, wanted: &str) -> bool {
    token.and_then(|token| word(token)).is_some_and(|word| word.value.eq_ignore_ascii_case(wanted))
}

fn statement(tokens: &[TokenWithSpan], text: &str) -> Result<Statement, SqlFault> {
    let plain = meaning(tokens);
    if let Some(first) = UNREAD.iter().find(|first| is_word(plain.first(), first)) {
        return Err(SqlFault::not_served(format!("the statement {first}")));
    }
    if is_word(plain.first(), "SET") {
        match plain.as_slice() {
            [_] => return Ok(Statement::Session(SessionStatement::Show { name: "all".to_string() })),
            [_, Token::Word(name)] => {
                return Ok(Statement::Session(SessionStatement::Show { name: name.value.to_ascii_lowercase() }));
            }
            [_, Token::Word(name), Token::Eq, ..] if name.value.starts_with('@') => {
                let at = tokens.iter().position(|token| token.token == Token::Eq).map_or(tokens.len(), |at| at + 1);
                let inner = parsed(tokens[at..].to_vec(), text)?;
                let Ast::Query(_) = inner else {
                    return Err(SqlFault::new(SYNTAX, format!("SET {}: expected a query", name.value)));
                };
                return Ok(Statement::SetVariable { name: name.value.to_lowercase(), query: Box::new(inner) });
            }
            _ => {}
        }
    }
    classify(parsed(respelled(tokens), text)?)
}

/// `BEGIN ...; [EXCEPTION WHEN OTHER THEN ...;] [END]`
fn block(text: &str, has_end: bool) -> Result<Statement, SqlFault> {
    let wrong = |what: &str| {
        SqlFault::new(SYNTAX, format!("a block has the form $$BEGIN ...; EXCEPTION WHEN OTHER THEN ...; END$$: {what}"))
    };
    // Texts keep their quotes as written, for they are read again.
    let tokens = Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|error| syntax(&error.into()))?;
    let places: Vec<usize> = (0..tokens.len()).filter(|at| !matches!(tokens[*at], Token::Whitespace(_))).collect();
    let is = |place: usize, wanted: &str| is_word(places.get(place).map(|at| &tokens[*at]).as_ref(), wanted);
    if !is(0, "BEGIN") {
        return Err(wrong("found no BEGIN"));
    }
    let mut end = places.len();
    if !has_end {
        if !is(end - 1, "END") {
            return Err(wrong("found no END"));
        }
        end -= 1;
    }
    let text_of = |from: usize, to: usize| -> String {
        let begin = places.get(from).copied().unwrap_or(tokens.len());
        let stop = places.get(to).copied().unwrap_or(tokens.len());
        tokens.get(begin..stop.max(begin)).unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    let follows = |place: usize| place == 1 || matches!(tokens[places[place - 1]], Token::SemiColon);
    let handler = (1..end).find(|place| is(*place, "EXCEPTION") && follows(*place));
    let body = statements(&text_of(1, handler.unwrap_or(end)))?;
    if body.is_empty() {
        return Err(wrong("found no statement"));
    }
    let handler = match handler {
        None => None,
        Some(at) => {
            if !(is(at + 1, "WHEN") && (is(at + 2, "OTHER") || is(at + 2, "OTHERS")) && is(at + 3, "THEN")) {
                return Err(wrong("only WHEN OTHER THEN follows EXCEPTION"));
            }
            Some(statements(&text_of(at + 4, end))?)
        }
    };
    Ok(Statement::Block { body, handler })
}

/// The tokens with the dialect's forms in the parser's.
fn respelled(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut tokens: Vec<TokenWithSpan> =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).cloned().collect();
    let is = |token: Option<&TokenWithSpan>, wanted: &str| is_word(token.map(|token| &token.token).as_ref(), wanted);
    // INSERT INTO t AS (SELECT ...)
    if is(tokens.first(), "INSERT") && is(tokens.get(1), "INTO") {
        let mut at = 3;
        while tokens.get(at).is_some_and(|token| token.token == Token::Period) {
            at += 2;
        }
        if is(tokens.get(at), "AS") {
            tokens.remove(at);
        }
    }
    let mut at = 0;
    while at < tokens.len() {
        // a MINUS b
        if at > 0
            && is(tokens.get(at), "MINUS")
            && ["SELECT", "ALL", "DISTINCT"].iter().any(|word| is(tokens.get(at + 1), word))
        {
            tokens[at].token = Token::make_keyword("EXCEPT");
        }
        // a div b
        if at > 0 && is(tokens.get(at), "DIV") && ends_value(&tokens[at - 1].token) && begins_value(tokens.get(at + 1))
        {
            tokens[at].token = Token::DuckIntDiv;
        }
        // t TABLESAMPLE (...) AS x: the parser wants the name first.
        if is(tokens.get(at), "TABLESAMPLE")
            && let Some(close) = (at..tokens.len()).find(|place| tokens[*place].token == Token::RParen)
        {
            let with_as = is(tokens.get(close + 1), "AS");
            let place = close + 1 + usize::from(with_as);
            let name = tokens.get(place).and_then(|token| word(&token.token));
            if name.is_some_and(|name| name.keyword == Keyword::NoKeyword) {
                let name = tokens.remove(place);
                if with_as {
                    tokens.remove(close + 1);
                }
                tokens.insert(at, name);
                at += 1;
            }
        }
        at += 1;
    }
    tokens
}

/// Whether a value may end with a token.
fn ends_value(token: &Token) -> bool {
    match token {
        Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen | Token::RBracket | Token::Placeholder(_) => {
            true
        }
        Token::Word(word) => {
            word.quote_style.is_some() || word.keyword == Keyword::NoKeyword || word.keyword == Keyword::NULL
        }
        _ => false,
    }
}

/// Whether a value may begin with a token.
fn begins_value(token: Option<&TokenWithSpan>) -> bool {
    match token.map(|token| &token.token) {
        Some(
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::LParen
            | Token::Minus
            | Token::Plus
            | Token::Placeholder(_),
        ) => true,
        Some(Token::Word(word)) => {
            word.quote_style.is_some() || matches!(word.keyword, Keyword::NoKeyword | Keyword::CAST | Keyword::NULL)
        }
        _ => false,
    }
}

fn parsed(tokens: Vec<TokenWithSpan>, text: &str) -> Result<Ast, SqlFault> {
    let is_lambda = tokens.windows(2).any(|two| two[1].token == Token::Arrow && word(&two[0].token).is_some());
    let has_lambda = is_lambda
        && tokens.iter().any(|token| {
            word(&token.token)
                .is_some_and(|word| matches!(word.value.to_ascii_lowercase().as_str(), "transform" | "filter"))
        });
    // The general dialect takes an arrow for an operator on JSON.
    let dialect: &dyn Dialect = if has_lambda { &DuckDbDialect {} } else { &GenericDialect {} };
    let mut parser = Parser::new(dialect).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(tokens);
    let fault = |error| refused_clause(text).unwrap_or_else(|| syntax(&error));
    let statement = parser.parse_statement().map_err(fault)?;
    match parser.peek_token().token {
        Token::EOF => Ok(statement),
        _ => Err(fault(parser.expected::<()>("end of statement", parser.peek_token()).err().unwrap_or_else(|| {
            datafusion::sql::sqlparser::parser::ParserError::ParserError(
                "expected the end of the statement".to_string(),
            )
        }))),
    }
}

/// `SELECT ... INTO t`: what it selects, and the name.
pub(super) fn into_table(
    mut query: Ast,
) -> Result<(Ast, Option<datafusion::sql::sqlparser::ast::ObjectName>), SqlFault> {
    let mut name = None;
    if let Ast::Query(inner) = &mut query
        && let SetExpr::Select(select) = inner.body.as_mut()
        && let Some(into) = select.into.take()
    {
        if into.temporary || into.unlogged {
            return Err(SqlFault::not_served("SELECT INTO with TEMPORARY or UNLOGGED"));
        }
        name = Some(into.name);
    }
    Ok((query, name))
}

/// Values of variables, `@name` in lower case, as literals.
pub type Variables = BTreeMap<String, Expr>;

/// A value as a literal of a statement.
pub fn literal(value: &ScalarValue) -> Expr {
    let text = |text: String| Expr::value(Value::SingleQuotedString(text));
    if value.is_null() {
        return Expr::value(Value::Null);
    }
    match value {
        ScalarValue::Boolean(Some(flag)) => Expr::value(Value::Boolean(*flag)),
        value if value.data_type().is_numeric() => {
            let number = value.to_string();
            match number.strip_prefix('-') {
                Some(number) => Expr::UnaryOp {
                    op: datafusion::sql::sqlparser::ast::UnaryOperator::Minus,
                    expr: Box::new(Expr::value(Value::Number(number.to_string(), false))),
                },
                None => Expr::value(Value::Number(number, false)),
            }
        }
        value => match value.cast_to(&datafusion::arrow::datatypes::DataType::Utf8) {
            Ok(ScalarValue::Utf8(Some(found))) => text(found),
            _ => text(value.to_string()),
        },
    }
}

/// The statement with the values of its variables.
///
/// *Errors*: a variable that has no value.
pub fn with_variables(statement: &Statement, variables: &Variables) -> Result<Statement, SqlFault> {
    let mut statement = statement.clone();
    let mut fill = Fill { variables };
    let filled = match &mut statement {
        Statement::Rows(query)
        | Statement::CreateTableAs { query, .. }
        | Statement::InsertInto { query, .. }
        | Statement::SetVariable { query, .. } => VisitMut::visit(query.as_mut(), &mut fill),
        Statement::CreateView { query, .. } => VisitMut::visit(query.as_mut(), &mut fill),
        _ => ControlFlow::Continue(()),
    };
    match filled {
        ControlFlow::Continue(()) => Ok(statement),
        ControlFlow::Break(fault) => Err(fault),
    }
}

struct Fill<'a> {
    variables: &'a Variables,
}

impl VisitorMut for Fill<'_> {
    type Break = SqlFault;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlFault> {
        if let Expr::Identifier(name) = expr
            && name.quote_style.is_none()
            && name.value.starts_with('@')
        {
            match self.variables.get(&name.value.to_lowercase()) {
                Some(value) => *expr = value.clone(),
                None => {
                    let message = format!("the variable '{}' has no value", name.value);
                    return ControlFlow::Break(SqlFault::new(UNKNOWN_VARIABLE, message));
                }
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_statements;
    use super::*;

    #[test]
    fn a_block_has_a_body_and_a_handler() {
        for text in [
            "$$BEGIN SET @a = SELECT 1; CREATE TABLE t AS SELECT @a AS x; EXCEPTION WHEN OTHER THEN SELECT 'it''s'; $$END;",
            "$$ BEGIN SET @a = SELECT 1; CREATE TABLE t AS SELECT @a AS x; EXCEPTION WHEN OTHER THEN SELECT 'it''s'; END $$",
        ] {
            let found = parse_statements(text).unwrap();
            let [Statement::Block { body, handler: Some(handler) }] = found.as_slice() else { panic!("{found:?}") };
            assert!(matches!(body.as_slice(), [Statement::SetVariable { .. }, Statement::CreateTableAs { .. }]));
            let [Statement::Rows(told)] = handler.as_slice() else { panic!("{handler:?}") };
            assert_eq!(told.to_string(), "SELECT 'it''s'");
        }
        for text in
            ["$$BEGIN$$", "$$BEGIN SELECT 1;$$", "$$SELECT 1$$", "$$BEGIN EXCEPTION x; END$$", "$$$$", "$$ END $$"]
        {
            assert_eq!(parse_statements(text).unwrap_err().code, SYNTAX, "{text}");
        }
    }

    #[test]
    fn a_value_in_quotes_does_not_end_a_block() {
        let found =
            parse_statements("SELECT 0; $$BEGIN SELECT '$$END; DROP TABLE t; $$BEGIN' AS x; $$END; SELECT 1").unwrap();
        let [Statement::Rows(_), Statement::Block { body, handler: None }, Statement::Rows(_)] = found.as_slice()
        else {
            panic!("{found:?}");
        };
        assert_eq!(body.len(), 1);
        assert!(matches!(parse_statements("SELECT $$it's$$ AS x").unwrap().as_slice(), [Statement::Rows(_)]));
    }

    #[test]
    fn variables_are_values() {
        let [found] = <[Statement; 1]>::try_from(parse_statements("SELECT @a + 1 AS x, '@a' AS y").unwrap()).unwrap();
        let variables = Variables::from([("@a".to_string(), literal(&ScalarValue::Int64(Some(-5))))]);
        let Statement::Rows(query) = with_variables(&found, &variables).unwrap() else { panic!() };
        assert_eq!(query.to_string(), "SELECT -5 + 1 AS x, '@a' AS y");
        assert_eq!(with_variables(&found, &Variables::new()).unwrap_err().code, UNKNOWN_VARIABLE);
        assert_eq!(literal(&ScalarValue::from("it's")).to_string(), "'it''s'");
    }

    #[test]
    fn statements_of_the_dialect_are_read() {
        let one = |text: &str| parse_statements(text).unwrap().remove(0);
        assert!(one("INSERT INTO d.t AS (SELECT 1)").is_insert());
        assert!(one("SELECT 1 AS x INTO t FROM u").is_ctas());
        assert!(one("CREATE TABLE t WITH (rowvalidation='false', label='PROFILE') AS (SELECT 1 AS x)").is_ctas());
        assert!(matches!(one("SET"), Statement::Session(SessionStatement::Show { name }) if name == "all"));
        assert!(matches!(one("SET timezone"), Statement::Session(SessionStatement::Show { .. })));
        assert!(matches!(one("EXPLAIN FORMAT JSON SELECT 1"), Statement::Rows(_)));
        for text in [
            "COPY (SELECT 1) TO 'x' WITH FORMAT csv",
            "ANALYZE TABLE t COMPUTE STATISTICS",
            "ANALYZE TABLE t TABLESAMPLE SAMPLERATE 5",
            "CREATE TABLE t WITH (schema='x') AS (SELECT 1 AS x)",
        ] {
            assert_eq!(parse_statements(text).unwrap_err().code, super::super::NOT_SUPPORTED, "{text}");
        }
    }
}
