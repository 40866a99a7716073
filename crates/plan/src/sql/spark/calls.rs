//! Calls of the dialect that are other calls, or expressions, of the engine.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, NullTreatment, ObjectName,
    ObjectNamePart, Statement as Ast, Value, Visit, VisitMut, Visitor, VisitorMut, WindowFrameBound, WindowType,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::{REFUSED, sure_name, windows};
use crate::sql::{LIMIT_EXCEEDED, SYNTAX, SYSTEM, SqlFault, SqlScope, TableName};

/// What a statement may grow to by rewriting.
const MAX_EXPRESSIONS: usize = 200_000;

/// Functions that have another name in the engine.
const RENAMED: &[(&str, &str)] = &[
    ("any", "bool_or"),
    ("approx_count_distinct", "approx_distinct"),
    ("array_join", "array_to_string"),
    ("array_remove", "array_remove_all"),
    ("array_size", "cardinality"),
    ("arrays_overlap", "array_has_any"),
    ("array_contains", "array_has"),
    ("bit_length_of", "bit_length"),
    ("ceiling", "ceil"),
    ("element_at", "value_at"),
    ("every", "bool_and"),
    ("filter", "array_filter"),
    ("grouping_id", "grouping"),
    ("first", "first_value"),
    ("last", "last_value"),
    ("lcase", "lower"),
    ("mean", "avg"),
    ("rand", "random"),
    ("rlike", "regexp_like"),
    ("sha", "sha1"),
    ("sign", "signum"),
    ("some", "bool_or"),
    ("std", "stddev"),
    ("transform", "array_transform"),
    ("ucase", "upper"),
    ("variance", "var_samp"),
];

/// The value at a share of the ordered values: always one of them, and exact.
const DISCRETE: &str = "array_element(array_agg($1 ORDER BY $1) FILTER (WHERE $1 IS NOT NULL), \
                        greatest(1, CAST(ceil($2 * count($1)) AS BIGINT)))";

/// Functions with so many arguments that are written otherwise in the engine.
const TEMPLATES: &[(&str, usize, &str)] = &[
    ("array_position", 2, "CASE WHEN $1 IS NOT NULL AND $2 IS NOT NULL THEN coalesce(array_position($1, $2), 0) END"),
    ("array_sort", 1, "array_sort($1, 'ASC', 'NULLS LAST')"),
    ("bigint", 1, "TRY_CAST($1 AS BIGINT)"),
    ("binary", 1, "CAST($1 AS BYTEA)"),
    ("boolean", 1, "TRY_CAST($1 AS BOOLEAN)"),
    ("count_if", 1, "count(CASE WHEN $1 THEN 1 END)"),
    ("current_timezone", 0, "'Etc/UTC'"),
    ("date", 1, "to_date($1)"),
    ("decimal", 1, "TRY_CAST($1 AS DECIMAL(10, 0))"),
    ("double", 1, "TRY_CAST($1 AS DOUBLE)"),
    ("e", 0, "2.718281828459045e0"),
    ("factorial", 1, "factorial(CAST($1 AS INT))"),
    ("float", 1, "TRY_CAST($1 AS REAL)"),
    ("ifnull", 2, "coalesce($1, $2)"),
    ("instr", 2, "strpos($1, $2)"),
    ("int", 1, "TRY_CAST($1 AS INT)"),
    ("isnotnull", 1, "($1 IS NOT NULL)"),
    ("isnull", 1, "($1 IS NULL)"),
    ("ln", 1, "ln(CASE WHEN $1 > 0 THEN $1 END)"),
    ("locate", 2, "strpos($2, $1)"),
    (
        "locate",
        3,
        "CASE WHEN $3 < 1 OR strpos(substr($2, $3), $1) = 0 THEN 0 ELSE strpos(substr($2, $3), $1) + $3 - 1 END",
    ),
    ("log", 1, "ln(CASE WHEN $1 > 0 THEN $1 END)"),
    ("log", 2, "log(CASE WHEN $1 > 0 THEN CAST($1 AS DOUBLE) END, CASE WHEN $2 > 0 THEN CAST($2 AS DOUBLE) END)"),
    ("log10", 1, "log10(CASE WHEN $1 > 0 THEN $1 END)"),
    ("log2", 1, "log2(CASE WHEN $1 > 0 THEN $1 END)"),
    ("max_by", 2, "first_value($1 ORDER BY $2 DESC NULLS LAST)"),
    ("min_by", 2, "first_value($1 ORDER BY $2 ASC NULLS LAST)"),
    ("monotonically_increasing_id", 0, "(row_number() OVER () - 1)"),
    ("percentile", 2, "percentile_cont(CAST($1 AS DOUBLE), $2)"),
    ("percentile_approx", 3, DISCRETE),
    ("percentile_approx", 2, DISCRETE),
    ("approx_percentile", 3, DISCRETE),
    ("approx_percentile", 2, DISCRETE),
    ("positive", 1, "(+ $1)"),
    ("sequence", 2, "generate_series($1, $2, CASE WHEN $1 > $2 THEN -1 ELSE 1 END)"),
    ("sequence", 3, "generate_series($1, $2, $3)"),
    ("randn", 0, "(sqrt(-2 * ln(1 - random())) * cos(6.283185307179586 * random()))"),
    ("shiftleft", 2, "shiftleft($1, CAST($2 AS INT))"),
    ("shiftright", 2, "shiftright($1, CAST($2 AS INT))"),
    ("shiftrightunsigned", 2, "shiftrightunsigned($1, CAST($2 AS INT))"),
    ("smallint", 1, "TRY_CAST($1 AS SMALLINT)"),
    ("sort_array", 1, "array_sort($1, 'ASC', 'NULLS FIRST')"),
    ("space", 1, "repeat(' ', greatest(0, CAST($1 AS BIGINT)))"),
    ("string", 1, "CAST($1 AS VARCHAR)"),
    ("timestamp", 1, "to_timestamp($1)"),
    ("tinyint", 1, "TRY_CAST($1 AS TINYINT)"),
    ("unix_timestamp", 0, "unix_timestamp(now())"),
    ("to_unix_timestamp", 0, "unix_timestamp(now())"),
];

/// Rewrites the calls of a statement.
pub(super) fn rewrite(statement: &mut Ast, scope: &SqlScope) -> Result<(), SqlFault> {
    let mut calls = Calls { scope, written: 0 };
    match VisitMut::visit(statement, &mut calls) {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Calls<'a> {
    scope: &'a SqlScope,
    /// Expressions that came into the statement.
    written: usize,
}

impl VisitorMut for Calls<'_> {
    type Break = SqlFault;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlFault> {
        match self.rewritten(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(other)) => {
                *expr = other;
                ControlFlow::Continue(())
            }
            Err(fault) => ControlFlow::Break(fault),
        }
    }
}

/// The name of a call where nothing stands before it, in lower case.
pub(super) fn plain_name(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] if name.quote_style.is_none() => Some(name.value.to_ascii_lowercase()),
        _ => None,
    }
}

/// The arguments of a call where they are plain ones.
pub(super) fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// An expression from a text of this program.
pub(super) fn parsed(text: &str) -> Result<Expr, SqlFault> {
    let read = Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr());
    read.map_err(|_| SqlFault::new(SYSTEM, "an internal error stopped the query"))
}

fn flag(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        },
        _ => None,
    }
}

impl Calls<'_> {
    fn rewritten(&mut self, expr: &mut Expr) -> Result<Option<Expr>, SqlFault> {
        match expr {
            Expr::Function(function) => self.call(function),
            Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let mut arguments = vec![expr.as_ref().clone(), from.as_ref().clone()];
                arguments.extend(substring_for.as_deref().cloned());
                let places = if arguments.len() == 3 { "$1, $2, $3" } else { "$1, $2" };
                self.filled(&format!("spark_substring({places})"), &arguments).map(Some)
            }
            Expr::RLike { negated, expr, pattern, .. } => {
                let not = if *negated { "NOT " } else { "" };
                let arguments = [expr.as_ref().clone(), pattern.as_ref().clone()];
                self.filled(&format!("({not}regexp_like($1, $2))"), &arguments).map(Some)
            }
            Expr::CompoundFieldAccess { access_chain, .. } => {
                // `f(x).name`: the engine wants the field's name as a text.
                for access in access_chain {
                    if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                        *access = AccessExpr::Dot(Expr::value(Value::SingleQuotedString(name.value.clone())));
                    }
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn call(&mut self, function: &mut Function) -> Result<Option<Expr>, SqlFault> {
        let Some(name) = plain_name(function) else { return Ok(None) };
        if let Some((name, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(SqlFault::not_served(format!("the function {name} ({reason})")));
        }
        if windows::is_known(&name) || matches!(name.as_str(), "next" | "previous") {
            return self.window(function, &name);
        }
        if name == "table_exists" {
            return self.table_exists(function).map(Some);
        }
        let given = arguments(function);
        let given = given.as_deref().unwrap_or_default();
        match (name.as_str(), given) {
            ("first" | "last" | "first_value" | "last_value", [_, ignores]) if flag(ignores).is_some() => {
                if flag(ignores) == Some(true) {
                    function.null_treatment = Some(NullTreatment::IgnoreNulls);
                }
                if let FunctionArguments::List(list) = &mut function.args {
                    list.args.truncate(1);
                }
            }
            ("sort_array", [array, ascending]) => {
                let order = match flag(ascending) {
                    Some(true) => "array_sort($1, 'ASC', 'NULLS FIRST')",
                    Some(false) => "array_sort($1, 'DESC', 'NULLS LAST')",
                    None => return Err(SqlFault::new(SYNTAX, "sort_array: the order must be true or false")),
                };
                return self.filled(order, std::slice::from_ref(array)).map(Some);
            }
            ("hash" | "xxhash64", _) => {
                let _ = VisitMut::visit(&mut function.args, &mut SmallLiterals);
            }
            ("decode", [value, pairs @ ..]) if pairs.len() > 1 => return self.decode(value, pairs).map(Some),
            ("map", pairs) if pairs.len() != 2 || !pairs.iter().all(|one| matches!(one, Expr::Array(_))) => {
                if pairs.len() % 2 != 0 {
                    return Err(SqlFault::new(SYNTAX, "map: found a key without a value"));
                }
                let place = |first: usize| {
                    let places: Vec<String> = (first..=pairs.len()).step_by(2).map(|at| format!("${at}")).collect();
                    places.join(", ")
                };
                let text = format!("map(make_array({}), make_array({}))", place(1), place(2));
                return self.filled(&text, pairs).map(Some);
            }
            ("percentile_approx" | "approx_percentile" | "percentile", [value, shares, ..]) => {
                if let Some(shares) = elements(shares) {
                    let inner = |at: usize| match name.as_str() {
                        "percentile" => format!("percentile_cont(CAST($1 AS DOUBLE), ${})", at + 2),
                        _ => DISCRETE.replace("$2", &format!("${}", at + 2)),
                    };
                    let texts: Vec<String> = (0..shares.len()).map(inner).collect();
                    let mut all = vec![value.clone()];
                    all.extend(shares);
                    return self.filled(&format!("make_array({})", texts.join(", ")), &all).map(Some);
                }
            }
            _ => {}
        }
        if let Some((.., template)) = TEMPLATES.iter().find(|(known, count, _)| *known == name && *count == given.len())
        {
            return self.template(function, &name, template, given).map(Some);
        }
        if let Some(sure) = sure_name(&name) {
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(sure))]);
            return Ok(None);
        }
        if let Some((_, other)) = RENAMED.iter().find(|(known, _)| *known == name) {
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(*other))]);
        }
        Ok(None)
    }

    /// A template with the clauses of the call that it stands for.
    fn template(&mut self, function: &Function, name: &str, template: &str, given: &[Expr]) -> Result<Expr, SqlFault> {
        let mut filled = self.filled(template, given)?;
        let is_distinct = matches!(&function.args, FunctionArguments::List(list) if list.duplicate_treatment.is_some());
        match &mut filled {
            Expr::Function(inner) => {
                inner.filter.clone_from(&function.filter);
                if inner.over.is_none() {
                    inner.over.clone_from(&function.over);
                }
                inner.null_treatment = function.null_treatment;
                if let (FunctionArguments::List(inner), FunctionArguments::List(outer)) =
                    (&mut inner.args, &function.args)
                {
                    inner.duplicate_treatment = outer.duplicate_treatment;
                }
            }
            _ if function.over.is_some() || function.filter.is_some() || is_distinct => {
                return Err(SqlFault::new(SYNTAX, format!("{name} takes no DISTINCT, FILTER or OVER here")));
            }
            _ => {}
        }
        Ok(filled)
    }

    /// A template with its places filled.
    fn filled(&mut self, template: &str, arguments: &[Expr]) -> Result<Expr, SqlFault> {
        let mut expr = parsed(template)?;
        let mut fill = Fill { arguments };
        let _ = VisitMut::visit(&mut expr, &mut fill);
        // Places that stand twice double what is in them, at each level.
        let mut count = Count(0);
        let _ = Visit::visit(&expr, &mut count);
        self.written += count.0;
        if self.written > MAX_EXPRESSIONS {
            return Err(SqlFault::new(
                LIMIT_EXCEEDED,
                format!("the statement has more than {MAX_EXPRESSIONS} expressions"),
            ));
        }
        Ok(expr)
    }

    /// `decode(value, search, result, ..., otherwise)`: null is found too.
    fn decode(&mut self, value: &Expr, pairs: &[Expr]) -> Result<Expr, SqlFault> {
        let mut text = "CASE".to_string();
        for (at, pair) in pairs.chunks(2).enumerate() {
            let place = at * 2 + 2;
            text += &match pair.len() {
                2 => format!(" WHEN $1 IS NOT DISTINCT FROM ${place} THEN ${}", place + 1),
                _ => format!(" ELSE ${place}"),
            };
        }
        let mut all = vec![value.clone()];
        all.extend_from_slice(pairs);
        self.filled(&(text + " END"), &all)
    }

    fn table_exists(&self, function: &Function) -> Result<Expr, SqlFault> {
        let wrong = || SqlFault::new(SYNTAX, "table_exists: expected the name of a table as a text");
        let given = arguments(function).unwrap_or_default();
        let [Expr::Value(value)] = given.as_slice() else { return Err(wrong()) };
        let Value::SingleQuotedString(name) = &value.value else { return Err(wrong()) };
        let name = match name.split_once('.') {
            Some((database, table)) => TableName { database: Some(database.to_string()), table: table.to_string() },
            None => TableName { database: None, table: name.clone() },
        };
        let exists = self.scope.table(&name).is_some() || self.scope.view_of(&name).is_some();
        Ok(Expr::value(Value::Boolean(exists)))
    }

    /// A window function that Adobe defines.
    fn window(&mut self, function: &mut Function, name: &str) -> Result<Option<Expr>, SqlFault> {
        let Some(over) = &mut function.over else {
            return Err(SqlFault::new(SYNTAX, format!("{name} is a window function: it needs OVER (...)")));
        };
        let ahead = match name {
            "next" => Some(true),
            "previous" => Some(false),
            name => windows::looks_ahead(name),
        };
        if let WindowType::WindowSpec(spec) = over
            && let Some(frame) = spec.window_frame.take()
        {
            use WindowFrameBound::{CurrentRow, Following, Preceding};
            let end = frame.end_bound.unwrap_or(CurrentRow);
            let fits = match (&frame.start_bound, &end) {
                (Preceding(None), CurrentRow) => ahead != Some(true),
                (CurrentRow, Following(None)) => ahead != Some(false),
                (Preceding(None), Following(None)) => ahead.is_none(),
                _ => false,
            };
            if !fits {
                let wanted = match ahead {
                    Some(true) => "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                    _ => "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
                };
                return Err(SqlFault::not_served(format!("{name} over another frame than {wanted}")));
            }
        }
        if !matches!(name, "next" | "previous") {
            return Ok(None);
        }
        let given = arguments(function).unwrap_or_default();
        if given.is_empty() || given.len() > 3 {
            return Err(SqlFault::new(SYNTAX, format!("{name}: found {} arguments, expected 1 to 3", given.len())));
        }
        let ignores = match given.get(2) {
            None => false,
            Some(ignores) => flag(ignores)
                .ok_or_else(|| SqlFault::new(SYNTAX, format!("{name}: ignoreNulls must be true or false")))?,
        };
        let engine = if name == "next" { "lead" } else { "lag" };
        let mut call = parsed(&format!("{engine}($1, {})", if given.len() > 1 { "$2" } else { "1" }))?;
        let _ = VisitMut::visit(&mut call, &mut Fill { arguments: &given });
        if let Expr::Function(call) = &mut call {
            call.over.clone_from(&function.over);
            call.null_treatment = ignores.then_some(NullTreatment::IgnoreNulls);
        }
        self.filled("named_struct('value', $1)", &[call]).map(Some)
    }
}

/// The elements of a list of constants, as `array(0.5, 0.9)`.
fn elements(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Array(array) => Some(array.elem.clone()),
        Expr::Function(function) => match plain_name(function)?.as_str() {
            "array" | "make_array" => arguments(function),
            _ => None,
        },
        _ => None,
    }
}

struct Fill<'a> {
    arguments: &'a [Expr],
}

impl VisitorMut for Fill<'_> {
    type Break = ();

    // After its parts, so that what is put in is not looked at again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(place) = &value.value
            && let Some(at) = place.strip_prefix('$').and_then(|at| at.parse::<usize>().ok())
            && let Some(argument) = at.checked_sub(1).and_then(|at| self.arguments.get(at))
        {
            // An operator inside must not join with what stands around it.
            *expr = match argument {
                Expr::BinaryOp { .. } | Expr::UnaryOp { .. } => Expr::Nested(Box::new(argument.clone())),
                argument => argument.clone(),
            };
        }
        ControlFlow::Continue(())
    }
}

/// Whole numbers of a statement have four bytes in Spark, which their hashes show.
struct SmallLiterals;

impl VisitorMut for SmallLiterals {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Number(text, _) = &value.value
            && text.parse::<i32>().is_ok()
            && let Ok(small) = parsed(&format!("CAST({text} AS INT)"))
        {
            *expr = small;
        }
        ControlFlow::Continue(())
    }
}

struct Count(usize);

impl Visitor for Count {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}
