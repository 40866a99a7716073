//! Scalar functions with several values: `(min, at) = series_stats(d)`.
//!
//! Each is computed once as a bag by its `..._dynamic` form and taken apart by path.

use tidewater_functions::{Imp, find_scalar};
use tidewater_kql::ast::Argument;
use tidewater_kql::{KqlType, Span};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, PathStep, ScalarRow};

/// A value of a function with several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// What follows function and argument in the column's name, and the key in the bag.
    key: &'static str,
    ty: KqlType,
}

impl Member {
    /// `series_stats_d_min`.
    pub fn column_name(&self, function: &str, argument: &str) -> String {
        format!("{function}_{argument}_{}", self.key)
    }
}

const fn real(key: &'static str) -> Member {
    Member { key, ty: KqlType::Real }
}

const fn long(key: &'static str) -> Member {
    Member { key, ty: KqlType::Long }
}

const fn dynamic(key: &'static str) -> Member {
    Member { key, ty: KqlType::Dynamic }
}

const STATS: &[Member] =
    &[real("min"), long("min_idx"), real("max"), long("max_idx"), real("avg"), real("stdev"), real("variance")];
const FIT_LINE: &[Member] =
    &[real("rsquare"), real("slope"), real("variance"), real("rvariance"), real("interception"), dynamic("line_fit")];

/// The values of a function with several; `None` for every other function.
pub(crate) fn tuple_members(name: &str, _arguments: usize) -> Option<&'static [Member]> {
    match name {
        "series_stats" => Some(STATS),
        "series_fit_line" => Some(FIT_LINE),
        _ => None,
    }
}

impl Binder<'_> {
    /// All values of the call as one bag.
    pub fn tuple_value(&mut self, name: &str, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        let args = self.arguments(name, arguments, row)?;
        let whole = format!("{name}_dynamic");
        let Some(scalar) = find_scalar(&whole).filter(|row| matches!(row.imp, Imp::Native(_) | Imp::Kernel(_))) else {
            return self.not_served(span, format!("{name}()"));
        };
        let fitted = self.fit(name, scalar.signatures, args, span)?;
        let kind = BExprKind::Call { row: ScalarRow(scalar), args: fitted.args };
        Ok(BExpr { kind, ty: KqlType::Dynamic })
    }

    /// One value out of the bag.
    pub fn tuple_member(&mut self, whole: BExpr, member: &Member) -> BExpr {
        let kind = BExprKind::Path { base: Box::new(whole), steps: vec![PathStep::Key(member.key.to_string())] };
        let value = BExpr { kind, ty: KqlType::Dynamic };
        self.convert(value, member.ty)
    }
}
