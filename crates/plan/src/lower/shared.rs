//! Computations with several readers: what each reads is learned first, so that no more is computed and kept.
//!
//! A query with shared computations is lowered twice. The first time notes the columns that every reader needs and the
//! predicates that stand right above it; the second time computes the union of these columns, and only rows
//! that pass one of the predicates if every reader has one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, Projection};
use tidewater_kql::KqlType;
use tidewater_kql::ast::BinaryOp;

use super::expr;
use super::order::sorted;
use super::{Lowered, Lowering, Need, Order, SharedPlan, extension, field, is_guarded};
use crate::bound::{BExpr, BExprKind, ColumnId, Rel, RelOp, SharedId};
use crate::exec::shared::{SharedCell, SharedNode};
use crate::exec::window::Window;

/// More readers than this are not asked for their predicates: the alternative of all would cost each row too much.
const MAX_PREDICATES: usize = 8;

/// What the readers of a computation read.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    /// Positions of columns.
    columns: BTreeSet<usize>,
    /// A predicate for each reader, over the computation's own columns; `None` once a reader has none.
    predicates: Option<Vec<BExpr>>,
}

impl Lowering {
    /// A fresh lowering that knows what is read of shared computations.
    pub(super) fn learned(self, seed: u64) -> Lowering {
        Lowering { reads: Some(self.noted), graph_columns: self.graph_columns, ..Lowering::new(seed) }
    }

    /// Notes the predicates that stand right above a shared computation, where columns are at most renamed between.
    pub(super) fn note_predicates(&mut self, input: &Rel, predicates: &[&BExpr]) {
        self.above = None;
        if self.reads.is_some() || predicates.iter().any(|predicate| predicate.any(is_impure)) {
            return;
        }
        let mut rel = input;
        let mut renamings: Vec<HashMap<ColumnId, ColumnId>> = Vec::new();
        loop {
            if is_guarded(rel) {
                return;
            }
            let ids = rel.columns.iter().map(|column| column.id);
            match &rel.op {
                RelOp::Project { input, items } => {
                    let sources = items.iter().map(|item| match item.kind {
                        BExprKind::Column(id) => Some(id),
                        _ => None,
                    });
                    renamings.push(ids.zip(sources).filter_map(|(id, source)| Some((id, source?))).collect());
                    rel = input;
                }
                RelOp::Shared { rel: inner, .. } => {
                    renamings.push(ids.zip(inner.columns.iter().map(|column| column.id)).collect());
                    break;
                }
                _ => return,
            }
        }
        let mut mapped: Vec<BExpr> = predicates.iter().map(|predicate| (*predicate).clone()).collect();
        for below in &renamings {
            if !mapped.iter_mut().all(|predicate| rename(predicate, below)) {
                return;
            }
        }
        self.above = match mapped.len() {
            1 => mapped.pop(),
            _ => Some(BExpr { kind: BExprKind::Chain { op: BinaryOp::And, operands: mapped }, ty: KqlType::Bool }),
        };
    }

    /// A reader of a shared computation.
    pub(super) fn shared(&mut self, rel: &Rel, id: SharedId, inner: &Arc<Rel>, need: &Need) -> Result<Lowered> {
        let above = self.above.take();
        let positions: Vec<usize> = match &self.reads {
            Some(reads) => {
                let read = reads.get(&id).map(|reads| &reads.columns);
                let read: Vec<usize> = read.into_iter().flatten().copied().collect();
                // The engine counts the rows of a relation by its columns: there is one.
                match read.is_empty() && !inner.columns.is_empty() {
                    true => vec![0],
                    false => read,
                }
            }
            None => {
                let empty = || Reads { columns: BTreeSet::new(), predicates: Some(Vec::new()) };
                let noted = self.noted.entry(id).or_insert_with(empty);
                let read = rel.columns.iter().enumerate().filter(|(_, column)| need.has(column));
                noted.columns.extend(read.map(|(position, _)| position));
                match (above, &mut noted.predicates) {
                    (Some(predicate), Some(known)) if known.len() < MAX_PREDICATES => known.push(predicate),
                    _ => noted.predicates = None,
                }
                (0..inner.columns.len()).collect()
            }
        };
        let shared = match self.shared.get(&id) {
            Some(shared) => shared.clone(),
            None => {
                let shared = self.share(id, inner, &positions)?;
                self.shared.insert(id, shared.clone());
                shared
            }
        };
        let fields = positions.iter().filter_map(|position| rel.columns.get(*position)).map(field).collect::<Vec<_>>();
        let reader = Lowered::unordered(extension(SharedNode::try_new(shared.cell, Arc::new(Schema::new(fields)))?));
        if shared.is_ordered && need.order {
            // The reader gives the rows as they were computed: numbering them keeps their order from here on.
            return self.numbered(
                reader,
                &rel.columns,
                Window { partitions: 0, functions: Vec::new() },
                Vec::new(),
                need,
            );
        }
        Ok(reader)
    }

    fn share(&mut self, id: SharedId, inner: &Arc<Rel>, positions: &[usize]) -> Result<SharedPlan> {
        let columns: Vec<ColumnId> =
            positions.iter().filter_map(|position| inner.columns.get(*position)).map(|column| column.id).collect();
        let need = Need::new(columns.iter().copied(), true);
        let predicates = self.reads.as_ref().and_then(|reads| reads.get(&id)?.predicates.clone()).unwrap_or_default();
        let lowered = match predicates.is_empty() {
            true => self.relation(inner, &need)?,
            false => {
                let kind = BExprKind::Chain { op: BinaryOp::Or, operands: predicates };
                let op = RelOp::Filter { input: Arc::clone(inner), predicate: BExpr { kind, ty: KqlType::Bool } };
                self.relation(&Rel { op, ..inner.as_ref().clone() }, &need)?
            }
        };
        let is_ordered = !matches!(lowered.order, Order::None);
        let plan = sorted(lowered)?;
        let columns: Vec<_> = columns.into_iter().map(expr::column).collect();
        let plan = match columns.is_empty() {
            true => plan,
            false => LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?),
        };
        Ok(SharedPlan { cell: Arc::new(SharedCell::new(id.0, plan)), is_ordered })
    }
}

fn is_impure(expr: &BExpr) -> bool {
    matches!(&expr.kind, BExprKind::Call { row, .. } if !row.is_pure)
}

/// Gives the columns of an expression the ids of those below; false when one of them is computed there.
fn rename(expr: &mut BExpr, below: &HashMap<ColumnId, ColumnId>) -> bool {
    let mut waiting = vec![expr];
    while let Some(expr) = waiting.pop() {
        if let BExprKind::Column(id) = &mut expr.kind {
            match below.get(id) {
                Some(source) => *id = *source,
                None => return false,
            }
        }
        waiting.extend(expr.children_mut());
    }
    true
}
