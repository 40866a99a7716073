//! Window functions over serialized rows. Source: window-functions page, kql-behaviour section 12.

use std::sync::Arc;

use tidewater_kql::ast::Argument;
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::{Row, Windows};
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, Constant, Rel, RelOp, Value, WindowFunction};

/// The window functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowName {
    RowNumber,
    Prev,
    Next,
    Cumsum,
    RankDense,
    RankMin,
    Session,
}

impl WindowName {
    /// The function of this name.
    pub fn parse(name: &str) -> Option<WindowName> {
        Some(match name {
            "row_number" => WindowName::RowNumber,
            "prev" => WindowName::Prev,
            "next" => WindowName::Next,
            "row_cumsum" => WindowName::Cumsum,
            // The old name of the dense rank.
            "row_rank_dense" | "row_rank" => WindowName::RankDense,
            "row_rank_min" => WindowName::RankMin,
            "row_window_session" => WindowName::Session,
            _ => return None,
        })
    }
}

impl Binder<'_> {
    /// A window function: it is collected in the row, its value is a column.
    pub fn window_call(
        &mut self,
        function: WindowName,
        name: &str,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<BExpr> {
        if row.windows.is_none() {
            let message = format!("{name}() is a window function and cannot be used here");
            return self.fail(diagnostic::GENERAL, span, message);
        }
        let bound = self.arguments(name, arguments, row)?;
        let (least, most) = match function {
            WindowName::RowNumber => (0, 2),
            WindowName::Prev | WindowName::Next => (1, 3),
            WindowName::Cumsum | WindowName::RankDense | WindowName::RankMin => (1, 2),
            WindowName::Session => (3, 4),
        };
        self.count(name, bound.len(), least, most, span)?;
        let built = self.window_function(function, name, bound)?;
        // Mistakes in the call are told first: they stay when the rows are in an order.
        if !row.is_serialized {
            let message = format!("{name}() needs a serialized row set: put 'serialize' or a sort before it");
            return self.fail(diagnostic::GENERAL, span, message);
        }
        let operands = crate::bind::window_operands(&built);
        let Some(windows) = row.windows.as_mut() else { return Err(crate::bind::Stopped) };
        let layer = windows.layer_for(&operands);
        let column = self.fresh_column(name, built.ty());
        let value = BExpr::column(&column);
        windows.first.get_or_insert(span);
        windows.add(layer, column, built);
        Ok(value)
    }

    fn window_function(
        &mut self,
        function: WindowName,
        name: &str,
        bound: Vec<(BExpr, Span)>,
    ) -> Bound<WindowFunction> {
        let mut args = bound.into_iter();
        let (first, second, third, fourth) = (args.next(), args.next(), args.next(), args.next());
        Ok(match function {
            WindowName::RowNumber => {
                let start = match first {
                    Some((expr, span)) => self.long_constant(expr, span, &format!("the start of {name}()"))?,
                    None => 1,
                };
                WindowFunction::RowNumber { start: Constant::long(start), restart: self.restart(second)? }
            }
            WindowName::Prev | WindowName::Next => {
                let (value, _) = first.ok_or(crate::bind::Stopped)?;
                let offset = match second {
                    Some((expr, span)) => self.long_constant(expr, span, &format!("the offset of {name}()"))?,
                    None => 1,
                };
                let default = match third {
                    Some((expr, span)) => {
                        let what = format!("the default of {name}()");
                        let default = self.constant(&expr, span, &what)?;
                        self.constant_of_type(default, value.ty, span, &what)?
                    }
                    None => Constant::null(value.ty),
                };
                let offset = if function == WindowName::Prev { offset } else { offset.wrapping_neg() };
                WindowFunction::Shift { value, offset, default }
            }
            WindowName::Cumsum => {
                let (value, span) = first.ok_or(crate::bind::Stopped)?;
                if !value.ty.is_numeric() && value.ty != KqlType::TimeSpan {
                    let message =
                        format!("{name}(): the argument must be a number or timespan, but this is {}", value.ty);
                    return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
                }
                WindowFunction::Cumsum { value, restart: self.restart(second)? }
            }
            WindowName::RankDense | WindowName::RankMin => {
                let (value, span) = first.ok_or(crate::bind::Stopped)?;
                if value.ty == KqlType::Dynamic {
                    let message = format!("{name}() cannot rank a dynamic value: cast it first");
                    return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
                }
                let (restart, is_dense) = match (name, second) {
                    // The old function takes a choice of the rank there.
                    ("row_rank", Some((expr, span))) => {
                        let what = "the second argument of row_rank()";
                        let choice = self.constant(&expr, span, what)?;
                        let choice = self.constant_of_type(choice, KqlType::Bool, span, what)?;
                        (None, choice.value != Value::Bool(false))
                    }
                    (_, second) => (self.restart(second)?, function == WindowName::RankDense),
                };
                match is_dense {
                    true => WindowFunction::RankDense { value, restart },
                    false => WindowFunction::RankMin { value, restart },
                }
            }
            WindowName::Session => {
                let (value, value_span) = first.ok_or(crate::bind::Stopped)?;
                if value.ty != KqlType::DateTime {
                    let message = format!("{name}(): the first argument must be datetime, but this is {}", value.ty);
                    return self.fail(diagnostic::ARGUMENT_TYPE, value_span, message);
                }
                let max_from_first = self.span_constant(second, name)?;
                let max_between = self.span_constant(third, name)?;
                WindowFunction::Session { value, max_from_first, max_between, restart: self.restart(fourth)? }
            }
        })
    }

    fn span_constant(&mut self, argument: Option<(BExpr, Span)>, name: &str) -> Bound<Constant> {
        let (expr, span) = argument.ok_or(crate::bind::Stopped)?;
        let what = format!("the distance of {name}()");
        if expr.ty != KqlType::TimeSpan {
            let message = format!("{what} must be timespan, but this is {}", expr.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, span, message);
        }
        self.constant(&expr, span, &what)
    }

    fn restart(&mut self, argument: Option<(BExpr, Span)>) -> Bound<Option<BExpr>> {
        let Some((expr, span)) = argument else { return Ok(None) };
        match expr.ty {
            KqlType::Bool if expr.as_constant() == Some(Constant::bool(false)) => Ok(None),
            KqlType::Bool => Ok(Some(expr)),
            KqlType::Dynamic => Ok(Some(self.convert(expr, KqlType::Bool))),
            ty => {
                let message = format!("the restart condition must be bool, but this is {ty}");
                self.fail(diagnostic::ARGUMENT_TYPE, span, message)
            }
        }
    }

    /// A constant that is an integer.
    pub fn long_constant(&mut self, expr: BExpr, span: Span, what: &str) -> Bound<i64> {
        let constant = self.constant(&expr, span, what)?;
        match constant.value {
            Value::Long(value) => Ok(value),
            Value::Int(value) => Ok(i64::from(value)),
            _ => {
                let found = if constant.is_null() { "null" } else { constant.ty.name() };
                self.fail(diagnostic::ARGUMENT_TYPE, span, format!("{what} must be an integer, but this is {found}"))
            }
        }
    }

    /// A constant brought to a type by the rules of assignment.
    pub fn constant_of_type(&mut self, constant: Constant, ty: KqlType, span: Span, what: &str) -> Bound<Constant> {
        if constant.ty == ty {
            return Ok(constant);
        }
        let from = constant.ty;
        let Some(converted) = self.assignable(BExpr::constant(constant), ty, span)? else {
            return self.fail(diagnostic::PARAMETER_VALUE, span, format!("{what} must be {ty}, but this is {from}"));
        };
        self.constant(&converted, span, what)
    }

    /// The input with a column for each collected window function.
    pub fn with_windows(&mut self, input: Arc<Rel>, windows: Option<Windows>, span: Span) -> Bound<Arc<Rel>> {
        let mut rel = input;
        for layer in windows.map(|windows| windows.layers).unwrap_or_default() {
            let (added, functions): (Vec<_>, Vec<_>) = layer.into_iter().unzip();
            let columns = rel.columns.iter().cloned().chain(added).collect();
            rel = self.rel(RelOp::Window { input: rel, partition: Vec::new(), functions }, columns, span)?;
        }
        Ok(rel)
    }
}
