//! Subqueries that run once per group of rows (`mv-apply`, `partition`), as one query over all groups.
//!
//! The subquery is bound over the visible columns of a relation that also has the group's identity
//! (the carry). Then it is rebuilt with the carry going through every operator: keys of aggregates,
//! partitions of windows and limits.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidewater_functions::find_scalar;
use tidewater_kql::ast::BinaryOp;
use tidewater_kql::{KqlType, Span};

use crate::bind::{Binder, Bound, Stopped, expressions, inputs};
use crate::bound::{
    BExpr, BExprKind, BoundAggregate, BoundColumn, ColumnId, Constant, JoinKind, Rel, RelOp, RowLookup, ScalarRow,
    SharedId, SortKey, Value, WindowFunction,
};

/// What a subquery runs over.
pub(crate) struct Partition {
    /// What the subquery was bound over: its source is a projection of this.
    pub source: Arc<Rel>,
    /// The same rows with the carry behind the visible columns.
    pub inner: Arc<Rel>,
    /// The identity of a group.
    pub carry: Vec<BoundColumn>,
    /// Every group, for what has rows for a group without rows too; `None`: those of `inner`.
    pub groups: Option<Arc<Rel>>,
    /// Shared computations of the subquery, rebuilt: each once for all of its readers.
    shared: RefCell<HashMap<SharedId, (SharedId, Arc<Rel>)>>,
    /// `inner` is read more than once and must be the same rows each time.
    inner_id: Option<SharedId>,
}

impl Partition {
    /// A partition over `inner`, for a subquery that was bound over `source`.
    pub fn new(source: Arc<Rel>, inner: Arc<Rel>, carry: Vec<BoundColumn>, groups: Option<Arc<Rel>>) -> Partition {
        Partition { source, inner, carry, groups, shared: RefCell::default(), inner_id: None }
    }

    /// Whether a relation is the subquery's source.
    fn is_source(&self, rel: &Rel) -> bool {
        matches!(&rel.op, RelOp::Project { input, .. } if Arc::ptr_eq(input, &self.source))
    }

    fn reads_source(&self, rel: &Rel) -> bool {
        reads(rel, &self.source)
    }

    /// Whether every group has a row in a relation of the subquery.
    fn keeps_groups(&self, rel: &Rel) -> bool {
        if self.groups.is_some() {
            return false;
        }
        let mut rel = rel;
        loop {
            if self.is_source(rel) {
                return true;
            }
            rel = match &rel.op {
                RelOp::Project { input, .. } | RelOp::Window { input, .. } => input,
                RelOp::Sort { input, fetch, .. } if *fetch != Some(0) => input,
                RelOp::Limit { input, count } | RelOp::Sample { input, count } if *count > 0 => input,
                RelOp::PartitionTop { input, fetch, .. } if *fetch > 0 => input,
                RelOp::Aggregate { input, keys, .. } if !keys.is_empty() => input,
                _ => return false,
            };
        }
    }

    /// How often the rebuilt subquery will read `inner`, at most 2.
    fn readings(&self, rel: &Rel) -> usize {
        let mut count = 0;
        let mut seen = HashSet::new();
        let mut waiting = vec![rel];
        while let Some(rel) = waiting.pop() {
            if self.is_source(rel) {
                count += 1;
                continue;
            }
            // A closed part is combined with the groups, which `inner` gives.
            let below = inputs(&rel.op);
            let closed = !self.reads_source(rel);
            if self.groups.is_none()
                && (closed
                    || matches!(&rel.op, RelOp::Aggregate { input, keys, .. } if keys.is_empty() && !self.keeps_groups(input)))
            {
                count += 1;
            }
            let is_new = match &rel.op {
                RelOp::Shared { id, .. } => seen.insert(*id),
                _ => true,
            };
            if count > 1 {
                return 2;
            }
            if !closed && is_new {
                waiting.extend(below.into_iter().map(|rel| &**rel));
            }
        }
        count
    }
}

/// Whether a relation stands on a projection of `source`.
pub(crate) fn reads(rel: &Rel, source: &Arc<Rel>) -> bool {
    let mut seen = HashSet::new();
    let mut waiting = vec![rel];
    while let Some(rel) = waiting.pop() {
        if matches!(&rel.op, RelOp::Project { input, .. } if Arc::ptr_eq(input, source)) {
            return true;
        }
        for input in inputs(&rel.op) {
            if seen.insert(Arc::as_ptr(input)) {
                waiting.push(input);
            }
        }
    }
    false
}

/// Whether reading a relation twice gives the same rows.
fn is_stable(rel: &Rel) -> bool {
    let mut seen = HashSet::new();
    let mut waiting = vec![rel];
    while let Some(rel) = waiting.pop() {
        let unstable = match &rel.op {
            RelOp::Sample { .. } | RelOp::Limit { .. } | RelOp::PartitionTop { .. } => true,
            RelOp::Sort { fetch, .. } => fetch.is_some(),
            RelOp::Join { kind, .. } => *kind == JoinKind::InnerUnique,
            RelOp::Aggregate { aggregates, .. } => {
                aggregates.iter().any(|aggregate| !matches!(aggregate, BoundAggregate::Function { .. }))
            }
            _ => false,
        };
        let impure = |node: &BExpr| matches!(&node.kind, BExprKind::Call { row, .. } if !row.is_pure);
        if unstable || expressions(&rel.op).iter().any(|expr| expr.any(impure)) {
            return false;
        }
        for input in inputs(&rel.op) {
            if seen.insert(Arc::as_ptr(input)) {
                waiting.push(input);
            }
        }
    }
    true
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
    /// Rebuilds a whole subquery so that it runs for all groups at once. Gives the relation and the carry's columns in it; its
    /// other columns keep their ids.
    pub fn partitioned(
        &mut self,
        rel: &Arc<Rel>,
        mut partition: Partition,
        span: Span,
    ) -> Bound<(Arc<Rel>, Vec<BoundColumn>)> {
        if partition.readings(rel) > 1 && !is_stable(&partition.inner) {
            partition.inner_id = Some(self.fresh_shared());
        }
        self.partitioned_part(rel, &partition, span)
    }

    fn partitioned_part(
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
            return self.group_source(rel, items, partition, span);
        }
        if !partition.reads_source(rel) {
            // The same rows for every group.
            let groups = self.every_group(partition, span)?;
            let carry = groups.columns.clone();
            return Ok((self.join_rel(JoinKind::Inner, rel.clone(), groups, Vec::new(), span)?, carry));
        }
        match &rel.op {
            RelOp::Filter { input, predicate } => {
                let (input, carry) = self.partitioned_part(input, partition, span)?;
                let columns = input.columns.clone();
                let made = self.rel(RelOp::Filter { input, predicate: predicate.clone() }, columns, span)?;
                Ok((marked(made, rel), carry))
            }
            RelOp::Project { input, items } => {
                let (input, carry) = self.partitioned_part(input, partition, span)?;
                let items = items.iter().cloned().chain(carry.iter().map(BExpr::column)).collect();
                let columns = rel.columns.iter().chain(&carry).cloned().collect();
                let made = self.rel(RelOp::Project { input, items }, columns, span)?;
                Ok((marked(made, rel), carry))
            }
            RelOp::Aggregate { input, keys, aggregates } => {
                let (whole, carry) = self.partitioned_part(input, partition, span)?;
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
                let (mut input, carry) = self.partitioned_part(input, partition, span)?;
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
                let (whole, carry) = self.partitioned_part(input, partition, span)?;
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
                let (input, carry) = self.partitioned_part(input, partition, span)?;
                let columns = input.columns.clone();
                let by = by.iter().copied().chain(ids(&carry)).collect();
                let op = RelOp::PartitionTop { input, partition: by, keys: keys.clone(), fetch: *fetch };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::Window { input, partition: by, functions } => {
                let before = input.columns.len();
                let (whole, carry) = self.partitioned_part(input, partition, span)?;
                let columns = whole.columns.iter().chain(&rel.columns[before..]).cloned().collect();
                let by = by.iter().copied().chain(ids(&carry)).collect();
                let op = RelOp::Window { input: whole, partition: by, functions: functions.clone() };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::MvExpand { input, items, has_index, limit } => {
                let before = input.columns.len();
                let (whole, carry) = self.partitioned_part(input, partition, span)?;
                let columns = whole.columns.iter().chain(&rel.columns[before..]).cloned().collect();
                let op = RelOp::MvExpand { input: whole, items: items.clone(), has_index: *has_index, limit: *limit };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::Parse { input, source, mode, pattern, drop_unmatched } => {
                let before = input.columns.len();
                let (whole, carry) = self.partitioned_part(input, partition, span)?;
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
                let (whole, carry) = self.partitioned_part(input, partition, span)?;
                let columns = whole.columns.iter().chain(&rel.columns[before..]).cloned().collect();
                let op = RelOp::ParseKv {
                    input: whole,
                    source: source.clone(),
                    keys: keys.clone(),
                    options: options.clone(),
                };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::Join { kind, left, right, keys } => {
                self.partitioned_join(rel, *kind, (left, right), keys, partition, span)
            }
            RelOp::MakeSeries(series) if series.nonempty && !partition.keeps_groups(&series.input) => {
                self.not_served(span, "'make-series' of kind nonempty inside 'mv-apply' or 'partition'")
            }
            RelOp::MakeSeries(series) => {
                let (whole, carry) = self.partitioned_part(&series.input, partition, span)?;
                let mut series = series.clone();
                series.input = whole;
                let at = series.keys.len();
                series.keys.extend(carry.iter().map(BExpr::column));
                let mut columns = rel.columns.clone();
                columns.splice(at..at, carry.iter().cloned());
                Ok((self.rel(RelOp::MakeSeries(series), columns, span)?, carry))
            }
            RelOp::Stage(stage) => {
                let (input, carry) = self.partitioned_part(&stage.input, partition, span)?;
                let kept = stage.keep.len().min(rel.columns.len());
                let mut columns = rel.columns.clone();
                columns.splice(kept..kept, carry.iter().cloned());
                let mut stage = stage.clone();
                stage.input = input;
                stage.groups.extend(carry.iter().map(BExpr::column));
                stage.keep.extend(ids(&carry));
                Ok((self.rel(RelOp::Stage(stage), columns, span)?, carry))
            }
            RelOp::Lookup(lookup) => self.partitioned_lookup(lookup, partition, span),
            RelOp::GraphMatch(_) | RelOp::GraphRows(_) => {
                self.not_served(span, "a graph operator inside 'mv-apply' or 'partition'")
            }
            RelOp::Sample { input, count } => {
                let (input, carry) = self.partitioned_part(input, partition, span)?;
                let Some(row) = find_scalar("rand") else {
                    return self.not_served(span, "'sample' inside 'mv-apply' or 'partition'");
                };
                let kind = BExprKind::Call { row: ScalarRow(row), args: Vec::new() };
                let by = BExpr { kind, ty: KqlType::Real };
                let keys = vec![SortKey { expr: by, ascending: true, nulls_first: true }];
                let columns = input.columns.clone();
                let op = RelOp::PartitionTop { input, partition: ids(&carry), keys, fetch: *count };
                Ok((self.rel(op, columns, span)?, carry))
            }
            RelOp::Union { inputs } => {
                let carry: Vec<BoundColumn> =
                    partition.carry.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
                let mut parts = Vec::with_capacity(inputs.len());
                for input in inputs {
                    let (whole, own) = self.partitioned_part(input, partition, span)?;
                    parts.push(self.only(&whole, input.columns.iter().chain(&own), span)?);
                }
                let columns = rel.columns.iter().chain(&carry).cloned().collect();
                Ok((self.rel(RelOp::Union { inputs: parts }, columns, span)?, carry))
            }
            RelOp::Shared { id, rel: inner } => {
                let known = partition.shared.borrow().get(id).cloned();
                let (id, whole) = match known {
                    Some(known) => known,
                    None => {
                        let (whole, own) = self.partitioned_part(inner, partition, span)?;
                        let whole = self.only(&whole, inner.columns.iter().chain(&own), span)?;
                        let made = (self.fresh_shared(), whole);
                        partition.shared.borrow_mut().insert(*id, made.clone());
                        made
                    }
                };
                let carry: Vec<BoundColumn> =
                    partition.carry.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
                let columns = rel.columns.iter().chain(&carry).cloned().collect();
                let made = self.rel(RelOp::Shared { id, rel: whole }, columns, span)?;
                Ok((marked(made, rel), carry))
            }
            RelOp::Rows { .. } | RelOp::Table { .. } | RelOp::Range { .. } => Err(Stopped),
        }
    }

    /// The subquery's source: the rows with their group, under ids of this reading.
    fn group_source(
        &mut self,
        rel: &Arc<Rel>,
        items: &[BExpr],
        partition: &Partition,
        span: Span,
    ) -> Bound<(Arc<Rel>, Vec<BoundColumn>)> {
        let inner = match partition.inner_id {
            Some(id) => self.reading(id, &partition.inner, span)?,
            None => partition.inner.clone(),
        };
        let mut exprs = Vec::with_capacity(items.len() + partition.carry.len());
        for item in items {
            let place = match item.kind {
                BExprKind::Column(id) => partition.inner.columns.iter().position(|column| column.id == id),
                _ => None,
            };
            // The source is made of plain columns.
            let Some(place) = place else { return Err(Stopped) };
            exprs.push(BExpr::column(&inner.columns[place]));
        }
        let carry: Vec<BoundColumn> =
            partition.carry.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
        for column in &partition.carry {
            let place = partition.inner.columns.iter().position(|inner| inner.id == column.id);
            let Some(place) = place else { return Err(Stopped) };
            exprs.push(BExpr::column(&inner.columns[place]));
        }
        let columns = rel.columns.iter().chain(&carry).cloned().collect();
        let made = self.rel(RelOp::Project { input: inner, items: exprs }, columns, span)?;
        Ok((marked(made, rel), carry))
    }

    /// One row per group: the carry under fresh ids.
    fn every_group(&mut self, partition: &Partition, span: Span) -> Bound<Arc<Rel>> {
        if let Some(groups) = &partition.groups {
            return self.relabeled(groups, span);
        }
        let inner = match partition.inner_id {
            Some(id) => self.reading(id, &partition.inner, span)?,
            None => partition.inner.clone(),
        };
        let mut keys = Vec::with_capacity(partition.carry.len());
        for column in &partition.carry {
            let place = partition.inner.columns.iter().position(|inner| inner.id == column.id);
            let Some(place) = place else { return Err(Stopped) };
            keys.push(BExpr::column(&inner.columns[place]));
        }
        let columns = partition.carry.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
        self.rel(RelOp::Aggregate { input: inner, keys, aggregates: Vec::new() }, columns, span)
    }

    /// A relation with exactly these of its columns, under their ids.
    fn only<'c>(
        &mut self,
        rel: &Arc<Rel>,
        columns: impl Iterator<Item = &'c BoundColumn>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let columns: Vec<BoundColumn> = columns.cloned().collect();
        let items = columns.iter().map(BExpr::column).collect();
        let made = self.rel(RelOp::Project { input: rel.clone(), items }, columns, span)?;
        Ok(marked(made, rel))
    }

    /// A join in which rows of one group meet only each other.
    fn partitioned_join(
        &mut self,
        rel: &Arc<Rel>,
        kind: JoinKind,
        (left, right): (&Arc<Rel>, &Arc<Rel>),
        keys: &[(BExpr, BExpr)],
        partition: &Partition,
        span: Span,
    ) -> Bound<(Arc<Rel>, Vec<BoundColumn>)> {
        use JoinKind::*;
        let (has_left, has_right) = (partition.reads_source(left), partition.reads_source(right));
        // A side that is the same for every group need not be repeated where the other side's rows decide what comes.
        if has_left && !has_right && matches!(kind, Inner | LeftOuter | LeftSemi | LeftAnti) {
            let (left, carry) = self.partitioned_part(left, partition, span)?;
            return Ok((self.join_rel(kind, left, right.clone(), keys.to_vec(), span)?, carry));
        }
        if has_right && !has_left && matches!(kind, InnerUnique | Inner | RightOuter | RightSemi | RightAnti) {
            let (right, carry) = self.partitioned_part(right, partition, span)?;
            return Ok((self.join_rel(kind, left.clone(), right, keys.to_vec(), span)?, carry));
        }
        let (left, left_carry) = self.partitioned_part(left, partition, span)?;
        let (right, right_carry) = self.partitioned_part(right, partition, span)?;
        let mut keys = keys.to_vec();
        keys.extend(
            left_carry.iter().zip(&right_carry).map(|(left, right)| (BExpr::column(left), BExpr::column(right))),
        );
        let joined = self.join_rel(kind, left, right, keys, span)?;
        match kind {
            Inner | InnerUnique | LeftOuter | LeftSemi | LeftAnti => Ok((joined, left_carry)),
            RightOuter | RightSemi | RightAnti => Ok((joined, right_carry)),
            FullOuter => {
                // A row without a partner has its group on its own side only.
                let mut items: Vec<BExpr> = rel.columns.iter().map(BExpr::column).collect();
                let mut columns = rel.columns.clone();
                let mut carry = Vec::with_capacity(left_carry.len());
                for (left, right) in left_carry.iter().zip(&right_carry) {
                    let kind = BExprKind::Coalesce(vec![BExpr::column(left), BExpr::column(right)]);
                    items.push(BExpr { kind, ty: left.ty });
                    carry.push(self.fresh_column("", left.ty));
                }
                columns.extend(carry.iter().cloned());
                Ok((self.rel(RelOp::Project { input: joined, items }, columns, span)?, carry))
            }
        }
    }

    fn partitioned_lookup(
        &mut self,
        lookup: &RowLookup,
        partition: &Partition,
        span: Span,
    ) -> Bound<(Arc<Rel>, Vec<BoundColumn>)> {
        if !partition.reads_source(&lookup.input) {
            return self
                .not_served(span, "a lookup in the rows of 'mv-apply' or 'partition' for other rows than theirs");
        }
        let (input, carry) = self.partitioned_part(&lookup.input, partition, span)?;
        let mut lookup = RowLookup { input, ..lookup.clone() };
        if partition.reads_source(&lookup.table) {
            let (table, table_carry) = self.partitioned_part(&lookup.table, partition, span)?;
            let pairs = carry.iter().zip(&table_carry);
            lookup.equal.extend(pairs.map(|(left, right)| (BExpr::column(left), BExpr::column(right))));
            lookup.table = table;
        }
        let columns = lookup.input.columns.iter().chain(&lookup.table.columns).cloned().collect();
        Ok((self.rel(RelOp::Lookup(Box::new(lookup)), columns, span)?, carry))
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
        if partition.keeps_groups(input) {
            return Ok((grouped, carry.to_vec()));
        }
        let groups = self.every_group(partition, span)?;
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
}

fn ids(columns: &[BoundColumn]) -> Vec<ColumnId> {
    columns.iter().map(|column| column.id).collect()
}

/// The rebuilt relation with the marks of the original (`serialize` sets one without an operator).
fn marked(made: Arc<Rel>, original: &Rel) -> Arc<Rel> {
    let Rel { is_serialized, is_sorted, is_guarded, .. } = *original;
    if made.is_serialized == is_serialized && made.is_sorted == is_sorted && made.is_guarded == is_guarded {
        return made;
    }
    Arc::new(Rel { is_serialized, is_sorted, is_guarded, ..(*made).clone() })
}
