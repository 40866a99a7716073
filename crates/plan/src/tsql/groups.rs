//! GROUP BY with several sets of keys: ROLLUP, CUBE, GROUPING SETS, and GROUPING, which tells a set's nulls from the rows' own.
//!
//! The rows are summed up once for each set, the keys that a set leaves out are null, and the union of it all takes the place of
//! the one `summarize`. Source: T-SQL reference, GROUP BY and GROUPING_ID.

use datafusion::sql::sqlparser::ast::{Expr, GroupByWithModifier};
use datafusion::sql::sqlparser::tokenizer;
use tidewater_kql::KqlType;
use tidewater_kql::diagnostic::GENERAL;

use super::expr::{Level, Names, Typed, null_of};
use super::{Result, Translator};

/// The most sets of one statement: each reads the rows once more.
const MAX_SETS: usize = 64;

/// The sets of keys of a GROUP BY.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sets<'q> {
    /// Every key, each once.
    pub keys: Vec<&'q Expr>,
    /// The places of each set's keys.
    pub sets: Vec<Vec<usize>>,
}

/// The sets as `summarize` needs them.
#[derive(Clone, Debug, Default)]
pub(super) struct SetsStep {
    /// The places of each set's keys.
    pub sets: Vec<Vec<usize>>,
    /// The name of the rows.
    pub rows: String,
    /// The column with a bit for each key that a set leaves out.
    pub bits: String,
}

impl Translator<'_> {
    /// The sets of keys, or none where all rows are summed up by the same ones.
    pub(super) fn grouping_sets<'q>(
        &self,
        group_by: &'q [Expr],
        modifiers: &[GroupByWithModifier],
    ) -> Result<Option<Sets<'q>>> {
        let is_special =
            |expr: &Expr| matches!(expr, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) | Expr::Tuple(_));
        if modifiers.is_empty() && !group_by.iter().any(is_special) {
            return Ok(None);
        }
        let mut wholes: Vec<Vec<&'q Expr>> = vec![Vec::new()];
        let product = |wholes: Vec<Vec<&'q Expr>>, sets: Vec<Vec<&'q Expr>>| -> Result<Vec<Vec<&'q Expr>>> {
            if wholes.len() * sets.len() > MAX_SETS {
                return Err(self.not_served(format!("GROUP BY with more than {MAX_SETS} sets of keys")));
            }
            let joined = wholes.iter().flat_map(|whole| sets.iter().map(move |set| [&whole[..], &set[..]].concat()));
            Ok(joined.collect())
        };
        match modifiers {
            [] => {
                for expr in group_by {
                    let sets = match expr {
                        Expr::Rollup(parts) => {
                            rollup(&parts.iter().map(|part| part.iter().collect()).collect::<Vec<_>>())
                        }
                        Expr::Cube(parts) => {
                            self.cube(&parts.iter().map(|part| part.iter().collect()).collect::<Vec<_>>())?
                        }
                        Expr::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
                        Expr::Tuple(keys) => vec![keys.iter().collect()],
                        key => vec![vec![key]],
                    };
                    wholes = product(wholes, sets)?;
                }
            }
            [modifier] if !group_by.iter().any(is_special) => {
                let parts: Vec<Vec<&Expr>> = group_by.iter().map(|key| vec![key]).collect();
                wholes = match modifier {
                    GroupByWithModifier::Rollup => rollup(&parts),
                    GroupByWithModifier::Cube => self.cube(&parts)?,
                    other => return Err(self.not_served(format!("GROUP BY ... {other}"))),
                };
            }
            _ => return Err(self.not_served("GROUP BY with several forms of sets and WITH")),
        }
        let mut keys: Vec<&Expr> = Vec::new();
        let mut sets = Vec::new();
        for whole in wholes {
            let mut set = Vec::new();
            for key in whole {
                let key = plain(key);
                if matches!(key, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_)) {
                    return Err(self.not_served("ROLLUP and CUBE inside of GROUPING SETS"));
                }
                let at = keys.iter().position(|own| *own == key).unwrap_or_else(|| {
                    keys.push(key);
                    keys.len() - 1
                });
                if !set.contains(&at) {
                    set.push(at);
                }
            }
            sets.push(set);
        }
        if keys.len() > 32 {
            return Err(self.not_served("GROUP BY with sets of more than 32 keys"));
        }
        Ok(Some(Sets { keys, sets }))
    }

    fn cube<'q>(&self, parts: &[Vec<&'q Expr>]) -> Result<Vec<Vec<&'q Expr>>> {
        if parts.len() > MAX_SETS.ilog2() as usize {
            return Err(self.not_served(format!("GROUP BY with more than {MAX_SETS} sets of keys")));
        }
        // All of them first, then the sets without the last ones.
        let sets = (0..1usize << parts.len()).rev().map(|wanted| {
            let own = parts.iter().rev().enumerate().rev().filter(|(at, _)| wanted >> at & 1 == 1);
            own.flat_map(|(_, part)| part.iter().copied()).collect()
        });
        Ok(sets.collect())
    }

    /// GROUPING and GROUPING_ID.
    pub(super) fn grouping(
        &mut self,
        what: &str,
        exprs: &[&Expr],
        names: &mut Names<'_, '_>,
        span: tokenizer::Span,
    ) -> Result<Typed> {
        let Some(groups) = &names.groups else {
            return Err(self.mistake(GENERAL, span, format!("{what} needs a GROUP BY")));
        };
        if exprs.is_empty() || (what == "GROUPING" && exprs.len() != 1) {
            return Err(self.mistake(GENERAL, span, format!("{what} needs keys of GROUP BY as its arguments")));
        }
        let mut terms = Vec::new();
        for (at, expr) in exprs.iter().enumerate() {
            let Some(place) = groups.place_of(plain(expr)) else {
                return Err(self.mistake(GENERAL, span, format!("{what}({expr}): this is no key of GROUP BY")));
            };
            let Some(sets) = &groups.sets else { continue };
            let weight = 1u64 << (exprs.len() - 1 - at).min(32);
            terms.push(format!("iff(binary_and({}, {}) != 0, {weight}, 0)", sets.bits, 1u64 << place));
        }
        match terms.is_empty() {
            true => Ok(Typed::atom("int(0)", KqlType::Int)),
            false => Ok(Typed::new(format!("toint({})", terms.join(" + ")), Some(KqlType::Int), Level::Atom)),
        }
    }
}

fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => plain(inner),
        other => other,
    }
}

/// Everything, and then less by one part each time.
fn rollup<'q>(parts: &[Vec<&'q Expr>]) -> Vec<Vec<&'q Expr>> {
    (0..=parts.len()).rev().map(|count| parts[..count].concat()).collect()
}

/// The operators for several sets: `aggregates` is the text of what is summed up, keys are their values and names.
pub(super) fn step(aggregates: &str, keys: &[(&Typed, &str)], wanted: &SetsStep) -> String {
    let SetsStep { sets, rows, bits } = wanted;
    let leg = |set: &Vec<usize>| {
        let by: Vec<String> = set
            .iter()
            .filter_map(|at| keys.get(*at))
            .map(|(value, title)| super::query::item(title, &value.text))
            .collect();
        let mut added = Vec::new();
        let mut left_out = 0u64;
        for (at, (value, title)) in keys.iter().enumerate() {
            if !set.contains(&at) {
                left_out |= 1 << at;
                added.push(format!("{}={}", super::name(title), null_of(value.ty.unwrap_or(KqlType::String)).text));
            }
        }
        added.push(format!("{bits}={left_out}"));
        let summed = match (aggregates.is_empty(), by.is_empty()) {
            (true, true) => "summarize __rows=count()".to_string(),
            (false, true) => format!("summarize {aggregates}"),
            (true, false) => format!("summarize by {}", by.join(", ")),
            (false, false) => format!("summarize {aggregates} by {}", by.join(", ")),
        };
        format!("{summed} | extend {}", added.join(", "))
    };
    let legs: Vec<String> = sets.iter().map(leg).collect();
    let others: Vec<String> = legs.iter().skip(1).map(|leg| format!("({rows} | {leg})")).collect();
    let first = legs.first().cloned().unwrap_or_default();
    match others.is_empty() {
        true => first,
        false => format!("as {rows} | {first} | union {}", others.join(", ")),
    }
}
