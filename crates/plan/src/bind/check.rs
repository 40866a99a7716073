//! Bodies of functions and patterns, checked where they are written: a mistake in a body that nobody calls is told too,
//! as by the reference parser.
//!
//! A body is bound once with parameters whose values are unknown. What depends on a value stays open, exactly as
//! what depends on a `toscalar()` that has not run yet; what depends on names and types is settled.

use std::rc::Rc;

use tidewater_kql::ast::ParameterType;
use tidewater_kql::{Diagnostic, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::scope::{Binding, FunctionDef};
use crate::bind::{Binder, Bound, MAX_NODES};
use crate::bound::{BExpr, BExprKind, NeedKey, RelOp};

/// Expressions and relations made for checking only; beyond that bodies are bound when they are called.
const MAX_CHECKED_NODES: usize = 200_000;
/// Needs of checked bodies have keys of their own, so that those of the query stay the same in every pass.
const FIRST_CHECKED_NEED: u64 = 1 << 62;
/// The value of a parameter that is not known.
const UNKNOWN_VALUE: NeedKey = NeedKey(u64::MAX);
/// What may be no mistake, or none of a body that nobody calls.
const TOLERATED: &[&str] = &[diagnostic::GENERAL, diagnostic::NOT_SERVED, diagnostic::ROW_SCOPE];

impl Binder<'_> {
    /// Binds what may never be used, for its mistakes only.
    pub fn check_later(&mut self, body: impl FnOnce(&mut Self) -> Bound<()>) {
        if self.checked_nodes >= MAX_CHECKED_NODES || self.calls.len() > 8 {
            return;
        }
        let (diagnostics, needs, missing) = (self.diagnostics.len(), self.needs.len(), self.missing_patterns.len());
        let (nodes, next_need) = (self.nodes, self.next_need);
        let (next_column, next_shared) = (self.next_column, self.next_shared);
        let start = nodes.max(MAX_NODES - (MAX_CHECKED_NODES - self.checked_nodes));
        let was_checking = std::mem::replace(&mut self.is_checking, true);
        self.nodes = start;
        self.next_need = next_need.max(FIRST_CHECKED_NEED);
        // What it gives is thrown away, and its mistakes are recorded.
        let _ = body(self);
        self.checked_nodes += self.nodes - start;
        (self.nodes, self.next_need, self.is_checking) = (nodes, next_need, was_checking);
        // Nothing made here is kept, so that its ids can be given again.
        (self.next_column, self.next_shared) = (next_column, next_shared);
        self.needs.truncate(needs);
        self.missing_patterns.truncate(missing);
        let found: Vec<Diagnostic> = self.diagnostics.drain(diagnostics..).collect();
        self.diagnostics.extend(found.into_iter().filter(|diagnostic| !TOLERATED.contains(&diagnostic.code)));
    }

    /// Checks the body of a function that a statement defines.
    pub fn check_function(&mut self, function: &Rc<FunctionDef>, span: Span) {
        self.check_later(|binder| {
            let outer = binder.enter(function.env.unwrap_or(binder.env));
            let result = binder.bind_unknown(function, span);
            binder.env = outer;
            result
        });
    }

    fn bind_unknown(&mut self, function: &Rc<FunctionDef>, span: Span) -> Bound<()> {
        for parameter in &function.lambda.parameters {
            let binding = match &parameter.ty {
                ParameterType::Scalar(ty) => {
                    Binding::Scalar(Rc::new(BExpr { kind: BExprKind::Needed(UNKNOWN_VALUE), ty: *ty }))
                }
                // Only declared columns may be named. Source: let-statement page, tabular arguments.
                ParameterType::Table(declared) => {
                    let columns = self.declared_columns(declared)?;
                    Binding::Table(self.rel(RelOp::Rows { rows: Vec::new() }, columns, span)?)
                }
                ParameterType::AnyTable => {
                    Binding::Table(self.rel(RelOp::Rows { rows: Vec::new() }, Vec::new(), span)?)
                }
            };
            self.define(&parameter.name.text, binding);
        }
        self.function_body(&function.lambda, &mut Row::none(), span).map(drop)
    }
}
