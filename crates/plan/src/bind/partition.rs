//! `partition`. Source: partition-operator page.
//!
//! A subquery over the rows of a partition runs for all partitions at once (`partitioned`). A whole
//! query in braces, and a subquery that names its rows (`as P`), is bound once for each value of the
//! key instead, as the legacy strategy does; there the key is a constant.

use std::rc::Rc;
use std::sync::Arc;

use tidewater_kql::ast::{BinaryOp, Expr, ExprKind, Operator, OperatorKind, Pipeline, Property};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::partitioned::Partition;
use crate::bind::scope::Binding;
use crate::bind::source::Tabular;
use crate::bind::union::Input;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BExprKind, BoundColumn, Constant, Known, NeedWhat, Rel, RelOp};

/// Partitions of the legacy strategy. Source: partition-operator page.
const MAX_LEGACY_PARTITIONS: usize = 64;
/// Values for each of which a whole query is bound, with the other strategies. A page of the reference does that.
const MAX_EXPANDED_PARTITIONS: usize = 512;

impl Binder<'_> {
    /// `partition by key (pipeline)`, `partition by key { query }`: the subquery runs per value of the key; the key is not added.
    pub fn partition_operator(
        &mut self,
        input: &Arc<Rel>,
        parameters: &[Property],
        by: &Expr,
        body: &Expr,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let key = self.plain_column(by, &input.columns)?;
        self.group_key(&BExpr::column(&key), by, "the key of 'partition'")?;
        let is_legacy = match self.word(parameters, &["hint.strategy"]) {
            None => true,
            Some((_, Some(word))) if word == "legacy" => true,
            Some((_, Some(word))) if word == "native" || word == "shuffle" => false,
            Some((name, _)) => {
                let span = name.span;
                let message = "'partition' has the strategies native, shuffle and legacy";
                return self.fail(diagnostic::NOT_IN_LIST, span, message);
            }
        };
        let operators: Option<&[Operator]> = match &body.kind {
            ExprKind::Pipe(pipeline) => match &**pipeline {
                Pipeline { source: None, operators } if !starts_alone(operators) => Some(operators),
                _ => None,
            },
            _ => None,
        };
        match operators {
            Some(operators) if !(is_legacy && names_itself(operators)) => {
                self.partition_at_once(input, &key, operators, span)
            }
            _ => {
                let most = if is_legacy { MAX_LEGACY_PARTITIONS } else { MAX_EXPANDED_PARTITIONS };
                self.partition_by_value(input, &key, operators, body, most, span)
            }
        }
    }

    /// All partitions in one query.
    fn partition_at_once(
        &mut self,
        input: &Arc<Rel>,
        key: &BoundColumn,
        operators: &[Operator],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let carry = self.fresh_column("", key.ty);
        let mut items: Vec<BExpr> = input.columns.iter().map(BExpr::column).collect();
        items.push(BExpr::column(key));
        let columns = input.columns.iter().cloned().chain([carry.clone()]).collect();
        let inner = self.rel(RelOp::Project { input: input.clone(), items }, columns, span)?;
        let source = self.columns_only(input, &input.columns, span)?;
        let body = self.subquery(input, source, operators, span)?;
        let partition = Partition::new(input.clone(), inner, vec![carry], None);
        let (rel, _) = self.partitioned(&body, partition, span)?;
        self.columns_only(&rel, &body.columns, span)
    }

    /// Binds the operators of a subquery over a projection of `input`.
    pub fn subquery(
        &mut self,
        input: &Arc<Rel>,
        source: Arc<Rel>,
        operators: &[Operator],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        self.subquery_sources.push(input.clone());
        let outer = self.enter(self.env);
        let body = self.operators(Tabular::of(source), operators);
        self.env = outer;
        self.subquery_sources.pop();
        let body = body?;
        self.one_table(&body, span)?;
        Ok(body.rel)
    }

    /// The subquery once for each value of the key.
    #[allow(clippy::too_many_arguments, reason = "the parts of one operator")]
    fn partition_by_value(
        &mut self,
        input: &Arc<Rel>,
        key: &BoundColumn,
        operators: Option<&[Operator]>,
        body: &Expr,
        most: usize,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let need = self.need_key();
        let shared = self.fresh_shared();
        let keys_input = self.reading(shared, input, span)?;
        let place = input.columns.iter().position(|column| column.id == key.id).ok_or(Stopped)?;
        let value = self.fresh_column("", key.ty);
        let keys = vec![BExpr::column(&keys_input.columns[place])];
        let op = RelOp::Aggregate { input: keys_input, keys, aggregates: Vec::new() };
        let distinct = self.rel(op, vec![value], span)?;
        let distinct = self.limited(&distinct, most as u64 + 1, span)?;
        let what = NeedWhat::Values { limit: most + 1 };
        let Some(Known::Values(values)) = self.need(need, &distinct, what) else { return Err(Stopped) };
        if values.len() > most {
            let message = format!(
                "this 'partition' takes at most {most} different values of '{}'; use hint.strategy=native or hint.strategy=shuffle without a source in the subquery",
                key.name
            );
            return self.fail(diagnostic::GENERAL, span, message);
        }
        // Without rows the subquery is still bound, for its columns.
        let is_empty = values.is_empty();
        let values = if is_empty { vec![Constant::null(key.ty)] } else { values.to_vec() };
        let mut parts = Vec::with_capacity(values.len());
        for (number, value) in values.into_iter().enumerate() {
            // Needs inside have keys of their own, so that those behind are the same whether the values are known or not.
            let Some(block) = need.0.checked_add(1).filter(|block| *block < 1 << 40) else {
                return self.not_served(span, "'partition' with a whole query so deep inside others");
            };
            let next_need = std::mem::replace(&mut self.next_need, (block << 20) + ((number as u64) << 12));
            let outer = self.enter(self.env);
            let part = self.one_partition(shared, input, place, value, operators, body, span);
            self.env = outer;
            self.next_need = next_need;
            parts.push(Input { rel: part?, table: None });
        }
        let rel = match parts.len() {
            1 => parts.remove(0).rel,
            _ => self.united(parts, None, "", false, span)?,
        };
        if is_empty { self.limited(&rel, 0, span) } else { Ok(rel) }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one operator")]
    fn one_partition(
        &mut self,
        shared: crate::bound::SharedId,
        input: &Arc<Rel>,
        place: usize,
        value: Constant,
        operators: Option<&[Operator]>,
        body: &Expr,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let Some(operators) = operators else {
            let name = &input.columns[place].name;
            self.define(name, Binding::Scalar(Rc::new(BExpr::constant(value))));
            return Ok(self.single_table(body)?.rel);
        };
        let rows = self.reading(shared, input, span)?;
        let key = BExpr::column(&rows.columns[place]);
        let predicate = if value.is_null() {
            BExpr { kind: BExprKind::IsNull(Box::new(key)), ty: KqlType::Bool }
        } else if matches!(value.value, crate::bound::Value::Real(value) if value.is_nan()) {
            let Some(row) = tidewater_functions::find_scalar("isnan") else { return Err(Stopped) };
            let kind = BExprKind::Call { row: crate::bound::ScalarRow(row), args: vec![key] };
            BExpr { kind, ty: KqlType::Bool }
        } else {
            self.binary(BinaryOp::Equal, key, BExpr::constant(value), span)?
        };
        let rows = self.filtered(&rows, predicate, span)?;
        let body = self.operators(Tabular::of(rows), operators)?;
        self.one_table(&body, span)?;
        Ok(body.rel)
    }
}

/// Whether a pipeline begins with an operator that reads no rows.
fn starts_alone(operators: &[Operator]) -> bool {
    matches!(
        operators.first().map(|operator| &operator.kind),
        Some(OperatorKind::Print(_) | OperatorKind::Range { .. })
    )
}

/// Whether a subquery gives its rows a name, by which it may read them as a whole.
fn names_itself(operators: &[Operator]) -> bool {
    operators.iter().any(|operator| matches!(operator.kind, OperatorKind::As { .. }))
}
