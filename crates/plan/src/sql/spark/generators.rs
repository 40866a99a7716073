//! What gives rows of its own: `explode` and its kin, LATERAL VIEW, TABLESAMPLE. They become queries that the engine knows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, LateralView, ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement as Ast, TableAlias,
    TableFactor, TableSample, TableSampleKind, TableSampleMethod, TableSampleUnit, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::calls::{arguments, parsed, plain_name};
use crate::sql::{SYNTAX, SYSTEM, SqlFault};

/// Rewrites the generators of a statement.
pub(super) fn rewrite(statement: &mut Ast) -> Result<(), SqlFault> {
    match VisitMut::visit(statement, &mut Generators) {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Generators;

impl VisitorMut for Generators {
    type Break = SqlFault;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlFault> {
        match lateral_views(select).and_then(|()| projection(select)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break(fault),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlFault> {
        match sample(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break(fault),
        }
    }
}

/// A generator's columns: their usual names, and what they are.
struct Generator {
    columns: Vec<(String, Expr)>,
}

/// The generator that an expression is; `outer` keeps rows that have no elements.
fn generator(expr: &Expr, outer: bool) -> Result<Option<Generator>, SqlFault> {
    let Expr::Function(function) = expr else { return Ok(None) };
    let Some(name) = plain_name(function) else { return Ok(None) };
    let (is_outer, with_places) = match name.as_str() {
        "explode" => (outer, false),
        "explode_outer" => (true, false),
        "posexplode" => (outer, true),
        "posexplode_outer" => (true, true),
        "stack" | "json_tuple" => (outer, false),
        _ => return Ok(None),
    };
    let given = arguments(function).unwrap_or_default();
    match name.as_str() {
        "stack" => return stack(&given, outer).map(Some),
        "json_tuple" => return json_tuple(&given).map(Some),
        _ => {}
    }
    let [array] = given.as_slice() else {
        return Err(SqlFault::new(SYNTAX, format!("{name}: found {} arguments, expected an array", given.len())));
    };
    let array = if is_outer { format!("outer_array({array})") } else { array.to_string() };
    let mut columns = Vec::new();
    if with_places {
        columns.push(("pos".to_string(), parsed(&format!("unnest(range(0, CAST(cardinality({array}) AS BIGINT)))"))?));
    }
    columns.push(("col".to_string(), parsed(&format!("unnest({array})"))?));
    Ok(Some(Generator { columns }))
}

/// `stack(n, a, b, ...)`: the values as `n` rows; places without one are null.
fn stack(given: &[Expr], outer: bool) -> Result<Generator, SqlFault> {
    let wrong = |what: &str| SqlFault::new(SYNTAX, format!("stack: {what}"));
    let [count, values @ ..] = given else { return Err(wrong("expected a number of rows and values")) };
    let rows = number(count).filter(|rows| *rows >= 1.0 && *rows <= 10_000.0 && rows.fract() == 0.0);
    let Some(rows) = rows.map(|rows| rows as usize) else {
        return Err(wrong("expected a whole number of rows from 1 to 10000 first"));
    };
    if values.is_empty() || outer {
        return Err(wrong("expected values, and no OUTER"));
    }
    let width = values.len().div_ceil(rows);
    let mut columns = Vec::with_capacity(width);
    for at in 0..width {
        let cell = |row: usize| values.get(row * width + at).map_or("NULL".to_string(), ToString::to_string);
        let cells: Vec<String> = (0..rows).map(cell).collect();
        columns.push((format!("col{at}"), parsed(&format!("unnest(make_array({}))", cells.join(", ")))?));
    }
    Ok(Generator { columns })
}

/// `json_tuple(json, names...)`: members of an object, each a column of texts.
fn json_tuple(given: &[Expr]) -> Result<Generator, SqlFault> {
    let [json, names @ ..] = given else {
        return Err(SqlFault::new(SYNTAX, "json_tuple: expected a text of JSON and names"));
    };
    if names.is_empty() {
        return Err(SqlFault::new(SYNTAX, "json_tuple: expected names of members"));
    }
    let mut columns = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        columns.push((format!("c{at}"), parsed(&format!("json_member({json}, {name})"))?));
    }
    Ok(Generator { columns })
}

fn projection(select: &mut Select) -> Result<(), SqlFault> {
    let mut items = Vec::with_capacity(select.projection.len());
    let mut is_changed = false;
    for item in &select.projection {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            other => {
                items.push(other.clone());
                continue;
            }
        };
        match generator(expr, false)? {
            None => items.push(item.clone()),
            Some(generator) => {
                is_changed = true;
                if alias.is_some() && generator.columns.len() > 1 {
                    return Err(SqlFault::not_served(
                        "one name for a function that gives several columns (LATERAL VIEW gives its columns names)",
                    ));
                }
                for (name, expr) in generator.columns {
                    let alias = alias.cloned().unwrap_or_else(|| Ident::new(name.as_str()));
                    items.push(SelectItem::ExprWithAlias { expr, alias });
                }
            }
        }
    }
    if is_changed {
        select.projection = items;
    }
    Ok(())
}

/// A query from a text of this program.
fn query(text: &str) -> Result<Box<Query>, SqlFault> {
    let read = Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_query());
    read.map_err(|_| SqlFault::new(SYSTEM, "an internal error stopped the query"))
}

/// The name by which the columns of a table are called.
fn name_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.clone())
        }
        TableFactor::Table { name, .. } => name.0.last().and_then(ObjectNamePart::as_ident).cloned(),
        _ => None,
    }
}

fn derived(subquery: Box<Query>, name: Ident) -> TableFactor {
    let alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
    TableFactor::Derived { lateral: false, subquery, alias, sample: None }
}

/// `FROM t LATERAL VIEW explode(x) v AS c`: a query over `t` that has the column `c` too.
fn lateral_views(select: &mut Select) -> Result<(), SqlFault> {
    for view in std::mem::take(&mut select.lateral_views) {
        let [from] = select.from.as_mut_slice() else {
            return Err(SqlFault::not_served("LATERAL VIEW over several tables"));
        };
        if !from.joins.is_empty() {
            return Err(SqlFault::not_served("LATERAL VIEW over a join (join in a subquery)"));
        }
        let Some(table) = name_of(&from.relation) else {
            return Err(SqlFault::not_served("LATERAL VIEW over a table without a name"));
        };
        let LateralView { lateral_view, lateral_view_name, lateral_col_alias, outer } = view;
        let Some(generator) = generator(&lateral_view, outer)? else {
            return Err(SqlFault::not_served(format!(
                "LATERAL VIEW {lateral_view} (explode and posexplode are served)"
            )));
        };
        if !lateral_col_alias.is_empty() && lateral_col_alias.len() != generator.columns.len() {
            let message =
                format!("LATERAL VIEW: found {} names, expected {}", lateral_col_alias.len(), generator.columns.len());
            return Err(SqlFault::new(SYNTAX, message));
        }
        let mut items = Vec::new();
        for (at, (name, expr)) in generator.columns.iter().enumerate() {
            let name = lateral_col_alias.get(at).cloned().unwrap_or_else(|| Ident::new(name.as_str()));
            items.push(format!("{expr} AS {name}"));
        }
        let inner = query(&format!("SELECT *, {} FROM {}", items.join(", "), from.relation))?;
        from.relation = derived(inner, table.clone());
        if let Some(view) = lateral_view_name.0.last().and_then(ObjectNamePart::as_ident) {
            let mut rename = Rename { from: view.value.clone(), to: table };
            for item in &mut select.projection {
                let _ = VisitMut::visit(item, &mut rename);
            }
            let _ = VisitMut::visit(&mut select.selection, &mut rename);
            let _ = VisitMut::visit(&mut select.group_by, &mut rename);
            let _ = VisitMut::visit(&mut select.having, &mut rename);
        }
    }
    Ok(())
}

/// Columns of the view are columns of the query that holds it.
struct Rename {
    from: String,
    to: Ident,
}

impl VisitorMut for Rename {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && parts.len() > 1
            && parts[0].value.eq_ignore_ascii_case(&self.from)
        {
            parts[0] = self.to.clone();
        }
        ControlFlow::Continue(())
    }
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// `TABLESAMPLE`: a query over some of the rows.
fn sample(factor: &mut TableFactor) -> Result<(), SqlFault> {
    let (found, alias) = match factor {
        TableFactor::Table { sample, alias, .. } | TableFactor::Derived { sample, alias, .. } => (sample.take(), alias),
        _ => return Ok(()),
    };
    let Some(TableSampleKind::BeforeTableAlias(found) | TableSampleKind::AfterTableAlias(found)) = found else {
        return Ok(());
    };
    let alias = alias.take();
    let condition = condition(&found)?;
    let Some(name) = alias.as_ref().map(|alias| alias.name.clone()).or_else(|| name_of(factor)) else {
        return Err(SqlFault::not_served("TABLESAMPLE of a query without a name"));
    };
    let mut inner = query(&format!("SELECT * FROM t {condition}"))?;
    if let SetExpr::Select(select) = inner.body.as_mut()
        && let Some(from) = select.from.first_mut()
    {
        let mut relation = factor.clone();
        if let TableFactor::Derived { alias, .. } = &mut relation {
            *alias = Some(TableAlias { explicit: true, name: name.clone(), columns: Vec::new(), at: None });
        }
        from.relation = relation;
    }
    *factor = derived(inner, name);
    if let (TableFactor::Derived { alias, .. }, Some(given)) = (factor, alias) {
        *alias = Some(given);
    }
    Ok(())
}

fn condition(sample: &TableSample) -> Result<String, SqlFault> {
    let refused = |what: &str| Err(SqlFault::not_served(format!("TABLESAMPLE with {what}")));
    if sample.seed.is_some() {
        return refused("REPEATABLE or SEED");
    }
    if sample.bucket.is_some() || sample.offset.is_some() {
        return refused("BUCKET or OFFSET");
    }
    if sample.name == Some(TableSampleMethod::Block) {
        return refused("BLOCK");
    }
    let Some(quantity) = &sample.quantity else { return refused("no size") };
    let wrong =
        |wanted: &str| SqlFault::new(SYNTAX, format!("TABLESAMPLE: found '{}', expected {wanted}", quantity.value));
    let value = number(&quantity.value);
    match quantity.unit {
        Some(TableSampleUnit::Rows) => match value {
            Some(rows) if rows >= 0.0 && rows.fract() == 0.0 && rows < 9e15 => Ok(format!("LIMIT {}", rows as u64)),
            _ => Err(wrong("a number of rows")),
        },
        Some(TableSampleUnit::Percent) | None => match value {
            Some(percent) if (0.0..=100.0).contains(&percent) => {
                Ok(if percent < 100.0 { format!("WHERE random() < {}", percent / 100.0) } else { String::new() })
            }
            _ => Err(wrong("a percentage")),
        },
    }
}
