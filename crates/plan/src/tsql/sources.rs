//! What stands in FROM beside tables: VALUES, STRING_SPLIT, OPENJSON, GENERATE_SERIES, APPLY of them, PIVOT and UNPIVOT.
//!
//! Each of the first four spreads every row of what stands left of it into several; alone in FROM it does so with one row of
//! nothing. Source: T-SQL reference, FROM clause, table value constructor, and the pages of the functions.

use datafusion::sql::sqlparser::ast::{
    Expr, ExprWithAlias, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, OpenJsonTableColumn, PivotValueSource,
    Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, Value, Values,
};
use tidewater_kql::KqlType;
use tidewater_kql::diagnostic::{ARGUMENT_COUNT, GENERAL, UNRESOLVED};

use super::expr::{Literal, Names, Typed};
use super::join::Source;
use super::query::{OutColumn, Relation, ScopeColumn, item};
use super::{Result, Translator, name, quoted};

/// Rows from each row: the operators, and what they add under names in the pipeline.
struct Spread {
    steps: Vec<String>,
    /// The name in SQL, the name in the pipeline, the type.
    columns: Vec<(String, String, Option<KqlType>)>,
}

impl Translator<'_> {
    /// A source that reads no table, if it is one.
    pub(super) fn rows_of(&mut self, factor: &TableFactor) -> Result<Option<Source>> {
        if let TableFactor::Derived { subquery, alias, .. } = factor
            && let Some(values) = values_of(subquery)
        {
            let relation = self.value_rows(values)?;
            let Some(alias) = alias else { return Err(self.syntax("VALUES in FROM needs an alias")) };
            return self.aliased(relation, Vec::new(), Some(alias)).map(Some);
        }
        let Some((spread, alias)) = self.spread_of(factor, &[], false)? else { return Ok(None) };
        let relation = self.alone(spread);
        self.aliased(relation, Vec::new(), alias).map(Some)
    }

    /// Rows of VALUES.
    pub(super) fn value_rows(&mut self, values: &Values) -> Result<Relation> {
        let spread = self.values_spread(values, &[])?;
        if let Some(relation) = self.literal_rows(values, &spread)? {
            return Ok(relation);
        }
        Ok(self.alone(spread))
    }

    /// The rows of one row of nothing.
    fn alone(&mut self, spread: Spread) -> Relation {
        let row = self.made_up("row");
        let mut steps = vec![format!("print {row}=1")];
        steps.extend(spread.steps);
        let project: Vec<String> = spread.columns.iter().map(|(title, own, _)| item(title, &name(own))).collect();
        steps.push(format!("project {}", project.join(", ")));
        let columns = spread.columns.into_iter().map(|(name, _, ty)| OutColumn { name, ty }).collect();
        Relation { steps, columns }
    }

    /// Rows of literals alone, which are a table as they stand.
    fn literal_rows(&mut self, values: &Values, spread: &Spread) -> Result<Option<Relation>> {
        let mut cells = Vec::new();
        for row in &values.rows {
            for (expr, (_, _, ty)) in row.content.iter().zip(&spread.columns) {
                let value = self.expr(expr, &mut Names::none())?;
                let Some(ty) = *ty else { return Ok(None) };
                cells.push(match (&value.literal, ty) {
                    (Literal::Null, ty) => super::expr::null_of(ty).text,
                    (Literal::Text(text), KqlType::String) => quoted(text),
                    (Literal::Number(text), KqlType::Long) if text.parse::<i64>().is_ok() => format!("long({text})"),
                    (Literal::Number(_), KqlType::Real) => match self.coerced(value.clone(), KqlType::Real)?.ty {
                        Some(KqlType::Real) if value.ty == Some(KqlType::Real) => format!("real({})", value.text),
                        _ => format!("real({}.0)", value.text),
                    },
                    _ => return Ok(None),
                });
            }
        }
        let declared: Vec<String> = spread
            .columns
            .iter()
            .map(|(title, _, ty)| format!("{}: {}", name(title), ty.unwrap_or(KqlType::String).name()))
            .collect();
        let columns = spread.columns.iter().map(|(title, _, ty)| OutColumn { name: title.clone(), ty: *ty }).collect();
        let steps = vec![format!("datatable({})[{}]", declared.join(", "), cells.join(", "))];
        Ok(Some(Relation { steps, columns }))
    }

    fn values_spread(&mut self, values: &Values, scope: &[ScopeColumn]) -> Result<Spread> {
        let width = values.rows.first().map_or(0, |row| row.content.len());
        if width == 0 || values.rows.iter().any(|row| row.content.len() != width) {
            return Err(self.syntax("the rows of VALUES need equally many values"));
        }
        let rows = values.rows.len();
        let mut steps = Vec::new();
        let place = self.made_up("row");
        if rows > 1 {
            steps.push(format!("mv-expand {place} = range(0, {}, 1) to typeof(long)", rows - 1));
        }
        let (mut columns, mut items) = (Vec::new(), Vec::new());
        for at in 0..width {
            let mut cells = Vec::with_capacity(rows);
            for row in &values.rows {
                cells.push(self.expr(&row.content[at], &mut Names::of(scope))?);
            }
            let is_null = cells.iter().all(Typed::is_null);
            let (cells, ty) = self.unified(cells)?;
            let ty = if is_null { Some(KqlType::Int) } else { ty };
            let own = self.made_up("value");
            let text = match cells.as_slice() {
                [one] => one.text.clone(),
                [first @ .., last] => {
                    let tests: Vec<String> =
                        first.iter().enumerate().map(|(at, cell)| format!("{place} == {at}, {}", cell.text)).collect();
                    format!("case({}, {})", tests.join(", "), last.text)
                }
                [] => return Err(self.syntax("VALUES needs rows")),
            };
            items.push(format!("{own}={text}"));
            columns.push((format!("Column{}", at + 1), own, ty));
        }
        steps.push(format!("extend {}", items.join(", ")));
        Ok(Spread { steps, columns })
    }

    /// CROSS APPLY and OUTER APPLY.
    pub(super) fn applied(&mut self, left: Source, right: &TableFactor, is_outer: bool) -> Result<Source> {
        let (mut steps, mut columns) = left;
        if let Some((spread, alias)) = self.spread_of(right, &columns, is_outer)? {
            steps.extend(spread.steps);
            let titles: Vec<&Ident> =
                alias.iter().flat_map(|alias| &alias.columns).map(|column| &column.name).collect();
            if !titles.is_empty() && titles.len() != spread.columns.len() {
                let message = format!("found {} names for {} columns", titles.len(), spread.columns.len());
                return Err(self.mistake(GENERAL, titles[0].span, message));
            }
            let qualifiers: Vec<String> = alias.iter().map(|alias| alias.name.value.clone()).collect();
            for (at, (title, column, ty)) in spread.columns.into_iter().enumerate() {
                let title = titles.get(at).map_or(title, |own| own.value.clone());
                columns.push(ScopeColumn { qualifiers: qualifiers.clone(), name: title, column, ty });
            }
            return Ok((steps, columns));
        }
        if is_outer {
            return Err(self.not_served(
                "OUTER APPLY of other than STRING_SPLIT, OPENJSON, GENERATE_SERIES, VALUES and SELECT of them",
            ));
        }
        // What does not look at the left side is joined with all of it; what does is told so.
        self.outer.push(columns.clone());
        let right = self.factor(right);
        self.outer.pop();
        self.crossed((steps, columns), right?)
    }

    /// How a factor spreads rows; `None` when it is of another kind.
    fn spread_of<'f>(
        &mut self,
        factor: &'f TableFactor,
        scope: &[ScopeColumn],
        is_outer: bool,
    ) -> Result<Option<(Spread, Option<&'f TableAlias>)>> {
        let called = |object: &datafusion::sql::sqlparser::ast::ObjectName| match object.0.as_slice() {
            [part] => part.as_ident().map(|ident| (ident.value.to_ascii_uppercase(), ident.span)),
            _ => None,
        };
        let (name, args, alias) = match factor {
            TableFactor::Table { name, args: Some(args), alias, .. } => (name, args.args.as_slice(), alias),
            TableFactor::Function { name, args, alias, .. } => (name, args.as_slice(), alias),
            TableFactor::OpenJsonTable { json_expr, json_path, columns, alias } => {
                let value = self.expr(json_expr, &mut Names::of(scope))?;
                let path = match json_path.as_ref().map(|path| &path.value) {
                    None => None,
                    Some(Value::SingleQuotedString(path) | Value::NationalStringLiteral(path)) => Some(path.clone()),
                    Some(_) => return Err(self.not_served("OPENJSON with a path that is not a constant")),
                };
                let spread = self.open_json(value, path, columns, is_outer)?;
                return Ok(Some((spread, alias.as_ref())));
            }
            TableFactor::Derived { subquery, alias, .. } if !scope.is_empty() => {
                return Ok(self.query_spread(subquery, scope, is_outer)?.map(|spread| (spread, alias.as_ref())));
            }
            _ => return Ok(None),
        };
        let Some((what, span)) = called(name) else { return Ok(None) };
        if !matches!(what.as_str(), "STRING_SPLIT" | "GENERATE_SERIES" | "OPENJSON") {
            return Ok(None);
        }
        let mut values = Vec::new();
        for arg in args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
                return Err(self.not_served(format!("{what} with named arguments or *")));
            };
            values.push(self.expr(expr, &mut Names::of(scope))?);
        }
        let spread = match (what.as_str(), values.as_slice()) {
            ("STRING_SPLIT", [text, separator, rest @ ..]) if rest.len() <= 1 => {
                let separator = match &separator.literal {
                    Literal::Text(separator) if separator.chars().count() == 1 => separator.clone(),
                    _ => return Err(self.mistake(GENERAL, span, "STRING_SPLIT needs a separator of one character")),
                };
                let with_place = match rest.first().map(super::functions::number) {
                    None | Some(Some(0)) => false,
                    Some(Some(1)) => true,
                    Some(_) => return Err(self.mistake(GENERAL, span, "STRING_SPLIT: the third argument is 0 or 1")),
                };
                let (value, place, ordinal) = (self.made_up("part"), self.made_up("place"), self.made_up("ordinal"));
                let text = self.text(text)?;
                let mut columns = vec![("value".to_string(), value.clone(), Some(KqlType::String))];
                let mut steps = vec![format!(
                    "mv-expand with_itemindex={place} {value}=split({text}, {}) to typeof(string)",
                    quoted(&separator)
                )];
                if with_place {
                    steps.push(format!("extend {ordinal}=tolong({place}) + 1"));
                    columns.push(("ordinal".to_string(), ordinal, Some(KqlType::Long)));
                }
                Spread { steps, columns }
            }
            ("GENERATE_SERIES", [start, stop, rest @ ..]) if rest.len() <= 1 => {
                self.series(start, stop, rest.first(), is_outer, scope.is_empty())?
            }
            ("OPENJSON", [text, rest @ ..]) if rest.len() <= 1 => {
                let path = match rest.first().map(|path| &path.literal) {
                    None => None,
                    Some(Literal::Text(path)) => Some(path.clone()),
                    Some(_) => return Err(self.not_served("OPENJSON with a path that is not a constant")),
                };
                self.open_json(text.clone(), path, &[], is_outer)?
            }
            _ => {
                let message = format!("{what}: found {} arguments, which is not how it is called", values.len());
                return Err(self.mistake(ARGUMENT_COUNT, span, message));
            }
        };
        Ok(Some((spread, alias.as_ref())))
    }

    fn series(
        &mut self,
        start: &Typed,
        stop: &Typed,
        step: Option<&Typed>,
        is_outer: bool,
        is_alone: bool,
    ) -> Result<Spread> {
        let all = [Some(start), Some(stop), step];
        let is_whole = |value: &Typed| matches!(value.ty, Some(KqlType::Int | KqlType::Long));
        if !all.into_iter().flatten().all(is_whole) {
            return Err(self.not_served("GENERATE_SERIES of other than whole numbers"));
        }
        let number = |value: &Typed| super::functions::number(value);
        let value = self.made_up("value");
        let columns = vec![("value".to_string(), value.clone(), Some(KqlType::Long))];
        let constant = match (number(start), number(stop), step.map(number)) {
            (Some(start), Some(stop), step @ (None | Some(Some(_)))) => {
                let step = step.flatten().unwrap_or(if start <= stop { 1 } else { -1 });
                Some((start, stop, step))
            }
            _ => None,
        };
        if let Some((_, _, 0)) = constant {
            return Err(self.syntax("GENERATE_SERIES needs a step other than zero"));
        }
        let steps = match constant {
            Some((start, stop, step)) if is_alone => {
                // Counted up from zero: the operator wants a step above zero.
                let count = stop.checked_sub(start).and_then(|wide| wide.checked_div(step)).unwrap_or(i64::MAX);
                let is_empty = (step > 0 && start > stop) || (step < 0 && start < stop);
                let count = if is_empty { -1 } else { count };
                let key = self.made_up("series");
                let place = self.made_up("place");
                vec![
                    format!("extend {key}=1"),
                    format!("join kind=inner (range {place} from 0 to {count} step 1 | extend {key}=1) on {key}"),
                    format!("extend {value}={start} + {place} * ({step})"),
                ]
            }
            _ => {
                let step = match (constant, step) {
                    (Some((.., step)), _) => step.to_string(),
                    (None, Some(step)) => step.text.clone(),
                    (None, None) => format!("iff({} <= {}, 1, -1)", start.text, stop.text),
                };
                let list = format!("range({}, {}, {step})", start.text, stop.text);
                vec![format!("mv-expand {value}={} to typeof(long)", at_least_one(&list, is_outer))]
            }
        };
        Ok(Spread { steps, columns })
    }

    /// OPENJSON: `key`, `value` and `type` of each element, or the columns of WITH.
    fn open_json(
        &mut self,
        text: Typed,
        path: Option<String>,
        columns: &[OpenJsonTableColumn],
        is_outer: bool,
    ) -> Result<Spread> {
        let whole = self.made_up("json");
        let mut read = match text.ty {
            Some(KqlType::Dynamic) => text.text.clone(),
            _ => format!("parse_json({})", self.text(&text)?),
        };
        if let Some(path) = path {
            read.push_str(&self.json_path(&path)?);
        }
        let mut steps = vec![format!("extend {whole}={read}")];
        let (element, place) = (self.made_up("element"), self.made_up("place"));
        if columns.is_empty() {
            let (key, value, kind) = (self.made_up("key"), self.made_up("value"), self.made_up("type"));
            let has = self.made_up("has");
            steps.push(format!(
                "extend {has}=gettype({whole}) == \"dictionary\" and array_length(bag_keys({whole})) > 0 or \
                 gettype({whole}) == \"array\" and array_length({whole}) > 0"
            ));
            // An object's members come as pairs.
            let none = if is_outer { "dynamic([null])" } else { "dynamic([])" };
            let list = format!("iff({has}, {whole}, {none})");
            steps.push(format!("mv-expand with_itemindex={place} kind=array {element}={list}"));
            let is_pair = format!("gettype({whole}) == \"dictionary\"");
            steps.push(format!(
                "extend {key}=iff(not({has}), \"\", iff({is_pair}, tostring({element}[0]), tostring({place}))), {element}=iff({is_pair}, {element}[1], {element})"
            ));
            steps.push(format!(
                "extend {value}=tostring({element}), {kind}=case(not({has}), int(null), gettype({element}) == \"null\", int(0), \
                 gettype({element}) == \"string\", int(1), gettype({element}) == \"bool\", int(3), \
                 gettype({element}) == \"array\", int(4), gettype({element}) == \"dictionary\", int(5), int(2))"
            ));
            let columns = vec![
                ("key".to_string(), key, Some(KqlType::String)),
                ("value".to_string(), value, Some(KqlType::String)),
                ("type".to_string(), kind, Some(KqlType::Int)),
            ];
            return Ok(Spread { steps, columns });
        }
        let list = format!(
            "case(gettype({whole}) == \"array\", {whole}, gettype({whole}) == \"dictionary\", pack_array({whole}), \
             dynamic([]))"
        );
        steps.push(format!("mv-expand {element}={}", at_least_one(&list, is_outer)));
        let (mut items, mut found) = (Vec::new(), Vec::new());
        for column in columns {
            let own = self.made_up("column");
            let path = match &column.path {
                Some(path) => self.json_path(path)?,
                None => format!("[{}]", quoted(&column.name.value)),
            };
            let value = format!("{element}{path}");
            let is_compound = format!("gettype({value}) in (\"array\", \"dictionary\")");
            let typed = match column.as_json {
                true => Typed::atom(format!("iff({is_compound}, tostring({value}), \"\")"), KqlType::String),
                false => {
                    let scalar = Typed::atom(format!("iff({is_compound}, \"\", tostring({value}))"), KqlType::String);
                    self.converted(scalar, &column.r#type, None)?
                }
            };
            items.push(format!("{own}={}", typed.text));
            found.push((column.name.value.clone(), own, typed.ty));
        }
        steps.push(format!("extend {}", items.join(", ")));
        Ok(Spread { steps, columns: found })
    }

    /// A path of T-SQL as accesses: `$.a.b[0]."c d"`.
    fn json_path(&self, path: &str) -> Result<String> {
        let wrong = || self.syntax(format!("the JSON path '{path}' cannot be read"));
        let trimmed = path.trim();
        if trimmed.starts_with("strict") {
            return Err(self.not_served("strict paths of JSON"));
        }
        let trimmed = trimmed.strip_prefix("lax").unwrap_or(trimmed).trim_start();
        let mut rest = trimmed.strip_prefix('$').ok_or_else(wrong)?;
        let mut accesses = String::new();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix(".\"") {
                let (key, after) = inner.split_once('"').ok_or_else(wrong)?;
                accesses.push_str(&format!("[{}]", quoted(key)));
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('.') {
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                let key = &inner[..end];
                if key.is_empty() || !key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                    return Err(wrong());
                }
                accesses.push_str(&format!("[{}]", quoted(key)));
                rest = &inner[end..];
            } else if let Some(inner) = rest.strip_prefix('[') {
                let (number, after) = inner.split_once(']').ok_or_else(wrong)?;
                let number: u32 = number.trim().parse().map_err(|_| wrong())?;
                accesses.push_str(&format!("[{number}]"));
                rest = after;
            } else {
                return Err(wrong());
            }
        }
        Ok(accesses)
    }

    /// A query behind APPLY that looks at single rows: `SELECT ... [FROM one of these] [WHERE ...]`.
    fn query_spread(&mut self, query: &Query, scope: &[ScopeColumn], is_outer: bool) -> Result<Option<Spread>> {
        if let Some(values) = values_of(query) {
            return self.values_spread(values, scope).map(Some);
        }
        let Some(select) = plain_select(query) else { return Ok(None) };
        let (mut steps, mut inner) = (Vec::new(), scope.to_vec());
        match select.from.as_slice() {
            [] => {}
            [entry] if entry.joins.is_empty() => {
                let Some((spread, alias)) = self.spread_of(&entry.relation, scope, is_outer)? else { return Ok(None) };
                let titles: Vec<&Ident> =
                    alias.iter().flat_map(|alias| &alias.columns).map(|column| &column.name).collect();
                let qualifiers: Vec<String> = alias.iter().map(|alias| alias.name.value.clone()).collect();
                steps = spread.steps;
                // Names of the inner source hide those around it.
                let own: Vec<ScopeColumn> = spread
                    .columns
                    .into_iter()
                    .enumerate()
                    .map(|(at, (title, column, ty))| ScopeColumn {
                        qualifiers: qualifiers.clone(),
                        name: titles.get(at).map_or(title, |own| own.value.clone()),
                        column,
                        ty,
                    })
                    .collect();
                inner.retain(|outer| !own.iter().any(|column| column.name.eq_ignore_ascii_case(&outer.name)));
                inner.extend(own);
            }
            _ => return Ok(None),
        }
        if let Some(condition) = &select.selection {
            if is_outer {
                return Err(self.not_served("OUTER APPLY of a query with WHERE"));
            }
            let condition = self.predicate(condition, &mut Names::of(&inner))?;
            steps.push(format!("where {}", condition.text));
        }
        let (mut items, mut columns) = (Vec::new(), Vec::new());
        for (at, entry) in select.projection.iter().enumerate() {
            match entry {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    if super::expr::has_aggregate(expr) {
                        return Err(self.not_served("APPLY of a query with aggregates"));
                    }
                    let title = match (entry, expr) {
                        (SelectItem::ExprWithAlias { alias, .. }, _) => alias.value.clone(),
                        (_, Expr::Identifier(ident)) => ident.value.clone(),
                        (_, Expr::CompoundIdentifier(parts)) => {
                            parts.last().map(|ident| ident.value.clone()).unwrap_or_default()
                        }
                        _ => format!("Column{}", at + 1),
                    };
                    let value = self.expr(expr, &mut Names::of(&inner))?;
                    let own = self.made_up("column");
                    items.push(format!("{own}={}", value.text));
                    columns.push((title, own, value.ty));
                }
                SelectItem::Wildcard(_) => {
                    for column in inner.iter().skip_while(|column| scope.iter().any(|own| own.column == column.column))
                    {
                        columns.push((column.name.clone(), column.column.clone(), column.ty));
                    }
                }
                other => return Err(self.not_served(format!("the column list entry '{other}' behind APPLY"))),
            }
        }
        if !items.is_empty() {
            steps.push(format!("extend {}", items.join(", ")));
        }
        Ok(Some(Spread { steps, columns }))
    }

    /// `source PIVOT (aggregate FOR column IN (values))`.
    pub(super) fn pivot(&mut self, factor: &TableFactor) -> Result<Source> {
        let TableFactor::Pivot { table, aggregate_functions, value_column, value_source, default_on_null, alias } =
            factor
        else {
            return Err(self.not_served("this form of PIVOT"));
        };
        let (mut steps, columns) = self.factor(table)?;
        let (
            [ExprWithAlias { expr: Expr::Function(call), alias: None }],
            [column],
            PivotValueSource::List(wanted),
            None,
        ) = (aggregate_functions.as_slice(), value_column.as_slice(), value_source, default_on_null)
        else {
            return Err(self.not_served("PIVOT with other than one aggregate, one column and a list of its values"));
        };
        let what = call.name.to_string().to_ascii_uppercase();
        let pivot = self.expr(column, &mut Names::of(&columns))?;
        let Some(own) = &pivot.column else { return Err(self.syntax("PIVOT ... FOR needs a column")) };
        let [argument] = self.pivot_argument(call)?;
        let value = self.expr(argument, &mut Names::of(&columns))?;
        let Some(summed) = value.column.clone() else {
            return Err(self.syntax("PIVOT needs an aggregate of a column"));
        };
        let (text, ty) = self.aggregate(call, &mut Names::of(&columns))?;
        let groups: Vec<ScopeColumn> =
            columns.iter().filter(|column| column.column != *own && column.column != summed).cloned().collect();
        let by: Vec<String> = groups.iter().map(|column| name(&column.column)).collect();
        let (found, tested) = (self.made_up("value"), self.made_up("pivot"));
        let keys = [vec![format!("{tested}={}", pivot.text)], by.clone()].concat();
        steps.push(format!("summarize {found}={text} by {}", keys.join(", ")));
        let is_count = matches!(what.as_str(), "COUNT" | "COUNT_BIG");
        let qualifiers: Vec<String> = alias.iter().map(|alias| alias.name.value.clone()).collect();
        let mut out: Vec<ScopeColumn> =
            groups.into_iter().map(|column| ScopeColumn { qualifiers: qualifiers.clone(), ..column }).collect();
        let (mut items, mut counts) = (Vec::new(), Vec::new());
        for ExprWithAlias { expr, alias } in wanted {
            let Expr::Identifier(ident) = expr else {
                return Err(self.syntax(format!("PIVOT ... IN needs values written as names, found '{expr}'")));
            };
            let title = alias.as_ref().unwrap_or(ident).value.clone();
            if out.iter().any(|column| column.name.eq_ignore_ascii_case(&title)) {
                return Err(self.mistake(GENERAL, ident.span, format!("the column '{title}' is there twice")));
            }
            let wanted = Typed::text(&ident.value);
            let wanted = match pivot.ty {
                Some(ty) => self.coerced(wanted, ty)?,
                None => wanted,
            };
            let column = self.made_up("pivoted");
            items.push(format!("{column}=take_anyif({found}, {tested} == {})", wanted.text));
            if is_count {
                counts.push(format!("{column}=coalesce({column}, 0)"));
            }
            out.push(ScopeColumn { qualifiers: qualifiers.clone(), name: title, column, ty });
        }
        let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(", ")) };
        steps.push(format!("summarize {}{by}", items.join(", ")));
        if !counts.is_empty() {
            steps.push(format!("extend {}", counts.join(", ")));
        }
        Ok((steps, out))
    }

    fn pivot_argument<'c>(&self, call: &'c datafusion::sql::sqlparser::ast::Function) -> Result<[&'c Expr; 1]> {
        let datafusion::sql::sqlparser::ast::FunctionArguments::List(list) = &call.args else {
            return Err(self.syntax("PIVOT needs an aggregate of a column"));
        };
        match self.arguments("PIVOT", &list.args)?.as_slice() {
            [one] => Ok([*one]),
            _ => Err(self.syntax("PIVOT needs an aggregate of one column")),
        }
    }

    /// `source UNPIVOT (value FOR name IN (columns))`: a row for each of the columns that has a value.
    pub(super) fn unpivot(&mut self, factor: &TableFactor) -> Result<Source> {
        let TableFactor::Unpivot { table, value, name: title, columns: wanted, null_inclusion: None, alias } = factor
        else {
            return Err(self.not_served("UNPIVOT with INCLUDE or EXCLUDE"));
        };
        let (mut steps, columns) = self.factor(table)?;
        let Expr::Identifier(value_title) = value else {
            return Err(self.not_served("UNPIVOT of several values at once"));
        };
        let (mut cells, mut names) = (Vec::new(), Vec::new());
        for ExprWithAlias { expr, alias } in wanted {
            let cell = self.expr(expr, &mut Names::of(&columns))?;
            let Some(own) = cell.column.clone().filter(|_| alias.is_none()) else {
                return Err(self.syntax("UNPIVOT ... IN needs columns"));
            };
            let spelled =
                columns.iter().find(|column| column.column == own).map_or(own.clone(), |one| one.name.clone());
            names.push(quoted(&spelled));
            cells.push(cell);
        }
        let ty = cells.first().and_then(|cell| cell.ty);
        if let Some(other) = cells.iter().find(|cell| cell.ty != ty) {
            let message = format!("the columns of UNPIVOT need one type, '{}' has another", other.text);
            return Err(self.mistake(GENERAL, title.span, message));
        }
        if cells.is_empty() {
            return Err(self.mistake(UNRESOLVED, title.span, "UNPIVOT needs columns"));
        }
        let (place, key, cell) = (self.made_up("place"), self.made_up("name"), self.made_up("value"));
        let case = |texts: Vec<&str>| match texts.as_slice() {
            [one] => (*one).to_string(),
            [first @ .., last] => {
                let tests: Vec<String> =
                    first.iter().enumerate().map(|(at, text)| format!("{place} == {at}, {text}")).collect();
                format!("case({}, {last})", tests.join(", "))
            }
            [] => String::new(),
        };
        steps.push(format!("mv-expand {place} = range(0, {}, 1) to typeof(long)", cells.len() - 1));
        steps.push(format!(
            "extend {key}={}, {cell}={}",
            case(names.iter().map(String::as_str).collect()),
            case(cells.iter().map(|cell| cell.text.as_str()).collect())
        ));
        steps.push(format!("where isnotnull({cell})"));
        let qualifiers: Vec<String> = alias.iter().map(|alias| alias.name.value.clone()).collect();
        let used: Vec<String> = cells.into_iter().filter_map(|cell| cell.column).collect();
        let mut out: Vec<ScopeColumn> = columns
            .into_iter()
            .filter(|column| !used.contains(&column.column))
            .map(|column| ScopeColumn { qualifiers: qualifiers.clone(), ..column })
            .collect();
        let both = [(value_title.value.clone(), cell, ty), (title.value.clone(), key, Some(KqlType::String))];
        for (name, column, ty) in both {
            out.push(ScopeColumn { qualifiers: qualifiers.clone(), name, column, ty });
        }
        Ok((steps, out))
    }
}

/// The list, or one null where a row must stay without an element.
fn at_least_one(list: &str, is_outer: bool) -> String {
    match is_outer {
        true => format!("iff(array_length({list}) > 0, {list}, dynamic([null]))"),
        false => list.to_string(),
    }
}

fn is_bare(query: &Query) -> bool {
    query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.for_clause.is_none()
}

fn values_of(query: &Query) -> Option<&Values> {
    match query.body.as_ref() {
        SetExpr::Values(values) if is_bare(query) => Some(values),
        _ => None,
    }
}

/// The SELECT of a query that does nothing with several rows at once.
fn plain_select(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(keys, modifiers) if keys.is_empty() && modifiers.is_empty());
    let is_plain = is_bare(query)
        && ungrouped
        && select.distinct.is_none()
        && select.top.is_none()
        && select.having.is_none()
        && select.into.is_none()
        && select.named_window.is_empty()
        && select.qualify.is_none();
    is_plain.then_some(select.as_ref())
}
