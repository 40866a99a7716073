//! `reduce`. Source: reduce-operator page; columns by the reference parser.

use std::sync::Arc;

use tidewater_kql::ast::{NamedExpr, Property};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound};
use crate::bound::{Rel, RelOp, RowStage, StageOrder, Value};
use crate::exec::algorithm::Collected;
use crate::exec::reduce::Reduce;

/// Source: reduce-operator page.
const DEFAULT_THRESHOLD: f64 = 0.1;

impl Binder<'_> {
    /// Columns: Pattern, Count, Representative; behind the input's with `kind=source`.
    pub fn reduce_operator(
        &mut self,
        input: &Arc<Rel>,
        parameters: &[Property],
        by: &NamedExpr,
        with: &[Property],
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let keeps_rows = match self.word(parameters, &["kind"]) {
            None => false,
            Some((_, Some(word))) if word == "source" => true,
            Some((name, _)) => {
                let span = name.span;
                return self.fail(diagnostic::NOT_IN_LIST, span, "'reduce' has the kind source only");
            }
        };
        let text = self.expr(&by.value, &mut Row::of(&input.columns))?;
        if text.ty != KqlType::String {
            let message = format!("'reduce' takes a string, but this is {}", text.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, by.value.span, message);
        }
        let mut reduce = Reduce { threshold: DEFAULT_THRESHOLD, characters: None, keeps_rows };
        for property in with {
            let value = self.expr(&property.value, &mut Row::none())?;
            let what = format!("'{}' of 'reduce'", property.name.text);
            let constant = self.constant(&value, property.value.span, &what)?;
            match property.name.text.as_str() {
                "threshold" => {
                    let constant = self.constant_of_type(constant, KqlType::Real, property.value.span, &what)?;
                    let Value::Real(threshold) = constant.value else { continue };
                    if !(0.0..=1.0).contains(&threshold) {
                        let message = "the threshold of 'reduce' is between 0 and 1";
                        return self.fail(diagnostic::NOT_IN_LIST, property.value.span, message);
                    }
                    reduce.threshold = threshold;
                }
                "characters" => {
                    let constant = self.constant_of_type(constant, KqlType::String, property.value.span, &what)?;
                    if let Value::String(characters) = constant.value {
                        reduce.characters = Some(characters);
                    }
                }
                _ => {
                    let message = "'reduce' takes 'threshold' and 'characters'";
                    return self.fail(diagnostic::SYNTAX, property.name.span, message);
                }
            }
        }
        let own = [
            self.fresh_column("Pattern", KqlType::String),
            self.fresh_column("Count", KqlType::Long),
            self.fresh_column("Representative", KqlType::String),
        ];
        let mut columns = Vec::new();
        if keeps_rows {
            if let Some(column) = input.columns.iter().find(|column| own.iter().any(|own| own.name == column.name)) {
                return Err(self.duplicate_column(&column.name, span));
            }
            columns.extend(input.columns.iter().cloned());
        }
        columns.extend(own);
        let stage = RowStage {
            input: input.clone(),
            groups: Vec::new(),
            args: vec![text],
            keep: if keeps_rows { input.columns.iter().map(|column| column.id).collect() } else { Vec::new() },
            order: if keeps_rows { StageOrder::Kept } else { StageOrder::Ignored },
            algorithm: Arc::new(Collected(reduce)),
        };
        self.rel(RelOp::Stage(Box::new(stage)), columns, span)
    }
}
