//! Hints after an operator's name: they change no answer, but a wrong value is a mistake. Source: shuffle-query,
//! broadcast-join, join-operator, union-operator, evaluate-operator pages; the lists are the reference parser's.

use tidewater_kql::ast::{Expr, ExprKind, Literal, Property, UnaryOp};
use tidewater_kql::{Diagnostic, diagnostic};

use crate::bind::{Binder, Bound, Stopped};
use crate::bound::BoundColumn;

const STRATEGIES: &[&str] = &["auto", "broadcast", "centralized", "shuffle"];
const DISTRIBUTIONS: &[&str] = &["single", "per_node", "per_shard", "default"];
const SORTING: &[&str] = &["splitBlock", "multipleBlocks"];
const PLACES: &[&str] = &["auto", "left", "local", "right", "unresolved"];

impl Binder<'_> {
    /// Checks the hints of an operator; `columns` are those that `hint.shufflekey` may name.
    pub fn check_hints(&mut self, operator: &str, parameters: &[Property], columns: &[&[BoundColumn]]) -> Bound<()> {
        let mut failed = false;
        for Property { name, value } in parameters {
            let checked = match name.text.as_str() {
                "hint.strategy" if operator == "summarize" => self.hint_word(name.text.as_str(), value, &["shuffle"]),
                "hint.strategy" if operator == "sort" => self.hint_word(name.text.as_str(), value, SORTING),
                "hint.strategy" => self.hint_word(name.text.as_str(), value, STRATEGIES),
                "hint.distribution" => self.hint_word(name.text.as_str(), value, DISTRIBUTIONS),
                "hint.remote" => self.hint_word(name.text.as_str(), value, PLACES),
                "hint.num_partitions" | "hint.concurrency" | "hint.spread" if !is_integer(value) => {
                    let message = format!("'{}' takes an integer", name.text);
                    self.fail(diagnostic::ARGUMENT_TYPE, value.span, message)
                }
                "hint.shufflekey" => self.hint_column(value, columns),
                _ => Ok(()),
            };
            failed |= checked.is_err();
        }
        if failed { Err(Stopped) } else { Ok(()) }
    }

    fn hint_word(&mut self, hint: &str, value: &Expr, allowed: &[&str]) -> Bound<()> {
        let word = match &value.kind {
            ExprKind::Name(name) => name.text.as_str(),
            ExprKind::Literal(Literal::String(text)) => text.as_str(),
            _ => "",
        };
        if allowed.contains(&word) {
            return Ok(());
        }
        let message = format!("'{hint}' takes one of {}", allowed.join(", "));
        let diagnostic = Diagnostic::new(diagnostic::NOT_IN_LIST, value.span, message);
        Err(self.report(diagnostic.hint_nearest(word, allowed.iter().copied())))
    }

    fn hint_column(&mut self, value: &Expr, columns: &[&[BoundColumn]]) -> Bound<()> {
        let ExprKind::Name(name) = &value.kind else {
            return self.fail(diagnostic::ARGUMENT_TYPE, value.span, "'hint.shufflekey' takes the name of a column");
        };
        if columns.iter().any(|columns| columns.iter().any(|column| column.name == name.text)) {
            return Ok(());
        }
        let all: Vec<BoundColumn> = columns.iter().flat_map(|columns| columns.iter().cloned()).collect();
        Err(self.unresolved_column(&name.text, &all, name.span))
    }
}

fn is_integer(value: &Expr) -> bool {
    match &value.kind {
        ExprKind::Literal(Literal::Long(Some(_)) | Literal::Int(Some(_))) => true,
        ExprKind::Unary { op: UnaryOp::Minus, operand } => is_integer(operand),
        _ => false,
    }
}
