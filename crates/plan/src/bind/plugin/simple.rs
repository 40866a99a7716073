//! Plugins that are hardly more than an operator: `identity`, `preview`, `estimate_rows_count`.

use std::sync::Arc;

use tidewater_kql::KqlType;

use super::PluginCall;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound};
use crate::bound::{BoundResult, Rel, RelOp};

impl Binder<'_> {
    /// `identity()`: the input.
    pub(super) fn identity(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.count(call.name, call.arguments.len(), 0, 0, call.span)?;
        Ok(Tabular::of(input.clone()))
    }

    /// `estimate_rows_count()`: the number of rows, which here is no estimate.
    pub(super) fn estimate_rows_count(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.count(call.name, call.arguments.len(), 0, 0, call.span)?;
        Ok(Tabular::of(self.counted_rows(input, "EstimatedRowsCount", call)?))
    }

    fn counted_rows(&mut self, input: &Arc<Rel>, name: &str, call: &PluginCall<'_>) -> Bound<Arc<Rel>> {
        let aggregates = vec![self.count_aggregate(call.span)?];
        let column = self.fresh_column(name, KqlType::Long);
        let op = RelOp::Aggregate { input: input.clone(), keys: Vec::new(), aggregates };
        self.rel(op, vec![column], call.span)
    }

    /// `preview(rows)`: two results, some rows and the number of all.
    pub(super) fn preview(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.count(call.name, call.arguments.len(), 1, 1, call.span)?;
        let rows = self.plugin_count(&call.arguments[0], 0, "preview(): the number of rows")?;
        let shared = self.fresh_shared();
        let source = self.reading(shared, input, call.span)?;
        let shown = self.limited(&source, rows.unsigned_abs(), call.span)?;
        let source = self.reading(shared, input, call.span)?;
        let counted = self.counted_rows(&source, "Count", call)?;
        let branches = [shown, counted].map(|rel| BoundResult { name: None, rel, visualization: None });
        Ok(Tabular { branches: branches.to_vec(), ..Tabular::of(branches[0].rel.clone()) })
    }
}
