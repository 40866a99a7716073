//! FROM: tables, functions, subqueries and their joins.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, Ident, JoinConstraint, JoinOperator, ObjectName, TableAlias, TableFactor,
    TableWithJoins, Visit, Visitor,
};
use std::ops::ControlFlow;
use tidewater_kql::diagnostic::{UNKNOWN_FUNCTION, UNRESOLVED, nearest};

use super::expr::{Level, Names, Typed, common_type};
use super::query::{OutColumn, Relation, ScopeColumn, item};
use super::{Result, Translator, name, system};

pub(super) type Source = (Vec<String>, Vec<ScopeColumn>);

impl Translator<'_> {
    pub(super) fn from(&mut self, from: &[TableWithJoins]) -> Result<Source> {
        let mut whole: Option<Source> = None;
        for entry in from {
            let mut source = self.factor(&entry.relation)?;
            for join in &entry.joins {
                if let JoinOperator::CrossApply | JoinOperator::OuterApply = join.join_operator {
                    let is_outer = join.join_operator == JoinOperator::OuterApply;
                    source = self.applied(source, &join.relation, is_outer)?;
                    continue;
                }
                let right = self.factor(&join.relation)?;
                source = self.joined(source, right, &join.join_operator)?;
            }
            whole = Some(match whole {
                None => source,
                Some(left) => self.crossed(left, source)?,
            });
        }
        Ok(whole.unwrap_or_default())
    }

    pub(super) fn factor(&mut self, factor: &TableFactor) -> Result<Source> {
        if let Some(source) = self.rows_of(factor)? {
            return Ok(source);
        }
        match factor {
            TableFactor::Pivot { .. } => self.pivot(factor),
            TableFactor::Unpivot { .. } => self.unpivot(factor),
            TableFactor::Table { name, alias, args, version, sample, partitions, .. } => {
                if version.is_some() || sample.is_some() || !partitions.is_empty() {
                    return Err(self.not_served("FOR SYSTEM_TIME, TABLESAMPLE and partitions"));
                }
                let args = args.as_ref().map(|args| args.args.as_slice());
                self.table(name, args, alias.as_ref())
            }
            TableFactor::Function { lateral: false, name, args, alias, .. } => {
                self.table(name, Some(args), alias.as_ref())
            }
            TableFactor::Derived { lateral: false, subquery, alias, .. } => {
                let relation = self.query(subquery)?;
                let Some(alias) = alias else { return Err(self.syntax("a query in FROM needs an alias")) };
                self.aliased(relation, Vec::new(), Some(alias))
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.from(std::slice::from_ref(table_with_joins))
            }
            other => {
                let text: String = other.to_string().chars().take(60).collect();
                Err(self.not_served(format!("'{text}' in FROM")))
            }
        }
    }

    /// The columns of a relation under its alias, or its own names.
    pub(super) fn aliased(
        &mut self,
        relation: Relation,
        own: Vec<String>,
        alias: Option<&TableAlias>,
    ) -> Result<Source> {
        let (relation, qualifiers) = match alias {
            Some(alias) => {
                let names: Vec<&Ident> = alias.columns.iter().map(|column| &column.name).collect();
                (self.renamed(relation, &names)?, vec![alias.name.value.clone()])
            }
            None => (relation, own),
        };
        let columns = relation.columns.into_iter().map(|column| ScopeColumn {
            qualifiers: qualifiers.clone(),
            column: column.name.clone(),
            name: column.name,
            ty: column.ty,
        });
        Ok((relation.steps, columns.collect()))
    }

    fn table(
        &mut self,
        object: &ObjectName,
        args: Option<&[FunctionArg]>,
        alias: Option<&TableAlias>,
    ) -> Result<Source> {
        let parts: Vec<&Ident> = object.0.iter().filter_map(|part| part.as_ident()).collect();
        if parts.len() != object.0.len() {
            return Err(self.not_served(format!("the name {object}")));
        }
        let (cluster, database, schema, own) = match parts.as_slice() {
            [own] => (None, None, None, *own),
            [schema, own] => (None, None, Some(*schema), *own),
            [database, schema, own] => (None, Some(*database), Some(*schema), *own),
            [cluster, database, schema, own] => (Some(*cluster), Some(*database), Some(*schema), *own),
            _ => return Err(self.syntax(format!("found the name {object}, expected at most four parts"))),
        };
        if cluster.is_some() {
            return Err(self.not_served("names of other servers"));
        }
        let mut qualifiers: Vec<String> = vec![own.value.clone()];
        if parts.len() == 1
            && args.is_none()
            && let Some((_, view)) = self.views.iter().rev().find(|(title, _)| title.eq_ignore_ascii_case(&own.value))
        {
            let relation = view.clone();
            return self.aliased(nested(relation), qualifiers, alias);
        }
        let mut database = match database.filter(|database| !database.value.is_empty()) {
            // System views are in every database.
            Some(database) if database.value.eq_ignore_ascii_case("master") => None,
            Some(database) => Some(self.known_database(database)?),
            None => None,
        };
        let folded = schema.map(|schema| schema.value.to_ascii_lowercase()).unwrap_or_default();
        match folded.as_str() {
            "" | "dbo" | "kusto" => {}
            "sys" | "information_schema" => {
                let known = database.clone().unwrap_or_else(|| self.view.current_database().to_string());
                let relation = system::view(self.view, &known, &folded, &own.value.to_ascii_lowercase());
                let Some(relation) = relation else {
                    return Err(self.mistake(UNRESOLVED, own.span, format!("the view '{object}' is not served")));
                };
                qualifiers.push(folded);
                return self.aliased(relation, qualifiers, alias);
            }
            // `database.table`, which other dialects write.
            _ if database.is_none() => {
                if let Some(schema) = schema {
                    database = Some(self.known_database(schema)?);
                }
            }
            _ => {
                if let Some(schema) = schema {
                    let message = format!("the schema '{}' is not known; tables are in 'dbo'", schema.value);
                    return Err(self.mistake(UNRESOLVED, schema.span, message));
                }
            }
        }
        qualifiers.extend(schema.map(|schema| schema.value.clone()).or_else(|| Some("dbo".to_string())));
        qualifiers.push(database.clone().unwrap_or_else(|| self.view.current_database().to_string()));
        let relation = self.entity(database.as_deref(), own, args)?;
        self.aliased(relation, qualifiers, alias)
    }

    fn known_database(&self, wanted: &Ident) -> Result<String> {
        self.view.database(&wanted.value).ok_or_else(|| {
            let message = format!("neither a schema nor a database is called '{}'", wanted.value);
            self.mistake(UNRESOLVED, wanted.span, message)
        })
    }

    /// A table, a view, an external table or a call of a function.
    fn entity(&mut self, database: Option<&str>, wanted: &Ident, args: Option<&[FunctionArg]>) -> Result<Relation> {
        let own = database.map_or_else(|| self.view.current_database().to_string(), str::to_string);
        let prefix = database.map(|database| format!("database({}).", super::quoted(database))).unwrap_or_default();
        let spelled = |names: &[String]| {
            let exact = names.iter().find(|name| **name == wanted.value);
            exact.or_else(|| names.iter().find(|name| name.eq_ignore_ascii_case(&wanted.value))).cloned()
        };
        let tables = self.view.table_names(&own);
        if args.is_none()
            && let Some(table) = spelled(&tables)
            && let Some(handle) = self.view.table(&own, &table)
        {
            let columns = handle.schema.columns.iter();
            let columns = columns.map(|column| OutColumn { name: column.name.clone(), ty: Some(column.ty) });
            return Ok(Relation { steps: vec![format!("{prefix}{}", name(&table))], columns: columns.collect() });
        }
        let text = if args.is_none()
            && let Some(view) = spelled(&self.view.materialized_view_names(&own))
        {
            format!("{prefix}{}", name(&view))
        } else if args.is_none()
            && let Some(table) = spelled(&self.view.external_table_names(&own))
        {
            format!("{prefix}external_table({})", super::quoted(&table))
        } else if let Some(function) = spelled(&self.view.function_names(&own)) {
            let mut texts = Vec::new();
            for expr in self.arguments(&function, args.unwrap_or(&[]))? {
                texts.push(self.constant(expr)?.text);
            }
            format!("{prefix}{}({})", name(&function), texts.join(", "))
        } else {
            let (code, what) = match args {
                Some(_) => (UNKNOWN_FUNCTION, "function"),
                None => (UNRESOLVED, "table"),
            };
            let mut message = format!("name '{}' does not refer to any known {what}", wanted.value);
            if let Some(near) = nearest(&wanted.value, tables.iter().map(String::as_str)) {
                message.push_str(&format!("; did you mean '{near}'?"));
            }
            return Err(self.mistake(code, wanted.span, message));
        };
        let Some(schema) = self.known.get(&text) else { return Err(super::Fault::Needs(text)) };
        let columns = schema.columns.iter();
        let columns = columns.map(|column| OutColumn { name: column.name.clone(), ty: Some(column.ty) }).collect();
        Ok(Relation { steps: vec![text], columns })
    }

    /// The right side with columns that the left one has not.
    fn apart(&mut self, left: &[ScopeColumn], right: Source) -> Source {
        let (mut steps, mut columns) = right;
        let mut taken: HashSet<String> = left.iter().map(|column| column.column.clone()).collect();
        taken.extend(columns.iter().map(|column| column.column.clone()));
        let mut renames = Vec::new();
        for column in &mut columns {
            if !left.iter().any(|own| own.column == column.column) {
                continue;
            }
            let stem = match column.qualifiers.first() {
                Some(alias) => format!("{alias}_{}", column.name),
                None => column.name.clone(),
            };
            let fresh = super::expr::unused(&stem, |name| taken.contains(name));
            taken.insert(fresh.clone());
            renames.push(item(&fresh, &name(&column.column)));
            column.column = fresh;
        }
        if !renames.is_empty() {
            steps.push(format!("project-rename {}", renames.join(", ")));
        }
        (steps, columns)
    }

    pub(super) fn crossed(&mut self, left: Source, right: Source) -> Result<Source> {
        let (mut right_steps, right_columns) = self.apart(&left.1, right);
        let (mut steps, mut columns) = left;
        let key = self.made_up("cross");
        steps.push(format!("extend {key}=1"));
        right_steps.push(format!("extend {key}=1"));
        steps.push(format!("join kind=inner ({}) on {key}", right_steps.join(" | ")));
        steps.push(format!("project-away {key}, {key}1"));
        columns.extend(right_columns);
        Ok((steps, columns))
    }

    fn joined(&mut self, left: Source, right: Source, operator: &JoinOperator) -> Result<Source> {
        let (kind, constraint) = match operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => ("inner", constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => ("leftouter", constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => ("rightouter", constraint),
            JoinOperator::FullOuter(constraint) => ("fullouter", constraint),
            JoinOperator::CrossJoin(_) => return self.crossed(left, right),
            JoinOperator::CrossApply | JoinOperator::OuterApply => return Err(self.not_served("APPLY")),
            _ => return Err(self.not_served("this kind of join")),
        };
        let condition = match constraint {
            JoinConstraint::On(condition) => condition,
            JoinConstraint::None => return Err(self.syntax("JOIN needs ON")),
            _ => return Err(self.not_served("JOIN ... USING and NATURAL JOIN")),
        };
        let (mut right_steps, right_columns) = self.apart(&left.1, right);
        let (mut steps, left_columns) = left;
        let mut keys = Vec::new();
        let mut rest = Vec::new();
        let mut helpers = Vec::new();
        for term in terms(condition) {
            if let Expr::BinaryOp { left: a, op: BinaryOperator::Eq, right: b } = term {
                let sides = [(a, b), (b, a)].into_iter().find_map(|(left_expr, right_expr)| {
                    let left_value = self.side(left_expr, &left_columns)?;
                    let right_value = self.side(right_expr, &right_columns)?;
                    Some((left_value, right_value))
                });
                if let Some((left_value, right_value)) = sides {
                    keys.push((left_value, right_value));
                    continue;
                }
            }
            rest.push(term);
        }
        // What concerns one side alone narrows it before an outer join pads it.
        let mut after = Vec::new();
        let both: Vec<ScopeColumn> = left_columns.iter().chain(&right_columns).cloned().collect();
        for term in rest {
            let is_right = kind == "leftouter" && self.side(term, &right_columns).is_some();
            let is_left = kind == "rightouter" && self.side(term, &left_columns).is_some();
            if is_right {
                let condition = self.predicate(term, &mut Names::of(&right_columns))?;
                right_steps.push(format!("where {}", condition.text));
            } else if is_left {
                let condition = self.predicate(term, &mut Names::of(&left_columns))?;
                steps.push(format!("where {}", condition.text));
            } else if kind == "inner" {
                after.push(self.predicate(term, &mut Names::of(&both))?.at(Level::Or));
            } else {
                // Names that nothing defines are told as such.
                self.predicate(term, &mut Names::of(&both))?;
                return Err(self.not_served(format!("an outer join on '{term}' (only equalities between both sides)")));
            }
        }
        if keys.is_empty() {
            if kind != "inner" {
                return Err(self.not_served("an outer join without an equality between both sides"));
            }
            let (mut steps, columns) = self.crossed((steps, left_columns), (right_steps, right_columns))?;
            steps.extend(after.into_iter().map(|condition| format!("where {condition}")));
            return Ok((steps, columns));
        }
        let mut on = Vec::new();
        for (left_value, right_value) in keys {
            let ty = common_type(left_value.ty, right_value.ty);
            let is_plain = left_value.ty.is_none() || right_value.ty.is_none() || left_value.ty == right_value.ty;
            let (left_value, right_value) = match (is_plain, ty) {
                (true, _) => (left_value, right_value),
                (false, Some(ty)) => (self.coerced(left_value, ty)?, self.coerced(right_value, ty)?),
                // As in a comparison: a text is read as what it is compared with.
                (false, None) => match (left_value.ty, right_value.ty) {
                    (Some(tidewater_kql::KqlType::String), Some(ty)) => (self.coerced(left_value, ty)?, right_value),
                    (Some(ty), _) => {
                        let right_value = self.coerced(right_value, ty)?;
                        (left_value, right_value)
                    }
                    _ => (left_value, right_value),
                },
            };
            let left_key = self.key_column(left_value, &mut steps, &mut helpers);
            let right_key = self.key_column(right_value, &mut right_steps, &mut helpers);
            // NULL equals nothing in SQL; KQL's join matches nulls with each other.
            match kind {
                "rightouter" => steps.push(format!("where isnotnull({left_key})")),
                "fullouter" => {
                    let (left_null, right_null) = (self.made_up("null"), self.made_up("null"));
                    steps.push(format!("extend {left_null}=iff(isnull({left_key}), 1, 0)"));
                    right_steps.push(format!("extend {right_null}=iff(isnull({right_key}), 2, 0)"));
                    on.push(format!("$left.{left_null} == $right.{right_null}"));
                    helpers.extend([left_null, right_null]);
                }
                _ => right_steps.push(format!("where isnotnull({right_key})")),
            }
            on.push(format!("$left.{left_key} == $right.{right_key}"));
        }
        steps.push(format!("join kind={kind} ({}) on {}", right_steps.join(" | "), on.join(", ")));
        if !helpers.is_empty() {
            steps.push(format!("project-away {}", helpers.join(", ")));
        }
        steps.extend(after.into_iter().map(|condition| format!("where {condition}")));
        Ok((steps, both))
    }

    /// The value of an expression that uses columns of one side only, and at least one.
    fn side(&mut self, expr: &Expr, columns: &[ScopeColumn]) -> Option<Typed> {
        if !names_something(expr) {
            return None;
        }
        self.expr(expr, &mut Names::of(columns)).ok()
    }

    /// Keys of a join are columns.
    fn key_column(&mut self, value: Typed, steps: &mut Vec<String>, helpers: &mut Vec<String>) -> String {
        if value.column.is_some() {
            return value.text;
        }
        let key = self.made_up("key");
        steps.push(format!("extend {key}={}", value.text));
        helpers.push(key.clone());
        key
    }
}

/// A common table expression as a source: its operators stay together.
fn nested(relation: Relation) -> Relation {
    match relation.steps.len() {
        1 => relation,
        _ => Relation { steps: vec![format!("({})", relation.nested())], columns: relation.columns },
    }
}

/// The terms of a conjunction.
fn terms(condition: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut waiting = vec![condition];
    while let Some(expr) = waiting.pop() {
        match expr {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => waiting.extend([right.as_ref(), left.as_ref()]),
            Expr::Nested(inner) => waiting.push(inner),
            other => found.push(other),
        }
    }
    found
}

fn names_something(expr: &Expr) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    Visit::visit(expr, &mut Finder).is_break()
}
