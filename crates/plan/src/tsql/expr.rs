//! Expressions: each becomes KQL text with its type, where that is known.
//!
//! T-SQL converts between types where KQL refuses: a text that is compared with a datetime is read as one.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, TrimWhereField, UnaryOperator, Value, ValueWithSpan, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer;
use std::ops::ControlFlow;
use tidewater_kql::KqlType;
use tidewater_kql::diagnostic::{AGGREGATE_MISPLACED, GENERAL, OPERAND_TYPE, UNRESOLVED, nearest};
use tidewater_kql::value::{datetime, guid, timespan};

use super::groups::SetsStep;
use super::query::ScopeColumn;
use super::windows::WINDOW;
use super::{Fault, Result, Translator, functions, name, place_of, quoted};

/// How tightly a text binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Or,
    And,
    Compare,
    Add,
    Multiply,
    Atom,
}

/// What a literal is, beside its text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Literal {
    /// No literal.
    #[default]
    None,
    /// NULL.
    Null,
    /// A text.
    Text(String),
    /// A number as it was written.
    Number(String),
}

/// KQL text with what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub text: String,
    pub ty: Option<KqlType>,
    pub level: Level,
    pub literal: Literal,
    /// The column's name in the pipeline, if it is nothing but one.
    pub column: Option<String>,
}

impl Typed {
    pub fn new(text: impl Into<String>, ty: Option<KqlType>, level: Level) -> Typed {
        Typed { text: text.into(), ty, level, literal: Literal::None, column: None }
    }

    pub fn atom(text: impl Into<String>, ty: KqlType) -> Typed {
        Typed::new(text, Some(ty), Level::Atom)
    }

    pub fn column(column: &str, ty: Option<KqlType>) -> Typed {
        Typed { column: Some(column.to_string()), ..Typed::new(name(column), ty, Level::Atom) }
    }

    /// A literal text.
    pub fn text(text: &str) -> Typed {
        Typed { literal: Literal::Text(text.to_string()), ..Typed::atom(quoted(text), KqlType::String) }
    }

    /// The text where something binds that tightly.
    pub fn at(&self, level: Level) -> String {
        if self.level >= level { self.text.clone() } else { format!("({})", self.text) }
    }

    pub fn is_null(&self) -> bool {
        self.literal == Literal::Null
    }
}

/// The names that an expression may use.
pub(super) struct Names<'s, 'q> {
    pub scope: &'s [ScopeColumn],
    /// Behind `summarize`: keys and aggregates take the columns' place.
    pub groups: Option<&'s mut Groups<'q>>,
}

impl<'s, 'q> Names<'s, 'q> {
    pub fn of(scope: &'s [ScopeColumn]) -> Names<'s, 'q> {
        Names { scope, groups: None }
    }

    pub fn none() -> Names<'static, 'static> {
        Names { scope: &[], groups: None }
    }
}

/// What `summarize` computes.
#[derive(Default)]
pub(super) struct Groups<'q> {
    keys: Vec<(&'q [Expr], Typed, String)>,
    aggregates: Vec<(String, String)>,
    /// Where there are several sets of keys.
    pub sets: Option<SetsStep>,
    /// The alias of the item at hand.
    pub preferred: Option<String>,
}

impl<'q> Groups<'q> {
    pub fn add_key(&mut self, expr: &'q Expr, value: Typed, title: &str) {
        let title = unused(title, |name| self.is_taken(name));
        self.keys.push((std::slice::from_ref(expr), value, title));
    }

    fn is_taken(&self, title: &str) -> bool {
        self.keys.iter().any(|(.., own)| own == title) || self.aggregates.iter().any(|(own, _)| own == title)
    }

    /// The key whose text this is, as a column.
    pub fn key(&self, text: &str) -> Option<Typed> {
        let (_, value, title) = self.keys.iter().find(|(_, value, _)| value.text == text)?;
        Some(Typed::column(title, value.ty))
    }

    fn key_of(&self, expr: &Expr) -> Option<Typed> {
        let (_, value, title) = self.keys.iter().find(|(own, ..)| own.first() == Some(expr))?;
        Some(Typed::column(title, value.ty))
    }

    /// The place of a key.
    pub fn place_of(&self, expr: &Expr) -> Option<usize> {
        self.keys.iter().position(|(own, ..)| own.first() == Some(expr))
    }

    fn aggregate(&mut self, text: String, ty: Option<KqlType>, is_whole: bool) -> Typed {
        if let Some((title, _)) = self.aggregates.iter().find(|(_, own)| *own == text) {
            return Typed::column(title, ty);
        }
        let wanted = match self.preferred.take().filter(|_| is_whole) {
            Some(alias) => alias,
            None => format!("__agg{}", self.aggregates.len() + 1),
        };
        let title = unused(&wanted, |name| self.is_taken(name));
        self.aggregates.push((title.clone(), text));
        Typed::column(&title, ty)
    }

    /// The operator.
    pub fn step(&self) -> String {
        let aggregates: Vec<String> =
            self.aggregates.iter().map(|(title, text)| super::query::item(title, text)).collect();
        if let Some(sets) = &self.sets {
            let keys: Vec<(&Typed, &str)> = self.keys.iter().map(|(_, value, title)| (value, title.as_str())).collect();
            return super::groups::step(&aggregates.join(", "), &keys, sets);
        }
        let keys: Vec<String> =
            self.keys.iter().map(|(_, value, title)| super::query::item(title, &value.text)).collect();
        match (aggregates.is_empty(), keys.is_empty()) {
            (_, true) if aggregates.is_empty() => "summarize count()".to_string(),
            (_, true) => format!("summarize {}", aggregates.join(", ")),
            (true, false) => format!("summarize by {}", keys.join(", ")),
            (false, false) => format!("summarize {} by {}", aggregates.join(", "), keys.join(", ")),
        }
    }
}

/// A name with the first number that makes it new.
pub(super) fn unused(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    match is_taken(wanted) {
        false => wanted.to_string(),
        true => (1..).map(|n| format!("{wanted}{n}")).find(|name| !is_taken(name)).unwrap_or_default(),
    }
}

/// Whether an aggregate stands in an expression, outside of subqueries.
pub(super) fn has_aggregate(expr: &Expr) -> bool {
    struct Finder(usize);
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, _: &datafusion::sql::sqlparser::ast::Query) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &datafusion::sql::sqlparser::ast::Query) -> ControlFlow<()> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(call) if self.0 == 0 && call.over.is_none() && functions::is_aggregate(call) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    Visit::visit(expr, &mut Finder(0)).is_break()
}

/// The type that values of two types share.
pub(super) fn common_type(a: Option<KqlType>, b: Option<KqlType>) -> Option<KqlType> {
    use KqlType::*;
    let rank = |ty| [Bool, Int, Long, Decimal, Real].iter().position(|own| *own == ty);
    match (a, b) {
        (Some(a), Some(b)) if a == b => Some(a),
        (Some(a), Some(b)) => match (rank(a), rank(b)) {
            (Some(a_rank), Some(b_rank)) => Some(if a_rank >= b_rank { a } else { b }),
            _ => None,
        },
        _ => None,
    }
}

fn is_number(ty: Option<KqlType>) -> bool {
    matches!(ty, Some(KqlType::Int | KqlType::Long | KqlType::Real | KqlType::Decimal))
}

fn is_whole(ty: Option<KqlType>) -> bool {
    matches!(ty, Some(KqlType::Int | KqlType::Long))
}

impl Translator<'_> {
    pub(super) fn expr(&mut self, expr: &Expr, names: &mut Names<'_, '_>) -> Result<Typed> {
        tidewater_kql::stack::grow(|| self.expr_level(expr, names))
    }

    fn expr_level(&mut self, expr: &Expr, names: &mut Names<'_, '_>) -> Result<Typed> {
        if let Some(groups) = &names.groups
            && let Some(key) = groups.key_of(expr)
        {
            return Ok(key);
        }
        match expr {
            Expr::Identifier(ident) => self.identifier(std::slice::from_ref(ident), names),
            Expr::CompoundIdentifier(parts) => self.identifier(parts, names),
            Expr::Value(ValueWithSpan { value, .. }) => self.value(value, place_of(expr)),
            Expr::Prefixed { value, .. } => self.expr(value, names),
            Expr::Nested(inner) => self.expr(inner, names),
            Expr::BinaryOp { .. } => self.chain(expr, names),
            Expr::UnaryOp { op, expr: inner } => {
                let value = self.expr(inner, names)?;
                self.unary(*op, value)
            }
            Expr::IsNull(inner) => Ok(self.null_test("isnull", inner, names)?),
            Expr::IsNotNull(inner) => Ok(self.null_test("isnotnull", inner, names)?),
            Expr::IsDistinctFrom(left, right) => self.distinct(left, right, true, names),
            Expr::IsNotDistinctFrom(left, right) => self.distinct(left, right, false, names),
            Expr::Between { expr, negated, low, high } => {
                let parts = [expr, low, high].map(|part| self.expr(part, names));
                let [value, low, high] = parts;
                self.between(value?, low?, high?, *negated)
            }
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, names),
            Expr::InSubquery { expr, subquery, negated } => {
                let value = self.expr(expr, names)?;
                let relation = self.subquery(subquery, names)?;
                let [column] = relation.columns.as_slice() else {
                    return Err(self.mistake(GENERAL, place_of(expr), "the query behind IN must give one column"));
                };
                let value = match column.ty {
                    Some(ty) if value.ty.is_some() && value.ty != Some(ty) => self.coerced(value, ty)?,
                    _ => value,
                };
                let word = if *negated { "!in" } else { "in" };
                Ok(Typed::new(format!("{} {word} ({})", value.at(Level::Add), relation.nested()), BOOL, Level::Compare))
            }
            Expr::Subquery(query) => {
                let relation = self.subquery(query, names)?;
                let ty = match relation.columns.as_slice() {
                    [column] => column.ty,
                    _ => return Err(self.mistake(GENERAL, place_of(expr), "a subquery here must give one column")),
                };
                Ok(Typed::new(format!("toscalar({})", relation.nested()), ty, Level::Atom))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = escape_char.as_ref().and_then(|value| value.clone().into_string());
                self.like(expr, pattern, escape, *negated, names)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), names)
            }
            Expr::Cast {
                kind: CastKind::Cast | CastKind::TryCast,
                expr: inner,
                data_type,
                format: None,
                array: false,
            } => {
                let value = self.expr(inner, names)?;
                self.converted(value, data_type, None)
            }
            Expr::Convert { expr: inner, data_type: Some(ty), charset: None, styles, .. } => {
                if let Some(digest) = self.digest_as_text(inner, ty, styles, names)? {
                    return Ok(digest);
                }
                let value = self.expr(inner, names)?;
                let style = match styles.as_slice() {
                    [] => None,
                    [style] => Some(self.expr(style, names)?),
                    _ => return Err(self.not_served("CONVERT with more than one style")),
                };
                self.converted(value, ty, style.as_ref())
            }
            Expr::Function(call) => self.function(call, names),
            Expr::Substring { expr: inner, substring_from: Some(from), substring_for: Some(length), .. } => {
                self.called("SUBSTRING", &[inner, from, length], names, place_of(expr))
            }
            Expr::Trim { trim_where, trim_what, expr: inner, trim_characters: None } => {
                let what = match trim_where {
                    None | Some(TrimWhereField::Both) => "TRIM",
                    Some(TrimWhereField::Leading) => "LTRIM",
                    Some(TrimWhereField::Trailing) => "RTRIM",
                };
                let mut arguments: Vec<&Expr> = vec![inner];
                arguments.extend(trim_what.as_deref());
                self.called(what, &arguments, names, place_of(expr))
            }
            Expr::Ceil { expr: inner, field: CeilFloorKind::DateTimeField(_) } => {
                self.called("CEILING", &[inner], names, place_of(expr))
            }
            Expr::Floor { expr: inner, field: CeilFloorKind::DateTimeField(_) } => {
                self.called("FLOOR", &[inner], names, place_of(expr))
            }
            Expr::Collate { expr: inner, .. } => self.expr(inner, names),
            Expr::Exists { .. } => Err(self.refused(expr, "EXISTS")),
            Expr::AnyOp { .. } => Err(self.refused(expr, "ANY and SOME")),
            Expr::AllOp { .. } => Err(self.refused(expr, "ALL")),
            Expr::AtTimeZone { .. } => Err(self.refused(expr, "AT TIME ZONE")),
            other => {
                let text: String = other.to_string().chars().take(60).collect();
                Err(self.refused(expr, format!("the expression '{text}'")))
            }
        }
    }

    pub(super) fn refused(&self, expr: &Expr, what: impl std::fmt::Display) -> Fault {
        let span = self.span(place_of(expr));
        tidewater_kql::Diagnostic::not_served(span, format!("T-SQL: {what}")).into()
    }

    fn subquery(
        &mut self,
        query: &datafusion::sql::sqlparser::ast::Query,
        names: &Names<'_, '_>,
    ) -> Result<super::query::Relation> {
        self.outer.push(names.scope.to_vec());
        let relation = self.query(query);
        self.outer.pop();
        relation
    }

    fn identifier(&mut self, parts: &[Ident], names: &mut Names<'_, '_>) -> Result<Typed> {
        let Some((last, qualifiers)) = parts.split_last() else { return Err(self.syntax("expected a name")) };
        if let Some(word) = self.niladic(parts)? {
            return Ok(word);
        }
        let found = match find(names.scope, last, qualifiers) {
            Found::One(column) => column,
            Found::Several => {
                let message = format!("the column '{}' is ambiguous: qualify it with its table's name", last.value);
                return Err(self.mistake(GENERAL, last.span, message));
            }
            Found::None => {
                // The cheat sheet writes texts in double quotes too.
                if qualifiers.is_empty() && last.quote_style == Some('"') {
                    return Ok(Typed::text(&last.value));
                }
                if self.outer.iter().any(|outer| !matches!(find(outer, last, qualifiers), Found::None)) {
                    let span = self.span(last.span);
                    let what =
                        format!("T-SQL: a correlated subquery (it uses '{}' of the query around it)", last.value);
                    return Err(tidewater_kql::Diagnostic::not_served(span, what).into());
                }
                let own = names.scope.iter().filter(|column| column.qualifiers.first().is_none_or(|own| own != WINDOW));
                let mut message = format!("name '{}' does not refer to any known column", last.value);
                if let Some(near) = nearest(&last.value, own.map(|column| column.name.as_str())) {
                    message.push_str(&format!("; did you mean '{near}'?"));
                }
                return Err(self.mistake(UNRESOLVED, last.span, message));
            }
        };
        let value = Typed::column(&found.column, found.ty);
        let Some(groups) = &names.groups else { return Ok(value) };
        groups.key(&value.text).ok_or_else(|| {
            let message = format!("column '{}' is neither in GROUP BY nor in an aggregate", last.value);
            self.mistake(GENERAL, last.span, message)
        })
    }

    /// Variables, and functions without brackets.
    fn niladic(&mut self, parts: &[Ident]) -> Result<Option<Typed>> {
        let [word] = parts else { return Ok(None) };
        if word.quote_style.is_some() {
            return Ok(None);
        }
        let folded = word.value.to_ascii_lowercase();
        if let Some(global) = folded.strip_prefix("@@") {
            let value = match global {
                "version" => Typed::text(functions::VERSION),
                "servername" | "servicename" => Typed::text("Tidewater"),
                "language" => Typed::text("us_english"),
                "rowcount" | "error" | "trancount" | "spid" | "textsize" => {
                    Typed { literal: Literal::Number("0".into()), ..Typed::atom("int(0)", KqlType::Int) }
                }
                _ => {
                    return Err(self.mistake(
                        UNRESOLVED,
                        word.span,
                        format!("the variable '{}' is not known", word.value),
                    ));
                }
            };
            return Ok(Some(value));
        }
        if folded.starts_with('@') {
            let found = self.variables.iter().rev().find(|(own, _)| *own == folded);
            return match found {
                Some((_, value)) => Ok(Some(value.clone())),
                None => {
                    Err(self.mistake(UNRESOLVED, word.span, format!("the variable '{}' is not declared", word.value)))
                }
            };
        }
        Ok(match folded.as_str() {
            "current_timestamp" => Some(Typed::atom("now()", KqlType::DateTime)),
            "current_user" | "session_user" | "system_user" | "user" => {
                Some(Typed::atom("current_principal()", KqlType::String))
            }
            _ => None,
        })
    }

    fn value(&mut self, value: &Value, span: tokenizer::Span) -> Result<Typed> {
        Ok(match value {
            Value::Number(text, _) => {
                let ty = if text.contains(['.', 'e', 'E']) { KqlType::Real } else { KqlType::Long };
                let shown = match ty {
                    KqlType::Long if text.parse::<i64>().is_err() => format!("decimal({text})"),
                    // KQL wants digits on both sides of the point.
                    KqlType::Real => match text.parse::<f64>() {
                        Ok(_) if text.starts_with('.') => format!("0{text}"),
                        Ok(_) if text.ends_with('.') => format!("{text}0"),
                        Ok(_) => text.clone(),
                        Err(_) => return Err(self.mistake(GENERAL, span, format!("'{text}' is no number"))),
                    },
                    _ => text.clone(),
                };
                let ty = if shown.starts_with("decimal") { KqlType::Decimal } else { ty };
                Typed { literal: Literal::Number(text.clone()), ..Typed::atom(shown, ty) }
            }
            Value::SingleQuotedString(text) | Value::NationalStringLiteral(text) | Value::DoubleQuotedString(text) => {
                Typed::text(text)
            }
            Value::Null => Typed { literal: Literal::Null, ..Typed::new("int(null)", None, Level::Atom) },
            Value::Boolean(value) => Typed::atom(value.to_string(), KqlType::Bool),
            Value::Placeholder(text) => {
                let ident = Ident::with_span(span, text.clone());
                match self.niladic(&[ident])? {
                    Some(value) => value,
                    None => return Err(self.not_served(format!("the placeholder '{text}'"))),
                }
            }
            other => return Err(self.not_served(format!("the literal {other}"))),
        })
    }

    /// Binary operators; their left sides are followed in a loop, for chains are long.
    fn chain(&mut self, expr: &Expr, names: &mut Names<'_, '_>) -> Result<Typed> {
        let mut spine = Vec::new();
        let mut first = expr;
        while let Expr::BinaryOp { left, op, right } = first {
            let is_key =
                !spine.is_empty() && names.groups.as_ref().is_some_and(|groups| groups.key_of(first).is_some());
            if is_key {
                break;
            }
            spine.push((op, right));
            first = left;
        }
        let mut value = self.expr(first, names)?;
        let mut terms: Vec<String> = Vec::new();
        for (at, (op, right)) in spine.iter().enumerate().rev() {
            let right = self.expr(right, names)?;
            let level = match op {
                BinaryOperator::And => Level::And,
                BinaryOperator::Or => Level::Or,
                _ => {
                    value = self.binary(value, op, right, place_of(expr))?;
                    continue;
                }
            };
            // The terms of one chain are joined at its end, lest it be copied with every term.
            if terms.is_empty() {
                terms.push(self.as_condition(value)?.at(level));
            }
            terms.push(self.as_condition(right)?.at(if level == Level::Or { Level::And } else { Level::Compare }));
            value = Typed::new("", BOOL, level);
            if at == 0 || spine[at - 1].0 != *op {
                let word = if level == Level::And { " and " } else { " or " };
                value.text = std::mem::take(&mut terms).join(word);
            }
        }
        Ok(value)
    }

    /// An expression as a condition.
    pub(super) fn predicate(&mut self, expr: &Expr, names: &mut Names<'_, '_>) -> Result<Typed> {
        let value = self.expr(expr, names)?;
        self.as_condition(value)
    }

    pub(super) fn as_condition(&self, value: Typed) -> Result<Typed> {
        match value.ty {
            Some(KqlType::Int | KqlType::Long) => {
                Ok(Typed::new(format!("{} != 0", value.at(Level::Add)), BOOL, Level::Compare))
            }
            _ => Ok(value),
        }
    }

    fn unary(&mut self, op: UnaryOperator, value: Typed) -> Result<Typed> {
        Ok(match op {
            UnaryOperator::Minus => {
                let literal = match &value.literal {
                    Literal::Number(text) => Literal::Number(format!("-{text}")),
                    _ => Literal::None,
                };
                Typed { literal, ..Typed::new(format!("-{}", value.at(Level::Atom)), value.ty, Level::Multiply) }
            }
            UnaryOperator::Plus => value,
            UnaryOperator::Not | UnaryOperator::BangNot => {
                let value = self.as_condition(value)?;
                Typed::new(format!("not({})", value.text), BOOL, Level::Atom)
            }
            UnaryOperator::BitwiseNot => {
                Typed::new(format!("binary_not({})", value.text), Some(KqlType::Long), Level::Atom)
            }
            other => return Err(self.not_served(format!("the operator '{other}'"))),
        })
    }

    fn null_test(&mut self, call: &str, inner: &Expr, names: &mut Names<'_, '_>) -> Result<Typed> {
        let value = self.expr(inner, names)?;
        Ok(Typed::atom(format!("{call}({})", value.text), KqlType::Bool))
    }

    pub(super) fn binary(
        &mut self,
        left: Typed,
        op: &BinaryOperator,
        right: Typed,
        span: tokenizer::Span,
    ) -> Result<Typed> {
        use BinaryOperator as Op;
        match op {
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => self.comparison(left, op, right),
            Op::Plus | Op::StringConcat if left.ty == Some(KqlType::String) && right.ty == Some(KqlType::String) => {
                Ok(Typed::atom(format!("strcat({}, {})", left.text, right.text), KqlType::String))
            }
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo => self.arithmetic(left, op, right, span),
            Op::BitwiseAnd => Ok(bits("binary_and", &left, &right)),
            Op::BitwiseOr => Ok(bits("binary_or", &left, &right)),
            Op::BitwiseXor => Ok(bits("binary_xor", &left, &right)),
            other => Err(self.not_served(format!("the operator '{other}'"))),
        }
    }

    fn arithmetic(&mut self, left: Typed, op: &BinaryOperator, right: Typed, span: tokenizer::Span) -> Result<Typed> {
        use BinaryOperator as Op;
        let (left, right) = match (left.ty, right.ty) {
            // A text beside a number is read as a number.
            (Some(KqlType::String), other) if is_number(other) => (self.as_number(left, other)?, right),
            (other, Some(KqlType::String)) if is_number(other) => {
                let right = self.as_number(right, other)?;
                (left, right)
            }
            (Some(KqlType::DateTime), Some(KqlType::String)) => {
                let right = self.coerced(right, KqlType::DateTime)?;
                (left, right)
            }
            _ => (left, right),
        };
        let sign = match op {
            Op::Plus => "+",
            Op::Minus => "-",
            Op::Multiply => "*",
            Op::Divide => "/",
            _ => "%",
        };
        match (left.ty, right.ty) {
            // Numbers beside a datetime count days.
            (Some(KqlType::DateTime), ty) if is_number(ty) && matches!(op, Op::Plus | Op::Minus) => {
                let days = match &right.literal {
                    Literal::Number(text) if text.parse::<u32>().is_ok() => format!("{text}d"),
                    _ => format!("{} * 1d", right.at(Level::Multiply)),
                };
                return Ok(Typed::new(format!("{} {sign} {days}", left.text), Some(KqlType::DateTime), Level::Add));
            }
            (Some(KqlType::String), Some(KqlType::String)) => {
                let message = format!("the operator '{sign}' is not defined for texts");
                return Err(self.mistake(OPERAND_TYPE, span, message));
            }
            _ => {}
        }
        let (left, right) = self.without_null(left, right);
        let ty = match (left.ty, right.ty) {
            (Some(KqlType::DateTime), Some(KqlType::DateTime)) => Some(KqlType::TimeSpan),
            (Some(KqlType::DateTime), _) => Some(KqlType::DateTime),
            (Some(KqlType::TimeSpan), Some(KqlType::TimeSpan)) if *op == Op::Divide => Some(KqlType::Real),
            (Some(KqlType::TimeSpan), _) => Some(KqlType::TimeSpan),
            (a, b) => common_type(a, b),
        };
        if *op == Op::Modulo && is_whole(left.ty) && is_whole(right.ty) {
            // The remainder has the dividend's sign, which KQL's has not.
            let (a, b) = (left.at(Level::Atom), right.at(Level::Atom));
            return Ok(Typed::new(format!("{a} - {a} / {b} * {b}"), ty, Level::Add));
        }
        let level = if matches!(op, Op::Plus | Op::Minus) { Level::Add } else { Level::Multiply };
        let above = if level == Level::Add { Level::Multiply } else { Level::Atom };
        Ok(Typed::new(format!("{} {sign} {}", left.at(level), right.at(above)), ty, level))
    }

    /// NULL beside a value is one of its type.
    fn without_null(&self, left: Typed, right: Typed) -> (Typed, Typed) {
        let of = |ty: Option<KqlType>| null_of(ty.unwrap_or(KqlType::Int));
        match (left.is_null(), right.is_null()) {
            (true, false) => (of(right.ty), right),
            (false, true) => {
                let null = of(left.ty);
                (left, null)
            }
            _ => (left, right),
        }
    }

    fn as_number(&self, value: Typed, beside: Option<KqlType>) -> Result<Typed> {
        let is_real = matches!(&value.literal, Literal::Text(text) if text.contains(['.', 'e', 'E']));
        let ty = match beside {
            Some(KqlType::Int | KqlType::Long) if is_real => KqlType::Real,
            Some(KqlType::Int) | None => KqlType::Long,
            Some(ty) => ty,
        };
        self.coerced(value, ty)
    }

    /// Both sides in a type that KQL compares.
    pub(super) fn comparable(&self, left: Typed, right: Typed) -> Result<(Typed, Typed)> {
        use KqlType::*;
        let (left, right) = self.without_null(left, right);
        let (Some(a), Some(b)) = (left.ty, right.ty) else { return Ok((left, right)) };
        if a == b {
            return Ok((left, right));
        }
        Ok(match (a, b) {
            (String, Bool | DateTime | TimeSpan | Guid) => (self.coerced(left, b)?, right),
            (Bool | DateTime | TimeSpan | Guid, String) => {
                let right = self.coerced(right, a)?;
                (left, right)
            }
            (String, _) if is_number(Some(b)) => (self.as_number(left, Some(b))?, right),
            (_, String) if is_number(Some(a)) => {
                let right = self.as_number(right, Some(a))?;
                (left, right)
            }
            (Bool, _) if is_number(Some(b)) => {
                let right = self.coerced(right, Bool)?;
                (left, right)
            }
            (_, Bool) if is_number(Some(a)) => (self.coerced(left, Bool)?, right),
            (Dynamic, _) => (self.coerced(left, b)?, right),
            (_, Dynamic) => {
                let right = self.coerced(right, a)?;
                (left, right)
            }
            _ => (left, right),
        })
    }

    pub(super) fn comparison(&mut self, left: Typed, op: &BinaryOperator, right: Typed) -> Result<Typed> {
        use BinaryOperator as Op;
        let (left, right) = self.comparable(left, right)?;
        let sign = match op {
            Op::Eq => "==",
            Op::NotEq => "!=",
            Op::Lt => "<",
            Op::LtEq => "<=",
            Op::Gt => ">",
            _ => ">=",
        };
        let is_order = !matches!(op, Op::Eq | Op::NotEq);
        let is_text = matches!(left.ty, Some(KqlType::String | KqlType::Guid)) && left.ty == right.ty;
        if is_order && is_text {
            // KQL has no order of texts but this one.
            let (a, b) = match left.ty {
                Some(KqlType::Guid) => (format!("tostring({})", left.text), format!("tostring({})", right.text)),
                _ => (left.text, right.text),
            };
            return Ok(Typed::new(format!("strcmp({a}, {b}) {sign} 0"), BOOL, Level::Compare));
        }
        Ok(Typed::new(format!("{} {sign} {}", left.at(Level::Add), right.at(Level::Add)), BOOL, Level::Compare))
    }

    fn between(&mut self, value: Typed, low: Typed, high: Typed, negated: bool) -> Result<Typed> {
        let (value_low, low) = self.comparable(value.clone(), low)?;
        let (value_high, high) = self.comparable(value, high)?;
        let plain = value_low.text == value_high.text
            && low.ty == high.ty
            && matches!(
                value_low.ty,
                Some(KqlType::Int | KqlType::Long | KqlType::Real | KqlType::DateTime | KqlType::TimeSpan)
            );
        if plain && low.ty.is_some() {
            let word = if negated { "!between" } else { "between" };
            let text =
                format!("{} {word} ({} .. {})", value_low.at(Level::Add), low.at(Level::Add), high.at(Level::Add));
            return Ok(Typed::new(text, BOOL, Level::Compare));
        }
        let above = self.comparison(value_low, &BinaryOperator::GtEq, low)?;
        let below = self.comparison(value_high, &BinaryOperator::LtEq, high)?;
        let text = format!("{} and {}", above.text, below.text);
        Ok(match negated {
            true => Typed::atom(format!("not({text})"), KqlType::Bool),
            false => Typed::new(text, BOOL, Level::And),
        })
    }

    fn in_list(&mut self, expr: &Expr, list: &[Expr], negated: bool, names: &mut Names<'_, '_>) -> Result<Typed> {
        let value = self.expr(expr, names)?;
        let mut items = Vec::with_capacity(list.len());
        let mut left = value.clone();
        for entry in list {
            let item = self.expr(entry, names)?;
            if item.is_null() {
                // Nothing equals NULL.
                continue;
            }
            let (one, item) = self.comparable(value.clone(), item)?;
            left = one;
            items.push(item.text);
        }
        if items.is_empty() {
            return Ok(Typed::atom(negated.to_string(), KqlType::Bool));
        }
        let word = if negated { "!in" } else { "in" };
        Ok(Typed::new(format!("{} {word} ({})", left.at(Level::Add), items.join(", ")), BOOL, Level::Compare))
    }

    /// LIKE, which ignores case as the server's usual collation does.
    fn like(
        &mut self,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<String>,
        negated: bool,
        names: &mut Names<'_, '_>,
    ) -> Result<Typed> {
        let value = self.expr(expr, names)?;
        let value = match value.ty {
            Some(KqlType::String) | None => value,
            Some(_) => self.coerced(value, KqlType::String)?,
        };
        let pattern = self.expr(pattern, names)?;
        let Literal::Text(pattern) = &pattern.literal else {
            return Err(self.refused(expr, "LIKE with a pattern that is not a constant"));
        };
        let escape = match escape.as_deref().map(|text| text.chars().collect::<Vec<_>>()).as_deref() {
            None => None,
            Some([one]) => Some(*one),
            Some(_) => return Err(self.mistake(GENERAL, place_of(expr), "ESCAPE needs one character")),
        };
        let (word, argument) = like_operator(pattern, escape);
        let text = value.at(Level::Add);
        let text = match (word, negated) {
            ("matches regex", false) => format!("{text} matches regex {}", quoted(&argument)),
            ("matches regex", true) => format!("not({text} matches regex {})", quoted(&argument)),
            ("=~", true) => format!("{text} !~ {}", quoted(&argument)),
            (word, true) => format!("{text} !{word} {}", quoted(&argument)),
            (word, false) => format!("{text} {word} {}", quoted(&argument)),
        };
        Ok(Typed::new(text, BOOL, Level::Compare))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        names: &mut Names<'_, '_>,
    ) -> Result<Typed> {
        let mut tests = Vec::new();
        let mut values = Vec::new();
        for CaseWhen { condition, result } in conditions {
            let test = match operand {
                Some(operand) => {
                    let left = self.expr(operand, names)?;
                    let right = self.expr(condition, names)?;
                    self.comparison(left, &BinaryOperator::Eq, right)?
                }
                None => self.predicate(condition, names)?,
            };
            tests.push(test.text);
            values.push(self.expr(result, names)?);
        }
        values.push(match otherwise {
            Some(otherwise) => self.expr(otherwise, names)?,
            None => Typed { literal: Literal::Null, ..Typed::new("", None, Level::Atom) },
        });
        let (values, ty) = self.unified(values)?;
        let mut arguments = Vec::new();
        for (test, value) in tests.iter().zip(&values) {
            arguments.push(test.clone());
            arguments.push(value.text.clone());
        }
        arguments.extend(values.last().map(|value| value.text.clone()));
        let call = if tests.len() == 1 { "iff" } else { "case" };
        Ok(Typed::new(format!("{call}({})", arguments.join(", ")), ty, Level::Atom))
    }

    /// Values of one type: KQL's branches do not convert.
    pub(super) fn unified(&self, values: Vec<Typed>) -> Result<(Vec<Typed>, Option<KqlType>)> {
        let mut ty: Option<KqlType> = None;
        for value in values.iter().filter(|value| !value.is_null()) {
            ty = match (ty, value.ty) {
                (None, own) => own,
                (Some(known), Some(own)) => common_type(Some(known), Some(own)).or(Some(match (known, own) {
                    // A text beside something else is read as that.
                    (KqlType::String, other) | (other, KqlType::String) => other,
                    _ => known,
                })),
                (known, None) => known,
            };
        }
        let wanted = ty.unwrap_or(KqlType::Int);
        let values = values.into_iter().map(|value| match value.ty {
            _ if value.is_null() => Ok(null_of(wanted)),
            Some(own) if own != wanted => self.coerced(value, wanted),
            _ => Ok(value),
        });
        Ok((values.collect::<Result<_>>()?, ty))
    }

    /// A value in another type.
    pub(super) fn coerced(&self, value: Typed, ty: KqlType) -> Result<Typed> {
        if value.ty == Some(ty) {
            return Ok(value);
        }
        if value.is_null() {
            return Ok(null_of(ty));
        }
        let wrong = |text: &str| -> Fault {
            let message = format!("'{text}' is no {}", ty.name());
            tidewater_kql::Diagnostic::new(OPERAND_TYPE, tidewater_kql::Span::new(0, 0), message).into()
        };
        if let Literal::Text(text) = &value.literal {
            let literal = match ty {
                KqlType::DateTime => datetime::parse(text).map(|ticks| {
                    let text = datetime::to_text(ticks);
                    format!("datetime({})", text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.'))
                }),
                KqlType::TimeSpan => timespan::parse(text).map(|ticks| format!("time({})", timespan::to_text(ticks))),
                KqlType::Guid => guid::parse(text).map(|bytes| format!("guid({})", guid::to_text(&bytes))),
                KqlType::Bool => match text.to_ascii_lowercase().as_str() {
                    "true" | "1" => Some("true".to_string()),
                    "false" | "0" => Some("false".to_string()),
                    _ => None,
                },
                KqlType::Int | KqlType::Long => text.trim().parse::<i64>().ok().map(|number| number.to_string()),
                KqlType::Real => text.trim().parse::<f64>().ok().map(|number| format!("real({number})")),
                _ => Some(format!("{}({})", conversion(ty), value.text)),
            };
            return Ok(Typed::atom(literal.ok_or_else(|| wrong(text))?, ty));
        }
        if let (KqlType::Bool, Literal::Number(text)) = (ty, &value.literal) {
            return Ok(Typed::atom((text != "0").to_string(), ty));
        }
        Ok(Typed::atom(format!("{}({})", conversion(ty), value.text), ty))
    }

    fn function(&mut self, call: &Function, names: &mut Names<'_, '_>) -> Result<Typed> {
        let span =
            call.name.0.first().and_then(|part| part.as_ident()).map_or(tokenizer::Span::empty(), |ident| ident.span);
        if call.over.is_some() {
            let wanted = call.to_string();
            let found = names
                .scope
                .iter()
                .find(|column| column.name == wanted && column.qualifiers.first().is_some_and(|own| own == WINDOW));
            return match found {
                Some(column) => Ok(Typed::column(&column.column, column.ty)),
                None => Err(self.not_served("OVER where only single rows are known, such as in WHERE")),
            };
        }
        if !call.within_group.is_empty() {
            return Err(self.not_served("WITHIN GROUP"));
        }
        if call.filter.is_some() || call.null_treatment.is_some() {
            return Err(self.not_served("FILTER and IGNORE NULLS"));
        }
        if functions::is_aggregate(call) {
            let (text, ty) = self.aggregate(call, names)?;
            let Some(groups) = &mut names.groups else {
                let message = format!("the aggregate {} cannot stand here", call.name);
                return Err(self.mistake(AGGREGATE_MISPLACED, span, message));
            };
            return Ok(groups.aggregate(text, ty, true));
        }
        let arguments: &[FunctionArg] = match &call.args {
            FunctionArguments::None => &[],
            FunctionArguments::List(list) if list.clauses.is_empty() && list.duplicate_treatment.is_none() => {
                &list.args
            }
            _ => return Err(self.not_served(format!("the form of {}", call.name))),
        };
        let parts: Vec<&Ident> = call.name.0.iter().filter_map(|part| part.as_ident()).collect();
        let (schema, own) = match parts.as_slice() {
            [own] => (None, own.value.clone()),
            [schema, own] => (Some(schema.value.to_ascii_lowercase()), own.value.clone()),
            _ => return Err(self.not_served(format!("the function name {}", call.name))),
        };
        let exprs: Vec<&Expr> = arguments
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
                _ => Err(self.not_served(format!("{} with named arguments or *", call.name))),
            })
            .collect::<Result<_>>()?;
        let upper = own.to_ascii_uppercase();
        if schema.is_none() && matches!(upper.as_str(), "GROUPING" | "GROUPING_ID") {
            return self.grouping(&upper, &exprs, names, span);
        }
        match schema.as_deref() {
            None | Some("dbo" | "sys") => self.called(&own, &exprs, names, span),
            Some("kusto") => self.kql_call(&own, &exprs, names, span),
            Some(other) => Err(self.mistake(UNRESOLVED, span, format!("the schema '{other}' is not known"))),
        }
    }

    /// The text of an aggregate; its arguments see the rows.
    pub(super) fn aggregate(
        &mut self,
        call: &Function,
        names: &mut Names<'_, '_>,
    ) -> Result<(String, Option<KqlType>)> {
        let FunctionArguments::List(list) = &call.args else {
            return Err(self.not_served(format!("{} without arguments", call.name)));
        };
        let is_distinct =
            list.duplicate_treatment == Some(datafusion::sql::sqlparser::ast::DuplicateTreatment::Distinct);
        let what = call.name.to_string().to_ascii_uppercase();
        if let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] = list.args.as_slice() {
            return match what.as_str() {
                "COUNT" | "COUNT_BIG" if !is_distinct => Ok(("count()".to_string(), Some(KqlType::Long))),
                _ => Err(self.not_served(format!("{what}(*)"))),
            };
        }
        let mut values = Vec::new();
        for expr in self.arguments(&what, &list.args)? {
            values.push(self.expr(expr, &mut Names::of(names.scope))?);
        }
        self.aggregate_of(&what, values, is_distinct)
    }
}

pub(super) const BOOL: Option<KqlType> = Some(KqlType::Bool);

enum Found<'s> {
    One(&'s ScopeColumn),
    Several,
    None,
}

/// The column of a name: exactly so spelled, else the only one that differs in case.
fn find<'s>(scope: &'s [ScopeColumn], last: &Ident, qualifiers: &[Ident]) -> Found<'s> {
    let fits = |column: &ScopeColumn, exact: bool| {
        let is_name = match exact {
            true => column.name == last.value,
            false => column.name.eq_ignore_ascii_case(&last.value),
        };
        is_name
            && column.qualifiers.first().is_none_or(|own| own != WINDOW)
            && qualifiers.len() <= column.qualifiers.len()
            && qualifiers
                .iter()
                .rev()
                .zip(&column.qualifiers)
                .all(|(wanted, own)| own.eq_ignore_ascii_case(&wanted.value))
    };
    for exact in [true, false] {
        let mut found = scope.iter().filter(|column| fits(column, exact));
        match (found.next(), found.next()) {
            (Some(column), None) => return Found::One(column),
            (Some(_), Some(_)) => return Found::Several,
            (None, _) => {}
        }
    }
    Found::None
}

fn bits(call: &str, left: &Typed, right: &Typed) -> Typed {
    Typed::atom(format!("{call}({}, {})", left.text, right.text), KqlType::Long)
}

/// A null of a type; a text has none and is empty.
pub(super) fn null_of(ty: KqlType) -> Typed {
    let text = match ty {
        KqlType::String => "\"\"".to_string(),
        ty => format!("{}(null)", ty.name()),
    };
    Typed { literal: Literal::Null, ..Typed::atom(text, ty) }
}

/// KQL's conversion to a type.
pub(super) fn conversion(ty: KqlType) -> &'static str {
    match ty {
        KqlType::Bool => "tobool",
        KqlType::Int => "toint",
        KqlType::Long => "tolong",
        KqlType::Real => "toreal",
        KqlType::Decimal => "todecimal",
        KqlType::String => "tostring",
        KqlType::DateTime => "todatetime",
        KqlType::TimeSpan => "totimespan",
        KqlType::Guid => "toguid",
        KqlType::Dynamic => "todynamic",
    }
}

#[derive(PartialEq)]
enum Piece {
    Character(char),
    Any,
    One,
    Set(String),
}

fn like_pieces(pattern: &str, escape: Option<char>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        if Some(character) == escape {
            pieces.extend(rest.next().map(Piece::Character));
            continue;
        }
        match character {
            '%' => pieces.push(Piece::Any),
            '_' => pieces.push(Piece::One),
            '[' => {
                let set: String = rest.clone().take_while(|character| *character != ']').collect();
                let length = set.chars().count();
                if set.is_empty() || rest.clone().nth(length) != Some(']') {
                    pieces.push(Piece::Character('['));
                    continue;
                }
                rest.nth(length);
                pieces.push(Piece::Set(set));
            }
            other => pieces.push(Piece::Character(other)),
        }
    }
    pieces
}

/// The regular expression that finds a pattern of PATINDEX in a text.
pub(super) fn pattern_regex(pattern: &str) -> String {
    let pieces = like_pieces(pattern, None);
    let begin = pieces.iter().take_while(|piece| **piece == Piece::Any).count();
    let inner = &pieces[begin..];
    let inner = &inner[..inner.len() - inner.iter().rev().take_while(|piece| **piece == Piece::Any).count()];
    let mut regex = String::from(if begin == 0 { "(?is)^" } else { "(?is)" });
    write_regex(inner, &mut regex);
    if pieces.last().is_some_and(|piece| *piece != Piece::Any) {
        regex.push_str("\\z");
    }
    regex
}

fn write_regex(pieces: &[Piece], regex: &mut String) {
    let escaped = |character: char, out: &mut String| {
        if !character.is_alphanumeric() && !character.is_whitespace() && character.is_ascii() {
            out.push('\\');
        }
        out.push(character);
    };
    for piece in pieces {
        match piece {
            Piece::Character(character) => escaped(*character, regex),
            Piece::Any => regex.push_str(".*"),
            Piece::One => regex.push('.'),
            Piece::Set(set) => {
                regex.push('[');
                let (negated, set) = match set.strip_prefix('^') {
                    Some(rest) => ("^", rest),
                    None => ("", set.as_str()),
                };
                regex.push_str(negated);
                for character in set.chars() {
                    match character {
                        '-' => regex.push('-'),
                        other => escaped(other, regex),
                    }
                }
                regex.push(']');
            }
        }
    }
}

/// The operator that a LIKE pattern means, and its argument.
fn like_operator(pattern: &str, escape: Option<char>) -> (&'static str, String) {
    let pieces = like_pieces(pattern, escape);
    let literal = |pieces: &[Piece]| -> Option<String> {
        pieces
            .iter()
            .map(|piece| if let Piece::Character(character) = piece { Some(*character) } else { None })
            .collect()
    };
    match pieces.as_slice() {
        [Piece::Any, inner @ .., Piece::Any] if !inner.is_empty() && literal(inner).is_some() => {
            return ("contains", literal(inner).unwrap_or_default());
        }
        [inner @ .., Piece::Any] if !inner.is_empty() && literal(inner).is_some() => {
            return ("startswith", literal(inner).unwrap_or_default());
        }
        [Piece::Any, inner @ ..] if !inner.is_empty() && literal(inner).is_some() => {
            return ("endswith", literal(inner).unwrap_or_default());
        }
        all if literal(all).is_some() => return ("=~", literal(all).unwrap_or_default()),
        _ => {}
    }
    let mut regex = String::from("(?is)^");
    write_regex(&pieces, &mut regex);
    regex.push('$');
    ("matches regex", regex)
}
