//! `join` and `lookup`: the engine's joins, in which null keys match null keys.

use std::sync::Arc;

use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};

use super::expr;
use super::relation::ids;
use tidewater_kql::KqlType;

use super::{Lowered, Lowering, Need, extension, staged};
use crate::bound::{BExpr, BExprKind, ColumnId, JoinKind, Rel, RelOp, RowLookup};
use crate::exec::dedupe::Dedupe;
use crate::exec::lookup::{LookupNode, Side};
use crate::exec::plain;

impl Lowering {
    /// A join; the sides' columns keep their ids.
    pub(super) fn join(
        &mut self,
        kind: JoinKind,
        left: &Rel,
        right: &Rel,
        keys: &[(BExpr, BExpr)],
        need: &Need,
    ) -> Result<Lowered> {
        let side = |rel: &Rel| Need::new(ids(&rel.columns).filter(|id| need.columns.contains(id)), false);
        let left_need = side(left).and(keys.iter().map(|(key, _)| key));
        let right_need = side(right).and(keys.iter().map(|(_, key)| key));
        let mut left_plan = self.relation(left, &left_need)?.plan;
        let right_plan = self.relation(right, &right_need)?.plan;
        let mut on = Vec::with_capacity(keys.len());
        for (left_key, right_key) in keys {
            on.push((expr::key(left_key, left)?, expr::key(right_key, right)?));
        }
        if kind == JoinKind::InnerUnique && !is_unique(left, keys.iter().map(|(key, _)| key)) {
            let args: Vec<Expr> = on.iter().map(|(key, _)| key.clone()).collect();
            let keep = left_plan.schema().columns();
            left_plan = staged(left_plan, Dedupe { keys: args.len() }, args, keep, Vec::new(), None)?;
        }
        let join_type = match kind {
            JoinKind::InnerUnique | JoinKind::Inner => JoinType::Inner,
            JoinKind::LeftOuter => JoinType::Left,
            JoinKind::RightOuter => JoinType::Right,
            JoinKind::FullOuter => JoinType::Full,
            JoinKind::LeftSemi => JoinType::LeftSemi,
            JoinKind::RightSemi => JoinType::RightSemi,
            JoinKind::LeftAnti => JoinType::LeftAnti,
            JoinKind::RightAnti => JoinType::RightAnti,
        };
        let join = Join::try_new(
            Arc::new(left_plan),
            Arc::new(right_plan),
            on,
            None,
            join_type,
            JoinConstraint::On,
            NullEquality::NullEqualsNull,
            false,
        )?;
        Ok(Lowered::unordered(LogicalPlan::Join(join)))
    }
}

impl Lowering {
    /// A lookup by an index of our own; the sides' columns keep their ids.
    pub(super) fn lookup(&mut self, lookup: &RowLookup, need: &Need) -> Result<Lowered> {
        let (source_keys, table_keys): (Vec<&BExpr>, Vec<&BExpr>) =
            lookup.equal.iter().map(|(source, table)| (source, table)).unzip();
        let source = self.looked_up(&lookup.input, &source_keys, &lookup.args, need)?;
        let table = self.looked_up(&lookup.table, &table_keys, &lookup.table_args, need)?;
        let kind = Arc::clone(&lookup.kind);
        let node = LookupNode::try_new(kind, source, table, lookup.equal.len(), lookup.keeps_unmatched)?;
        Ok(Lowered::unordered(extension(node)))
    }

    fn looked_up(&mut self, rel: &Rel, equal: &[&BExpr], args: &[BExpr], need: &Need) -> Result<Side> {
        let needed = Need::new(ids(&rel.columns).filter(|id| need.columns.contains(id)), false);
        let needed = needed.and(equal.iter().copied().chain(args));
        let plan = self.relation(rel, &needed)?.plan;
        let mut keys = Vec::with_capacity(equal.len() + args.len());
        for key in equal {
            keys.push(expr::key(key, rel)?);
        }
        for arg in args {
            let value = expr::value(arg)?;
            keys.push(if arg.ty == KqlType::String { plain::text(value) } else { value });
        }
        let kept = rel.columns.iter().filter(|column| need.has(column));
        let keep = kept.map(|column| Column::new_unqualified(column.id.engine_name())).collect();
        Ok(Side { plan, keys, keep })
    }
}

/// Whether no two rows of a relation have equal keys, as far as its operators tell.
fn is_unique<'a>(rel: &Rel, keys: impl Iterator<Item = &'a BExpr>) -> bool {
    let columns: Option<Vec<ColumnId>> =
        keys.map(|key| if let BExprKind::Column(id) = key.kind { Some(id) } else { None }).collect();
    columns.is_some_and(|columns| is_unique_by(rel, &columns))
}

fn is_unique_by(rel: &Rel, columns: &[ColumnId]) -> bool {
    match &rel.op {
        RelOp::Aggregate { keys, .. } => {
            keys.len() <= rel.columns.len() && rel.columns[..keys.len()].iter().all(|key| columns.contains(&key.id))
        }
        RelOp::Filter { input, .. } | RelOp::Sort { input, .. } | RelOp::Limit { input, .. } => {
            is_unique_by(input, columns)
        }
        RelOp::Project { input, items } => {
            let below: Vec<ColumnId> = rel
                .columns
                .iter()
                .zip(items)
                .filter(|(column, _)| columns.contains(&column.id))
                .filter_map(|(_, item)| if let BExprKind::Column(id) = item.kind { Some(id) } else { None })
                .collect();
            is_unique_by(input, &below)
        }
        _ => false,
    }
}
