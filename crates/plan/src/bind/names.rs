//! Names of result columns. Source: kql-behaviour section 5.

use std::collections::{HashMap, HashSet};

use tidewater_functions::registry::NameRule;
use tidewater_functions::{find_aggregate, find_scalar};
use tidewater_kql::ast::{Argument, Expr, ExprKind, Literal, NamedExpr, UnaryOp};

use crate::bind::Binder;
use crate::bind::row::Row;
use crate::bind::scope::Binding;
use crate::bound::{BExprKind, Value};

/// The name that a column wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Written by the user, or a column under its own name: a second one of the same name is a mistake.
    Explicit(String),
    /// Worked out from the expression.
    Automatic(String),
    /// Nothing to name it by: `Column1`, `Column2`, ...
    Nameless,
}

/// Gives the columns of one operator their final names.
#[derive(Default)]
pub(crate) struct NameTable {
    used: HashSet<String>,
    explicit: HashSet<String>,
    /// Explicit names of columns still to come: suffixes keep out of their way.
    later: HashMap<String, usize>,
    nameless: usize,
    /// The last suffix tried for a name, so that many equal names stay cheap.
    suffixes: HashMap<String, usize>,
}

/// An explicit name was used twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DuplicateName(pub String);

impl NameTable {
    /// A table that knows which explicit names will come.
    pub fn expecting<'n>(explicit: impl IntoIterator<Item = &'n str>) -> NameTable {
        let mut table = NameTable::default();
        for name in explicit {
            *table.later.entry(name.to_string()).or_default() += 1;
        }
        table
    }

    /// The final name. `avoid`: names that a `ColumnN` must step past.
    pub fn give(&mut self, wanted: &Wanted, avoid: impl Fn(&str) -> bool) -> Result<String, DuplicateName> {
        match wanted {
            Wanted::Explicit(name) => {
                if let Some(count) = self.later.get_mut(name) {
                    *count = count.saturating_sub(1);
                }
                if !self.explicit.insert(name.clone()) {
                    return Err(DuplicateName(name.clone()));
                }
                Ok(self.free(name))
            }
            Wanted::Automatic(name) => Ok(self.free(name)),
            Wanted::Nameless => loop {
                self.nameless += 1;
                let name = format!("Column{}", self.nameless);
                if !avoid(&name) {
                    return Ok(self.free(&name));
                }
            },
        }
    }

    /// The name itself, or with the first suffix 1, 2, ... that makes it free.
    fn free(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        if self.used.contains(base) {
            let mut suffix = self.suffixes.get(base).copied().unwrap_or(0);
            while self.used.contains(&name) || self.later.get(&name).is_some_and(|count| *count > 0) {
                suffix += 1;
                name = format!("{base}{suffix}");
            }
            self.suffixes.insert(base.to_string(), suffix);
        }
        self.used.insert(name.clone());
        name
    }

    /// Takes a name out of use without giving it.
    pub fn reserve(&mut self, name: &str) {
        self.used.insert(name.to_string());
    }
}

impl Binder<'_> {
    /// The automatic name of an expression, or `None` when nothing names it.
    pub fn result_name(&self, expr: &Expr, row: &Row<'_>) -> Option<String> {
        match &expr.kind {
            ExprKind::Name(name) => Some(name.text.clone()),
            // A property of a part of a pattern is named without that part.
            ExprKind::Member { base, name } if self.is_pattern_part(base, row) => Some(name.text.clone()),
            ExprKind::Member { base, name } => Some(match self.result_name(base, row) {
                Some(left) => format!("{left}_{}", name.text),
                None => name.text.clone(),
            }),
            ExprKind::Index { base, index } => {
                let left = self.result_name(base, row);
                let right = index_name(index);
                match (left, right) {
                    (Some(left), right) => Some(format!("{left}_{}", right.unwrap_or_default())),
                    (None, right) => right,
                }
            }
            ExprKind::Call { base: None, name, arguments } => self.call_name(&name.text, arguments, row),
            _ => None,
        }
    }

    fn is_pattern_part(&self, expr: &Expr, row: &Row<'_>) -> bool {
        matches!(&expr.kind, ExprKind::Name(name) if self.graph_variable(&name.text, row).is_some())
    }

    fn call_name(&self, name: &str, arguments: &[Argument], row: &Row<'_>) -> Option<String> {
        if matches!(self.lookup(name), Some(Binding::Function(_))) {
            return None;
        }
        let first = || arguments.first().and_then(|argument| self.result_name(&argument.value, row));
        // Where aggregates stand, a name that both kinds have is the aggregate's.
        if let (Some(aggregates), Some(_)) = (&row.aggregates, find_aggregate(name))
            && (!aggregates.inside || find_scalar(name).is_none())
        {
            return self.names_itself(name).then(|| self.aggregate_name(name, arguments, row));
        }
        match name {
            "column_ifexists" | "columnifexists" => {
                let text = match arguments.first().map(|argument| &argument.value.kind) {
                    Some(ExprKind::Literal(Literal::String(text))) => text.clone(),
                    // A parameter of a function, or a let.
                    Some(ExprKind::Name(name)) => match self.lookup(&name.text) {
                        Some(Binding::Scalar(value)) => match &value.kind {
                            BExprKind::Constant(Value::String(text)) => text.clone(),
                            _ => return None,
                        },
                        _ => return None,
                    },
                    _ => return None,
                };
                return row.column(&text).is_some().then_some(text);
            }
            // Only a cast of one value keeps its name.
            "make_datetime" | "make_timespan" => return if arguments.len() == 1 { first() } else { None },
            "hll_merge" => return Some("hll_merged_result".to_string()),
            "tdigest_merge" | "merge_tdigest" => return Some("tdigests_merge_result".to_string()),
            "ingestion_time" => return Some("$IngestionTime".to_string()),
            _ => {}
        }
        let scalar = find_scalar(name)?;
        match scalar.name_rule {
            NameRule::None => None,
            NameRule::PassThrough => first(),
            NameRule::Affix(_, "_sorted") => Some(sorted_name(first(), 0)),
            NameRule::Affix(before, after) => Some(format!("{before}{}{after}", first().unwrap_or_default())),
        }
    }

    /// Whether an aggregate inside an expression gives the expression its name (`round(sum(x), 2)` is `sum_x`).
    fn names_itself(&self, name: &str) -> bool {
        !matches!(name, "take_any" | "any" | "arg_max" | "arg_min" | "argmax" | "argmin")
            && !name.starts_with("percentile")
    }

    /// The automatic name of an aggregate with one output.
    pub fn aggregate_name(&self, name: &str, arguments: &[Argument], row: &Row<'_>) -> String {
        let argument = |position: usize| {
            arguments.get(position).and_then(|argument| self.result_name(&argument.value, row)).unwrap_or_default()
        };
        match name {
            "percentile" => percentile_name(&argument(0), arguments.get(1)),
            "percentilew" => percentile_name(&argument(0), arguments.get(2)),
            "percentiles_array" | "percentilesw_array" => format!("percentiles_{}", argument(0)),
            // Nameless without a column: the caller numbers it.
            "take_anyif" | "binary_all_and" | "binary_all_or" | "binary_all_xor" => argument(0),
            _ => {
                let prefix = find_aggregate(name).map_or(name, |row| row.name_prefix);
                let prefix = own_prefix(name).unwrap_or(prefix).trim_end_matches('_');
                format!("{prefix}_{}", argument(0))
            }
        }
    }

    /// The name that an item of a list wants. `is_column`: the expression is a column of the input under its own name.
    pub fn wanted(&self, item: &NamedExpr, row: &Row<'_>) -> Wanted {
        if let Some(name) = item.names.first() {
            return Wanted::Explicit(name.text.clone());
        }
        match &item.value.kind {
            ExprKind::Name(name) => Wanted::Explicit(name.text.clone()),
            ExprKind::Call { base: None, name, arguments }
                if row.aggregates.is_some()
                    && name.text.starts_with("percentile")
                    && self.lookup(&name.text).is_none() =>
            {
                Wanted::Automatic(self.aggregate_name(&name.text, arguments, row))
            }
            _ => match self.result_name(&item.value, row) {
                Some(name) if !name.is_empty() => Wanted::Automatic(name),
                _ => Wanted::Nameless,
            },
        }
    }
}

/// `d_sorted` for `array_sort_asc(d)`; `array0_sorted` for the first array when nothing names it.
pub(crate) fn sorted_name(argument: Option<String>, position: usize) -> String {
    format!("{}_sorted", argument.unwrap_or_else(|| format!("array{position}")))
}

/// Aliases whose automatic name is their own. Source: kql-behaviour section 5.
fn own_prefix(name: &str) -> Option<&'static str> {
    Some(match name {
        "any" => "any",
        "anyif" => "anyif",
        "cnt" => "cnt",
        "hll_merge" => "hll_merge",
        "hll_if" => "hll_if",
        "make_dictionary" => "dictionary",
        "tdigest_merge" | "merge_tdigest" => "merge_tdigests",
        _ => return None,
    })
}

/// `percentile_x_50`; a fraction's point becomes `_`; `percentile_x_` when the percentile is no literal.
pub(crate) fn percentile_name(argument: &str, percentile: Option<&Argument>) -> String {
    let text = percentile.map(|percentile| number_text(&percentile.value)).unwrap_or_default();
    format!("percentile_{argument}_{text}")
}

/// The digits of a number literal as part of a name.
pub(crate) fn number_text(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Literal(Literal::Long(Some(value))) => value.to_string(),
        ExprKind::Literal(Literal::Int(Some(value))) => value.to_string(),
        ExprKind::Literal(Literal::Real(Some(value))) => value.to_string().replace('.', "_"),
        _ => String::new(),
    }
}

/// What an index adds to a name: its text, `-` as `_`.
fn index_name(index: &Expr) -> Option<String> {
    match &index.kind {
        ExprKind::Literal(Literal::String(text)) => Some(text.clone()),
        ExprKind::Literal(Literal::Long(Some(value))) => Some(value.to_string().replace('-', "_")),
        ExprKind::Literal(Literal::Int(Some(value))) => Some(value.to_string().replace('-', "_")),
        ExprKind::Unary { op: UnaryOp::Minus, operand } => Some(format!("_{}", index_name(operand)?)),
        _ => None,
    }
}
