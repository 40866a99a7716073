//! Subqueries that run once per group of rows (`mv-apply`, `partition`), as one query over all groups.
//!
//! The subquery is bound over the visible columns of a relation that also has the group's identity
//! (the carry). Then it is rebuilt with the carry going through every operator: keys of aggregates,
//! partitions of windows and limits.

use std::sync::Arc;

use tidewater_kql::ast::{BinaryOp, Expr, Operator, Pipeline, Property};
use tidewater_kql::{KqlType, Span};

use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, inputs};
use crate::bound::{
    BExpr, BExprKind, BoundAggregate, BoundColumn, ColumnId, Constant, JoinKind, Rel, RelOp, Value, WindowFunction,
};

/// What a subquery runs over.
pub(crate) struct Partition {
    /// What the subquery was bound over: its source is a projection of this.
    pub source: Arc<Rel>,
    /// The same rows with the carry behind the visible columns.
    pub inner: Arc<Rel>,
    /// The identity of a group.
    pub carry: Vec<BoundColumn>,
    /// Every group, for aggregates without keys, which have a row for a group without rows too; `None`: those of `inner`.
    pub groups: Option<Arc<Rel>>,
}

impl Partition {
    /// Whether a relation is the subquery's source.
    fn is_source(&self, rel: &Rel) -> bool {
        matches!(&rel.op, RelOp::Project { input, .. } if Arc::ptr_eq(input, &self.source))
    }

    fn reads_source(&self, rel: &Rel) -> bool {
        self.is_source(rel) || inputs(&rel.op).iter().any(|input| self.reads_source(input))
    }
}

/// Whether every operator above the source looks at one row at a time.
pub(crate) fn is_row_wise(rel: &Rel, source: &Arc<Rel>) -> bool {
    match &rel.op {
        RelOp::Project { input, .. } if Arc::ptr_eq(input, source) => true,
        RelOp::Project { input, .. }
        | RelOp::Filter { input, .. }
        | RelOp::MvExpand { input, .. }
        | RelOp::Parse { input, .. }
        | RelOp::ParseKv { input, .. } => is_row_wise(input, source),
        _ => false,
    }
}

impl Binder<'_> {
    /// Rebuilds a subquery so that it runs for all groups at once. Gives the relation and the carry's columns in it; its other
    /// columns keep their ids.
    pub fn partitioned(
        &mut self,
        rel: &Arc<Rel>,
        partition: &Partition,
        span: Span,
    ) -> Bound<(Arc<Rel>, Vec<BoundColumn>)> {
        self.deeper(span, |binder| binder.partitioned_op(rel, partition, span))
    }

    fn partitioned_op(
        &mut self,
        rel: &Arc<Rel>,
        partition: &Partition,
        span: Span,
    ) -> Bound<(Arc<Rel>, Vec<BoundColumn>)> {
        if let RelOp::Project { items, .. } = &rel.op
            && partition.is_source(rel)
        {
            let items = items.iter().cloned().chain(partition.carry.iter().map(BExpr::column)).collect();
            let columns = rel.columns.iter().chain(&partition.carry).cloned().collect();
            let made = self.rel(RelOp::Project { input: partition.inner.clone(), items }, columns, span)?;
            return Ok((marked(made, rel), partition.carry.clone()));
        }
        match &rel.op {
            RelOp::Filter { input, predicate } => {
                let (input, carry) = self.partitioned(input, partition, span)?;
                let columns = input.columns.clone();
                let made = self.rel(RelOp::Filter { input, predicate: predicate.clone() }, columns, span)?;
                Ok((marked(made, rel), carry))
            }
            RelOp::Project { input, items } => {
                let (input, carry) = self.partitioned(input, partition, span)?;
                let items = items.iter().cloned().chain(carry.iter().map(BExpr::column)).collect();
                let columns = rel.columns.iter().chain(&carry).cloned().collect();
                let made = self.rel(RelOp::Project { input, items }, columns, span)?;
                Ok((marked(made, rel), carry))
            }
            RelOp::Aggregate { input, keys, aggregates } => {
                let (whole, carry) = self.partitioned(input, partition, span)?;
                let all = keys.iter().cloned().chain(carry.iter().map(BExpr::column)).collect();
                let mut columns = rel.columns.clone();
                columns.splice(keys.len()..keys.len(), carry.iter().cloned());
                let op = RelOp::Aggregate { input: whole, keys: all, aggregates: aggregates.clone() };
                let grouped = self.rel(op, columns, span)?;
                if !keys.is_empty() {
                    return Ok((grouped, carry));
                }
                self.with_empty_groups(rel, grouped, &carry, input, aggregates, partition, span)
            }
            RelOp::Sort { input, keys, fetch } => {
                let (mut input, carry) = self.partitioned(input, partition, span)?;
                let columns = input.columns.clone();
                if let Some(fetch) = fetch {
                    let partition = ids(&carry);
                    let op = RelOp::PartitionTop { input, partition, keys: keys.clone(), fetch: *fetch };
                    input = self.rel(op, columns.clone(), span)?;
                }
                let made = self.rel(RelOp::Sort { input, keys: keys.clone(), fetch: None }, columns, span)?;
                Ok((made, carry))
            }
            RelOp::Limit { input, count } => {
                let (whole, carry) = self.partitioned(input, partition, span)?;
                let columns = whole.columns.clone();
                if !input.is_sorted && !input.is_serialized {
                    let op =
                        RelOp::PartitionTop { input: whole, partition: ids(&carry), keys: Vec::new(), fetch: *count };
                    return Ok((self.rel(op, columns, span)?, carry));
                }
                // The order decides which rows are the first.
                let number = self.fresh_column("", KqlType::Long);
                let functions = vec![WindowFunction::RowNumber { start: Constant::long(1), restart: None }];
                let numbered_columns = columns.iter().cloned().chain([number.clone()]).collect::<Vec<_>>();
                let op = RelOp::Window { input: whole, partition: ids(&carry), functions };
                let numbered = self.rel(op, numbered_columns, span)?;
                let count = BExpr::constant(Constant::long(i64::try_from(*count).unwrap_or(i64::MAX)));
                let within = self.binary(BinaryOp::LessOrEqual, BExpr::column(&number), count, span)?;
                let cut = self.filtered(&numbered, within, span)?;
                Ok((self.columns_only(&cut, &columns, span)?, carry))
            }
            RelOp::PartitionTop { input, partition: by, keys, fetch } => {
                let (input, carry) = self.partitioned(input, partition, span)?;
                let columns = input.columns.clone();
                let by = by.iter().copied().chain(ids(&carry)).collect();
                let op = RelOp::PartitionTop { input, partition: by, keys: keys.clone(), fetch: *fetch };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::Window { input, partition: by, functions } => {
                let before = input.columns.len();
                let (whole, carry) = self.partitioned(input, partition, span)?;
                let columns = whole.columns.iter().chain(&rel.columns[before..]).cloned().collect();
                let by = by.iter().copied().chain(ids(&carry)).collect();
                let op = RelOp::Window { input: whole, partition: by, functions: functions.clone() };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::MvExpand { input, items, has_index, limit } => {
                let before = input.columns.len();
                let (whole, carry) = self.partitioned(input, partition, span)?;
                let columns = whole.columns.iter().chain(&rel.columns[before..]).cloned().collect();
                let op = RelOp::MvExpand { input: whole, items: items.clone(), has_index: *has_index, limit: *limit };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::Parse { input, source, mode, pattern, drop_unmatched } => {
                let before = input.columns.len();
                let (whole, carry) = self.partitioned(input, partition, span)?;
                let columns = whole.columns.iter().chain(&rel.columns[before..]).cloned().collect();
                let op = RelOp::Parse {
                    input: whole,
                    source: source.clone(),
                    mode: mode.clone(),
                    pattern: pattern.clone(),
                    drop_unmatched: *drop_unmatched,
                };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::ParseKv { input, source, keys, options } => {
                let before = input.columns.len();
                let (whole, carry) = self.partitioned(input, partition, span)?;
                let columns = whole.columns.iter().chain(&rel.columns[before..]).cloned().collect();
                let op = RelOp::ParseKv {
                    input: whole,
                    source: source.clone(),
                    keys: keys.clone(),
                    options: options.clone(),
                };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::Join { kind, left, right, keys } if !partition.reads_source(right) => {
                let (left, carry) = self.partitioned(left, partition, span)?;
                match kind {
                    JoinKind::Inner | JoinKind::LeftOuter | JoinKind::LeftSemi | JoinKind::LeftAnti => {
                        let made = self.join_rel(*kind, left, right.clone(), keys.clone(), span)?;
                        Ok((made, carry))
                    }
                    _ => self.not_served(span, "this kind of join inside 'mv-apply' or 'partition'"),
                }
            }
            RelOp::MakeSeries(series) => {
                let (whole, carry) = self.partitioned(&series.input, partition, span)?;
                let mut series = series.clone();
                series.input = whole;
                let at = series.keys.len();
                series.keys.extend(carry.iter().map(BExpr::column));
                let mut columns = rel.columns.clone();
                columns.splice(at..at, carry.iter().cloned());
                Ok((self.rel(RelOp::MakeSeries(series), columns, span)?, carry))
            }
            RelOp::Stage(stage) => {
                let (input, carry) = self.partitioned(&stage.input, partition, span)?;
                let kept = stage.keep.len().min(rel.columns.len());
                let mut columns = rel.columns.clone();
                columns.splice(kept..kept, carry.iter().cloned());
                let mut stage = stage.clone();
                stage.input = input;
                stage.groups.extend(carry.iter().map(BExpr::column));
                stage.keep.extend(ids(&carry));
                Ok((self.rel(RelOp::Stage(stage), columns, span)?, carry))
            }
            RelOp::Sample { .. } => self.not_served(span, "'sample' inside 'mv-apply' or 'partition'"),
            RelOp::Union { .. } => self.not_served(span, "'union' inside 'mv-apply' or 'partition'"),
            RelOp::Join { .. } => {
                self.not_served(span, "a join with the rows themselves inside 'mv-apply' or 'partition'")
            }
            RelOp::Shared { .. } => {
                self.not_served(span, "'materialize' or a grouping 'mv-apply' inside 'mv-apply' or 'partition'")
            }
            RelOp::Rows { .. } | RelOp::Table { .. } | RelOp::Range { .. } => {
                self.not_served(span, "a subquery that does not read the rows of 'mv-apply' or 'partition'")
            }
        }
    }

    /// An aggregate without keys has one row per group, also for groups without rows: its value over nothing.
    #[allow(clippy::too_many_arguments, reason = "the parts of one aggregate")]
    fn with_empty_groups(
        &mut self,
        rel: &Arc<Rel>,
        grouped: Arc<Rel>,
        carry: &[BoundColumn],
        input: &Arc<Rel>,
        aggregates: &[BoundAggregate],
        partition: &Partition,
        span: Span,
    ) -> Bound<(Arc<Rel>, Vec<BoundColumn>)> {
        let groups = match &partition.groups {
            Some(groups) => self.relabeled(groups, span)?,
            None => {
                let keys = partition.carry.iter().map(BExpr::column).collect();
                let columns = partition.carry.iter().map(|column| self.fresh_column("", column.ty)).collect();
                let op = RelOp::Aggregate { input: partition.inner.clone(), keys, aggregates: Vec::new() };
                self.rel(op, columns, span)?
            }
        };
        // The aggregates over no rows.
        let nothing = self.rel(RelOp::Rows { rows: Vec::new() }, input.columns.clone(), span)?;
        let empty_columns: Vec<BoundColumn> =
            rel.columns.iter().map(|column| self.fresh_column("", column.ty)).collect();
        let op = RelOp::Aggregate { input: nothing, keys: Vec::new(), aggregates: aggregates.to_vec() };
        let empty = self.rel(op, empty_columns.clone(), span)?;
        // A flag tells rows that the join found from those that it padded.
        let flag = self.fresh_column("", KqlType::Bool);
        let mut items: Vec<BExpr> = grouped.columns.iter().map(BExpr::column).collect();
        items.push(BExpr::constant(Constant { value: Value::Bool(true), ty: KqlType::Bool }));
        let columns = grouped.columns.iter().cloned().chain([flag.clone()]).collect();
        let flagged = self.rel(RelOp::Project { input: grouped, items }, columns, span)?;
        let keys = groups
            .columns
            .iter()
            .zip(carry)
            .map(|(group, carry)| (BExpr::column(group), BExpr::column(carry)))
            .collect();
        let group_columns = groups.columns.clone();
        let padded = self.join_rel(JoinKind::LeftOuter, groups, flagged, keys, span)?;
        let crossed = self.join_rel(JoinKind::Inner, padded, empty, Vec::new(), span)?;
        let mut columns = Vec::new();
        let mut items = Vec::new();
        for (column, empty) in rel.columns.iter().zip(&empty_columns) {
            let missing = BExpr { kind: BExprKind::IsNull(Box::new(BExpr::column(&flag))), ty: KqlType::Bool };
            let kind = BExprKind::Case {
                branches: vec![(missing, BExpr::column(empty))],
                otherwise: Box::new(BExpr::column(column)),
            };
            items.push(BExpr { kind, ty: column.ty });
            // The value is no longer the bare aggregate, but stands for it above.
            columns.push(column.clone());
        }
        items.extend(group_columns.iter().map(BExpr::column));
        columns.extend(group_columns.iter().cloned());
        let made = self.rel(RelOp::Project { input: crossed, items }, columns, span)?;
        Ok((made, group_columns))
    }

    /// `partition by key (pipeline)`: the pipeline runs per value of the key; the key is not added.
    pub fn partition_operator(
        &mut self,
        input: &Arc<Rel>,
        _parameters: &[Property],
        by: &Expr,
        body: &Expr,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let key = self.plain_column(by, &input.columns)?;
        self.group_key(&BExpr::column(&key), by, "the key of 'partition'")?;
        let operators: &[Operator] = match &body.kind {
            tidewater_kql::ast::ExprKind::Pipe(pipeline) => match &**pipeline {
                Pipeline { source: None, operators } if !starts_alone(operators) => operators,
                _ => return self.not_served(body.span, "'partition' with a whole query in braces"),
            },
            _ => return self.not_served(body.span, "'partition' with a whole query in braces"),
        };
        let carry = self.fresh_column("", key.ty);
        let mut items: Vec<BExpr> = input.columns.iter().map(BExpr::column).collect();
        items.push(BExpr::column(&key));
        let columns = input.columns.iter().cloned().chain([carry.clone()]).collect();
        let inner = self.rel(RelOp::Project { input: input.clone(), items }, columns, span)?;
        let source = self.columns_only(input, &input.columns, span)?;
        let body = self.operators(Tabular::of(source), operators)?;
        self.not_branched(&body, span)?;
        let partition = Partition { source: input.clone(), inner, carry: vec![carry], groups: None };
        let (rel, _) = self.partitioned(&body.rel, &partition, span)?;
        self.columns_only(&rel, &body.rel.columns, span)
    }
}

/// Whether a pipeline begins with an operator that reads no rows.
fn starts_alone(operators: &[Operator]) -> bool {
    use tidewater_kql::ast::OperatorKind;
    matches!(
        operators.first().map(|operator| &operator.kind),
        Some(OperatorKind::Print(_) | OperatorKind::Range { .. })
    )
}

fn ids(columns: &[BoundColumn]) -> Vec<ColumnId> {
    columns.iter().map(|column| column.id).collect()
}

/// The rebuilt relation with the marks of the original (`serialize` sets one without an operator).
fn marked(made: Arc<Rel>, original: &Rel) -> Arc<Rel> {
    if made.is_serialized == original.is_serialized && made.is_sorted == original.is_sorted {
        return made;
    }
    Arc::new(Rel { is_serialized: original.is_serialized, is_sorted: original.is_sorted, ..(*made).clone() })
}
