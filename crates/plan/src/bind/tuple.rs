//! Scalar functions with several values: `(min, at) = series_stats(d)`.
//!
//! The function itself gives one dynamic array; column n is element n, converted to its type.

use tidewater_functions::scalar::series::multi_columns;
use tidewater_kql::KqlType;
use tidewater_kql::ast::{Argument, ExprKind, Literal, Name, NamedExpr};

use crate::bind::names::{Wanted, sorted_name};
use crate::bind::project::Item;
use crate::bind::row::Row;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, PathStep};

impl Binder<'_> {
    /// An item that is itself a call with several values; `None` for every other item.
    pub fn tuple_scalar(
        &mut self,
        item: &NamedExpr,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
    ) -> Bound<Option<Vec<Item>>> {
        let Some(members) = self.tuple_members(&name.text, arguments, row) else { return Ok(None) };
        let span = item.value.span;
        let whole = self.expr(&item.value, row)?;
        let outputs = members
            .into_iter()
            .enumerate()
            .map(|(position, (automatic, ty))| {
                let steps = vec![PathStep::Index(position as i64)];
                let kind = BExprKind::Path { base: Box::new(whole.clone()), steps };
                let value = self.convert(BExpr { kind, ty: KqlType::Dynamic }, ty);
                (value, Wanted::Automatic(automatic))
            })
            .collect();
        self.renamed(item, outputs, span).map(Some)
    }

    /// The automatic names and types of a call's values, when it has several.
    fn tuple_members(&self, name: &str, arguments: &[Argument], row: &Row<'_>) -> Option<Vec<(String, KqlType)>> {
        if self.lookup(name).is_some() {
            return None;
        }
        let named = |argument: &Argument| self.result_name(&argument.value, row).unwrap_or_default();
        if let Some(columns) = multi_columns(name) {
            let argument = arguments.first().map(named).unwrap_or_default();
            return Some(columns.iter().map(|(suffix, ty)| (format!("{name}_{argument}_{suffix}"), *ty)).collect());
        }
        if matches!(name, "array_sort_asc" | "array_sort_desc") {
            // The last argument may be the flag that says where nulls go.
            let is_flag = |argument: &&Argument| matches!(argument.value.kind, ExprKind::Literal(Literal::Bool(_)));
            let flags = usize::from(arguments.last().as_ref().is_some_and(is_flag));
            let arrays = &arguments[..arguments.len() - flags];
            if arrays.len() > 1 {
                let mut names: Vec<String> = Vec::with_capacity(arrays.len());
                for (position, array) in arrays.iter().enumerate() {
                    let name = sorted_name(self.result_name(&array.value, row), position);
                    // The values of one call never share a name, even where `extend` would replace the first.
                    let taken = |name: &String| names.contains(name);
                    let free = (1..).map(|suffix| format!("{name}{suffix}")).find(|name| !taken(name));
                    let name = if taken(&name) { free.unwrap_or(name) } else { name };
                    names.push(name);
                }
                return Some(names.into_iter().map(|name| (name, KqlType::Dynamic)).collect());
            }
        }
        None
    }
}
