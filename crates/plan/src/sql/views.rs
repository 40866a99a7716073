//! Views: queries that stand where tables do. Their texts are put in before anything is planned, so that whoever reads a view
//! needs the rights to the tables in it, as with a query of their own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Query, Statement as Ast, TableAlias, TableAliasColumnDef, TableFactor, Visit,
    VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::{LIMIT_EXCEEDED, SYSTEM, SqlFault, SqlScope, TableName, table_name};

/// Views that one statement may reach, one through the other.
const MAX_EXPANSIONS: usize = 64;

/// A view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlView {
    /// Names of its columns where they are not the query's.
    pub columns: Vec<String>,
    /// Its query, with the databases of its tables written out.
    pub query: String,
}

/// The views that a statement sees.
pub trait SqlViews: Send + Sync {
    /// A view of the session, which hides tables.
    fn temporary(&self, name: &str) -> Option<SqlView>;

    /// A view of a database.
    fn stored(&self, database: &str, name: &str) -> Option<SqlView>;

    /// The views of a database.
    fn names(&self, database: &str) -> Vec<String>;
}

/// No views.
pub struct NoViews;

impl SqlViews for NoViews {
    fn temporary(&self, _name: &str) -> Option<SqlView> {
        None
    }

    fn stored(&self, _database: &str, _name: &str) -> Option<SqlView> {
        None
    }

    fn names(&self, _database: &str) -> Vec<String> {
        Vec::new()
    }
}

impl SqlScope {
    /// The view of a name, if it is one.
    pub fn view_of(&self, name: &TableName) -> Option<SqlView> {
        if name.database.is_none()
            && let Some(view) = self.views.temporary(&name.table)
        {
            return Some(view);
        }
        if self.table(name).is_some() {
            return None;
        }
        let databases: Vec<String> = match &name.database {
            Some(database) => self.view.database(database).into_iter().collect(),
            None => self.search.clone(),
        };
        databases.iter().find_map(|database| self.views.stored(database, &name.table))
    }
}

/// Puts the queries of views where their names stand.
pub(super) fn expand(statement: &mut Ast, scope: &SqlScope) -> Result<(), SqlFault> {
    let mut defined = Defined::default();
    let _ = Visit::visit(&*statement, &mut defined);
    let mut expansion = Expansion { scope, defined: defined.names, count: 0 };
    match VisitMut::visit(statement, &mut expansion) {
        ControlFlow::Break(fault) => Err(fault),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Writes the databases of tables and views into a query, so that it means the same wherever it is read later.
pub fn qualified(query: &Query, scope: &SqlScope) -> Result<Query, SqlFault> {
    let mut statement = Ast::Query(Box::new(query.clone()));
    let mut defined = Defined::default();
    let _ = Visit::visit(&statement, &mut defined);
    let mut qualifier = Qualifier { scope, defined: defined.names };
    let _ = VisitMut::visit(&mut statement, &mut qualifier);
    match statement {
        Ast::Query(query) => Ok(*query),
        _ => Err(SqlFault::new(SYSTEM, "an internal error stopped the query")),
    }
}

/// The names that a statement's WITH clauses define.
#[derive(Default)]
struct Defined {
    names: Vec<String>,
}

impl Visitor for Defined {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.names.extend(tables.map(|table| table.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}

struct Expansion<'a> {
    scope: &'a SqlScope,
    defined: Vec<String>,
    count: usize,
}

impl VisitorMut for Expansion<'_> {
    type Break = SqlFault;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlFault> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let Ok(parts) = table_name(name) else { return ControlFlow::Continue(()) };
        if parts.database.is_none() && self.defined.contains(&parts.table.to_lowercase()) {
            return ControlFlow::Continue(());
        }
        let Some(view) = self.scope.view_of(&parts) else { return ControlFlow::Continue(()) };
        self.count += 1;
        if self.count > MAX_EXPANSIONS {
            let message = format!("the statement reaches more than {MAX_EXPANSIONS} views, or one that reads itself");
            return ControlFlow::Break(SqlFault::new(LIMIT_EXCEEDED, message));
        }
        let query = match parsed(&view.query) {
            Ok(query) => query,
            Err(fault) => return ControlFlow::Break(fault),
        };
        let own = name.0.last().and_then(|part| part.as_ident()).cloned();
        let mut alias = alias.take().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: own.unwrap_or_else(|| Ident::new(parts.table.clone())),
            columns: Vec::new(),
            at: None,
        });
        if alias.columns.is_empty() {
            let column = |name: &String| TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None };
            alias.columns = view.columns.iter().map(column).collect();
        }
        *factor = TableFactor::Derived { lateral: false, subquery: query, alias: Some(alias), sample: None };
        ControlFlow::Continue(())
    }
}

/// The query of a view.
fn parsed(text: &str) -> Result<Box<Query>, SqlFault> {
    let broken = || SqlFault::new(SYSTEM, "the text of a view cannot be read");
    let statements = Parser::new(&GenericDialect {})
        .with_recursion_limit(128)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|_| broken())?;
    match statements.into_iter().next() {
        Some(Ast::Query(query)) => Ok(query),
        _ => Err(broken()),
    }
}

struct Qualifier<'a> {
    scope: &'a SqlScope,
    defined: Vec<String>,
}

impl VisitorMut for Qualifier<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let Ok(parts) = table_name(name) else { return ControlFlow::Continue(()) };
        if parts.database.is_some() || self.defined.contains(&parts.table.to_lowercase()) {
            return ControlFlow::Continue(());
        }
        let database = match self.scope.table(&parts) {
            Some(handle) => Some(handle.database.clone()),
            None => self.scope.search.iter().find(|own| self.scope.views.stored(own, &parts.table).is_some()).cloned(),
        };
        if let Some(database) = database
            && self.scope.views.temporary(&parts.table).is_none()
        {
            let own = name.0.clone();
            if alias.is_none()
                && let Some(ident) = own.last().and_then(|part| part.as_ident())
            {
                *alias = Some(TableAlias { explicit: true, name: ident.clone(), columns: Vec::new(), at: None });
            }
            let mut whole = vec![ObjectNamePart::Identifier(Ident::with_quote('"', database))];
            whole.extend(own);
            *name = ObjectName(whole);
        }
        ControlFlow::Continue(())
    }
}
