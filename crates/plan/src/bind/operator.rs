//! Typing of operators. Source: kql-behaviour section 2; the tables there were measured on the reference parser.

use tidewater_functions::scalar::regexes;
use tidewater_kql::ast::BinaryOp;
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::conversion::widest;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Value};

/// The code of a regular expression that is not one. Source: kql-behaviour section 15.
const BAD_REGEX: &str = "SEM0420";
/// The code of a regular expression with too many groups. Source: kql-behaviour section 15.
const REGEX_GROUPS: &str = "SEM0213";
/// Groups of one regular expression. Source: matches regex page.
const MAX_REGEX_GROUPS: usize = 16;

fn is_constant(expr: &BExpr) -> bool {
    !expr.any(|node| matches!(node.kind, BExprKind::Column(_) | BExprKind::Needed(_)))
}

impl Binder<'_> {
    /// A binary operator with its operands converted.
    pub fn binary(&mut self, op: BinaryOp, left: BExpr, right: BExpr, span: Span) -> Bound<BExpr> {
        use BinaryOp::*;
        match op {
            And | Or => {
                let left = self.boolean_operand(op, left, span)?;
                let right = self.boolean_operand(op, right, span)?;
                Ok(made(op, left, right, KqlType::Bool))
            }
            Add | Subtract | Multiply | Divide | Modulo => self.arithmetic(op, left, right, span),
            Equal | NotEqual => self.equality(op, left, right, span),
            Less | LessOrEqual | Greater | GreaterOrEqual => self.ordering(op, left, right, span),
            _ => self.text_operator(op, left, right, span),
        }
    }

    /// An operand of `and`, `or`: a bool, or a dynamic that is read as one.
    pub fn boolean_operand(&mut self, op: BinaryOp, operand: BExpr, span: Span) -> Bound<BExpr> {
        match operand.ty {
            KqlType::Bool => Ok(operand),
            KqlType::Dynamic => Ok(self.convert(operand, KqlType::Bool)),
            ty => {
                let message = format!("operator '{}' needs operands of type bool, but this is {ty}", op.text());
                self.fail(diagnostic::OPERAND_TYPE, span, message)
            }
        }
    }

    fn undefined(&mut self, op: BinaryOp, left: KqlType, right: KqlType, span: Span) -> Bound<BExpr> {
        let message = format!("operator '{}' is not defined for the types {left} and {right}", op.text());
        self.fail(diagnostic::OPERAND_TYPE, span, message)
    }

    fn arithmetic(&mut self, op: BinaryOp, left: BExpr, right: BExpr, span: Span) -> Bound<BExpr> {
        use BinaryOp::*;
        use KqlType::*;
        let (l, r) = (left.ty, right.ty);
        // Numbers, with a dynamic read as the other side's type.
        if (l.is_numeric() || l == Dynamic) && (r.is_numeric() || r == Dynamic) {
            let ty = match (l, r) {
                (Dynamic, Dynamic) => {
                    let message = format!(
                        "operator '{}' is not defined for two dynamic values; cast them, for example with tolong() or todouble()",
                        op.text()
                    );
                    return self.fail(diagnostic::OPERAND_TYPE, span, message);
                }
                (Dynamic, number) | (number, Dynamic) => number,
                _ => widest(l, r).expect("both are numbers"),
            };
            // int with int is long for every operator.
            let ty = if ty == Int { Long } else { ty };
            let left = self.convert(left, ty);
            let right = self.convert(right, ty);
            return Ok(made(op, left, right, ty));
        }
        let (left_ty, right_ty, result) = match (op, l, r) {
            (Add, DateTime, TimeSpan | Dynamic) => (DateTime, TimeSpan, DateTime),
            (Add, TimeSpan, DateTime) => (TimeSpan, DateTime, DateTime),
            (Add, Dynamic, DateTime) => (TimeSpan, DateTime, DateTime),
            (Subtract, DateTime, DateTime | Dynamic) | (Subtract, Dynamic, DateTime) => (DateTime, DateTime, TimeSpan),
            (Subtract, DateTime, TimeSpan) => (DateTime, TimeSpan, DateTime),
            (Add | Subtract, TimeSpan | Dynamic, TimeSpan | Dynamic) => (TimeSpan, TimeSpan, TimeSpan),
            (Multiply | Divide, TimeSpan, number) if number.is_numeric() => (TimeSpan, number, TimeSpan),
            (Multiply, number, TimeSpan) if number.is_numeric() => (number, TimeSpan, TimeSpan),
            (Divide, TimeSpan, TimeSpan) => (TimeSpan, TimeSpan, Real),
            (Modulo, TimeSpan, TimeSpan) => (TimeSpan, TimeSpan, TimeSpan),
            (Divide, DateTime, TimeSpan) => (DateTime, TimeSpan, Real),
            (Modulo, DateTime, TimeSpan) => (DateTime, TimeSpan, TimeSpan),
            _ => return self.undefined(op, l, r, span),
        };
        // int scales like long; the kernels know one integer type there.
        let number = |ty| if ty == Int { Long } else { ty };
        let left = self.convert(left, number(left_ty));
        let right = self.convert(right, number(right_ty));
        Ok(made(op, left, right, result))
    }

    /// Brings the operands of a comparison to one type; a constant is read as the other side's type.
    ///
    /// A dynamic beside a string is read as its text, so that a null is `""`; beside another type it stays as it
    /// is: the comparison kernels know both. Source: kql-behaviour section 2, recorded answers.
    pub fn comparable(&mut self, left: BExpr, right: BExpr, span: Span) -> Bound<(BExpr, BExpr)> {
        use KqlType::*;
        let (l, r) = (left.ty, right.ty);
        if l == r {
            if l == Dynamic {
                return self.fail(
                    diagnostic::GENERAL,
                    span,
                    "Cannot compare dynamic values without explicit cast; use tostring(), tolong() or another conversion",
                );
            }
            return Ok((left, right));
        }
        if (l, r) == (Dynamic, String) {
            return Ok((self.convert(left, String), right));
        }
        if (l, r) == (String, Dynamic) {
            return Ok((left, self.convert(right, String)));
        }
        if l == Dynamic || r == Dynamic {
            return Ok((left, right));
        }
        let left_constant = is_constant(&left);
        let right_constant = is_constant(&right);
        if l.is_numeric() && r.is_numeric() {
            // A constant that the column's type holds exactly keeps the column bare, so that statistics prune.
            let narrowed = |binder: &mut Self, constant: &BExpr, to: KqlType| {
                let narrow = binder.convert(constant.clone(), to);
                matches!(narrow.kind, BExprKind::Constant(_)).then_some(narrow)
            };
            if right_constant && let Some(narrow) = narrowed(self, &right, l) {
                return Ok((left, narrow));
            }
            if left_constant && let Some(narrow) = narrowed(self, &left, r) {
                return Ok((narrow, right));
            }
            let ty = widest(l, r).expect("both are numbers");
            return Ok((self.convert(left, ty), self.convert(right, ty)));
        }
        if matches!((l, r), (Bool, Int | Long | Real | Decimal) | (Int | Long | Real | Decimal, Bool)) {
            let ty = if l == Bool { r } else { l };
            let ty = if ty == Int { Long } else { ty };
            return Ok((self.convert(left, ty), self.convert(right, ty)));
        }
        // Text against a typed column: the constant is read as the column's type.
        if r == String && right_constant {
            let right = self.convert(right, l);
            return Ok((left, self.folded(right)));
        }
        if l == String && left_constant {
            let left = self.convert(left, r);
            return Ok((self.folded(left), right));
        }
        // A column of strings is compared with the text of a constant.
        if l == String && right_constant {
            let right = self.convert(right, String);
            return Ok((left, self.folded(right)));
        }
        if r == String && left_constant {
            let left = self.convert(left, String);
            return Ok((self.folded(left), right));
        }
        let message = format!("Cannot compare values of types {l} and {r}. Try adding explicit casts");
        self.fail(diagnostic::OPERAND_TYPE, span, message)
    }

    fn equality(&mut self, op: BinaryOp, left: BExpr, right: BExpr, span: Span) -> Bound<BExpr> {
        let (left, right) = self.comparable(left, right, span)?;
        Ok(made(op, left, right, KqlType::Bool))
    }

    fn ordering(&mut self, op: BinaryOp, left: BExpr, right: BExpr, span: Span) -> Bound<BExpr> {
        use KqlType::*;
        let (l, r) = (left.ty, right.ty);
        let number = |ty: KqlType| ty.is_numeric() || ty == Bool;
        let defined = match (l, r) {
            (DateTime, DateTime) | (TimeSpan, TimeSpan) => true,
            (Dynamic, other) | (other, Dynamic) => other.is_numeric(),
            _ => number(l) && number(r),
        };
        if !defined {
            return match (l, r) {
                (Dynamic, Dynamic) => self.comparable(left, right, span).map(|(left, _)| left),
                (String, String) => self.fail(
                    diagnostic::OPERAND_TYPE,
                    span,
                    format!("operator '{}' is not defined for strings; use strcmp()", op.text()),
                ),
                _ => self.undefined(op, l, r, span),
            };
        }
        let (left, right) = self.comparable(left, right, span)?;
        Ok(made(op, left, right, Bool))
    }

    fn text_operator(&mut self, op: BinaryOp, left: BExpr, right: BExpr, span: Span) -> Bound<BExpr> {
        use KqlType::*;
        let text = |ty| matches!(ty, String | Dynamic);
        if !text(left.ty) || !text(right.ty) {
            return self.undefined(op, left.ty, right.ty, span);
        }
        // Terms are looked for by text: a dynamic needle must be cast. Source: kql-behaviour section 2.
        if right.ty == Dynamic && looks_for_terms(op) {
            return self.undefined(op, left.ty, right.ty, span);
        }
        let left = self.convert(left, String);
        let right = self.convert(right, String);
        if op == BinaryOp::MatchesRegex {
            let right = self.folded(right);
            self.regular_expression("matches regex", &right, span)?;
            if !is_constant(&right) && !right.any(|node| matches!(node.kind, BExprKind::Needed(_))) {
                return self.fail(
                    diagnostic::NOT_CONSTANT,
                    span,
                    "the regular expression of 'matches regex' must be a constant",
                );
            }
            return Ok(made(op, left, right, Bool));
        }
        Ok(made(op, left, right, Bool))
    }

    /// Refuses a constant that is no regular expression, or has too many groups. Source: matches regex page,
    /// kql-behaviour section 15.
    pub fn regular_expression(&mut self, what: &str, pattern: &BExpr, span: Span) -> Bound<()> {
        let BExprKind::Constant(Value::String(pattern)) = &pattern.kind else { return Ok(()) };
        match regexes::groups(pattern) {
            Err(reason) => self.fail(BAD_REGEX, span, format!("{what}: {reason}")),
            Ok(groups) if groups > MAX_REGEX_GROUPS => {
                let message = format!("{what}: a regular expression may have {MAX_REGEX_GROUPS} groups, not {groups}");
                self.fail(REGEX_GROUPS, span, message)
            }
            Ok(_) => Ok(()),
        }
    }

    /// `between`. Source: between-operator page, kql-behaviour section 8.
    pub fn between(&mut self, negated: bool, operand: BExpr, low: BExpr, high: BExpr, span: Span) -> Bound<BExpr> {
        use KqlType::*;
        let types = (operand.ty, low.ty, high.ty);
        let numeric = |ty: KqlType| ty.is_numeric();
        let (operand, low, high) = match types {
            (DateTime, DateTime, DateTime) | (TimeSpan, TimeSpan, TimeSpan) => (operand, low, high),
            // The engine takes bools, which the reference parser does not. Source: recorded answers.
            (Bool, Bool, Bool) => (operand, low, high),
            // A span above a datetime is counted from the lower bound.
            (DateTime, DateTime, TimeSpan) => {
                let end = self.arithmetic(BinaryOp::Add, low.clone(), high, span)?;
                (operand, low, self.folded(end))
            }
            (o, l, h)
                if (numeric(o) || o == Dynamic) && (numeric(l) || l == Dynamic) && (numeric(h) || h == Dynamic) =>
            {
                let ty = [o, l, h].into_iter().filter(|ty| *ty != Dynamic).reduce(|l, r| widest(l, r).unwrap_or(l));
                let Some(ty) = ty else {
                    return self.fail(
                        "SEM0208",
                        span,
                        "operator 'between' is not defined for dynamic values; cast them first",
                    );
                };
                let narrow = |binder: &mut Self, bound: &BExpr| {
                    let bound = binder.convert(bound.clone(), o);
                    matches!(bound.kind, BExprKind::Constant(_)).then_some(bound)
                };
                match (
                    o.is_numeric().then(|| narrow(self, &low)).flatten(),
                    o.is_numeric().then(|| narrow(self, &high)).flatten(),
                ) {
                    (Some(low), Some(high)) => (operand, low, high),
                    _ => (self.convert(operand, ty), self.convert(low, ty), self.convert(high, ty)),
                }
            }
            (o, l, h) => {
                let message = format!("operator 'between' is not defined for {o} with bounds of types {l} and {h}");
                let code = match o {
                    String | Guid | Dynamic | Bool => "SEM0208",
                    DateTime | TimeSpan => "SEM0232",
                    Int | Long | Real | Decimal => "SEM0234",
                };
                return self.fail(code, span, message);
            }
        };
        let kind = BExprKind::Between { negated, operand: Box::new(operand), low: Box::new(low), high: Box::new(high) };
        Ok(BExpr { kind, ty: Bool })
    }
}

/// `has` and its relatives for the beginning and end of terms.
fn looks_for_terms(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(
        op,
        Has | NotHas
            | HasCs
            | NotHasCs
            | HasPrefix
            | NotHasPrefix
            | HasPrefixCs
            | NotHasPrefixCs
            | HasSuffix
            | NotHasSuffix
            | HasSuffixCs
            | NotHasSuffixCs
    )
}

fn made(op: BinaryOp, left: BExpr, right: BExpr, ty: KqlType) -> BExpr {
    BExpr { kind: BExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, ty }
}
