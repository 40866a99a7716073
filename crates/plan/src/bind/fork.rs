//! `fork` and `facet`: one input, several results.

use std::sync::Arc;

use tidewater_kql::ast::{Expr, Name, Pipeline, Property};
use tidewater_kql::{KqlType, Span};

use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundResult, Rel, RelOp};

impl Binder<'_> {
    /// `render` after several results: each is drawn so, but for those that say themselves how.
    pub fn render_branches(
        &mut self,
        tabular: Tabular,
        visualization: &Name,
        properties: &[Property],
    ) -> Bound<Tabular> {
        let mut branches = Vec::with_capacity(tabular.branches.len());
        for branch in tabular.branches {
            let visualization = match branch.visualization {
                Some(own) => own,
                None => self.render(visualization, properties, &branch.rel)?,
            };
            branches.push(BoundResult { visualization: Some(visualization), ..branch });
        }
        Ok(Tabular { branches, ..Tabular::of(tabular.rel) })
    }

    /// `fork (pipeline) name=(pipeline)`.
    pub fn fork_operator(
        &mut self,
        input: &Arc<Rel>,
        branches: &[(Option<Name>, Pipeline)],
        span: Span,
    ) -> Bound<Tabular> {
        let shared = self.fresh_shared();
        let mut results = Vec::with_capacity(branches.len());
        let mut failed = false;
        for (name, pipeline) in branches {
            match self.branch(shared, input, pipeline, span) {
                Ok(tabular) => {
                    let name = name.as_ref().map(|name| name.text.clone()).or(tabular.name);
                    results.push(BoundResult { name, rel: tabular.rel, visualization: tabular.visualization });
                }
                Err(Stopped) => failed = true,
            }
        }
        if failed {
            return Err(Stopped);
        }
        branched(results)
    }

    fn branch(
        &mut self,
        shared: crate::bound::SharedId,
        input: &Arc<Rel>,
        pipeline: &Pipeline,
        span: Span,
    ) -> Bound<Tabular> {
        let source = self.reading(shared, input, span)?;
        let tabular = self.operators(Tabular::of(source), &pipeline.operators)?;
        self.one_table(&tabular, span)?;
        Ok(tabular)
    }

    /// `facet by a, b with (pipeline)`: the pipeline's result first, then the values of each column with their counts.
    pub fn facet_operator(
        &mut self,
        input: &Arc<Rel>,
        by: &[Expr],
        with: Option<&Pipeline>,
        span: Span,
    ) -> Bound<Tabular> {
        let shared = self.fresh_shared();
        let mut results = Vec::with_capacity(by.len() + 1);
        if let Some(pipeline) = with {
            let tabular = self.branch(shared, input, pipeline, span)?;
            results.push(BoundResult { name: tabular.name, rel: tabular.rel, visualization: tabular.visualization });
        }
        for column in by {
            let source = self.reading(shared, input, span)?;
            let column_found = self.plain_column(column, &source.columns)?;
            self.group_key(&BExpr::column(&column_found), column, "a column of 'facet'")?;
            let count = self.count_aggregate(span)?;
            let counted = self.fresh_column(format!("count_{}", column_found.name), KqlType::Long);
            let keys = vec![BExpr::column(&column_found)];
            let op = RelOp::Aggregate { input: source, keys, aggregates: vec![count] };
            let rel = self.rel(op, vec![column_found, counted], span)?;
            results.push(BoundResult { name: None, rel, visualization: None });
        }
        branched(results)
    }
}

fn branched(results: Vec<BoundResult>) -> Bound<Tabular> {
    let first = results.first().ok_or(Stopped)?;
    Ok(Tabular { branches: results.clone(), ..Tabular::of(first.rel.clone()) })
}
