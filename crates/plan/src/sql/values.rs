//! `INSERT ... VALUES ($1, ...)`: the values have the types of the columns that they go into.
//!
//! The engine gives rows of values their types when it plans them, which is before it knows what stands for `$1`; so it is told by
//! a cast.

use datafusion::sql::sqlparser::ast::{Expr, SetExpr, Statement as Ast, Value};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use tidewater_kql::{KqlType, TableSchema};

/// The query with its bare placeholders cast, and for each of them its number and type.
pub fn typed_values(query: &Ast, table: &TableSchema, columns: &[String]) -> (Ast, Vec<(usize, KqlType)>) {
    let mut query = query.clone();
    let mut types = Vec::new();
    if let Ast::Query(inner) = &mut query
        && let SetExpr::Values(values) = inner.body.as_mut()
    {
        for row in &mut values.rows {
            for (at, value) in row.content.iter_mut().enumerate() {
                let Some(ty) = column_type(table, columns, at) else { continue };
                let Some(number) = placeholder(value) else { continue };
                let text = format!("CAST(${number} AS {})", sql_name(ty));
                let cast =
                    Parser::new(&GenericDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_expr());
                if let Ok(cast) = cast {
                    *value = cast;
                    types.push((number, ty));
                }
            }
        }
    }
    (query, types)
}

fn column_type(table: &TableSchema, columns: &[String], at: usize) -> Option<KqlType> {
    let column = match columns.get(at) {
        Some(name) => table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)),
        None if columns.is_empty() => table.columns.get(at),
        None => None,
    };
    column.map(|column| column.ty)
}

fn placeholder(value: &Expr) -> Option<usize> {
    let Expr::Value(value) = value else { return None };
    match &value.value {
        Value::Placeholder(name) => name.trim_start_matches('$').parse().ok().filter(|number| *number > 0),
        _ => None,
    }
}

/// The name of a type in a cast.
fn sql_name(ty: KqlType) -> &'static str {
    match ty {
        KqlType::Bool => "BOOLEAN",
        KqlType::Int => "INT",
        KqlType::Long | KqlType::TimeSpan => "BIGINT",
        KqlType::Real => "DOUBLE",
        KqlType::DateTime => "TIMESTAMP(6)",
        KqlType::Decimal => "DECIMAL(38, 18)",
        _ => "VARCHAR",
    }
}
