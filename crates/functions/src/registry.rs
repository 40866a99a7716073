//! One row per function of the language reference.
//!
//! The binder resolves calls here; the reference page, hints for unknown names and the support
//! table are made from the same rows.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion_common::Result;
use datafusion_expr::{AggregateUDF, Expr};
use tidewater_kql::KqlType;

use crate::call::Kernel;
use crate::signature::Signature;

/// How a column that holds a call without an explicit name is named. Source: kql-behaviour section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// `Column1`, `Column2`, ...
    None,
    /// The name of the first argument's column (`toint(x)` is `x`).
    PassThrough,
    /// Text before and after the argument's name (`strlen_` + `s`; `d` + `_sorted`); the fixed part alone without one.
    Affix(&'static str, &'static str),
}

/// How a call is carried out.
#[derive(Clone, Copy)]
pub enum Imp {
    /// An engine expression whose meaning is exactly KQL's: the optimizer sees through it.
    Native(fn(Vec<Expr>, &[KqlType]) -> Result<Expr>),
    /// A kernel over arrays.
    Kernel(Kernel),
    /// The binder itself answers it (`now`, `toscalar`, `iff`'s laziness, `row_number`, `column_ifexists`, ...).
    Binder,
    /// Not served, and why.
    Refused(&'static str),
}

/// A scalar function.
#[derive(Clone, Copy)]
pub struct Scalar {
    /// Its name.
    pub name: &'static str,
    /// Other names with the same meaning, obsolete ones included.
    pub aliases: &'static [&'static str],
    /// The ways to call it; the first that fits is taken.
    pub signatures: &'static [Signature],
    /// The automatic column name.
    pub name_rule: NameRule,
    /// How it is carried out.
    pub imp: Imp,
    /// The same arguments give the same value (`rand` and `new_guid` do not).
    pub is_pure: bool,
    /// A window function: needs serialized input.
    pub is_window: bool,
    /// One sentence.
    pub summary: &'static str,
    /// The page of the reference, without its extension.
    pub docs: &'static str,
    /// KQL and its printed value.
    pub examples: &'static [(&'static str, &'static str)],
}

impl Scalar {
    /// A row to fill in with `..Scalar::ROW`.
    pub const ROW: Scalar = Scalar {
        name: "",
        aliases: &[],
        signatures: &[],
        name_rule: NameRule::None,
        imp: Imp::Refused("it has no implementation yet"),
        is_pure: true,
        is_window: false,
        summary: "",
        docs: "",
        examples: &[],
    };
}

/// What an aggregate's engine function is built from.
pub struct AggregateCall<'a> {
    /// KQL types of the arguments after conversion; constants (accuracy, percentile, size) included.
    pub types: &'a [KqlType],
    /// The constant value of each argument that is a constant.
    pub constants: &'a [Option<datafusion_common::ScalarValue>],
    /// KQL type of the value.
    pub returns: KqlType,
}

/// How an aggregate is carried out.
#[derive(Clone, Copy)]
pub enum AggregateImp {
    /// An engine aggregate over all arguments, in order (the predicate of an `...if` form aside).
    /// Constant arguments after the columns may be passed on or not: `build` has their values.
    /// Where no argument is left (`count()`, `countif(p)`), the call gets the literal 1. The answer
    /// for no rows and for all-null groups is KQL's (kql-behaviour section 10): `finish` may wrap
    /// the aggregate's column.
    Function {
        /// The engine's function for these argument types.
        build: fn(&AggregateCall<'_>) -> Result<AggregateUDF>,
        /// Wraps the finished value (`coalesce(sum, 0)`), or `None`.
        finish: Option<fn(Expr, KqlType) -> Expr>,
    },
    /// The binder rewrites it: `arg_max`, `arg_min`, `take_any(*)`, `percentiles` (several columns), `make_bag`...
    Binder,
    /// Not served, and why.
    Refused(&'static str),
}

/// An aggregate function.
#[derive(Clone, Copy)]
pub struct Aggregate {
    /// Its name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The ways to call it.
    pub signatures: &'static [Signature],
    /// Prefix of the automatic name: `sum_` for `sum(x)`, `list_` for `make_list(x)`.
    pub name_prefix: &'static str,
    /// How it is carried out.
    pub imp: AggregateImp,
    /// For the `...if` forms: position of the predicate argument. The lowering turns it into the
    /// engine's `FILTER (WHERE ...)` and removes it before `build` is called.
    pub predicate: Option<usize>,
    /// Whether rows whose first argument is null count for nothing. For documentation only: the
    /// functions see to it themselves, and know that a null string is the empty string.
    pub skips_nulls: bool,
    /// One sentence.
    pub summary: &'static str,
    /// The page of the reference.
    pub docs: &'static str,
}

impl Aggregate {
    /// A row to fill in with `..Aggregate::ROW`.
    pub const ROW: Aggregate = Aggregate {
        name: "",
        aliases: &[],
        signatures: &[],
        name_prefix: "",
        imp: AggregateImp::Refused("it has no implementation yet"),
        predicate: None,
        skips_nulls: true,
        summary: "",
        docs: "",
    };
}

static SCALARS: LazyLock<HashMap<&'static str, &'static Scalar>> = LazyLock::new(|| {
    let mut map = HashMap::new();
    for row in crate::scalar::families().iter().copied().flatten() {
        map.insert(row.name, row);
        for alias in row.aliases {
            map.insert(alias, row);
        }
    }
    map
});

static AGGREGATES: LazyLock<HashMap<&'static str, &'static Aggregate>> = LazyLock::new(|| {
    let mut map = HashMap::new();
    for row in crate::aggregate::families().iter().copied().flatten() {
        map.insert(row.name, row);
        for alias in row.aliases {
            map.insert(alias, row);
        }
    }
    map
});

/// The scalar function with this name or alias; names are case-sensitive.
pub fn find_scalar(name: &str) -> Option<&'static Scalar> {
    SCALARS.get(name).copied()
}

/// The aggregate function with this name or alias.
pub fn find_aggregate(name: &str) -> Option<&'static Aggregate> {
    AGGREGATES.get(name).copied()
}

/// Every scalar name, aliases included, in no order.
pub fn scalar_names() -> impl Iterator<Item = &'static str> {
    SCALARS.keys().copied()
}

/// Every aggregate name, aliases included, in no order.
pub fn aggregate_names() -> impl Iterator<Item = &'static str> {
    AGGREGATES.keys().copied()
}
