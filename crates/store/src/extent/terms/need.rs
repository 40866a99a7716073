//! Which terms a filter asks for: what a row must have, at least, to pass it.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use tidewater_kql::KqlType;
use tidewater_kql::term::each_term;

use crate::catalog::snapshot::Shape;
use crate::extent::terms::hash;
use crate::store::AskedTexts;

/// A condition on the terms of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// All of these terms stand in the column, which has this name in files.
    Terms { column: String, hashes: Vec<u64> },
    /// All of these hold.
    All(Vec<Need>),
    /// One of these holds.
    Any(Vec<Need>),
}

/// Which ends of a text must be ends of terms in what it is found in.
#[derive(Clone, Copy)]
struct Ends {
    start: bool,
    end: bool,
}

const BOTH: Ends = Ends { start: true, end: true };

impl Need {
    /// What rows that pass all filters need; `None` when nothing is known.
    pub(crate) fn of(filters: &[Expr], shape: &Shape, asked_texts: AskedTexts) -> Option<Need> {
        let asker = Asker { shape, asked_texts };
        all(filters.iter().filter_map(|filter| asker.need(filter)).collect())
    }

    /// Names of the columns that it is about, in files.
    pub(crate) fn columns(&self) -> Vec<&str> {
        fn collect<'a>(need: &'a Need, into: &mut Vec<&'a str>) {
            match need {
                Need::Terms { column, .. } if into.contains(&column.as_str()) => {}
                Need::Terms { column, .. } => into.push(column),
                Need::All(parts) | Need::Any(parts) => parts.iter().for_each(|part| collect(part, into)),
            }
        }
        let mut columns = Vec::new();
        collect(self, &mut columns);
        columns
    }

    /// Whether some row may have it, where `may_hold` tells whether a term may stand in a column.
    pub(crate) fn may_hold(&self, may_hold: &impl Fn(&str, u64) -> bool) -> bool {
        match self {
            Need::Terms { column, hashes } => hashes.iter().all(|hash| may_hold(column, *hash)),
            Need::All(parts) => parts.iter().all(|part| part.may_hold(may_hold)),
            Need::Any(parts) => parts.iter().any(|part| part.may_hold(may_hold)),
        }
    }
}

fn all(mut parts: Vec<Need>) -> Option<Need> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(Need::All(parts)),
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// What filters are read with.
struct Asker<'a> {
    shape: &'a Shape,
    asked_texts: AskedTexts,
}

impl Asker<'_> {
    fn need(&self, filter: &Expr) -> Option<Need> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                all([left, right].into_iter().filter_map(|part| self.need(part)).collect())
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Some(Need::Any(vec![self.need(left)?, self.need(right)?]))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                self.terms(left, text(right)?, BOTH).or_else(|| self.terms(right, text(left)?, BOTH))
            }
            Expr::IsTrue(inner) => self.need(inner),
            Expr::Alias(alias) => self.need(&alias.expr),
            Expr::InList(list) if !list.negated => {
                let each = list.list.iter().map(|item| self.terms(&list.expr, text(item)?, BOTH));
                each.collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty()).map(Need::Any)
            }
            Expr::Like(like) if !like.negated && like.escape_char.is_none() => {
                let pattern = text(&like.pattern)?;
                if pattern.contains('\\') {
                    return None;
                }
                let pieces: Vec<&str> = pattern.split(['%', '_']).collect();
                let last = pieces.len() - 1;
                let parts = pieces
                    .into_iter()
                    .enumerate()
                    .filter_map(|(at, piece)| self.terms(&like.expr, piece, Ends { start: at == 0, end: at == last }));
                all(parts.collect())
            }
            Expr::ScalarFunction(call) => {
                if let Some((texts, wants_all)) = (self.asked_texts)(&call.func) {
                    let mut parts = texts.iter().map(|text| self.terms(call.args.first()?, text, BOTH));
                    return match wants_all {
                        true => all(parts.flatten().collect()),
                        false if texts.is_empty() => None,
                        false => parts.by_ref().collect::<Option<Vec<_>>>().map(Need::Any),
                    };
                }
                let [column, needle] = call.args.as_slice() else { return None };
                let (start, end) = match call.func.name() {
                    "kql_has" | "kql_has_cs" | "kql_equal_tilde" => (true, true),
                    "kql_hasprefix" | "kql_hasprefix_cs" | "kql_startswith" | "kql_startswith_cs" => (true, false),
                    "kql_hassuffix" | "kql_hassuffix_cs" | "kql_endswith" | "kql_endswith_cs" => (false, true),
                    "kql_contains" | "kql_contains_cs" => (false, false),
                    _ => return None,
                };
                self.terms(column, text(needle)?, Ends { start, end })
            }
            _ => None,
        }
    }

    /// The terms of a text that stand whole in every text that it is found in.
    fn terms(&self, column: &Expr, text: &str, ends: Ends) -> Option<Need> {
        let Expr::Column(column) = column else { return None };
        let row = self.shape.columns.iter().find(|row| row.name == column.name && row.ty == KqlType::String)?;
        let mut hashes = Vec::new();
        each_term(text, &mut String::new(), |term, is_first, is_last| {
            if (ends.start || !is_first) && (ends.end || !is_last) {
                hashes.push(hash(term));
            }
        });
        hashes.sort_unstable();
        hashes.dedup();
        (!hashes.is_empty()).then(|| Need::Terms { column: row.at_rest().to_string(), hashes })
    }
}
