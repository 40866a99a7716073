//! Plugins that are row algorithms: `rows_near`, `schema_merge`, `dcount_intersect`.

use std::sync::Arc;

use tidewater_kql::{KqlType, diagnostic};

use super::PluginCall;
use crate::bind::names::{NameTable, Wanted};
use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BoundColumn, Rel, RelOp, RowStage, StageOrder};
use crate::exec::algorithm::{Algorithm, Collected};
use crate::exec::intersect::Intersect;
use crate::exec::rows_near::RowsNear;
use crate::exec::schema_merge::SchemaMerge;

/// Source: dcount_intersect page.
const SKETCHES: std::ops::RangeInclusive<usize> = 2..=16;

impl Binder<'_> {
    /// A row algorithm over the whole input: its columns behind all of the input's, in whose order it keeps the rows.
    fn whole_rows(
        &mut self,
        input: &Arc<Rel>,
        args: Vec<BExpr>,
        own: Vec<BoundColumn>,
        algorithm: Arc<dyn Algorithm>,
        call: &PluginCall<'_>,
    ) -> Bound<Arc<Rel>> {
        let columns = input.columns.iter().cloned().chain(own).collect();
        let stage = RowStage {
            input: input.clone(),
            groups: Vec::new(),
            args,
            keep: input.columns.iter().map(|column| column.id).collect(),
            order: if input.is_serialized { StageOrder::Kept } else { StageOrder::Ignored },
            algorithm,
        };
        self.rel(RelOp::Stage(Box::new(stage)), columns, call.span)
    }

    /// `rows_near(condition, rows [, rows after])`.
    pub(super) fn rows_near(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.count(call.name, call.arguments.len(), 2, 3, call.span)?;
        let given = self.parameters(call, &["Condition", "NumRows", "RowsAfter"], 2)?;
        let (Some(condition), Some(before)) = (given[0], given[1]) else { return Err(crate::bind::Stopped) };
        let predicate = self.expr(&condition.value, &mut Row::of(&input.columns))?;
        if predicate.ty != KqlType::Bool {
            let message = format!("rows_near(): the condition must be bool, but this is {}", predicate.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, condition.value.span, message);
        }
        let before = self.plugin_count(before, 0, "rows_near(): the number of rows")?;
        let after = match given[2] {
            Some(after) => self.plugin_count(after, 0, "rows_near(): the number of rows after")?,
            None => before,
        };
        let count = |rows: i64| usize::try_from(rows).unwrap_or(usize::MAX);
        let near = RowsNear { before: count(before), after: count(after) };
        let rel = self.whole_rows(input, vec![predicate], Vec::new(), Arc::new(Collected(near)), call)?;
        Ok(Tabular::of(rel))
    }

    /// `dcount_intersect(hll, hll, ...)`: columns `s0`, `s1`, ... behind the input's.
    pub(super) fn dcount_intersect(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.count(call.name, call.arguments.len(), *SKETCHES.start(), *SKETCHES.end(), call.span)?;
        let mut args = Vec::with_capacity(call.arguments.len());
        for argument in call.arguments {
            let column = self.plugin_input_column(input, argument)?;
            if column.ty != KqlType::Dynamic {
                let message = format!(
                    "dcount_intersect(): column '{}' must be made by hll(), but it is {}",
                    column.name, column.ty
                );
                return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
            }
            args.push(BExpr::column(&column));
        }
        let mut table = NameTable::default();
        input.columns.iter().for_each(|column| table.reserve(&column.name));
        let mut own = Vec::with_capacity(args.len());
        for position in 0..args.len() {
            let wanted = Wanted::Automatic(format!("s{position}"));
            let name = table.give(&wanted, |_| false).unwrap_or_else(|name| name.0);
            own.push(self.fresh_column(name, KqlType::Long));
        }
        Ok(Tabular::of(self.whole_rows(input, args, own, Arc::new(Intersect), call)?))
    }

    /// `schema_merge([PreserveOrder])` over schemas as `getschema` gives them.
    pub(super) fn schema_merge(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.count(call.name, call.arguments.len(), 0, 1, call.span)?;
        let given = self.parameters(call, &["PreserveOrder"], 0)?;
        let preserves_order = match given[0] {
            Some(argument) => self.plugin_flag(argument, "schema_merge(): 'PreserveOrder'")?,
            None => true,
        };
        let mut args = Vec::with_capacity(3);
        for (name, ty) in
            [("ColumnName", KqlType::String), ("ColumnOrdinal", KqlType::Long), ("ColumnType", KqlType::String)]
        {
            let column = match input.column(name) {
                Some(column) if column.ty == ty || (ty == KqlType::Long && column.ty == KqlType::Int) => column.clone(),
                _ => {
                    let message =
                        format!("schema_merge() reads schemas as 'getschema' gives them, with '{name}: {ty}'");
                    return self.fail(diagnostic::ARGUMENT_TYPE, call.span, message);
                }
            };
            let value = BExpr::column(&column);
            args.push(self.convert(value, ty));
        }
        let columns = vec![
            self.fresh_column("ColumnName", KqlType::String),
            self.fresh_column("ColumnOrdinal", KqlType::Long),
            self.fresh_column("DataType", KqlType::String),
            self.fresh_column("ColumnType", KqlType::String),
        ];
        let stage = RowStage {
            input: input.clone(),
            groups: Vec::new(),
            args,
            keep: Vec::new(),
            order: if input.is_serialized { StageOrder::Kept } else { StageOrder::Ignored },
            algorithm: Arc::new(Collected(SchemaMerge { preserves_order })),
        };
        Ok(Tabular::of(self.rel(RelOp::Stage(Box::new(stage)), columns, call.span)?))
    }
}
