//! Functions that the binder answers itself: conversions, `now`, `iff`, null tests, `toscalar`, `pack_all`, ...

use std::sync::Arc;

use tidewater_kql::ast::{Argument, BinaryOp, Name};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::call::conversion_target;
use crate::bind::row::Row;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Constant, Known, NeedKey, NeedWhat, Value};

impl Binder<'_> {
    /// The value of a call that the binder answers, or `None` when the name is not one of its own.
    pub fn builtin(
        &mut self,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Option<Bound<BExpr>> {
        if let Some(ty) = conversion_target(&name.text) {
            return Some(self.conversion_call(&name.text, ty, arguments, row, span));
        }
        if let Some(function) = crate::bind::window::WindowName::parse(&name.text) {
            return Some(self.window_call(function, &name.text, arguments, row, span));
        }
        Some(match name.text.as_str() {
            "now" => self.now_call(arguments, row, span),
            "ago" => self.ago_call(arguments, row, span),
            "iff" | "iif" => self.iff_call(&name.text, arguments, row, span),
            "case" => self.case_call(arguments, row, span),
            "coalesce" => self.coalesce_call(arguments, row, span),
            "not" => self.not_call(arguments, row, span),
            "isnull" => self.null_test(&name.text, arguments, row, span, Test { empty: false, negated: false }),
            "isnotnull" | "notnull" => {
                self.null_test(&name.text, arguments, row, span, Test { empty: false, negated: true })
            }
            "isempty" => self.null_test(&name.text, arguments, row, span, Test { empty: true, negated: false }),
            "isnotempty" | "notempty" => {
                self.null_test(&name.text, arguments, row, span, Test { empty: true, negated: true })
            }
            "bin_auto" => self.bin_auto_call(name, arguments, row, span),
            "toscalar" => self.toscalar_call(arguments, span),
            "column_ifexists" | "columnifexists" => self.column_if_exists(arguments, row, span),
            "iscolumnexists" => self.is_column_there(arguments, row, span),
            "column_names_of" => self.column_names_of(arguments, span),
            "pack_all" => self.pack_all(arguments, row, span),
            "bag_pack_columns" => self.bag_pack_columns(arguments, row, span),
            "current_database" => {
                self.no_arguments(&name.text, arguments, span, Constant::string(self.database.clone()))
            }
            "ingestion_time" | "extent_id" | "extentid" | "extent_tags" => self.row_origin(&name.text, arguments, span),
            "cursor_after" | "cursor_before_or_at" => self.cursor_test(&name.text, arguments, span),
            "cursor_current" | "current_cursor" => self.cursor_current(&name.text, arguments, span),
            "current_cluster_endpoint" => {
                let endpoint = self.view.cluster_endpoint();
                self.no_arguments(&name.text, arguments, span, Constant::string(endpoint))
            }
            "current_principal_details" => self.principal_details(arguments, span),
            "current_principal_is_member_of" => self.principal_is_member_of(arguments, row, span),
            "current_principal" => {
                let principal = self.context.current_principal.clone();
                self.no_arguments(&name.text, arguments, span, Constant::string(principal))
            }
            "materialize" | "table" | "database" | "cluster" | "external_table" | "materialized_view" => {
                self.scalar_expected(span)
            }
            _ => return None,
        })
    }

    /// Exactly one argument.
    fn one(&mut self, name: &str, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        self.one_placed(name, arguments, row, span).map(|(expr, _)| expr)
    }

    /// Exactly one argument and its place.
    fn one_placed(
        &mut self,
        name: &str,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<(BExpr, Span)> {
        self.count(name, arguments.len(), 1, 1, span)?;
        let bound = self.arguments(name, arguments, row)?;
        bound.into_iter().next().ok_or(crate::bind::Stopped)
    }

    /// Refuses a wrong number of arguments.
    pub fn count(&mut self, name: &str, given: usize, least: usize, most: usize, span: Span) -> Bound<()> {
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let plural = |count: usize| if count == 1 { "argument is" } else { "arguments are" };
        let expected = match (least, most) {
            (least, usize::MAX) => format!("{least} or more arguments are"),
            (least, most) if least == most => format!("{least} {}", plural(least)),
            (least, most) => format!("{least} to {most} arguments are"),
        };
        self.fail(diagnostic::ARGUMENT_COUNT, span, format!("{name}(): {expected} expected, but {given} given"))
    }

    pub fn no_arguments(&mut self, name: &str, arguments: &[Argument], span: Span, value: Constant) -> Bound<BExpr> {
        self.count(name, arguments.len(), 0, 0, span)?;
        Ok(BExpr::constant(value))
    }

    fn conversion_call(
        &mut self,
        name: &str,
        to: KqlType,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<BExpr> {
        let (operand, place) = self.one_placed(name, arguments, row, span)?;
        if matches!(to, KqlType::Dynamic | KqlType::Guid)
            && ![KqlType::String, KqlType::Dynamic, to].contains(&operand.ty)
        {
            let message = format!("{name}(): the argument must be string or dynamic, but this is {}", operand.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, place, message);
        }
        Ok(self.convert(operand, to))
    }

    fn now(&self) -> BExpr {
        BExpr::constant(Constant { value: Value::DateTime(self.now_ticks()), ty: KqlType::DateTime })
    }

    fn now_call(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        let now = self.now();
        if arguments.is_empty() {
            return Ok(now);
        }
        let offset = self.span_argument("now", arguments, row, span)?;
        let shifted = self.binary(BinaryOp::Add, now, offset, span)?;
        Ok(self.folded(shifted))
    }

    fn ago_call(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        let offset = self.span_argument("ago", arguments, row, span)?;
        let now = self.now();
        let shifted = self.binary(BinaryOp::Subtract, now, offset, span)?;
        Ok(self.folded(shifted))
    }

    fn span_argument(&mut self, name: &str, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        let (offset, place) = self.one_placed(name, arguments, row, span)?;
        match offset.ty {
            KqlType::TimeSpan => Ok(offset),
            ty => {
                let message = format!("{name}(): the argument must be timespan, but this is {ty}");
                self.fail(diagnostic::ARGUMENT_TYPE, place, message)
            }
        }
    }

    fn condition(&mut self, name: &str, expr: BExpr, span: Span) -> Bound<BExpr> {
        match expr.ty {
            KqlType::Bool => Ok(expr),
            ty => {
                let message = format!("{name}(): a condition must be bool, but this is {ty}");
                self.fail(diagnostic::ARGUMENT_TYPE, span, message)
            }
        }
    }

    fn iff_call(&mut self, name: &str, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        self.count(name, arguments.len(), 3, 3, span)?;
        let bound = self.arguments(name, arguments, row)?;
        self.cases(name, bound, span)
    }

    fn case_call(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        self.count("case", arguments.len(), 3, usize::MAX, span)?;
        if arguments.len().is_multiple_of(2) {
            let message = "case(): pairs of condition and value are expected, then a value for everything else";
            return self.fail(diagnostic::ARGUMENT_COUNT, span, message);
        }
        let bound = self.arguments("case", arguments, row)?;
        self.cases("case", bound, span)
    }

    fn cases(&mut self, name: &str, mut bound: Vec<(BExpr, Span)>, span: Span) -> Bound<BExpr> {
        let otherwise = bound.pop().ok_or(crate::bind::Stopped)?;
        let mut conditions = Vec::new();
        let mut values = Vec::new();
        let mut parts = bound.into_iter();
        while let (Some((condition, condition_span)), Some(value)) = (parts.next(), parts.next()) {
            conditions.push(self.condition(name, condition, condition_span)?);
            values.push(value);
        }
        values.push(otherwise);
        let (mut values, ty) = self.unify(values, &format!("{name}(): the values"), span)?;
        let otherwise = values.pop().ok_or(crate::bind::Stopped)?;
        let branches = conditions.into_iter().zip(values).collect();
        Ok(BExpr { kind: BExprKind::Case { branches, otherwise: Box::new(otherwise) }, ty })
    }

    fn coalesce_call(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        self.count("coalesce", arguments.len(), 2, 64, span)?;
        let bound = self.arguments("coalesce", arguments, row)?;
        let (values, ty) = self.unify(bound, "coalesce(): the arguments", span)?;
        Ok(BExpr { kind: BExprKind::Coalesce(values), ty })
    }

    fn not_call(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        let (mut operand, place) = self.one_placed("not", arguments, row, span)?;
        // A number is read as a bool: not(1) is false. Source: recorded answers; the reference parser warns.
        if operand.ty.is_numeric() {
            operand = self.convert(operand, KqlType::Bool);
        }
        let operand = self.condition("not", operand, place)?;
        Ok(BExpr { kind: BExprKind::Not(Box::new(operand)), ty: KqlType::Bool })
    }

    fn null_test(
        &mut self,
        name: &str,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
        test: Test,
    ) -> Bound<BExpr> {
        let operand = Box::new(self.one(name, arguments, row, span)?);
        let kind = if test.empty { BExprKind::IsEmpty(operand) } else { BExprKind::IsNull(operand) };
        let tested = BExpr { kind, ty: KqlType::Bool };
        Ok(if test.negated { BExpr { kind: BExprKind::Not(Box::new(tested)), ty: KqlType::Bool } } else { tested })
    }

    /// `toscalar(T)`: evaluated once, before the query; sees no row of the caller. Source: toscalar page.
    fn toscalar_call(&mut self, arguments: &[Argument], span: Span) -> Bound<BExpr> {
        self.count("toscalar", arguments.len(), 1, 1, span)?;
        let argument = &arguments[0].value;
        let key = self.need_key();
        if !self.is_tabular(argument) {
            let expr = self.expr(argument, &mut Row::none())?;
            return self.evaluated_once(key, expr, span);
        }
        let tabular = self.single_table(argument)?;
        let Some(column) = tabular.rel.columns.first() else {
            return self.fail(diagnostic::GENERAL, span, "toscalar(): the tabular expression has no column");
        };
        let ty = column.ty;
        let items = vec![(column.name.clone(), BExpr::column(column))];
        let rel = self.project(tabular.rel.clone(), items, span)?;
        let rel = self.rel(crate::bound::RelOp::Limit { input: rel.clone(), count: 1 }, rel.columns.clone(), span)?;
        self.not_of_a_row(&rel, span)?;
        match self.need(key, &Arc::clone(&rel), NeedWhat::Scalar) {
            Some(Known::Scalar(constant)) => Ok(BExpr::constant(constant)),
            _ => Ok(BExpr { kind: BExprKind::Needed(key), ty }),
        }
    }

    /// A scalar of `toscalar()`: what gives another value at each call (`new_guid()`) is called once.
    fn evaluated_once(&mut self, key: NeedKey, expr: BExpr, span: Span) -> Bound<BExpr> {
        let is_impure = |node: &BExpr| matches!(&node.kind, BExprKind::Call { row, .. } if !row.is_pure);
        if !expr.any(is_impure) {
            return Ok(expr);
        }
        let ty = expr.ty;
        let input = self.one_row(span)?;
        let rel = self.project(input, vec![("value".to_string(), expr)], span)?;
        match self.need(key, &rel, NeedWhat::Scalar) {
            Some(Known::Scalar(constant)) => Ok(BExpr::constant(constant)),
            _ => Ok(BExpr { kind: BExprKind::Needed(key), ty }),
        }
    }

    fn column_if_exists(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        self.count("column_ifexists", arguments.len(), 2, 2, span)?;
        let name = self.expr(&arguments[0].value, &mut Row::none())?;
        let name = self.constant(&name, arguments[0].value.span, "the column name of column_ifexists()")?;
        let Value::String(name) = name.value else {
            let message = "column_ifexists(): the column name must be a string";
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[0].value.span, message);
        };
        match row.column(&name) {
            Some(column) if row.allows_columns() => Ok(BExpr::column(column)),
            Some(_) => {
                let message = format!("column '{name}' must be inside an aggregate function here");
                self.fail(diagnostic::AGGREGATE_MISPLACED, span, message)
            }
            None => self.expr(&arguments[1].value, row),
        }
    }

    /// `iscolumnexists(name)`. Source: the parser's signature.
    fn is_column_there(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        self.count("iscolumnexists", arguments.len(), 1, 1, span)?;
        let name = self.expr(&arguments[0].value, &mut Row::none())?;
        let name = self.constant(&name, arguments[0].value.span, "the column name of iscolumnexists()")?;
        let Value::String(name) = name.value else {
            let message = "iscolumnexists(): the column name must be a string";
            return self.fail(diagnostic::ARGUMENT_TYPE, arguments[0].value.span, message);
        };
        let value = Value::Bool(row.column(&name).is_some());
        Ok(BExpr::constant(Constant { value, ty: KqlType::Bool }))
    }

    /// `column_names_of(T)`: a dynamic array, known without running the table.
    fn column_names_of(&mut self, arguments: &[Argument], span: Span) -> Bound<BExpr> {
        self.count("column_names_of", arguments.len(), 1, 1, span)?;
        let tabular = self.single_table(&arguments[0].value)?;
        let names = tabular.rel.columns.iter().map(|column| serde_json::Value::from(column.name.clone())).collect();
        let value = Value::Dynamic(serde_json::Value::Array(names).to_string());
        Ok(BExpr::constant(Constant { value, ty: KqlType::Dynamic }))
    }

    /// A bag of all columns. Source: pack-all-function page.
    fn pack_all(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        self.count("pack_all", arguments.len(), 0, 1, span)?;
        let mut ignores_empty = false;
        if let Some(argument) = arguments.first() {
            let flag = self.expr(&argument.value, &mut Row::none())?;
            let flag = self.constant(&flag, argument.value.span, "the argument of pack_all()")?;
            ignores_empty = flag.value == Value::Bool(true);
        }
        let columns: Vec<_> = row.columns.iter().map(|column| (column.name.clone(), BExpr::column(column))).collect();
        self.bag_of(columns, ignores_empty, span)
    }

    /// A bag of the named columns. Source: bag-pack-columns-function page.
    fn bag_pack_columns(&mut self, arguments: &[Argument], row: &mut Row<'_>, span: Span) -> Bound<BExpr> {
        self.count("bag_pack_columns", arguments.len(), 1, usize::MAX, span)?;
        let mut columns = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let value = self.expr(&argument.value, row)?;
            let Some(name) = self.result_name(&argument.value, row) else {
                let message = "bag_pack_columns(): an argument must be a column";
                return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
            };
            columns.push((name, value));
        }
        self.bag_of(columns, false, span)
    }

    /// A bag of named values; without those that are null or empty if asked.
    pub fn bag_of(&mut self, values: Vec<(String, BExpr)>, ignores_empty: bool, span: Span) -> Bound<BExpr> {
        if !ignores_empty {
            let args = values
                .into_iter()
                .flat_map(|(name, value)| [BExpr::constant(Constant::string(name)), value])
                .collect::<Vec<_>>();
            if args.is_empty() {
                let empty = Constant { value: Value::Dynamic("{}".into()), ty: KqlType::Dynamic };
                return Ok(BExpr::constant(empty));
            }
            return self.registry_expr("bag_pack", args, span);
        }
        let empty = || BExpr::constant(Constant { value: Value::Dynamic("{}".into()), ty: KqlType::Dynamic });
        let mut bags = vec![empty(), empty()];
        for (name, value) in values {
            let bag =
                self.registry_expr("bag_pack", vec![BExpr::constant(Constant::string(name)), value.clone()], span)?;
            let is_empty = BExpr { kind: BExprKind::IsEmpty(Box::new(value)), ty: KqlType::Bool };
            let kind = BExprKind::Case { branches: vec![(is_empty, empty())], otherwise: Box::new(bag) };
            bags.push(BExpr { kind, ty: KqlType::Dynamic });
        }
        self.registry_expr("bag_merge", bags, span)
    }
}

/// Which test `isnull` and its relatives make.
struct Test {
    empty: bool,
    negated: bool,
}
