//! Scalar expressions.

use tidewater_kql::ast::{BinaryOp, Expr, ExprKind, Literal, Name, UnaryOp};
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::{datetime, timespan};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::let_::AnyValue;
use crate::bind::row::Row;
use crate::bind::scope::Binding;
use crate::bind::{Binder, Bound, MAX_EXPRESSION_DEPTH, Stopped};
use crate::bound::{BExpr, BExprKind, Constant, Value};

/// Stack that must be left before binding goes one level deeper, and how much is added.
const STACK_RED_ZONE: usize = 128 * 1024;
const STACK_GROWTH: usize = 2 * 1024 * 1024;

impl Binder<'_> {
    /// Goes one level deeper, within the limit and with enough stack.
    pub fn deeper<T>(&mut self, span: Span, body: impl FnOnce(&mut Self) -> Bound<T>) -> Bound<T> {
        if self.expression_depth >= MAX_EXPRESSION_DEPTH {
            return self.fail(
                diagnostic::GENERAL,
                span,
                format!("the query is too complex: expressions are nested deeper than {MAX_EXPRESSION_DEPTH}"),
            );
        }
        self.expression_depth += 1;
        let result = stacker::maybe_grow(STACK_RED_ZONE, STACK_GROWTH, || body(self));
        self.expression_depth -= 1;
        result
    }

    /// Binds a scalar expression.
    pub fn expr(&mut self, expr: &Expr, row: &mut Row<'_>) -> Bound<BExpr> {
        self.spend(1, expr.span)?;
        self.deeper(expr.span, |binder| binder.expr_of(expr, row))
    }

    fn expr_of(&mut self, expr: &Expr, row: &mut Row<'_>) -> Bound<BExpr> {
        if let Some(reference) = self.pattern_reference(expr) {
            return match self.pattern_value(&reference)? {
                AnyValue::Scalar(value) => Ok(value),
                AnyValue::Table(_) => self.scalar_expected(expr.span),
            };
        }
        match &expr.kind {
            ExprKind::Literal(literal) => self.literal(literal, expr.span),
            ExprKind::Name(name) => self.name(name, row),
            ExprKind::Member { .. } | ExprKind::Index { .. } => self.path(expr, row),
            ExprKind::Call { base, name, arguments } => self.call(base.as_deref(), name, arguments, row),
            ExprKind::Unary { op, operand } => {
                let bound = self.expr(operand, row)?;
                // The sign is one character.
                let sign = Span { start: expr.span.start, end: expr.span.start + 1 };
                self.unary(*op, bound, sign)
            }
            ExprKind::Binary { op, left, right, .. } if matches!(left.kind, ExprKind::Star) => {
                self.star_operator(*op, right, row, expr.span)
            }
            ExprKind::Binary { op, left, right, at } => {
                let left_bound = self.expr(left, row);
                let right_bound = self.expr(right, row);
                self.binary(*op, left_bound?, right_bound?, *at)
            }
            ExprKind::Chain { op, operands, at } => self.chain(*op, operands, at, row),
            ExprKind::InList { op, operand, list } => self.in_list(*op, operand, list, row, expr.span),
            ExprKind::Between { negated, operand, low, high, at } => {
                let places = [operand.span, low.span, high.span];
                let operand = self.expr(operand, row);
                let low = self.expr(low, row);
                let high = self.expr(high, row);
                let (operand, low, high) = (operand?, low?, high?);
                let place = between_place([operand.ty, low.ty, high.ty], places, *at);
                self.between(*negated, operand, low, high, place)
            }
            ExprKind::Pipe(pipeline) => match (&pipeline.source, pipeline.operators.is_empty()) {
                (Some(source), true) if !self.is_tabular(source) => self.expr(source, row),
                _ => self.scalar_expected(expr.span),
            },
            ExprKind::DataTable { .. }
            | ExprKind::ExternalData { .. }
            | ExprKind::InlineExternalTable(_)
            | ExprKind::OtherSource { .. } => self.scalar_expected(expr.span),
            ExprKind::Star | ExprKind::Wildcard(_) => {
                self.fail(diagnostic::SYNTAX, expr.span, "'*' is not expected here: a scalar expression is")
            }
            ExprKind::Lambda(_) => self.fail(diagnostic::GENERAL, expr.span, "a function cannot be used as a value"),
            ExprKind::EntityGroup(_) => {
                self.fail(diagnostic::GENERAL, expr.span, "an entity group is for 'macro-expand' only")
            }
            ExprKind::TypeOf(_) | ExprKind::TypeOfSchema(_) => {
                self.fail(diagnostic::GENERAL, expr.span, "typeof() is not expected here: a scalar expression is")
            }
            ExprKind::Error => Err(self.syntax_error(expr.span)),
        }
    }

    /// A table stands where a scalar is expected.
    pub fn scalar_expected<T>(&mut self, span: Span) -> Bound<T> {
        self.fail(
            diagnostic::SCALAR_EXPECTED,
            span,
            "a scalar expression is expected here, but this is tabular; toscalar() takes its first value",
        )
    }

    /// The parser has reported what is wrong; only when it has not, this does.
    pub fn syntax_error(&mut self, span: Span) -> Stopped {
        self.report(Diagnostic::new(diagnostic::SYNTAX, span, "the text here could not be understood"))
    }

    fn literal(&mut self, literal: &Literal, span: Span) -> Bound<BExpr> {
        Ok(BExpr::constant(self.literal_constant(literal, span)?))
    }

    /// The constant of a literal.
    pub fn literal_constant(&mut self, literal: &Literal, span: Span) -> Bound<Constant> {
        let (ty, value) = match literal {
            Literal::Bool(value) => (KqlType::Bool, value.map(Value::Bool)),
            Literal::Int(value) => (KqlType::Int, value.map(Value::Int)),
            Literal::Long(value) => (KqlType::Long, value.map(Value::Long)),
            Literal::Real(value) => (KqlType::Real, value.map(Value::Real)),
            Literal::String(text) => (KqlType::String, Some(Value::String(text.clone()))),
            Literal::DateTime(ticks) => (KqlType::DateTime, ticks.map(Value::DateTime)),
            Literal::TimeToday(ticks) => {
                let now = self.now_ticks();
                let midnight = now - now.rem_euclid(timespan::TICKS_PER_DAY);
                (KqlType::DateTime, datetime::add(midnight, *ticks).map(Value::DateTime))
            }
            Literal::TimeSpan(ticks) => (KqlType::TimeSpan, ticks.map(Value::TimeSpan)),
            Literal::Guid(bytes) => (KqlType::Guid, bytes.map(Value::Guid)),
            Literal::Dynamic(text) => (KqlType::Dynamic, text.clone().map(Value::Dynamic)),
            Literal::Decimal(None) => (KqlType::Decimal, None),
            Literal::Decimal(Some(text)) => match Decimal::parse(text) {
                Some(decimal) => (KqlType::Decimal, Some(Value::Decimal(decimal.bytes()))),
                None => return self.fail(diagnostic::SYNTAX, span, format!("'{text}' is not a decimal number")),
            },
        };
        Ok(value.map_or_else(|| Constant::null(ty), |value| Constant { value, ty }))
    }

    /// A column, else a scalar variable: a column hides a variable of the same name.
    fn name(&mut self, name: &Name, row: &mut Row<'_>) -> Bound<BExpr> {
        if let Some(column) = row.column(&name.text) {
            if !row.allows_columns() {
                return self.fail(
                    diagnostic::AGGREGATE_MISPLACED,
                    name.span,
                    format!("column '{}' must be inside an aggregate function here", name.text),
                );
            }
            return Ok(BExpr::column(column));
        }
        if let Some(variable) = self.graph_variable(&name.text, row) {
            return self.graph_part(variable, name.span, row);
        }
        match self.lookup(&name.text) {
            Some(Binding::Scalar(expr)) => {
                self.spend(size(&expr), name.span)?;
                Ok((*expr).clone())
            }
            Some(Binding::Failed) => Err(Stopped),
            Some(Binding::Function(function)) => {
                // A function that needs no argument may be named without brackets.
                match self.invoke_function(&function, &[], None, row, name.span)? {
                    AnyValue::Scalar(expr) => Ok(expr),
                    AnyValue::Table(_) => self.scalar_expected(name.span),
                }
            }
            Some(Binding::Table(_) | Binding::Graph(_)) => self.scalar_expected(name.span),
            Some(Binding::Pattern(_)) => {
                self.fail(diagnostic::ARGUMENT_COUNT, name.span, format!("pattern '{}' needs its arguments", name.text))
            }
            Some(Binding::EntityGroup(_) | Binding::Entity(..)) | None => self.unresolved_scalar(name, row),
        }
    }

    fn unresolved_scalar(&mut self, name: &Name, row: &Row<'_>) -> Bound<BExpr> {
        if self.view.table(&self.database, &name.text).is_some() {
            return self.scalar_expected(name.span);
        }
        let known = self.visible_names();
        let names = row.columns.iter().map(|column| column.name.as_str()).chain(known.iter().map(String::as_str));
        let diagnostic = Diagnostic::new(
            diagnostic::UNRESOLVED,
            name.span,
            format!("Failed to resolve column or scalar expression named '{}'", name.text),
        )
        .hint_nearest(&name.text, names);
        Err(self.report(diagnostic))
    }

    /// `-x`, `+x`.
    pub fn unary(&mut self, op: UnaryOp, operand: BExpr, span: Span) -> Bound<BExpr> {
        let numeric = operand.ty.is_numeric() || operand.ty == KqlType::TimeSpan;
        if !numeric && operand.ty != KqlType::Dynamic {
            let sign = if op == UnaryOp::Minus { "-" } else { "+" };
            let message = format!("operator '{sign}' is not defined for {}", operand.ty);
            return self.fail(diagnostic::OPERAND_TYPE, span, message);
        }
        if op == UnaryOp::Plus {
            return Ok(operand);
        }
        let value = match &operand.kind {
            BExprKind::Constant(Value::Int(value)) => Some(Value::Int(value.wrapping_neg())),
            BExprKind::Constant(Value::Long(value)) => Some(Value::Long(value.wrapping_neg())),
            BExprKind::Constant(Value::TimeSpan(value)) => Some(Value::TimeSpan(value.wrapping_neg())),
            BExprKind::Constant(Value::Real(value)) => Some(Value::Real(-value)),
            BExprKind::Constant(Value::Null) => Some(Value::Null),
            _ => None,
        };
        if let Some(value) = value {
            return Ok(BExpr { kind: BExprKind::Constant(value), ty: operand.ty });
        }
        // Only a literal stays int: the smallest int has no negative there.
        let ty = tidewater_functions::operator::negated_type(operand.ty).unwrap_or(operand.ty);
        Ok(BExpr { kind: BExprKind::Negate(Box::new(operand)), ty })
    }

    fn chain(&mut self, op: BinaryOp, operands: &[Expr], at: &[Span], row: &mut Row<'_>) -> Bound<BExpr> {
        let mut bound = Vec::with_capacity(operands.len());
        let mut failed = None;
        for (position, operand) in operands.iter().enumerate() {
            let place = at.get(position.saturating_sub(1)).copied().unwrap_or(operand.span);
            match self.expr(operand, row) {
                Ok(expr) => match self.boolean_operand(op, expr, place) {
                    Ok(expr) => bound.push(expr),
                    Err(stopped) => failed = Some(stopped),
                },
                Err(stopped) => failed = Some(stopped),
            }
        }
        if let Some(stopped) = failed {
            return Err(stopped);
        }
        if !matches!(op, BinaryOp::And | BinaryOp::Or) {
            // Only `and` and `or` come as chains; any other would be folded from the left.
            let mut operands = bound.into_iter();
            let Some(mut result) = operands.next() else { return Err(Stopped) };
            for operand in operands {
                result = self.binary(op, result, operand, Span::default())?;
            }
            return Ok(result);
        }
        Ok(BExpr { kind: BExprKind::Chain { op, operands: bound }, ty: KqlType::Bool })
    }

    /// A predicate of `where` and its like: bool only. Source: kql-behaviour section 2.
    pub fn predicate(&mut self, expr: &Expr, row: &mut Row<'_>) -> Bound<BExpr> {
        let bound = self.expr(expr, row)?;
        if bound.ty != KqlType::Bool {
            let message = format!("a predicate of type bool is expected, but this is {}", bound.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, expr.span, message);
        }
        Ok(bound)
    }
}

/// Where types that `between` does not take are reported: at the value that does not go with the first, or at the
/// operator when none of them goes. Source: the reference parser.
fn between_place(types: [KqlType; 3], places: [Span; 3], at: Span) -> Span {
    use KqlType::{DateTime, Dynamic, TimeSpan};
    let [operand, low, high] = types;
    let never = |ty: KqlType| !ty.is_numeric() && !matches!(ty, DateTime | TimeSpan | Dynamic);
    let bounds = [low, high];
    if never(operand) {
        return if bounds.iter().any(|ty| matches!(ty, DateTime | TimeSpan | Dynamic)) { places[0] } else { at };
    }
    let goes = |ty: KqlType| match operand {
        DateTime | TimeSpan => ty == operand,
        _ => ty.is_numeric() || ty == Dynamic,
    };
    match (goes(low), goes(high)) {
        _ if operand.is_numeric() && bounds.iter().all(|ty| never(*ty)) => at,
        (false, _) => places[1],
        (true, false) => places[2],
        _ => at,
    }
}

/// Nodes of an expression; constant lists count as one.
pub(crate) fn size(expr: &BExpr) -> usize {
    let mut count = 0;
    expr.any(|_| {
        count += 1;
        false
    });
    count
}
