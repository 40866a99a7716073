//! The whole way of a query: parse, bind, compute what must be known first, bind again, lower.
//!
//! Binding waits for values that data decides: `toscalar`, `in (table)`, columns that a plugin finds.
//! Each pass hands its needs here; they are run with bounded results, and the next pass starts over
//! with their values. Nested needs take a pass per level.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use tidewater_functions::dynamic::{Dynamic, Json, Kind};
use tidewater_functions::turn;
use tidewater_kql::ast::Script;
use tidewater_kql::diagnostic::ROW_SCOPE;
use tidewater_kql::{Column, Diagnostic, KqlType, Span};

use super::{Evaluator, Refused, lower_query, lower_relation};
use crate::bind::{bind_query, is_closed};
use crate::bound::{BindOutcome, Constant, Known, Need, NeedWhat, Rel, RelOp};
use crate::catalog::CatalogView;
use crate::session::execution_plan;
use crate::{PlanContext, PlanError, PlannedQuery};

/// Passes of the binder over one query: levels of `toscalar` and `in (table)` inside each other.
pub const MAX_PASSES: usize = 64;
/// Columns that a plugin may find in bags.
pub const MAX_BAG_COLUMNS: usize = 2_000;

/// Plans a query text.
pub async fn plan_query(
    text: &str,
    view: &dyn CatalogView,
    context: &PlanContext,
    session: &SessionContext,
) -> Result<PlannedQuery, PlanError> {
    let parsed = tidewater_kql::parse_query(text);
    if !parsed.diagnostics.is_empty() {
        return Err(PlanError::Diagnostics { text: text.to_string(), diagnostics: parsed.diagnostics });
    }
    plan_script(&parsed.tree, text, view, context, session).await
}

/// Plans a parsed query; the spans of its tree refer to `text`.
pub async fn plan_script(
    script: &Script,
    text: &str,
    view: &dyn CatalogView,
    context: &PlanContext,
    session: &SessionContext,
) -> Result<PlannedQuery, PlanError> {
    let mut known = HashMap::new();
    for _ in 0..MAX_PASSES {
        turn::check()?;
        let outcome = bind_query(script, view, context, &Evaluator, &known)
            .map_err(|diagnostics| PlanError::Diagnostics { text: text.to_string(), diagnostics })?;
        match outcome {
            BindOutcome::Done(query) => {
                return lower_query(&query, context.seed).map_err(|error| explained(error, text));
            }
            BindOutcome::Needs(needs) => {
                for need in needs {
                    if !is_closed(&need.rel) {
                        let message = "a subquery that is computed once, such as toscalar(), cannot read a value of the row it stands in";
                        let diagnostics = vec![Diagnostic::new(ROW_SCOPE, Span::new(0, text.len()), message)];
                        return Err(PlanError::Diagnostics { text: text.to_string(), diagnostics });
                    }
                    let value = answer(&need, context.seed, session).await.map_err(|error| match error {
                        PlanError::Engine(error) => explained(error, text),
                        other => other,
                    })?;
                    known.insert(need.key, value);
                }
            }
        }
    }
    Err(PlanError::Limit { what: "the nesting of toscalar() and subqueries", limit: MAX_PASSES })
}

/// A refusal of the lowering as a mistake of the text.
fn explained(error: DataFusionError, text: &str) -> PlanError {
    if let DataFusionError::External(source) = error.find_root()
        && let Some(refused) = source.downcast_ref::<Refused>()
    {
        let diagnostics = vec![Diagnostic::new(refused.code, Span::new(0, text.len()), &refused.message)];
        return PlanError::Diagnostics { text: text.to_string(), diagnostics };
    }
    PlanError::Engine(error)
}

/// Computes what binding waits for.
pub async fn answer(need: &Need, seed: u64, session: &SessionContext) -> Result<Known, PlanError> {
    let Some(column) = need.rel.columns.first() else {
        return Ok(match need.what {
            NeedWhat::Scalar => Known::Scalar(Constant::null(KqlType::Long)),
            NeedWhat::Values { .. } => Known::Values(Arc::default()),
            NeedWhat::BagColumns => Known::Columns(Arc::default()),
        });
    };
    let ty = column.ty;
    match need.what {
        NeedWhat::Scalar => {
            let first =
                Rel { op: RelOp::Limit { input: Arc::clone(&need.rel), count: 1 }, ..need.rel.as_ref().clone() };
            let mut rows = run(&first, seed, session).await?;
            while let Some(batch) = rows.next().await.transpose()? {
                if batch.num_rows() > 0 {
                    return Ok(Known::Scalar(constant(&batch, 0, ty)?));
                }
            }
            Ok(Known::Scalar(Constant::null(ty)))
        }
        NeedWhat::Values { limit } => {
            let mut rows = run(&need.rel, seed, session).await?;
            let mut values = Vec::new();
            while let Some(batch) = rows.next().await.transpose()? {
                if values.len() + batch.num_rows() > limit {
                    return Err(PlanError::Limit { what: "the number of values of a tabular list", limit });
                }
                for row in 0..batch.num_rows() {
                    values.push(constant(&batch, row, ty)?);
                }
            }
            Ok(Known::Values(Arc::new(values)))
        }
        NeedWhat::BagColumns => {
            let mut rows = run(&need.rel, seed, session).await?;
            let mut columns = BagColumns::default();
            while let Some(batch) = rows.next().await.transpose()? {
                columns.read(&batch)?;
            }
            // The reference engine gives the columns by name. Source: bag_unpack-plugin page, all examples.
            columns.found.sort_by(|left, right| left.name.cmp(&right.name));
            Ok(Known::Columns(Arc::new(columns.found)))
        }
    }
}

async fn run(rel: &Rel, seed: u64, session: &SessionContext) -> EngineResult<SendableRecordBatchStream> {
    let plan = lower_relation(rel, seed)?;
    let physical = execution_plan(session, &plan).await?;
    execute_stream(physical, session.task_ctx())
}

fn constant(batch: &RecordBatch, row: usize, ty: KqlType) -> EngineResult<Constant> {
    let scalar = ScalarValue::try_from_array(batch.column(0), row)?;
    Constant::of_scalar(&scalar, ty)
        .ok_or_else(|| DataFusionError::Internal(format!("{} is not a {ty}", scalar.data_type())))
}

/// The keys of bags with their types.
#[derive(Default)]
struct BagColumns {
    found: Vec<Column>,
    places: HashMap<String, usize>,
    /// Keys that so far were null everywhere.
    untyped: Vec<bool>,
}

impl BagColumns {
    fn read(&mut self, batch: &RecordBatch) -> Result<(), PlanError> {
        use arrow::array::AsArray;
        let bags = batch.column(0).as_string_view();
        for row in (0..bags.len()).filter(|row| bags.is_valid(*row)) {
            for (key, value) in Json::new(Some(bags.value(row))).entries() {
                let ty = match value.kind() {
                    Kind::Null => None,
                    Kind::Bool => Some(KqlType::Bool),
                    Kind::Long => Some(KqlType::Long),
                    Kind::Double => Some(KqlType::Real),
                    Kind::String => Some(KqlType::String),
                    Kind::Array | Kind::Bag => Some(KqlType::Dynamic),
                };
                let place = match self.places.get(key.as_ref()) {
                    Some(place) => *place,
                    None if self.found.len() == MAX_BAG_COLUMNS => {
                        return Err(PlanError::Limit {
                            what: "the number of columns of a bag",
                            limit: MAX_BAG_COLUMNS,
                        });
                    }
                    None => {
                        self.places.insert(key.to_string(), self.found.len());
                        self.found.push(Column::new(key, KqlType::Dynamic));
                        self.untyped.push(true);
                        self.found.len() - 1
                    }
                };
                let column = &mut self.found[place];
                match ty {
                    None => {}
                    Some(ty) if self.untyped[place] => {
                        column.ty = ty;
                        self.untyped[place] = false;
                    }
                    Some(ty) if ty != column.ty => column.ty = KqlType::Dynamic,
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}
