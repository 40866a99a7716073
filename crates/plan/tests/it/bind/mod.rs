//! Names, types and diagnostics of bound queries, over a small catalog in memory.

mod diagnostics;
mod limits;
mod names;
mod operators;
mod rows;
mod statements;
mod types;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::datasource::empty::EmptyTable;
use tidewater_kql::{Column, Diagnostic, KqlType, TableSchema};
use tidewater_plan::bind::bind_query;
use tidewater_plan::bound::{BindOutcome, BoundQuery, Constant, Known, Need, NeedKey, NeedWhat, Value};
use tidewater_plan::lower::Evaluator;
use tidewater_plan::{CatalogView, PlanContext, StoredFunction, TableHandle};

/// Databases `Main` (the current one) and `Other`.
pub struct Catalog {
    tables: Vec<Arc<TableHandle>>,
    functions: Vec<(&'static str, StoredFunction)>,
}

impl CatalogView for Catalog {
    fn current_database(&self) -> &str {
        "Main"
    }

    fn database_names(&self) -> Vec<String> {
        vec!["Main".into(), "Other".into()]
    }

    fn table(&self, database: &str, name: &str) -> Option<Arc<TableHandle>> {
        self.tables.iter().find(|table| table.database == database && table.name == name).cloned()
    }

    fn table_names(&self, database: &str) -> Vec<String> {
        self.tables.iter().filter(|table| table.database == database).map(|table| table.name.clone()).collect()
    }

    fn function(&self, database: &str, name: &str) -> Option<StoredFunction> {
        let found = self.functions.iter().find(|(owner, function)| *owner == database && function.name == name);
        found.map(|(_, function)| function.clone())
    }

    fn function_names(&self, database: &str) -> Vec<String> {
        self.functions.iter().filter(|(owner, _)| *owner == database).map(|(_, found)| found.name.clone()).collect()
    }
}

fn table(database: &str, name: &str, columns: &[(&str, KqlType)]) -> Arc<TableHandle> {
    let schema = TableSchema::new(columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect());
    let provider = Arc::new(EmptyTable::new(schema.arrow()));
    Arc::new(TableHandle { database: database.into(), name: name.into(), schema, provider, is_filled: false })
}

fn function(name: &str, parameters: &str, body: &str) -> StoredFunction {
    StoredFunction {
        name: name.into(),
        parameters: parameters.into(),
        body: body.into(),
        folder: String::new(),
        docstring: String::new(),
        is_view: false,
    }
}

/// The catalog of all tests: `T` has a column of every type, named by the type's first letters.
pub fn catalog() -> Catalog {
    use KqlType::*;
    let every = [
        ("a", Long),
        ("b", Long),
        ("x", Real),
        ("s", String),
        ("d", Dynamic),
        ("t", DateTime),
        ("i", Int),
        ("g", Guid),
        ("bo", Bool),
        ("ts", TimeSpan),
        ("de", Decimal),
    ];
    Catalog {
        tables: vec![
            table("Main", "T", &every),
            table("Main", "Small", &[("k", Long), ("v", String)]),
            table("Main", "Sales", &[("k", Long), ("amount", Real)]),
            table("Other", "Small", &[("k", Long), ("w", Long)]),
        ],
        functions: vec![
            ("Main", function("Twice", "(n: long)", "{ n * 2 }")),
            ("Main", function("Big", "(least: long = 5)", "{ Small | where k > least }")),
            ("Main", function("Loop", "()", "{ Loop() | count }")),
            ("Main", function("Broken", "()", "{ Small | where }")),
            ("Main", function("Unknown", "()", "{ Small | where nothing > 1 }")),
            ("Main", function("Captures", "()", "{ print y = outer }")),
            ("Main", function("Sales", "()", "{ print shadow = 1 }")),
            ("Other", function("Own", "()", "{ Small }")),
        ],
    }
}

/// Answers of needs that no test depends on.
fn answer(need: &Need) -> Known {
    let ty = need.rel.columns[0].ty;
    match need.what {
        NeedWhat::Scalar => Known::Scalar(match ty {
            KqlType::Long => Constant::long(3),
            _ => Constant::null(ty),
        }),
        NeedWhat::Values { .. } => Known::Values(Arc::new(match ty {
            KqlType::String => vec![Constant::string("q"), Constant::string("p")],
            _ => Vec::new(),
        })),
        NeedWhat::BagColumns => {
            Known::Columns(Arc::new(vec![Column::new("name", KqlType::String), Column::new("size", KqlType::Long)]))
        }
    }
}

/// Binds a query to its end; gives also how many passes that took.
pub fn bind_with(text: &str, context: &PlanContext) -> Result<(BoundQuery, usize), Vec<Diagnostic>> {
    let parsed = tidewater_kql::parse_query(text);
    if !parsed.diagnostics.is_empty() {
        return Err(parsed.diagnostics);
    }
    let mut known: HashMap<NeedKey, Known> = HashMap::new();
    for pass in 1..100 {
        match bind_query(&parsed.tree, &catalog(), context, &Evaluator, &known)? {
            BindOutcome::Done(query) => return Ok((query, pass)),
            BindOutcome::Needs(needs) => known.extend(needs.iter().map(|need| (need.key, answer(need)))),
        }
    }
    panic!("binding does not end: {text}")
}

/// A fixed clock.
pub fn context() -> PlanContext {
    PlanContext { now_ticks: 638_000_000_000_000_000, current_principal: "someone".into(), ..PlanContext::default() }
}

/// Binds a query that must be right.
pub fn bound(text: &str) -> BoundQuery {
    match bind_with(text, &context()) {
        Ok((query, _)) => query,
        Err(diagnostics) => panic!("{text}: {diagnostics:?}"),
    }
}

/// The columns of the results: `a: long, b: real`, results separated by ` || `.
pub fn columns(text: &str) -> String {
    let written = |schema: TableSchema| {
        schema.columns.iter().map(|column| format!("{}: {}", column.name, column.ty)).collect::<Vec<_>>().join(", ")
    };
    bound(text).results.iter().map(|result| written(result.rel.schema())).collect::<Vec<_>>().join(" || ")
}

/// The names of the columns of the only result.
pub fn names(text: &str) -> String {
    let query = bound(text);
    let [result] = query.results.as_slice() else { panic!("{text}: {} results", query.results.len()) };
    result.rel.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The diagnostics of a wrong query: code and the text that each points at.
pub fn refused(text: &str) -> Vec<(&'static str, String)> {
    match bind_with(text, &context()) {
        Ok(_) => panic!("{text} is accepted"),
        Err(diagnostics) => diagnostics.iter().map(|found| (found.code, found.span.text(text).to_string())).collect(),
    }
}

/// The only diagnostic of a wrong query.
pub fn refusal(text: &str) -> Diagnostic {
    match bind_with(text, &context()) {
        Ok(_) => panic!("{text} is accepted"),
        Err(mut diagnostics) => {
            assert_eq!(diagnostics.len(), 1, "{text}: {diagnostics:?}");
            diagnostics.remove(0)
        }
    }
}

/// The constant that a query of one `print` shows, when it was folded.
pub fn printed(text: &str) -> Value {
    use tidewater_plan::bound::{BExprKind, RelOp};
    let query = bound(text);
    let RelOp::Project { items, .. } = &query.results[0].rel.op else { panic!("{text}: no projection") };
    match &items[0].kind {
        BExprKind::Constant(value) => value.clone(),
        other => panic!("{text}: not a constant: {other:?}"),
    }
}
