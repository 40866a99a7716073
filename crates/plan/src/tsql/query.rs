//! Queries: SELECT and its clauses, set operations, common table expressions.

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, LimitClause, OrderBy, OrderByExpr, OrderByKind,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TopQuantity,
    Value, ValueWithSpan,
};
use tidewater_kql::KqlType;
use tidewater_kql::diagnostic::{GENERAL, UNRESOLVED};

use super::expr::{Groups, Level, Literal, Names, Typed};
use super::groups::{Sets, SetsStep};
use super::windows::WINDOW;
use super::{Result, Translator, name, place_of};

/// A KQL pipeline and its columns.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// The source, and the operators behind it.
    pub steps: Vec<String>,
    /// What comes out.
    pub columns: Vec<OutColumn>,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OutColumn {
    /// Its name.
    pub name: String,
    /// Its type, where it is known.
    pub ty: Option<KqlType>,
}

/// A column that expressions may name.
#[derive(Clone, Debug)]
pub(super) struct ScopeColumn {
    /// The alias, or the table's name, schema and database.
    pub qualifiers: Vec<String>,
    /// The name in SQL.
    pub name: String,
    /// The name in the pipeline.
    pub column: String,
    /// Its type, where it is known.
    pub ty: Option<KqlType>,
}

impl Relation {
    /// As a query of its own.
    pub fn text(&self) -> String {
        self.steps.join("\n| ")
    }

    /// As a part of another one.
    pub fn nested(&self) -> String {
        self.steps.join(" | ")
    }
}

/// How rows are ordered: a column or expression and its direction.
pub(super) struct Order {
    pub text: String,
    pub descending: bool,
}

impl Order {
    // Source: T-SQL page and cheat sheet, which show `desc nulls first` and `asc nulls last`.
    pub fn key(&self) -> String {
        format!("{} {}", self.text, if self.descending { "desc nulls first" } else { "asc nulls last" })
    }
}

/// What the clauses around a SELECT ask of its rows.
#[derive(Default)]
struct Around<'a> {
    order_by: &'a [OrderByExpr],
    offset: Option<&'a Expr>,
    fetch: Option<&'a Expr>,
}

impl Translator<'_> {
    pub(super) fn query(&mut self, query: &Query) -> Result<Relation> {
        self.depth += 1;
        let views = self.views.len();
        let relation = tidewater_kql::stack::grow(|| self.query_level(query));
        self.views.truncate(views);
        self.depth -= 1;
        relation
    }

    fn query_level(&mut self, query: &Query) -> Result<Relation> {
        if query.for_clause.is_some() {
            return Err(self.not_served("FOR XML, FOR JSON and FOR BROWSE"));
        }
        if !query.locks.is_empty() || query.settings.is_some() || query.format_clause.is_some() {
            return Err(self.not_served("clauses of other databases behind a SELECT"));
        }
        if let Some(with) = &query.with {
            if with.recursive {
                return Err(self.not_served("WITH RECURSIVE"));
            }
            for table in &with.cte_tables {
                let title = &table.alias.name.value;
                let relation = match self.query(&table.query) {
                    // A common table expression that reads itself finds no table of its name.
                    Err(super::Fault::Mistake(mistake))
                        if mistake.code == UNRESOLVED && mistake.message.contains(&format!("'{title}'")) =>
                    {
                        return Err(self.not_served("a recursive common table expression (or an unknown table)"));
                    }
                    other => other?,
                };
                let columns: Vec<&Ident> = table.alias.columns.iter().map(|column| &column.name).collect();
                let relation = self.renamed(relation, &columns)?;
                self.views.push((title.clone(), relation));
            }
        }
        let around = self.around(query)?;
        match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, &around),
            body => {
                let mut relation = self.set_expression(body)?;
                let keys = self.orders_of_columns(around.order_by, &relation.columns)?;
                if !keys.is_empty() {
                    relation.steps.push(format!("sort by {}", keys.join(", ")));
                }
                self.window(&mut relation, &around, None)?;
                Ok(relation)
            }
        }
    }

    fn around<'q>(&self, query: &'q Query) -> Result<Around<'q>> {
        let mut around = Around::default();
        if let Some(OrderBy { kind, interpolate }) = &query.order_by {
            match kind {
                OrderByKind::Expressions(order) if interpolate.is_none() => around.order_by = order,
                _ => return Err(self.not_served("this form of ORDER BY")),
            }
        }
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) if limit_by.is_empty() => {
                around.offset = offset.as_ref().map(|offset| &offset.value);
            }
            Some(_) => return Err(self.not_served("LIMIT (write TOP or OFFSET ... FETCH)")),
        }
        if let Some(fetch) = &query.fetch {
            if fetch.percent {
                return Err(self.not_served("FETCH ... PERCENT"));
            }
            around.fetch = fetch.quantity.as_ref();
        }
        Ok(around)
    }

    fn set_expression(&mut self, body: &SetExpr) -> Result<Relation> {
        match body {
            SetExpr::Select(select) => self.select(select, &Around::default()),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let all = match set_quantifier {
                    SetQuantifier::All => true,
                    SetQuantifier::None | SetQuantifier::Distinct => false,
                    other => return Err(self.not_served(format!("{op} {other}"))),
                };
                let (left, right) = tidewater_kql::stack::grow(|| {
                    Ok::<_, super::Fault>((self.set_expression(left)?, self.set_expression(right)?))
                })?;
                self.combined(left, *op, all, right)
            }
            SetExpr::Values(values) => self.value_rows(values),
            _ => Err(self.not_served("a change of data")),
        }
    }

    /// Set operations match columns by place; KQL's by name.
    fn combined(&mut self, left: Relation, op: SetOperator, all: bool, right: Relation) -> Result<Relation> {
        if left.columns.len() != right.columns.len() {
            let message = format!(
                "both sides of {op} need as many columns, found {} and {}",
                left.columns.len(),
                right.columns.len()
            );
            return Err(tidewater_kql::Diagnostic::new(GENERAL, tidewater_kql::Span::new(0, 0), message).into());
        }
        let (mut left, right) = (self.typed(left)?, self.typed(right)?);
        let types: Vec<Option<KqlType>> =
            left.columns.iter().zip(&right.columns).map(|(a, b)| super::expr::common_type(a.ty, b.ty)).collect();
        let names: Vec<String> = left.columns.iter().map(|column| column.name.clone()).collect();
        let aligned = |translator: &Self, mut side: Relation| -> Result<Relation> {
            let same = side
                .columns
                .iter()
                .zip(&names)
                .zip(&types)
                .all(|((column, name), ty)| column.name == *name && column.ty == *ty);
            if same {
                return Ok(side);
            }
            let mut items = Vec::new();
            for ((column, wanted), ty) in side.columns.iter().zip(&names).zip(&types) {
                let Some(ty) = ty else {
                    return Err(translator.not_served(format!("{op} of columns of unrelated types ('{wanted}')")));
                };
                let value = Typed::column(&column.name, column.ty);
                items.push(item(wanted, &translator.coerced(value, *ty)?.text));
            }
            side.steps.push(format!("project {}", items.join(", ")));
            side.columns =
                names.iter().zip(&types).map(|(name, ty)| OutColumn { name: name.clone(), ty: *ty }).collect();
            Ok(side)
        };
        left = aligned(self, left)?;
        let mut right = aligned(self, right)?;
        let columns = left.columns.clone();
        let list = names.iter().map(|column| name(column)).collect::<Vec<_>>().join(", ");
        match (op, all) {
            (SetOperator::Union, _) => {
                left.steps.push(format!("union ({})", right.nested()));
                if !all {
                    left.steps.push(format!("distinct {list}"));
                }
            }
            (SetOperator::Intersect | SetOperator::Except, false) => {
                // Unlike a join's, these keys match where both are null, as KQL's groups do.
                let side = self.made_up("side");
                left.steps.extend([format!("distinct {list}"), format!("extend {side} = 1")]);
                right.steps.extend([format!("distinct {list}"), format!("extend {side} = 2")]);
                left.steps.push(format!("union ({})", right.nested()));
                left.steps.push(format!("summarize {side} = sum({side}) by {list}"));
                let wanted = if op == SetOperator::Intersect { 3 } else { 1 };
                left.steps.extend([format!("where {side} == {wanted}"), format!("project {list}")]);
            }
            _ => return Err(self.not_served(format!("{op} ALL"))),
        }
        left.columns = columns;
        Ok(left)
    }

    /// The same with every type known.
    pub(super) fn typed(&self, mut relation: Relation) -> Result<Relation> {
        if relation.columns.iter().all(|column| column.ty.is_some()) {
            return Ok(relation);
        }
        let text = relation.nested();
        let Some(schema) = self.known.get(&text) else { return Err(super::Fault::Needs(text)) };
        for (column, known) in relation.columns.iter_mut().zip(&schema.columns) {
            column.ty = Some(known.ty);
        }
        Ok(relation)
    }

    /// A relation under the column names of its alias.
    pub(super) fn renamed(&self, mut relation: Relation, names: &[&Ident]) -> Result<Relation> {
        if names.is_empty() {
            return Ok(relation);
        }
        if names.len() != relation.columns.len() {
            let message = format!("found {} names for {} columns", names.len(), relation.columns.len());
            return Err(self.mistake(GENERAL, names[0].span, message));
        }
        let items: Vec<String> = relation
            .columns
            .iter()
            .zip(names)
            .map(|(column, wanted)| item(&wanted.value, &name(&column.name)))
            .collect();
        relation.steps.push(format!("project {}", items.join(", ")));
        for (column, wanted) in relation.columns.iter_mut().zip(names) {
            column.name = wanted.value.clone();
        }
        Ok(relation)
    }

    fn select(&mut self, select: &Select, around: &Around<'_>) -> Result<Relation> {
        self.refuse_clauses(select)?;
        let GroupByExpr::Expressions(group_by, modifiers) = &select.group_by else {
            return Err(self.not_served("GROUP BY ALL"));
        };
        if !select.named_window.is_empty() {
            let (own, order_by) = self.without_named_windows(select, around.order_by)?;
            return self.select(&own, &Around { order_by: &order_by, ..*around });
        }
        let sets = self.grouping_sets(group_by, modifiers)?;
        let (mut steps, mut scope) = self.from(&select.from)?;
        if let Some(condition) = &select.selection {
            let condition = self.condition(condition, &mut Names::of(&scope))?;
            steps.push(format!("where {condition}"));
        }
        let is_grouped = !group_by.is_empty()
            || select.having.is_some()
            || select.projection.iter().any(|item| item_expr(item).is_some_and(super::expr::has_aggregate))
            || around.order_by.iter().any(|order| super::expr::has_aggregate(&order.expr));
        let mut groups = match (is_grouped, sets) {
            (_, Some(Sets { keys, sets })) => {
                let mut groups = self.groups(&keys, &select.projection, &scope, Some(&steps))?;
                let (rows, bits) = (self.made_up("rows"), self.made_up("grouping"));
                groups.sets = Some(SetsStep { sets, rows, bits });
                Some(groups)
            }
            (true, None) => {
                let keys: Vec<&Expr> = group_by.iter().collect();
                Some(self.groups(&keys, &select.projection, &scope, None)?)
            }
            (false, None) => None,
        };
        let (window_steps, window_columns) = self.windows(select, around.order_by, &scope, &mut groups)?;
        if !window_steps.is_empty() && steps.is_empty() {
            let row = self.made_up("row");
            steps.push(format!("print {row} = 1"));
        }
        scope.extend(window_columns);
        // What stands behind `summarize` is written first: it tells which aggregates are wanted.
        let mut items: Vec<(String, Typed, Option<&Expr>)> = Vec::new();
        for (at, entry) in select.projection.iter().enumerate() {
            self.item(entry, at, &scope, &mut groups, &mut items)?;
        }
        let mut taken: Vec<String> = Vec::new();
        for (title, ..) in &mut items {
            *title = super::expr::unused(title, |name| taken.iter().any(|taken| taken == name));
            taken.push(title.clone());
        }
        let having = match &select.having {
            Some(having) => Some(self.condition(having, &mut Names { scope: &scope, groups: groups.as_mut() })?),
            None => None,
        };
        let is_distinct = match &select.distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => return Err(self.not_served("DISTINCT ON")),
        };
        let mut orders = Vec::new();
        let mut all_in_result = true;
        for order in around.order_by {
            let (text, is_result) = self.order_key(&order.expr, &items, &scope, &mut groups)?;
            all_in_result &= is_result.is_some();
            orders.push((text, is_result, order.options.asc == Some(false)));
        }
        if is_distinct && !all_in_result {
            return Err(self.not_served("ORDER BY of what SELECT DISTINCT does not list"));
        }
        if let Some(groups) = &groups {
            steps.push(groups.step());
        }
        if let Some(having) = having {
            steps.push(format!("where {having}"));
        }
        steps.extend(window_steps);
        let order = |at_result: bool| {
            let keys: Vec<String> = orders
                .iter()
                .map(|(text, result, descending)| {
                    let text = if at_result { result.clone().unwrap_or_default() } else { text.clone() };
                    Order { text, descending: *descending }.key()
                })
                .collect();
            (!keys.is_empty()).then(|| format!("sort by {}", keys.join(", ")))
        };
        if !all_in_result {
            steps.extend(order(false));
        }
        let project: Vec<String> = items.iter().map(|(title, value, _)| item(title, &value.text)).collect();
        let project = project.join(", ");
        match steps.is_empty() {
            true => steps.push(format!("print {project}")),
            false => steps.push(format!("project {project}")),
        }
        if is_distinct {
            let list: Vec<String> = items.iter().map(|(title, ..)| name(title)).collect();
            steps.push(format!("distinct {}", list.join(", ")));
        }
        if all_in_result {
            steps.extend(order(true));
        }
        let columns = items.iter().map(|(title, value, _)| OutColumn { name: title.clone(), ty: value.ty }).collect();
        let mut relation = Relation { steps, columns };
        self.window(&mut relation, around, select.top.as_ref())?;
        Ok(relation)
    }

    fn refuse_clauses(&self, select: &Select) -> Result<()> {
        let refused = [
            (select.into.is_some(), "SELECT INTO"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (
                !select.cluster_by.is_empty() || !select.distribute_by.is_empty() || !select.sort_by.is_empty(),
                "CLUSTER BY",
            ),
            (select.qualify.is_some(), "QUALIFY"),
            (select.exclude.is_some(), "EXCLUDE"),
        ];
        match refused.iter().find(|(found, _)| *found) {
            Some((_, what)) => Err(self.not_served(what)),
            None => Ok(()),
        }
    }

    fn item<'q>(
        &mut self,
        entry: &'q SelectItem,
        at: usize,
        scope: &[ScopeColumn],
        groups: &mut Option<Groups<'q>>,
        items: &mut Vec<(String, Typed, Option<&'q Expr>)>,
    ) -> Result<()> {
        let (expr, alias) = match entry {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
            SelectItem::Wildcard(options) if *options == Default::default() => {
                return self.all_columns(scope, None, groups, items);
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(object), options)
                if *options == Default::default() =>
            {
                let qualifier = object.0.last().and_then(|part| part.as_ident());
                return self.all_columns(scope, qualifier, groups, items);
            }
            _ => return Err(self.not_served(format!("the column list entry '{entry}'"))),
        };
        if let Some(groups) = groups {
            groups.preferred = alias.map(|alias| alias.value.clone());
        }
        let value = self.expr(expr, &mut Names { scope, groups: groups.as_mut() })?;
        let title = match (alias, expr) {
            (Some(alias), _) => alias.value.clone(),
            (None, Expr::Identifier(ident)) => self.spelling(ident, &value),
            (None, Expr::CompoundIdentifier(parts)) => {
                parts.last().map(|ident| self.spelling(ident, &value)).unwrap_or_default()
            }
            (None, _) => format!("Column{}", at + 1),
        };
        let title = if title.is_empty() { format!("Column{}", at + 1) } else { title };
        items.push((title, value, Some(expr)));
        Ok(())
    }

    /// A column keeps the table's spelling of its name.
    fn spelling(&self, ident: &Ident, value: &Typed) -> String {
        match &value.column {
            Some(column) if column.eq_ignore_ascii_case(&ident.value) => column.clone(),
            _ => ident.value.trim_start_matches('@').to_string(),
        }
    }

    fn all_columns<'q>(
        &mut self,
        scope: &[ScopeColumn],
        qualifier: Option<&Ident>,
        groups: &mut Option<Groups<'q>>,
        items: &mut Vec<(String, Typed, Option<&'q Expr>)>,
    ) -> Result<()> {
        let matching = scope.iter().filter(|column| match qualifier {
            Some(wanted) => column.qualifiers.iter().take(1).any(|own| own.eq_ignore_ascii_case(&wanted.value)),
            None => column.qualifiers.first().is_none_or(|own| own != WINDOW),
        });
        let before = items.len();
        for column in matching {
            let value = match groups {
                Some(groups) => groups.key(&name(&column.column)).ok_or_else(|| {
                    let message = format!("column '{}' is neither in GROUP BY nor in an aggregate", column.name);
                    super::Fault::from(tidewater_kql::Diagnostic::new(GENERAL, tidewater_kql::Span::new(0, 0), message))
                })?,
                None => Typed::column(&column.column, column.ty),
            };
            items.push((column.name.clone(), value, None));
        }
        match (items.len() == before, qualifier) {
            (true, Some(wanted)) => {
                Err(self.mistake(UNRESOLVED, wanted.span, format!("nothing in FROM is called '{}'", wanted.value)))
            }
            (true, None) => Err(self.syntax("SELECT * needs a FROM clause")),
            _ => Ok(()),
        }
    }

    /// `summarize`, so far without aggregates: each key under the name of the column it is selected as.
    fn groups<'q>(
        &mut self,
        group_by: &[&'q Expr],
        projection: &'q [SelectItem],
        scope: &[ScopeColumn],
        rows: Option<&[String]>,
    ) -> Result<Groups<'q>> {
        let mut groups = Groups::default();
        for expr in group_by.iter().copied() {
            let mut value = self.expr(expr, &mut Names::of(scope))?;
            if let Some(rows) = rows.filter(|_| value.ty.is_none()) {
                // A set without this key has a null of its type.
                let text = format!("{} | project Key={}", rows.join(" | "), value.text);
                let Some(schema) = self.known.get(&text) else { return Err(super::Fault::Needs(text)) };
                value.ty = schema.columns.first().map(|column| column.ty);
            }
            let alias = projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr: selected, alias } if selected == expr => Some(alias.value.clone()),
                _ => None,
            });
            let title = match (&value.column, alias) {
                (Some(column), _) => column.clone(),
                (None, Some(alias)) => alias,
                (None, None) => self.made_up("key"),
            };
            groups.add_key(expr, value, &title);
        }
        Ok(groups)
    }

    /// The key of an ORDER BY: its text before the projection, and the result's column that is the same.
    fn order_key<'q>(
        &mut self,
        expr: &Expr,
        items: &[(String, Typed, Option<&'q Expr>)],
        scope: &[ScopeColumn],
        groups: &mut Option<Groups<'q>>,
    ) -> Result<(String, Option<String>)> {
        if let Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = expr {
            let at = number.parse::<usize>().ok().filter(|at| (1..=items.len()).contains(at)).ok_or_else(|| {
                self.mistake(GENERAL, place_of(expr), format!("ORDER BY {number}: there are {} columns", items.len()))
            })?;
            let (title, value, _) = &items[at - 1];
            return Ok((value.text.clone(), Some(name(title))));
        }
        let same = |wanted: &Ident| items.iter().find(|(title, ..)| title.eq_ignore_ascii_case(&wanted.value));
        if let Expr::Identifier(ident) = expr
            && let Some((title, value, _)) = same(ident)
        {
            return Ok((value.text.clone(), Some(name(title))));
        }
        if let Some(groups) = groups {
            groups.preferred = None;
        }
        let value = self.expr(expr, &mut Names { scope, groups: groups.as_mut() })?;
        let found = items.iter().find(|(_, selected, _)| selected.text == value.text);
        Ok((value.text, found.map(|(title, ..)| name(title))))
    }

    fn orders_of_columns(&mut self, order_by: &[OrderByExpr], columns: &[OutColumn]) -> Result<Vec<String>> {
        let scope: Vec<ScopeColumn> = columns
            .iter()
            .map(|column| ScopeColumn {
                qualifiers: Vec::new(),
                name: column.name.clone(),
                column: column.name.clone(),
                ty: column.ty,
            })
            .collect();
        let items: Vec<(String, Typed, Option<&Expr>)> =
            columns.iter().map(|column| (column.name.clone(), Typed::column(&column.name, column.ty), None)).collect();
        let mut keys = Vec::new();
        for order in order_by {
            let (text, _) = self.order_key(&order.expr, &items, &scope, &mut None)?;
            keys.push(Order { text, descending: order.options.asc == Some(false) }.key());
        }
        Ok(keys)
    }

    /// TOP, OFFSET and FETCH.
    fn window(
        &mut self,
        relation: &mut Relation,
        around: &Around<'_>,
        top: Option<&datafusion::sql::sqlparser::ast::Top>,
    ) -> Result<()> {
        if let Some(top) = top {
            if top.percent {
                return Err(self.not_served("TOP ... PERCENT"));
            }
            let count = match &top.quantity {
                Some(TopQuantity::Constant(count)) => count.to_string(),
                Some(TopQuantity::Expr(expr)) => self.count_of(expr)?,
                None => return Err(self.syntax("TOP needs a number")),
            };
            relation.steps.push(format!("take int({count})"));
        }
        let Some(offset) = around.offset else {
            if let Some(fetch) = around.fetch {
                let count = self.count_of(fetch)?;
                relation.steps.push(format!("take int({count})"));
            }
            return Ok(());
        };
        let offset = self.count_of(offset)?;
        let row = self.made_up("row");
        relation.steps.push(format!("extend {row} = row_number()"));
        let end = match around.fetch {
            Some(fetch) => format!(" and {row} <= {offset} + {}", self.count_of(fetch)?),
            None => String::new(),
        };
        relation.steps.push(format!("where {row} > {offset}{end}"));
        relation.steps.push(format!("project-away {row}"));
        Ok(())
    }

    fn count_of(&mut self, expr: &Expr) -> Result<String> {
        let value = self.expr(expr, &mut Names::none())?;
        match value.literal {
            Literal::Number(text) if text.parse::<u32>().is_ok() => Ok(text),
            _ => Err(self.mistake(GENERAL, place_of(expr), "the number of rows must be a whole number")),
        }
    }

    /// The arguments of a call, all by place.
    pub(super) fn arguments<'q>(&self, what: &str, arguments: &'q [FunctionArg]) -> Result<Vec<&'q Expr>> {
        let plain = |argument: &'q FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
            _ => Err(self.not_served(format!("{what} with named arguments or *"))),
        };
        arguments.iter().map(plain).collect()
    }

    fn condition(&mut self, expr: &Expr, names: &mut Names<'_, '_>) -> Result<String> {
        Ok(self.predicate(expr, names)?.at(Level::Or))
    }
}

pub(super) fn item_expr(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// `name=value`, or the name alone where that says the same.
pub(super) fn item(title: &str, value: &str) -> String {
    let title = name(title);
    if title == value { title } else { format!("{title}={value}") }
}
