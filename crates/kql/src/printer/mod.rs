//! Tree to text: `parse(print(tree)) == tree`, spans aside.
//!
//! Used to normalise queries and to test the parser. Features that the tree keeps by name only
//! (entity groups) are printed by name.

mod graph;
mod operators;

use crate::ast::{
    Argument, BinaryOp, ColumnDeclaration, Expr, ExprKind, ExternalDefinition, Lambda, Literal, Name, NamedExpr,
    OrderKey, Parameter, ParameterType, PathPart, PatternDefinition, Pipeline, Property, Script, Statement,
    StatementKind, UnaryOp,
};
use crate::lexer::{self, TokenKind};
use crate::parser::expressions::TABULAR_CALLS;
use crate::parser::keywords;
use crate::value::{datetime, guid, timespan};

/// The text of a script, one statement a line.
pub fn print(script: &Script) -> String {
    let mut printer = Printer { out: String::new() };
    printer.statements(&script.statements);
    printer.out
}

/// A name as KQL text: in brackets unless it is a plain word.
pub fn quoted_name(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if plain { name.to_string() } else { format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'")) }
}

/// The text of one expression.
pub fn print_expression(expression: &Expr) -> String {
    let mut printer = Printer { out: String::new() };
    printer.expression(expression, PIPE);
    printer.out
}

// How tightly an expression binds.
const PIPE: u8 = 0;
const OR: u8 = 1;
const AND: u8 = 2;
const EQUALITY: u8 = 3;
const RELATIONAL: u8 = 4;
const ADDITIVE: u8 = 5;
const MULTIPLICATIVE: u8 = 6;
const STRING: u8 = 7;
const UNARY: u8 = 8;
const PRIMARY: u8 = 9;

struct Printer {
    out: String,
}

impl Printer {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        for (index, value) in items.iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            item(self, value);
        }
    }

    // Statements.

    fn statements(&mut self, statements: &[Statement]) {
        for (index, statement) in statements.iter().enumerate() {
            if index > 0 {
                self.push(";\n");
            }
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match &statement.kind {
            StatementKind::Let { name, value } => {
                self.push("let ");
                self.name(name);
                self.push(" = ");
                self.expression(value, PIPE);
            }
            StatementKind::Set { name, value } => {
                self.push("set ");
                self.dotted(name);
                if let Some(value) = value {
                    self.push(" = ");
                    self.property_value(value);
                }
            }
            StatementKind::QueryParameters(parameters) => {
                self.push("declare query_parameters (");
                self.list(parameters, Self::parameter);
                self.push(")");
            }
            StatementKind::Pattern(pattern) => {
                self.push("declare pattern ");
                self.name(&pattern.name);
                if let Some(definition) = &pattern.definition {
                    self.push(" = ");
                    self.pattern_definition(definition);
                }
            }
            StatementKind::Restrict(entities) => {
                self.push("restrict access to (");
                self.list(entities, |printer, entity| printer.expression(entity, PRIMARY));
                self.push(")");
            }
            StatementKind::Alias { name, value } => {
                self.push("alias database ");
                self.name(name);
                self.push(" = ");
                self.expression(value, OR);
            }
            StatementKind::Query(query) => self.expression(query, PIPE),
        }
    }

    fn lambda(&mut self, lambda: &Lambda) {
        if lambda.is_view {
            self.push("view ");
        }
        self.push("(");
        self.list(&lambda.parameters, Self::parameter);
        self.push(") ");
        self.body(lambda);
    }

    fn body(&mut self, lambda: &Lambda) {
        self.push("{ ");
        self.statements(&lambda.statements);
        if let Some(body) = &lambda.body {
            if !lambda.statements.is_empty() {
                self.push("; ");
            }
            self.expression(body, PIPE);
        }
        self.push(" }");
    }

    fn pattern_definition(&mut self, definition: &PatternDefinition) {
        self.push("(");
        self.list(&definition.parameters, Self::parameter);
        self.push(")");
        if let Some(path) = &definition.path {
            self.push("[");
            self.parameter(path);
            self.push("]");
        }
        self.push(" {\n");
        for found in &definition.matches {
            self.push("(");
            self.list(&found.values, |printer, value| printer.expression(value, PRIMARY));
            self.push(")");
            if let Some(path) = &found.path {
                self.push(".[");
                self.expression(path, PRIMARY);
                self.push("]");
            }
            self.push(" = ");
            self.body(&found.body);
            self.push(";\n");
        }
        self.push("}");
    }

    fn parameter(&mut self, parameter: &Parameter) {
        self.name(&parameter.name);
        self.push(": ");
        match &parameter.ty {
            ParameterType::Scalar(ty) => self.push(ty.name()),
            ParameterType::Table(columns) => self.schema(columns),
            ParameterType::AnyTable => self.push("(*)"),
        }
        if let Some(default) = &parameter.default {
            self.push(" = ");
            self.expression(default, UNARY);
        }
    }

    fn schema(&mut self, columns: &[ColumnDeclaration]) {
        self.push("(");
        self.list(columns, |printer, column| {
            if column.name.text == "*" {
                return printer.push("*");
            }
            printer.name(&column.name);
            printer.push(": ");
            printer.push(column.ty.name());
        });
        self.push(")");
    }

    // Names.

    fn name(&mut self, name: &Name) {
        self.name_text(&name.text, is_plain_name(&name.text));
    }

    fn name_text(&mut self, text: &str, is_bare: bool) {
        if is_bare {
            return self.push(text);
        }
        self.push("[");
        self.string(text);
        self.push("]");
    }

    /// The name of a function: keywords too are bare before a bracket, unless they mean something there.
    fn call_name(&mut self, name: &Name) {
        let is_special = matches!(
            name.text.as_str(),
            "datatable"
                | "externaldata"
                | "external_data"
                | "inline_external_table"
                | "typeof"
                | "dynamic"
                | "string"
                | "boolean"
                | "view"
        ) || crate::types::KqlType::parse(&name.text).is_some();
        let is_source = matches!(name.text.as_str(), "print" | "union" | "search" | "find" | "let" | "set");
        let is_bare = is_name_token(&name.text) && !is_special && !is_source;
        self.name_text(&name.text, is_bare);
    }

    fn dotted(&mut self, name: &Name) {
        for (index, part) in name.text.split('.').enumerate() {
            if index > 0 {
                self.push(".");
            }
            self.name_text(part, is_name_token(part));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.push("\\\""),
                '\\' => self.push("\\\\"),
                '\n' => self.push("\\n"),
                '\r' => self.push("\\r"),
                '\t' => self.push("\\t"),
                c if c.is_control() => self.push(&format!("\\u{:04x}", c as u32)),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    // Expressions.

    fn expression(&mut self, expression: &Expr, least: u8) {
        crate::stack::grow(|| {
            let is_bracketed = level(&expression.kind) < least;
            if is_bracketed {
                self.push("(");
            }
            self.bare_expression(&expression.kind);
            if is_bracketed {
                self.push(")");
            }
        });
    }

    fn bare_expression(&mut self, kind: &ExprKind) {
        match kind {
            ExprKind::Literal(literal) => self.literal(literal),
            ExprKind::Name(name) => self.name(name),
            ExprKind::Wildcard(name) => self.push(&name.text),
            ExprKind::Star => self.push("*"),
            ExprKind::Member { base, name } => {
                self.base(base);
                self.push(".");
                if name.text.contains('*') { self.push(&name.text) } else { self.name(name) }
            }
            ExprKind::Index { base, index } => {
                self.base(base);
                self.push("[");
                self.expression(index, OR);
                self.push("]");
            }
            ExprKind::Call { base, name, arguments } => {
                if let Some(base) = base {
                    self.base(base);
                    self.push(".");
                }
                let is_tabular = base.is_none() && TABULAR_CALLS.contains(&name.text.as_str());
                self.call_name(name);
                match &arguments[..] {
                    [Argument { name: None, value }] if is_tabular => {
                        self.push("(");
                        self.expression(value, PIPE);
                        self.push(")");
                    }
                    _ => self.arguments(arguments),
                }
            }
            ExprKind::Unary { op, operand } => {
                self.push(if *op == UnaryOp::Minus { "-" } else { "+" });
                self.expression(operand, PRIMARY);
            }
            ExprKind::Binary { op, left, right, .. } => self.binary(*op, left, right),
            ExprKind::Chain { op, operands, .. } => {
                for (index, operand) in operands.iter().enumerate() {
                    if index > 0 {
                        self.push(&format!(" {} ", op.text()));
                    }
                    self.expression(operand, binary_level(*op) + 1);
                }
            }
            ExprKind::InList { op, operand, list } => {
                self.expression(operand, RELATIONAL);
                self.push(&format!(" {} (", op.text()));
                self.list(list, |printer, item| printer.expression(item, OR));
                self.push(")");
            }
            ExprKind::Between { negated, operand, low, high, .. } => {
                self.expression(operand, RELATIONAL);
                self.push(if *negated { " !between (" } else { " between (" });
                self.expression(low, OR);
                self.push(" .. ");
                self.expression(high, OR);
                self.push(")");
            }
            ExprKind::Pipe(pipeline) => self.pipeline(pipeline),
            ExprKind::DataTable { columns, values } => {
                self.push("datatable");
                self.schema(columns);
                self.push(" [");
                self.list(values, |printer, value| printer.expression(value, UNARY));
                self.push("]");
            }
            ExprKind::ExternalData { columns, uris, properties } => {
                self.push("externaldata");
                self.schema(columns);
                self.push(" [");
                self.list(uris, |printer, uri| printer.expression(uri, UNARY));
                self.push("]");
                self.with_properties(properties);
            }
            ExprKind::InlineExternalTable(definition) => {
                self.push("inline_external_table");
                self.external_definition(definition);
            }
            ExprKind::OtherSource { what } => {
                self.push(what);
                self.push(" ()");
            }
            ExprKind::EntityGroup(entities) => {
                self.push("entity_group [");
                self.list(entities, |printer, entity| printer.expression(entity, UNARY));
                self.push("]");
            }
            ExprKind::Lambda(lambda) => self.lambda(lambda),
            ExprKind::TypeOf(ty) => self.push(&format!("typeof({})", ty.name())),
            ExprKind::TypeOfSchema(columns) => {
                self.push("typeof");
                self.schema(columns);
            }
            ExprKind::Error => self.push("<error>"),
        }
    }

    /// What stands before `.`, `[`: a number would swallow the point.
    fn base(&mut self, base: &Expr) {
        let is_bare = matches!(
            base.kind,
            ExprKind::Name(_) | ExprKind::Member { .. } | ExprKind::Index { .. } | ExprKind::Call { .. }
        );
        self.expression(base, if is_bare { PRIMARY } else { u8::MAX });
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        let own = binary_level(op);
        let is_left_associative = matches!(own, ADDITIVE | MULTIPLICATIVE);
        self.expression(left, if is_left_associative { own } else { own + 1 });
        self.push(&format!(" {} ", op.text()));
        self.expression(right, own + 1);
    }

    fn arguments(&mut self, arguments: &[Argument]) {
        self.push("(");
        self.list(arguments, |printer, argument| {
            if let Some(name) = &argument.name {
                printer.name(name);
                printer.push(" = ");
            }
            printer.expression(&argument.value, OR);
        });
        self.push(")");
    }

    fn external_definition(&mut self, definition: &ExternalDefinition) {
        if !definition.columns.is_empty() {
            self.push(" ");
            self.schema(&definition.columns);
        }
        self.push(" kind = ");
        self.name(&definition.kind);
        if !definition.partitions.is_empty() {
            self.push(" partition by (");
            self.list(&definition.partitions, |printer, partition| {
                printer.name(&partition.name);
                printer.push(&format!(": {}", partition.ty.name()));
                if let Some(value) = &partition.value {
                    printer.push(" = ");
                    printer.expression(value, UNARY);
                }
            });
            self.push(")");
        }
        if !definition.path_format.is_empty() {
            self.push(" pathformat = (");
            for part in &definition.path_format {
                match part {
                    PathPart::Text(text) => self.string(text),
                    PathPart::Partition(name) => self.name(name),
                    PathPart::DateTime { pattern, partition } => {
                        self.push("datetime_pattern(");
                        self.string(pattern);
                        self.push(", ");
                        self.name(partition);
                        self.push(")");
                    }
                }
                self.push(" ");
            }
            self.push(")");
        }
        if let Some(format) = &definition.data_format {
            self.push(" dataformat = ");
            self.name(format);
        }
        self.push(" (");
        self.list(&definition.uris, |printer, uri| printer.expression(uri, UNARY));
        self.push(")");
        self.with_properties(&definition.properties);
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        let mut is_first = true;
        if let Some(source) = &pipeline.source {
            self.expression(source, OR);
            is_first = false;
        }
        for operator in &pipeline.operators {
            if !is_first {
                self.push(" | ");
            }
            is_first = false;
            self.operator(&operator.kind);
        }
    }

    fn literal(&mut self, literal: &Literal) {
        match literal {
            Literal::Bool(Some(value)) => self.push(if *value { "true" } else { "false" }),
            Literal::Long(Some(value)) if *value >= 0 => self.push(&value.to_string()),
            Literal::Real(Some(value)) if value.is_finite() && value.is_sign_positive() => {
                self.push(&format!("{value:?}"))
            }
            Literal::String(text) => self.string(text),
            Literal::Int(Some(value)) => self.push(&format!("int({value})")),
            Literal::Long(Some(value)) => self.push(&format!("long({value})")),
            Literal::Real(Some(value)) if value.is_nan() => self.push("real(nan)"),
            Literal::Real(Some(value)) => self.push(&format!("real({value:?})")),
            Literal::Decimal(Some(text)) => self.push(&format!("decimal({text})")),
            Literal::DateTime(Some(ticks)) => self.push(&format!("datetime({})", datetime::to_text(*ticks))),
            Literal::TimeToday(ticks) => self.push(&format!("datetime({})", timespan::to_text(*ticks))),
            Literal::TimeSpan(Some(ticks)) => self.push(&format!("timespan({})", timespan::to_text(*ticks))),
            Literal::Guid(Some(bytes)) => self.push(&format!("guid({})", guid::to_text(bytes))),
            Literal::Dynamic(Some(json)) => self.push(&format!("dynamic({json})")),
            Literal::Bool(None) => self.push("bool(null)"),
            Literal::Int(None) => self.push("int(null)"),
            Literal::Long(None) => self.push("long(null)"),
            Literal::Real(None) => self.push("real(null)"),
            Literal::Decimal(None) => self.push("decimal(null)"),
            Literal::DateTime(None) => self.push("datetime(null)"),
            Literal::TimeSpan(None) => self.push("timespan(null)"),
            Literal::Guid(None) => self.push("guid(null)"),
            Literal::Dynamic(None) => self.push("dynamic(null)"),
        }
    }

    // Parts of operators.

    fn named(&mut self, item: &NamedExpr) {
        self.named_at(item, OR);
    }

    fn named_at(&mut self, item: &NamedExpr, least: u8) {
        if item.tuple {
            self.push("(");
            self.list(&item.names, Self::name);
            self.push(") = ");
        } else if let Some(name) = item.names.first() {
            self.name(name);
            self.push(" = ");
        }
        self.expression(&item.value, least);
    }

    fn named_list(&mut self, items: &[NamedExpr]) {
        self.list(items, Self::named);
    }

    fn order_key(&mut self, key: &OrderKey) {
        self.expression(&key.value, OR);
        match key.ascending {
            Some(true) => self.push(" asc"),
            Some(false) => self.push(" desc"),
            None => {}
        }
        match key.nulls_first {
            Some(true) => self.push(" nulls first"),
            Some(false) => self.push(" nulls last"),
            None => {}
        }
    }

    /// ` name=value` for each.
    fn parameters(&mut self, parameters: &[Property]) {
        for parameter in parameters {
            self.push(" ");
            self.property(parameter);
        }
    }

    fn property(&mut self, property: &Property) {
        self.dotted(&property.name);
        self.push("=");
        self.property_value(&property.value);
    }

    fn property_value(&mut self, value: &Expr) {
        match &value.kind {
            ExprKind::Name(name) => {
                let is_bool = matches!(name.text.to_ascii_lowercase().as_str(), "true" | "false");
                self.name_text(&name.text, is_name_token(&name.text) && !is_bool);
            }
            _ => self.expression(value, UNARY),
        }
    }

    fn with_properties(&mut self, properties: &[Property]) {
        if !properties.is_empty() {
            self.push(" with (");
            self.list(properties, Self::property);
            self.push(")");
        }
    }
}

fn binary_level(op: BinaryOp) -> u8 {
    use BinaryOp::*;
    match op {
        Or => OR,
        And => AND,
        Less | LessOrEqual | Greater | GreaterOrEqual => RELATIONAL,
        Add | Subtract => ADDITIVE,
        Multiply | Divide | Modulo => MULTIPLICATIVE,
        Equal | NotEqual => EQUALITY,
        _ => STRING,
    }
}

fn level(kind: &ExprKind) -> u8 {
    match kind {
        ExprKind::Pipe(_) => PIPE,
        ExprKind::Binary { op, .. } | ExprKind::Chain { op, .. } => binary_level(*op),
        ExprKind::InList { .. } | ExprKind::Between { .. } => EQUALITY,
        ExprKind::Unary { .. } => UNARY,
        _ => PRIMARY,
    }
}

/// Whether the lexer reads the text as one `Name` token.
fn is_name_token(text: &str) -> bool {
    let mut tokens = lexer::Lexer::new(text, 0);
    matches!(tokens.next(), Some(token) if token.kind == TokenKind::Name && token.span.end as usize == text.len())
}

/// Words that mean something in some place where a name could stand.
const SOFT_KEYWORDS: &[&str] = &[
    "access",
    "alias",
    "bin",
    "declare",
    "default",
    "entity_group",
    "evaluate",
    "from",
    "hint",
    "id",
    "let",
    "limit",
    "macro",
    "matches",
    "notlike",
    "nulls",
    "on",
    "optional",
    "order",
    "output",
    "partition",
    "query_parameters",
    "range",
    "restrict",
    "step",
    "totable",
    "typeof",
    "view",
    "with",
    "granny",
];

fn is_plain_name(text: &str) -> bool {
    is_name_token(text)
        && !keywords::is_reserved_reference(text)
        && !keywords::is_reserved_declaration(text)
        && !SOFT_KEYWORDS.contains(&text)
        && !matches!(text, "True" | "TRUE" | "False" | "FALSE")
}
