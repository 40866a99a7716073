//! `mv-expand`, `parse`, `parse-kv`, row algorithms, and computations with several readers.

use datafusion::common::Column;
use datafusion::error::Result;
use tidewater_kql::KqlType;
use tidewater_kql::diagnostic::GENERAL;

use super::expr;
use super::order::sorted;
use super::relation::ids;
use super::{Lowered, Lowering, Need, refused, staged};
use crate::bound::{
    BExpr, BoundColumn, MvExpandItem, ParseKvOptions, ParseMode, ParsePiece, Rel, RowStage, StageOrder,
};
use crate::exec::algorithm::Layout;
use crate::exec::mv_expand::{Item, MvExpand};
use crate::exec::parse::Parse;
use crate::exec::parse_kv::ParseKv;
use crate::exec::plain;

/// Kusto's code of a regular expression that does not compile.
const BAD_REGEX: &str = "SEM0420";

impl Lowering {
    /// A row per element.
    pub(super) fn mv_expand(
        &mut self,
        rel: &Rel,
        input: &Rel,
        items: &[MvExpandItem],
        has_index: bool,
        limit: Option<u64>,
        need: &Need,
    ) -> Result<Lowered> {
        let own = own_columns(rel, input);
        let lowered = self.relation(input, &need.and(items.iter().map(|item| &item.value)))?;
        let stage = MvExpand {
            items: items
                .iter()
                .zip(own)
                .map(|(item, column)| Item {
                    name: column.id.engine_name(),
                    bag_as_array: item.bag_as_array,
                    to: item.to.unwrap_or(KqlType::Dynamic),
                })
                .collect(),
            index: own.get(items.len()).filter(|_| has_index).map(|column| column.id.engine_name()),
            limit: limit.unwrap_or(u64::MAX),
        };
        let args = items.iter().map(|item| expr::value(&item.value)).collect::<Result<Vec<_>>>()?;
        if lowered.order.is_some() {
            return self.numbered(lowered, &input.columns, stage, args, need);
        }
        let keep = lowered.kept(&input.columns, need);
        Ok(Lowered::unordered(staged(lowered.plan, stage, args, keep, Vec::new(), None)?))
    }

    /// Captures of a pattern.
    #[allow(clippy::too_many_arguments, reason = "the parts of one operator")]
    pub(super) fn parse(
        &mut self,
        rel: &Rel,
        input: &Rel,
        source: &BExpr,
        mode: &ParseMode,
        pattern: &[ParsePiece],
        drop_unmatched: bool,
        need: &Need,
    ) -> Result<Lowered> {
        let lowered = self.relation(input, &need.and([source]))?;
        let names = own_columns(rel, input).iter().map(|column| column.id.engine_name()).collect();
        let stage = match Parse::try_new(pattern, mode, names, drop_unmatched) {
            Ok(stage) => stage,
            Err(reason) => {
                return refused(BAD_REGEX, format!("the pattern of 'parse' is not a regular expression: {reason}"));
            }
        };
        let keep = lowered.kept(&input.columns, need);
        let plan = staged(lowered.plan, stage, vec![expr::value(source)?], keep, Vec::new(), None)?;
        Ok(Lowered { plan, order: lowered.order })
    }

    /// Values of keys.
    pub(super) fn parse_kv(
        &mut self,
        rel: &Rel,
        input: &Rel,
        source: &BExpr,
        keys: &[(String, KqlType)],
        options: &ParseKvOptions,
        need: &Need,
    ) -> Result<Lowered> {
        let lowered = self.relation(input, &need.and([source]))?;
        let own = own_columns(rel, input);
        let keys =
            keys.iter().zip(own).map(|((key, ty), column)| (key.clone(), column.id.engine_name(), *ty)).collect();
        let stage = match ParseKv::try_new(keys, options) {
            Ok(stage) => stage,
            Err(reason) => {
                return refused(BAD_REGEX, format!("the regular expression of 'parse-kv' is refused: {reason}"));
            }
        };
        let keep = lowered.kept(&input.columns, need);
        let plan = staged(lowered.plan, stage, vec![expr::value(source)?], keep, Vec::new(), None)?;
        Ok(Lowered { plan, order: lowered.order })
    }

    /// A row algorithm.
    pub(super) fn stage(&mut self, rel: &Rel, stage: &RowStage, need: &Need) -> Result<Lowered> {
        let is_ordered = stage.order != StageOrder::Ignored;
        let kept: Vec<BoundColumn> =
            stage.input.columns.iter().filter(|column| stage.keep.contains(&column.id)).cloned().collect();
        let mut below = Need::new(ids(&kept).filter(|id| need.columns.contains(id)), is_ordered);
        below.read(stage.groups.iter().chain(&stage.args));
        let lowered = self.relation(&stage.input, &below)?;
        let own = &rel.columns[stage.keep.len().min(rel.columns.len())..];
        let layout = Layout {
            groups: stage.groups.len(),
            columns: own.iter().map(|column| (column.id.engine_name(), column.ty)).collect(),
            is_ordered,
        };
        let made = match stage.algorithm.stage(layout) {
            Ok(made) => made,
            Err(reason) => return refused(GENERAL, reason),
        };
        let mut args = Vec::with_capacity(stage.groups.len() + stage.args.len());
        for group in &stage.groups {
            args.push(expr::key(group, &stage.input)?);
        }
        for arg in &stage.args {
            let value = expr::value(arg)?;
            args.push(if arg.ty == KqlType::String { plain::text(value) } else { value });
        }
        if stage.order == StageOrder::Kept {
            return self.numbered(lowered, &kept, made, args, need);
        }
        let order = lowered.order.sort_exprs();
        let keep = kept
            .iter()
            .filter(|column| need.has(column))
            .map(|column| Column::new_unqualified(column.id.engine_name()))
            .collect();
        Ok(Lowered::unordered(staged(sorted(lowered)?, made, args, keep, order, None)?))
    }
}

/// The columns that an operator adds behind its input's.
fn own_columns<'a>(rel: &'a Rel, input: &Rel) -> &'a [BoundColumn] {
    &rel.columns[input.columns.len().min(rel.columns.len())..]
}
