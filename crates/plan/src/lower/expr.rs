//! Bound expressions as engine expressions.
//!
//! `value` computes exactly what KQL means, nulls included. `holds` may be false where KQL says
//! null, and `fails` is true exactly where KQL says false: predicates go through these two, so
//! that plain comparisons of the engine stay plain and prune files, row groups and pages.

use datafusion::common::{Column, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, Operator, binary_expr, lit};
use tidewater_functions::operator::{self, Context};
use tidewater_functions::udf::KernelUdf;
use tidewater_functions::{Imp, Scalar, convert, dynamic};
use tidewater_kql::KqlType;
use tidewater_kql::ast::{BinaryOp, InOp};

use crate::bound::{BExpr, BExprKind, ColumnId, Constant, InItem, JoinKind, PathStep, Rel, RelOp, Value};
use crate::exec::monotone::{Monotone, Step};
use crate::exec::plain;

/// The engine's column of a bound column.
pub fn column(id: ColumnId) -> Expr {
    Expr::Column(Column::new_unqualified(id.engine_name()))
}

/// The value of an expression.
pub fn value(expr: &BExpr) -> Result<Expr> {
    stacker::maybe_grow(64 << 10, 2 << 20, || lower(expr, Context::Value))
}

/// The value of an expression over a relation as a key: equal values are equal to the engine. See `plain::key`.
pub fn key(expr: &BExpr, input: &Rel) -> Result<Expr> {
    match expr.ty == KqlType::String && is_filled(expr, input) {
        true => value(expr),
        false => Ok(plain::key(value(expr)?, expr.ty)),
    }
}

/// A column of a relation as a key.
pub fn key_column(id: ColumnId, input: &Rel) -> Expr {
    let ty = input.columns.iter().find(|column| column.id == id).map_or(KqlType::Long, |column| column.ty);
    match ty == KqlType::String && is_filled_column(input, id, &mut MAX_VISITS.clone()) {
        true => column(id),
        false => plain::key(column(id), ty),
    }
}

/// Relations that are looked at to learn of one string column that it has no null slots.
const MAX_VISITS: u32 = 500;

/// Whether a string is known to have no null slots. Nothing is lost by `false` but an expression.
pub(super) fn is_filled(expr: &BExpr, input: &Rel) -> bool {
    match expr.kind {
        BExprKind::Constant(_) | BExprKind::Convert(_) => true,
        BExprKind::Column(id) => is_filled_column(input, id, &mut MAX_VISITS.clone()),
        _ => false,
    }
}

fn is_filled_column(rel: &Rel, id: ColumnId, visits: &mut u32) -> bool {
    let mut rel = rel;
    let mut id = id;
    loop {
        if *visits == 0 {
            return false;
        }
        *visits -= 1;
        let Some(position) = rel.columns.iter().position(|column| column.id == id) else { return false };
        match &rel.op {
            RelOp::Rows { .. } => return true,
            RelOp::Table { table, .. } => return table.is_filled,
            RelOp::Aggregate { keys, .. } => return position < keys.len(),
            RelOp::Filter { input, .. }
            | RelOp::Sort { input, .. }
            | RelOp::Limit { input, .. }
            | RelOp::Sample { input, .. }
            | RelOp::PartitionTop { input, .. } => rel = input,
            RelOp::MvExpand { input, .. }
            | RelOp::Parse { input, .. }
            | RelOp::ParseKv { input, .. }
            | RelOp::Window { input, .. }
                if position < input.columns.len() =>
            {
                rel = input;
            }
            RelOp::Project { input, items } => match items.get(position).map(|item| &item.kind) {
                Some(BExprKind::Column(below)) => (rel, id) = (input, *below),
                Some(BExprKind::Constant(_) | BExprKind::Convert(_)) => return true,
                _ => return false,
            },
            RelOp::Shared { rel: inner, .. } => match inner.columns.get(position) {
                Some(column) => (rel, id) = (inner, column.id),
                None => return false,
            },
            RelOp::Join { kind, left, right, .. } => {
                let is_left = left.columns.iter().any(|column| column.id == id);
                let is_padded = match kind {
                    JoinKind::FullOuter => true,
                    JoinKind::LeftOuter => !is_left,
                    JoinKind::RightOuter => is_left,
                    _ => false,
                };
                if is_padded {
                    return false;
                }
                rel = if is_left { left } else { right };
            }
            RelOp::Union { inputs } => {
                return inputs.iter().all(|input| {
                    let column = input.columns.get(position);
                    stacker::maybe_grow(64 << 10, 2 << 20, || {
                        column.is_some_and(|column| is_filled_column(input, column.id, visits))
                    })
                });
            }
            _ => return false,
        }
    }
}

fn lower(expr: &BExpr, context: Context) -> Result<Expr> {
    Ok(match &expr.kind {
        BExprKind::Constant(value) => constant(value, expr.ty),
        BExprKind::Column(id) => column(*id),
        BExprKind::Call { row, args } => call(row.0, args, expr.ty)?,
        BExprKind::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
            logical(*op, vec![boolean(left)?, boolean(right)?])
        }
        BExprKind::Chain { op, operands } => logical(*op, operands.iter().map(boolean).collect::<Result<_>>()?),
        BExprKind::Binary { op, left, right } => operation(*op, left, right, expr.ty, context)?,
        BExprKind::Negate(operand) => {
            let negative = operator::negate(value(operand)?, operand.ty)?;
            match operator::negated_type(operand.ty) {
                Some(ty) if ty != expr.ty => convert::expr(negative, ty, expr.ty)?,
                _ => negative,
            }
        }
        BExprKind::Not(operand) => Expr::Not(Box::new(boolean(operand)?)),
        BExprKind::InList { op, operand, items } => in_list(*op, operand, items, context)?,
        BExprKind::Between { negated, operand, low, high } => {
            let typed = |part: &BExpr| Ok::<_, datafusion::error::DataFusionError>((value(part)?, part.ty));
            operator::between(*negated, typed(operand)?, typed(low)?, typed(high)?, context)?
        }
        BExprKind::Convert(operand) => match operand.ty == expr.ty {
            true => value(operand)?,
            false => convert::expr(value(operand)?, operand.ty, expr.ty)?,
        },
        BExprKind::Case { branches, otherwise } => {
            let branches = branches
                .iter()
                .map(|(condition, branch)| Ok((holds(condition)?, value(branch)?)))
                .collect::<Result<_>>()?;
            case(branches, value(otherwise)?)
        }
        BExprKind::Coalesce(operands) => coalesce(operands, expr.ty)?,
        BExprKind::IsNull(operand) if operand.ty == KqlType::String => lit(false),
        BExprKind::IsNull(operand) => value(operand)?.is_null(),
        BExprKind::IsEmpty(operand) => is_empty(operand)?,
        BExprKind::Path { base, steps } => path(base, steps)?,
        BExprKind::Needed(key) => return plan_err!("value {} is not known yet", key.0),
    })
}

/// An expression that is true exactly where `expr` is.
pub fn holds(expr: &BExpr) -> Result<Expr> {
    stacker::maybe_grow(64 << 10, 2 << 20, || match &expr.kind {
        BExprKind::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
            Ok(logical(*op, vec![holds(left)?, holds(right)?]))
        }
        BExprKind::Chain { op: BinaryOp::Or, operands } => any_holds(operands),
        BExprKind::Chain { op, operands } => Ok(logical(*op, operands.iter().map(holds).collect::<Result<_>>()?)),
        BExprKind::Not(operand) => fails(operand),
        _ if expr.ty == KqlType::Dynamic => boolean(expr),
        _ => lower(expr, Context::Predicate),
    })
}

/// An expression that is true exactly where `expr` is false.
pub fn fails(expr: &BExpr) -> Result<Expr> {
    let opposite = |op: BinaryOp| if op == BinaryOp::Or { BinaryOp::And } else { BinaryOp::Or };
    stacker::maybe_grow(64 << 10, 2 << 20, || match &expr.kind {
        BExprKind::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
            Ok(logical(opposite(*op), vec![fails(left)?, fails(right)?]))
        }
        BExprKind::Chain { op, operands } => {
            Ok(logical(opposite(*op), operands.iter().map(fails).collect::<Result<_>>()?))
        }
        BExprKind::Not(operand) => holds(operand),
        BExprKind::Binary { op: BinaryOp::Equal, left, right } => {
            operation(BinaryOp::NotEqual, left, right, KqlType::Bool, Context::Predicate)
        }
        BExprKind::Binary { op: BinaryOp::NotEqual, left, right } => {
            operation(BinaryOp::Equal, left, right, KqlType::Bool, Context::Predicate)
        }
        BExprKind::InList { op: InOp::In, operand, items } => in_list(InOp::NotIn, operand, items, Context::Predicate),
        BExprKind::InList { op: InOp::NotIn, operand, items } => in_list(InOp::In, operand, items, Context::Predicate),
        BExprKind::IsEmpty(operand) if operand.ty == KqlType::String => {
            Ok(value(operand)?.not_eq(constant(&Value::String(String::new()), KqlType::String)))
        }
        BExprKind::IsNull(operand) if operand.ty != KqlType::String => Ok(value(operand)?.is_not_null()),
        _ => Ok(Expr::Not(Box::new(boolean(expr)?))),
    })
}

/// The value of an operand of `and`, `or`, `not`: a dynamic is read as a bool.
fn boolean(expr: &BExpr) -> Result<Expr> {
    match expr.ty {
        KqlType::Dynamic => convert::expr(value(expr)?, KqlType::Dynamic, KqlType::Bool),
        _ => value(expr),
    }
}

/// A constant.
pub fn constant(value: &Value, ty: KqlType) -> Expr {
    lit(Constant { value: value.clone(), ty }.to_scalar())
}

/// `and` or `or` of any number of operands, as a tree of logarithmic depth.
pub fn logical(op: BinaryOp, mut operands: Vec<Expr>) -> Expr {
    let operator = if op == BinaryOp::Or { Operator::Or } else { Operator::And };
    while operands.len() > 1 {
        let mut paired = Vec::with_capacity(operands.len().div_ceil(2));
        let mut rest = operands.into_iter();
        while let Some(left) = rest.next() {
            paired.push(match rest.next() {
                Some(right) => binary_expr(left, operator, right),
                None => left,
            });
        }
        operands = paired;
    }
    operands.pop().unwrap_or_else(|| lit(op != BinaryOp::Or))
}

/// `case` with engine expressions.
pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let branches = branches.into_iter().map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    Expr::Case(Case::new(None, branches, Some(Box::new(otherwise))))
}

/// Alternatives: equalities of one column with several constants become one list.
fn any_holds(operands: &[BExpr]) -> Result<Expr> {
    struct List<'a> {
        id: ColumnId,
        column: &'a BExpr,
        items: Vec<(Expr, KqlType)>,
    }
    let mut lists: Vec<List> = Vec::new();
    let mut others = Vec::new();
    for operand in operands {
        match equality(operand) {
            Some((column, id, value)) => {
                let item = (constant(&value, column.ty), column.ty);
                match lists.iter_mut().find(|list| list.id == id) {
                    Some(list) => list.items.push(item),
                    None => lists.push(List { id, column, items: vec![item] }),
                }
            }
            None => others.push(holds(operand)?),
        }
    }
    for List { column, mut items, .. } in lists {
        let operand = value(column)?;
        others.push(match items.len() {
            1 => operand.eq(items.remove(0).0),
            _ => operator::in_list(InOp::In, operand, column.ty, items, Context::Predicate)?,
        });
    }
    Ok(logical(BinaryOp::Or, others))
}

/// `column == constant` where the engine's own equality is KQL's.
fn equality(expr: &BExpr) -> Option<(&BExpr, ColumnId, Value)> {
    let BExprKind::Binary { op: BinaryOp::Equal, left, right } = &expr.kind else { return None };
    let (column, constant) = match (&left.kind, &right.kind) {
        (BExprKind::Column(_), BExprKind::Constant(value)) => (left, value),
        (BExprKind::Constant(value), BExprKind::Column(_)) => (right, value),
        _ => return None,
    };
    let BExprKind::Column(id) = column.kind else { return None };
    let is_empty = matches!(constant, Value::String(text) if text.is_empty());
    if left.ty != right.ty
        || matches!(left.ty, KqlType::Real | KqlType::Dynamic)
        || *constant == Value::Null
        || is_empty
    {
        return None;
    }
    Some((column, id, constant.clone()))
}

fn operation(op: BinaryOp, left: &BExpr, right: &BExpr, returns: KqlType, context: Context) -> Result<Expr> {
    operator::expr(op, value(left)?, left.ty, value(right)?, right.ty, returns, context)
}

fn in_list(op: InOp, operand: &BExpr, items: &[InItem], context: Context) -> Result<Expr> {
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        match item {
            InItem::One(item) | InItem::Elements(item) => list.push((value(item)?, item.ty)),
            InItem::Values(values) => list.extend(values.iter().map(|value| (lit(value.to_scalar()), value.ty))),
        }
    }
    operator::in_list(op, value(operand)?, operand.ty, list, context)
}

fn call(row: &'static Scalar, args: &[BExpr], returns: KqlType) -> Result<Expr> {
    let types: Vec<KqlType> = args.iter().map(|arg| arg.ty).collect();
    let values = args.iter().map(value).collect::<Result<Vec<_>>>()?;
    match row.imp {
        Imp::Native(build) => {
            // The engine's own functions know no empty string in a null slot.
            let texts = values.into_iter().zip(&types);
            let values = texts.map(|(value, ty)| if *ty == KqlType::String { plain::text(value) } else { value });
            build(values.collect(), &types)
        }
        Imp::Kernel(kernel) => Ok(match Step::of(row.name, args) {
            Some(step) => Monotone::call(row.name, kernel, values, &types, returns, step),
            None => KernelUdf::call(row.name, row.is_pure, kernel, values, &types, returns),
        }),
        Imp::Binder => plan_err!("{}() cannot be used here", row.name),
        Imp::Refused(reason) => plan_err!("{}() is not supported: {reason}", row.name),
    }
}

fn coalesce(operands: &[BExpr], ty: KqlType) -> Result<Expr> {
    let Some((last, first)) = operands.split_last() else { return plan_err!("coalesce() has no arguments") };
    let branches = first
        .iter()
        .map(|operand| {
            let operand = value(operand)?;
            let is_there = match ty {
                KqlType::String => operand.clone().not_eq(constant(&Value::String(String::new()), ty)),
                _ => operand.clone().is_not_null(),
            };
            Ok((is_there, operand))
        })
        .collect::<Result<_>>()?;
    Ok(case(branches, value(last)?))
}

fn is_empty(operand: &BExpr) -> Result<Expr> {
    let text = match operand.ty {
        KqlType::String => value(operand)?,
        KqlType::Dynamic => convert::expr(value(operand)?, KqlType::Dynamic, KqlType::String)?,
        _ => return Ok(value(operand)?.is_null()),
    };
    let empty = constant(&Value::String(String::new()), KqlType::String);
    Ok(binary_expr(text.clone().eq(empty), Operator::Or, text.is_null()))
}

fn path(base: &BExpr, steps: &[PathStep]) -> Result<Expr> {
    let mut found = value(base)?;
    let mut constant_steps = Vec::new();
    for step in steps {
        match step {
            PathStep::Key(key) => constant_steps.push(dynamic::Step::key(key)),
            PathStep::Index(position) => constant_steps.push(dynamic::Step::Index(*position)),
            PathStep::Computed(index) => {
                let known = dynamic::Path::new(std::mem::take(&mut constant_steps));
                found = dynamic::access_at(dynamic::access(found, &known), value(index)?, index.ty);
            }
        }
    }
    Ok(dynamic::access(found, &dynamic::Path::new(constant_steps)))
}
