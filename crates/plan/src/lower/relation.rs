//! Sources, filters, projections, unions.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{EmptyRelation, Expr, Filter, LogicalPlan, Projection, TableScanBuilder, Union, lit};
use tidewater_kql::KqlType;
use tidewater_kql::ast::{BinaryOp, InOp};

use super::expr;
use super::{Key, Lowered, Lowering, Need, Order, engine_column, field};
use crate::bound::{BExpr, BExprKind, BoundColumn, ColumnId, Constant, InItem, Rel, RelOp, Value};
use crate::catalog::TableHandle;
use crate::exec::range::{Range, RangeTable};
use crate::hidden::{HIDDEN, Origin};
use crate::session::BATCH_ROWS;

impl Lowering {
    /// Constant rows.
    pub(super) fn rows(&mut self, rel: &Rel, rows: &[Vec<Value>], need: &Need) -> Result<Lowered> {
        if rel.columns.is_empty() && rows.len() <= 1 {
            let relation = EmptyRelation { produce_one_row: rows.len() == 1, schema: Arc::new(DFSchema::empty()) };
            return Ok(Lowered::unordered(LogicalPlan::EmptyRelation(relation)));
        }
        let schema = Arc::new(Schema::new(rel.columns.iter().map(field).collect::<Vec<_>>()));
        let mut batches = Vec::new();
        for chunk in rows.chunks(BATCH_ROWS) {
            let columns: Vec<ArrayRef> = rel
                .columns
                .iter()
                .enumerate()
                .map(|(at, column)| values(chunk, at, column.ty))
                .collect::<Result<_>>()?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(chunk.len()));
            batches.push(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?);
        }
        let table = Arc::new(MemTable::try_new(schema, vec![batches])?);
        let projection = positions(&rel.columns, need);
        let plan = scan("rows", table, projection.clone())?;
        self.renamed(plan, rel, &projection, |column| column.id.engine_name())
    }

    /// A table's rows: a scan of the needed columns under a projection that only renames.
    pub(super) fn table(
        &mut self,
        rel: &Rel,
        table: &TableHandle,
        projection: &[usize],
        need: &Need,
    ) -> Result<Lowered> {
        if let Some(lowered) = self.table_with_hidden(rel, table, projection, need)? {
            return Ok(lowered);
        }
        let wanted = positions(&rel.columns, need);
        let columns: Vec<usize> = wanted.iter().map(|position| projection[*position]).collect();
        let plan = scan(&table.name, Arc::clone(&table.provider), columns)?;
        let names: Vec<String> = projection.iter().map(|column| table.schema.columns[*column].name.clone()).collect();
        let at = |column: &BoundColumn| rel.columns.iter().position(|other| other.id == column.id).unwrap_or(0);
        self.renamed(plan, rel, &wanted, |column| names[at(column)].clone())
    }

    fn renamed(
        &mut self,
        plan: LogicalPlan,
        rel: &Rel,
        wanted: &[usize],
        name: impl Fn(&BoundColumn) -> String,
    ) -> Result<Lowered> {
        if wanted.is_empty() {
            return Ok(Lowered::unordered(plan));
        }
        let qualifier = plan.schema().qualified_field(0).0.cloned();
        let exprs = wanted
            .iter()
            .map(|position| {
                let column = &rel.columns[*position];
                Expr::Column(Column::new(qualifier.clone(), name(column))).alias(column.id.engine_name())
            })
            .collect();
        Ok(Lowered::unordered(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?)))
    }

    /// `range`: its values are in order.
    pub(super) fn range(
        &mut self,
        rel: &Rel,
        start: &Constant,
        stop: &Constant,
        step: &Constant,
        need: &Need,
    ) -> Result<Lowered> {
        let Some(column) = rel.columns.first() else {
            return datafusion::common::internal_err!("a range has no column");
        };
        let name = column.id.engine_name();
        let range = Range::new(&name, start, stop, step);
        let key = Key { column: name.clone(), ascending: range.is_ascending(), nulls_first: range.is_ascending() };
        let wanted = if need.has(column) || need.order { vec![0] } else { Vec::new() };
        let is_read = !wanted.is_empty();
        let plan = scan("range", Arc::new(RangeTable::new(range)), wanted.clone())?;
        let mut lowered = self.renamed(plan, rel, &wanted, |column| column.id.engine_name())?;
        if need.order && is_read {
            lowered.order = Order::Keys(vec![key]);
        }
        Ok(lowered)
    }

    /// `where`, together with those directly below it: the engine walks nested filters without care for its stack.
    pub(super) fn filter(&mut self, input: &Rel, predicate: &BExpr, need: &Need) -> Result<Lowered> {
        let mut predicates = vec![predicate];
        let mut input = input;
        while let RelOp::Filter { input: below, predicate } = &input.op {
            predicates.push(predicate);
            input = below;
        }
        predicates.reverse();
        if input.is_guarded {
            return self.filter_shown(input, &predicates, need);
        }
        self.note_predicates(input, &predicates);
        let lowered = self.relation(input, &need.and(predicates.iter().copied()))?;
        let holds = predicates.into_iter().map(expr::holds).collect::<Result<_>>()?;
        let filter = Filter::try_new(expr::logical(BinaryOp::And, holds), Arc::new(lowered.plan))?;
        Ok(Lowered { plan: LogicalPlan::Filter(filter), order: lowered.order })
    }

    /// `where` over the rows that a policy shows. Comparisons with constants cannot fail, and find their rows in files by their
    /// statistics: they may stand below the guard. Nothing else may.
    fn filter_shown(&mut self, shown: &Rel, predicates: &[&BExpr], need: &Need) -> Result<Lowered> {
        let (harmless, others): (Vec<&BExpr>, Vec<&BExpr>) =
            conjuncts(predicates).into_iter().partition(|predicate| is_harmless(predicate));
        let lowered_need = need.and(others.iter().copied());
        let lowered = match harmless.len() {
            0 => self.relation(shown, &lowered_need)?,
            count => {
                let first = harmless[0].clone();
                let predicate = match count {
                    1 => first,
                    _ => BExpr {
                        kind: BExprKind::Chain { op: BinaryOp::And, operands: harmless.into_iter().cloned().collect() },
                        ty: KqlType::Bool,
                    },
                };
                let below = Arc::new(Rel { is_guarded: false, ..shown.clone() });
                let op = RelOp::Filter { input: below, predicate };
                self.relation(&Rel { op, is_guarded: true, ..shown.clone() }, &lowered_need)?
            }
        };
        if others.is_empty() {
            return Ok(lowered);
        }
        let holds = others.into_iter().map(expr::holds).collect::<Result<_>>()?;
        let filter = Filter::try_new(expr::logical(BinaryOp::And, holds), Arc::new(lowered.plan))?;
        Ok(Lowered { plan: LogicalPlan::Filter(filter), order: lowered.order })
    }

    /// A projection over what `child` gives for its need.
    pub(super) fn project(
        &mut self,
        rel: &Rel,
        items: &[BExpr],
        need: &Need,
        child: impl FnOnce(&mut Lowering, &Need) -> Result<Lowered>,
    ) -> Result<Lowered> {
        let used: Vec<(&BoundColumn, &BExpr)> =
            rel.columns.iter().zip(items).filter(|(column, _)| need.has(column)).collect();
        let mut below = Need::new([], need.order);
        below.read(used.iter().map(|(_, item)| *item));
        let hidden = needed_hidden(rel, need);
        below.columns.extend(&hidden);
        let lowered = child(self, &below)?;
        let passes = |column: &BoundColumn, item: &BExpr| matches!(item.kind, BExprKind::Column(id) if id == column.id);
        // Names are ids, so that columns which only pass need no node.
        if used.iter().all(|(column, item)| passes(column, item)) {
            return Ok(lowered);
        }
        let mut exprs = Vec::with_capacity(used.len());
        let mut names = Vec::with_capacity(used.len());
        for (column, item) in used {
            let name = column.id.engine_name();
            exprs.push(match passes(column, item) {
                true => expr::value(item)?,
                false => expr::value(item)?.alias(&name),
            });
            names.push(name);
        }
        let hidden = hidden.into_iter().map(ColumnId::engine_name);
        for name in lowered.order.columns().into_iter().chain(hidden) {
            if !names.contains(&name) {
                exprs.push(engine_column(&name));
                names.push(name);
            }
        }
        let projection = Projection::try_new(exprs, Arc::new(lowered.plan))?;
        Ok(Lowered { plan: LogicalPlan::Projection(projection), order: lowered.order })
    }

    /// `union`: every input is projected to the columns of the result.
    pub(super) fn union(&mut self, rel: &Rel, inputs: &[Arc<Rel>], need: &Need) -> Result<Lowered> {
        // At least one column, for the engine counts rows of a union by its columns.
        let wanted: Vec<usize> = match positions(&rel.columns, need) {
            wanted if wanted.is_empty() && !rel.columns.is_empty() => vec![0],
            wanted => wanted,
        };
        let hidden = needed_hidden(rel, need);
        let mut plans = Vec::with_capacity(inputs.len());
        for input in inputs {
            let mut below = Need::new(wanted.iter().map(|position| input.columns[*position].id), false);
            let hidden: Vec<_> = hidden.iter().filter_map(|id| hidden_input(rel, input, *id)).collect();
            below.columns.extend(hidden.iter().filter_map(|(_, own, _)| *own));
            let lowered = self.relation(input, &below)?;
            let mut exprs: Vec<Expr> = wanted
                .iter()
                .map(|position| {
                    expr::column(input.columns[*position].id).alias(rel.columns[*position].id.engine_name())
                })
                .collect();
            for (id, own, ty) in hidden {
                let value = match own {
                    Some(own) => expr::column(own),
                    None => lit(Constant::null(ty).to_scalar()),
                };
                exprs.push(value.alias(id.engine_name()));
            }
            if exprs.is_empty() {
                exprs.push(lit(0i64).alias("none"));
            }
            plans.push(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(lowered.plan))?)));
        }
        Ok(Lowered::unordered(match plans.len() {
            0 => {
                let schema =
                    Schema::new(wanted.iter().map(|position| field(&rel.columns[*position])).collect::<Vec<_>>());
                let schema = Arc::new(DFSchema::try_from(schema)?);
                LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema })
            }
            1 => Arc::unwrap_or_clone(plans.remove(0)),
            _ => LogicalPlan::Union(Union::try_new_with_loose_types(plans)?),
        }))
    }
}

/// The hidden columns of a relation that are needed.
fn needed_hidden(rel: &Rel, need: &Need) -> Vec<ColumnId> {
    let ids = rel.hidden.iter().flat_map(|hidden| hidden.ids);
    ids.filter(|id| need.columns.contains(id)).collect()
}

/// A hidden column of a union, with the input's column that it is there and its type.
fn hidden_input(rel: &Rel, input: &Rel, id: ColumnId) -> Option<(ColumnId, Option<ColumnId>, KqlType)> {
    let at = rel.hidden.as_ref()?.ids.iter().position(|own| *own == id)?;
    Some((id, input.hidden.as_ref().map(|hidden| hidden.ids[at]), HIDDEN[at].1))
}

impl Lowering {
    /// A table's rows with hidden columns; `None` when none is needed.
    fn table_with_hidden(
        &mut self,
        rel: &Rel,
        table: &TableHandle,
        projection: &[usize],
        need: &Need,
    ) -> Result<Option<Lowered>> {
        let needed = needed_hidden(rel, need);
        let (false, Some(hidden)) = (needed.is_empty(), &rel.hidden) else { return Ok(None) };
        let provider = match &hidden.origin {
            Origin::Table { provider, .. } => provider.get().cloned().flatten(),
            Origin::Union(_) => None,
        };
        let wanted = positions(&rel.columns, need);
        let mut columns: Vec<usize> = wanted.iter().map(|position| projection[*position]).collect();
        let own = columns.len();
        let places: Vec<usize> = needed.iter().filter_map(|id| hidden.ids.iter().position(|own| own == id)).collect();
        if provider.is_some() {
            columns.extend(places.iter().map(|place| table.schema.columns.len() + place));
        }
        let source = provider.as_ref().unwrap_or(&table.provider);
        let plan = scan(&table.name, Arc::clone(source), columns)?;
        let fields = plan.schema().columns();
        let mut exprs: Vec<Expr> = wanted
            .iter()
            .zip(&fields)
            .map(|(position, field)| Expr::Column(field.clone()).alias(rel.columns[*position].id.engine_name()))
            .collect();
        for (at, place) in places.into_iter().enumerate() {
            let value = match provider.is_some() {
                true => Expr::Column(fields[own + at].clone()),
                false => lit(Constant::null(HIDDEN[place].1).to_scalar()),
            };
            exprs.push(value.alias(hidden.ids[place].engine_name()));
        }
        Ok(Some(Lowered::unordered(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))))
    }
}

/// Positions of the needed columns.
fn positions(columns: &[BoundColumn], need: &Need) -> Vec<usize> {
    columns.iter().enumerate().filter(|(_, column)| need.has(column)).map(|(position, _)| position).collect()
}

fn scan(name: &str, provider: Arc<dyn TableProvider>, columns: Vec<usize>) -> Result<LogicalPlan> {
    let source = provider_as_source(provider);
    let scan = TableScanBuilder::new(TableReference::bare(name), source).with_projection(Some(columns)).build()?;
    Ok(LogicalPlan::TableScan(scan))
}

/// A column of constant rows.
fn values(rows: &[Vec<Value>], column: usize, ty: KqlType) -> Result<ArrayRef> {
    let cells = rows.iter().map(|row| &row[column]);
    Ok(match ty {
        KqlType::Bool => Arc::new(
            cells
                .map(|value| if let Value::Bool(value) = value { Some(*value) } else { None })
                .collect::<BooleanArray>(),
        ),
        KqlType::Int => Arc::new(
            cells.map(|value| if let Value::Int(value) = value { Some(*value) } else { None }).collect::<Int32Array>(),
        ),
        KqlType::Long | KqlType::DateTime | KqlType::TimeSpan => Arc::new(
            cells
                .map(|value| match value {
                    Value::Long(value) | Value::DateTime(value) | Value::TimeSpan(value) => Some(*value),
                    _ => None,
                })
                .collect::<Int64Array>(),
        ),
        KqlType::Real => Arc::new(
            cells
                .map(|value| if let Value::Real(value) = value { Some(*value) } else { None })
                .collect::<Float64Array>(),
        ),
        KqlType::String | KqlType::Dynamic => Arc::new(
            cells
                .map(|value| match value {
                    Value::String(text) | Value::Dynamic(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<StringViewArray>(),
        ),
        KqlType::Decimal | KqlType::Guid => {
            let mut array = FixedSizeBinaryBuilder::with_capacity(rows.len(), 16);
            for value in cells {
                match value {
                    Value::Decimal(bytes) | Value::Guid(bytes) => array.append_value(bytes)?,
                    _ => array.append_null(),
                }
            }
            Arc::new(array.finish())
        }
    })
}

/// The ids of columns.
pub(super) fn ids(columns: &[BoundColumn]) -> impl Iterator<Item = ColumnId> {
    columns.iter().map(|column| column.id)
}

/// The parts of predicates that must all hold.
fn conjuncts<'a>(predicates: &[&'a BExpr]) -> Vec<&'a BExpr> {
    let mut waiting: Vec<&BExpr> = predicates.iter().rev().copied().collect();
    let mut found = Vec::new();
    while let Some(predicate) = waiting.pop() {
        match &predicate.kind {
            BExprKind::Binary { op: BinaryOp::And, left, right } => waiting.extend([right.as_ref(), left.as_ref()]),
            BExprKind::Chain { op: BinaryOp::And, operands } => waiting.extend(operands.iter().rev()),
            _ => found.push(predicate),
        }
    }
    found
}

/// Whether a predicate cannot fail whatever the row holds.
fn is_harmless(predicate: &BExpr) -> bool {
    let is_plain = |expr: &BExpr| {
        expr.ty != KqlType::Dynamic && matches!(expr.kind, BExprKind::Column(_) | BExprKind::Constant(_))
    };
    match &predicate.kind {
        BExprKind::Binary { op: BinaryOp::Or, left, right } => is_harmless(left) && is_harmless(right),
        BExprKind::Binary { op, left, right } => {
            use BinaryOp::{Equal, Greater, GreaterOrEqual, Has, HasCs, Less, LessOrEqual, NotEqual};
            let is_known = matches!(op, Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual | Has | HasCs);
            is_known && left.ty == right.ty && is_plain(left) && is_plain(right)
        }
        BExprKind::Chain { operands, .. } => operands.iter().all(is_harmless),
        BExprKind::Between { operand, low, high, .. } => is_plain(operand) && is_plain(low) && is_plain(high),
        BExprKind::InList { op: InOp::In | InOp::NotIn, operand, items } => {
            let is_known = |item: &InItem| match item {
                InItem::One(value) => matches!(value.kind, BExprKind::Constant(_)),
                InItem::Values(_) => true,
                InItem::Elements(_) => false,
            };
            is_plain(operand) && items.iter().all(is_known)
        }
        _ => false,
    }
}
