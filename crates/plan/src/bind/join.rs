//! `join` and `lookup`. Source: join-operator, lookup-operator pages; kql-behaviour section 11.

use std::sync::Arc;

use tidewater_kql::ast::{BinaryOp, Expr, ExprKind, Literal, Property};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::conversion::widest;
use crate::bind::names::{NameTable, Wanted};
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, JoinKind, Rel, RelOp};

const JOIN_KINDS: &[(&str, JoinKind)] = &[
    ("innerunique", JoinKind::InnerUnique),
    ("inner", JoinKind::Inner),
    ("leftouter", JoinKind::LeftOuter),
    ("rightouter", JoinKind::RightOuter),
    ("fullouter", JoinKind::FullOuter),
    ("leftsemi", JoinKind::LeftSemi),
    ("rightsemi", JoinKind::RightSemi),
    ("leftanti", JoinKind::LeftAnti),
    ("leftantisemi", JoinKind::LeftAnti),
    ("anti", JoinKind::LeftAnti),
    ("rightanti", JoinKind::RightAnti),
    ("rightantisemi", JoinKind::RightAnti),
];

const LOOKUP_KINDS: &[(&str, JoinKind)] = &[("leftouter", JoinKind::LeftOuter), ("inner", JoinKind::Inner)];

/// A pair of key columns.
struct KeyPair {
    left: BoundColumn,
    right: BoundColumn,
}

impl Binder<'_> {
    fn join_kind(
        &mut self,
        parameters: &[Property],
        kinds: &'static [(&'static str, JoinKind)],
        operator: &str,
    ) -> Bound<JoinKind> {
        let Some((name, word)) = self.word(parameters, &["kind"]) else { return Ok(kinds[0].1) };
        let word = word.unwrap_or_default();
        match kinds.iter().find(|(kind, _)| *kind == word) {
            Some((_, kind)) => Ok(*kind),
            None => {
                let known: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
                let message = format!("'{operator}' has no kind '{word}': expected one of {}", known.join(", "));
                let diagnostic = Diagnostic::new(diagnostic::NOT_IN_LIST, name.span, message);
                Err(self.report(diagnostic.hint_nearest(&word, known)))
            }
        }
    }

    /// `join kind=... (right) on keys`.
    pub fn join_operator(
        &mut self,
        left: &Arc<Rel>,
        parameters: &[Property],
        right: &Expr,
        on: &[Expr],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let kind = self.join_kind(parameters, JOIN_KINDS, "join");
        let right = self.single_table(right)?.rel;
        let hints = self.check_hints("join", parameters, &[&left.columns, &right.columns]);
        let pairs = self.key_pairs(left, &right, on);
        let (kind, pairs, ()) = (kind?, pairs?, hints?);
        let joined = self.joined(kind, left.clone(), right.clone(), &pairs, span)?;
        match kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::RightSemi | JoinKind::RightAnti => Ok(joined),
            _ => {
                let named = beside(&left.columns, &right.columns);
                self.project(joined, named, span)
            }
        }
    }

    /// `lookup`: the right side's keys are left out.
    pub fn lookup_operator(
        &mut self,
        left: &Arc<Rel>,
        parameters: &[Property],
        right: &Expr,
        on: &[Expr],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let kind = self.join_kind(parameters, LOOKUP_KINDS, "lookup");
        let right = self.single_table(right)?.rel;
        let hints = self.check_hints("join", parameters, &[&left.columns, &right.columns]);
        let pairs = self.key_pairs(left, &right, on);
        let (kind, pairs, ()) = (kind?, pairs?, hints?);
        let joined = self.joined(kind, left.clone(), right.clone(), &pairs, span)?;
        let kept: Vec<BoundColumn> = right
            .columns
            .iter()
            .filter(|column| !pairs.iter().any(|pair| pair.right.id == column.id))
            .cloned()
            .collect();
        let named = beside(&left.columns, &kept);
        self.project(joined, named, span)
    }

    fn joined(
        &mut self,
        kind: JoinKind,
        left: Arc<Rel>,
        right: Arc<Rel>,
        pairs: &[KeyPair],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let keys = pairs
            .iter()
            .map(|pair| {
                let (left, right) = (BExpr::column(&pair.left), BExpr::column(&pair.right));
                let ty = widest(left.ty, right.ty).unwrap_or(left.ty);
                (self.convert(left, ty), self.convert(right, ty))
            })
            .collect();
        self.join_rel(kind, left, right, keys, span)
    }

    /// A join relation with its columns.
    pub fn join_rel(
        &mut self,
        kind: JoinKind,
        left: Arc<Rel>,
        right: Arc<Rel>,
        keys: Vec<(BExpr, BExpr)>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let columns = match kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => left.columns.clone(),
            JoinKind::RightSemi | JoinKind::RightAnti => right.columns.clone(),
            _ => left.columns.iter().chain(&right.columns).cloned().collect(),
        };
        self.rel(RelOp::Join { kind, left, right, keys }, columns, span)
    }

    fn key_pairs(&mut self, left: &Rel, right: &Rel, on: &[Expr]) -> Bound<Vec<KeyPair>> {
        let mut pairs = Vec::new();
        let mut failed = false;
        let mut waiting: Vec<&Expr> = on.iter().rev().collect();
        while let Some(condition) = waiting.pop() {
            match &condition.kind {
                ExprKind::Chain { op: BinaryOp::And, operands, .. } => waiting.extend(operands.iter().rev()),
                ExprKind::Binary { op: BinaryOp::And, left, right, .. } => waiting.extend([&**right, &**left]),
                _ => match self.key_pair(left, right, condition) {
                    Ok(pair) => pairs.push(pair),
                    Err(Stopped) => failed = true,
                },
            }
        }
        if failed { Err(Stopped) } else { Ok(pairs) }
    }

    fn key_pair(&mut self, left: &Rel, right: &Rel, condition: &Expr) -> Bound<KeyPair> {
        match &condition.kind {
            ExprKind::Name(name) => {
                let sides = (left.column(&name.text).cloned(), right.column(&name.text).cloned());
                match sides {
                    (Some(left), Some(right)) => {
                        if left.ty != right.ty {
                            let message = format!(
                                "the common column '{}' must have the same type on both sides of the join, but it is {} and {}",
                                name.text, left.ty, right.ty
                            );
                            return self.fail(diagnostic::JOIN_KEY, name.span, message);
                        }
                        self.key_types(KeyPair { left, right }, condition)
                    }
                    (None, None) => Err(self.unresolved_column(&name.text, &left.columns, name.span)),
                    (found, _) => {
                        let side = if found.is_some() { "right" } else { "left" };
                        let message = format!(
                            "the column '{}' must exist on both sides of the join, but the {side} side lacks it",
                            name.text
                        );
                        self.fail(diagnostic::UNRESOLVED, name.span, message)
                    }
                }
            }
            ExprKind::Binary { op: BinaryOp::Equal, left: first, right: second, .. } => {
                let found = (self.side(first, "$left", &left.columns), self.side(second, "$right", &right.columns));
                self.key_types(KeyPair { left: found.0?, right: found.1? }, condition)
            }
            _ => self.fail(
                diagnostic::JOIN_KEY,
                condition.span,
                "a join condition is the name of a column that both sides have, or $left.a == $right.b",
            ),
        }
    }

    /// `$left.a`.
    fn side(&mut self, expr: &Expr, side: &str, columns: &[BoundColumn]) -> Bound<BoundColumn> {
        if let ExprKind::Member { base, name } = &expr.kind
            && matches!(&base.kind, ExprKind::Name(found) if found.text == side)
        {
            return match columns.iter().find(|column| column.name == name.text) {
                Some(column) => Ok(column.clone()),
                None => Err(self.unresolved_column(&name.text, columns, name.span)),
            };
        }
        self.fail(diagnostic::JOIN_KEY, expr.span, format!("the join condition operand must be {side}.<column>"))
    }

    fn key_types(&mut self, pair: KeyPair, condition: &Expr) -> Bound<KeyPair> {
        use KqlType::{Dynamic, Int, Long};
        let (left, right) = (pair.left.ty, pair.right.ty);
        if left == Dynamic || right == Dynamic {
            let message = "a join key cannot be dynamic: cast it first, for example with tostring()";
            return self.fail(diagnostic::GENERAL, condition.span, message);
        }
        if left == right || matches!((left, right), (Int, Long) | (Long, Int)) {
            return Ok(pair);
        }
        let message = format!("inconsistent data types for join keys: {left} and {right}");
        self.fail(diagnostic::JOIN_KEY, condition.span, message)
    }
}

/// Left columns under their names, right ones with the first free suffix where the name is taken; suffixes keep out
/// of the way of names that stand later on the right.
pub(crate) fn beside(left: &[BoundColumn], right: &[BoundColumn]) -> Vec<(String, BExpr)> {
    let mut table = NameTable::expecting(right.iter().map(|column| column.name.as_str()));
    for column in left {
        table.reserve(&column.name);
    }
    let mut named: Vec<(String, BExpr)> =
        left.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
    for column in right {
        // Names within one side are unique, so no explicit name occurs twice.
        let name = table.give(&Wanted::Explicit(column.name.clone()), |_| false).unwrap_or_else(|name| name.0);
        named.push((name, BExpr::column(column)));
    }
    named
}

/// Whether a parameter says true.
pub(crate) fn is_true(value: &Expr) -> bool {
    matches!(&value.kind, ExprKind::Literal(Literal::Bool(Some(true))))
        || matches!(&value.kind, ExprKind::Name(name) if name.text == "true")
}
