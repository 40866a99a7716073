//! Access to properties and elements: `d.a`, `d['a']`, `d[0]`, `d[i]`. Source: dynamic page.

use tidewater_kql::ast::{Expr, ExprKind, Name};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::row::Row;
use crate::bind::scope::Binding;
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Constant, PathStep, Value};

impl Binder<'_> {
    /// A whole chain of accesses as one path node.
    pub fn path(&mut self, expr: &Expr, row: &mut Row<'_>) -> Bound<BExpr> {
        let mut links = Vec::new();
        let mut base = expr;
        while let ExprKind::Member { base: inner, .. } | ExprKind::Index { base: inner, .. } = &base.kind {
            links.push(base);
            base = inner;
        }
        if let ExprKind::Call { base: None, name, .. } = &base.kind
            && matches!(name.text.as_str(), "database" | "cluster" | "table" | "external_table" | "materialized_view")
        {
            return self.scalar_expected(expr.span);
        }
        if let Some(value) = self.entity_property(base, &mut links)? {
            return Ok(value);
        }
        let bound = match self.step_column(base, &mut links, row)? {
            Some(column) => column,
            None => match self.pattern_property(base, &mut links, row)? {
                Some(property) => property,
                None => self.expr(base, row)?,
            },
        };
        if links.is_empty() {
            return Ok(bound);
        }
        if bound.ty != KqlType::Dynamic {
            let message = format!("a value of type {} has no properties or elements: only dynamic has", bound.ty);
            let span = match links.last().map(|link| (&link.kind, link.span)) {
                Some((ExprKind::Member { name, .. }, _)) => name.span,
                Some((ExprKind::Index { base, .. }, whole)) => Span { start: base.span.end, end: whole.end },
                _ => expr.span,
            };
            return self.fail(diagnostic::OPERAND_TYPE, span, message);
        }
        let mut steps = Vec::with_capacity(links.len());
        for link in links.into_iter().rev() {
            match &link.kind {
                ExprKind::Member { name, .. } => steps.push(PathStep::Key(name.text.clone())),
                ExprKind::Index { index, .. } => steps.push(self.step(index, row)?),
                _ => {}
            }
        }
        Ok(BExpr { kind: BExprKind::Path { base: Box::new(bound), steps }, ty: KqlType::Dynamic })
    }

    /// `X.$current_database` and its like in `macro-expand`. Source: macro-expand-operator page.
    fn entity_property(&mut self, base: &Expr, links: &mut Vec<&Expr>) -> Bound<Option<BExpr>> {
        let ExprKind::Name(name) = &base.kind else { return Ok(None) };
        let (Some(Binding::Entity(entity, env)), [link]) = (self.lookup(&name.text), links.as_slice()) else {
            return Ok(None);
        };
        let ExprKind::Member { name: property, .. } = &link.kind else { return Ok(None) };
        match property.text.as_str() {
            "$current_database" => {
                let database = self.inside_entity(env, |binder| binder.database_of(&entity))?;
                Ok(Some(BExpr::constant(Constant::string(database))))
            }
            "$current_cluster_endpoint" => {
                let name = Name { text: "current_cluster_endpoint".into(), span: property.span };
                let kind = ExprKind::Call { base: None, name, arguments: Vec::new() };
                Ok(Some(self.expr(&Expr { kind, span: property.span }, &mut Row::none())?))
            }
            _ => Ok(None),
        }
    }

    /// `s1.x` in a `scan`: the column of a step. Takes the link that names the column.
    fn step_column(&mut self, base: &Expr, links: &mut Vec<&Expr>, row: &Row<'_>) -> Bound<Option<BExpr>> {
        let ExprKind::Name(name) = &base.kind else { return Ok(None) };
        let step = row.steps.iter().find(|step| step.name == name.text);
        let (Some(step), None) = (step, row.column(&name.text)) else { return Ok(None) };
        match links.last().map(|link| &link.kind) {
            Some(ExprKind::Member { name, .. }) => {
                links.pop();
                match step.columns.iter().find(|column| column.name == name.text) {
                    Some(column) => Ok(Some(BExpr::column(column))),
                    None => Err(self.unresolved_column(&name.text, &step.columns, name.span)),
                }
            }
            _ => Ok(None),
        }
    }

    /// A property of a part of a graph's pattern, when the path begins with one; its link is taken.
    fn pattern_property(&mut self, base: &Expr, links: &mut Vec<&Expr>, row: &mut Row<'_>) -> Bound<Option<BExpr>> {
        let ExprKind::Name(name) = &base.kind else { return Ok(None) };
        let Some(variable) = self.graph_variable(&name.text, row).filter(|_| row.column(&name.text).is_none()) else {
            return Ok(None);
        };
        let Some(ExprKind::Member { name, .. }) = links.last().map(|link| &link.kind) else { return Ok(None) };
        let property = self.graph_property(variable, name, row)?;
        links.pop();
        Ok(Some(property))
    }

    fn step(&mut self, index: &Expr, row: &mut Row<'_>) -> Bound<PathStep> {
        let mut bound = self.expr(index, row)?;
        if bound.ty == KqlType::Bool {
            // A bool counts as 0 or 1. Source: dynamic page, the table of accessors.
            bound = self.convert(bound, KqlType::Long);
        }
        let bound = self.folded(bound);
        Ok(match (&bound.kind, bound.ty) {
            (BExprKind::Constant(Value::String(key)), _) => PathStep::Key(key.clone()),
            (BExprKind::Constant(Value::Long(index)), _) => PathStep::Index(*index),
            (BExprKind::Constant(Value::Int(index)), _) => PathStep::Index(i64::from(*index)),
            (_, KqlType::String | KqlType::Int | KqlType::Long | KqlType::Dynamic) => PathStep::Computed(bound),
            (_, ty) => {
                let message = format!("an index is a string or an integer, but this is {ty}");
                return self.fail(diagnostic::ARGUMENT_TYPE, index.span, message);
            }
        })
    }
}
