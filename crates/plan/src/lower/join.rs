//! `join` and `lookup`: the engine's joins, in which null keys match null keys.

use std::sync::Arc;

use datafusion::common::{JoinConstraint, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};

use super::expr;
use super::relation::ids;
use super::{Lowered, Lowering, Need, staged};
use crate::bound::{BExpr, BExprKind, ColumnId, JoinKind, Rel, RelOp};
use crate::exec::dedupe::Dedupe;

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
