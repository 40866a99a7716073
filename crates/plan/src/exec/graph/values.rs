//! Values of matches: properties of their parts, functions over their paths, conditions.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringViewBuilder, UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, HashMap, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::BATCH;
use super::data::{Graph, Wanted};
use super::rows::Matches;
use crate::bound::{Cycles, Element, MatchEdge, PathFold, Place, Property, Shortest};

/// An expression over some slots.
#[derive(Clone, Debug)]
pub struct Compiled {
    expr: Arc<dyn PhysicalExpr>,
    /// The slots that are its columns.
    pub slots: Vec<usize>,
    schema: SchemaRef,
}

impl Compiled {
    /// Compiles an expression whose columns are these slots' fields.
    pub fn new(expr: Expr, columns: Vec<(usize, Field)>) -> Result<Compiled> {
        let (slots, fields): (Vec<usize>, Vec<Field>) = columns.into_iter().unzip();
        let schema = Arc::new(Schema::new(fields));
        let named = Arc::new(DFSchema::try_from(schema.as_ref().clone())?);
        let context = SimplifyContext::builder().with_schema(Arc::clone(&named)).build();
        let expr = ExprSimplifier::new(context).simplify(expr)?;
        let expr = create_physical_expr(&expr, &named, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
        Ok(Compiled { expr, slots, schema })
    }

    /// Its value for rows of its slots' values.
    pub fn evaluate(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.expr.evaluate(&batch)?.into_array(rows)
    }
}

/// Where it is true.
fn truths(array: &ArrayRef) -> BooleanBuffer {
    let values = array.as_boolean();
    match values.nulls() {
        Some(nulls) => values.values() & nulls.inner(),
        None => values.values().clone(),
    }
}

/// A value that others may read.
#[derive(Clone, Debug)]
pub enum Slot {
    Element(Element),
    /// For `Map` the body gives arrays of one element.
    Function {
        place: Place,
        fold: PathFold,
        body: Compiled,
    },
}

/// A condition on whole matches.
#[derive(Clone, Debug)]
pub struct Filter {
    pub condition: Compiled,
    /// The nodes and edges of the pattern that must be bound.
    pub nodes: Vec<usize>,
    pub edges: Vec<usize>,
}

/// A pattern with all that is computed of it.
#[derive(Debug)]
pub struct MatchSpec {
    pub nodes: usize,
    pub edges: Vec<MatchEdge>,
    pub returns: bool,
    pub cycles: Cycles,
    pub shortest: Option<Shortest>,
    pub slots: Vec<Slot>,
    /// Conditions on one part of the pattern.
    pub masks: Vec<(Place, Compiled)>,
    pub filters: Vec<Filter>,
    /// Slots that are the columns of the result.
    pub outputs: Vec<usize>,
}

/// Values of a batch of matches; each slot is computed once.
pub struct Values<'a> {
    graph: &'a Graph,
    spec: &'a MatchSpec,
    matches: &'a Matches,
    known: HashMap<usize, ArrayRef>,
}

impl<'a> Values<'a> {
    pub fn new(graph: &'a Graph, spec: &'a MatchSpec, matches: &'a Matches) -> Values<'a> {
        Values { graph, spec, matches, known: HashMap::new() }
    }

    /// Where a condition is true.
    pub fn holds(&mut self, condition: &Compiled) -> Result<BooleanBuffer> {
        let columns = condition.slots.iter().map(|slot| self.slot(*slot)).collect::<Result<_>>()?;
        Ok(truths(&condition.evaluate(columns, self.matches.rows)?))
    }

    /// The values of a slot.
    pub fn slot(&mut self, slot: usize) -> Result<ArrayRef> {
        if let Some(array) = self.known.get(&slot) {
            return Ok(Arc::clone(array));
        }
        let spec = self.spec;
        let array = match &spec.slots[slot] {
            Slot::Element(element) => self.element(*element)?,
            Slot::Function { place, fold, body } => self.function(*place, *fold, body)?,
        };
        self.known.insert(slot, Arc::clone(&array));
        Ok(array)
    }

    fn element(&self, Element { place, property }: Element) -> Result<ArrayRef> {
        match (place, property) {
            (Place::Node(node), _) => self.graph.node_values(property, Wanted::These(&self.matches.nodes[node])),
            (Place::Edge(edge), Property::Length) => {
                let lengths = (0..self.matches.rows).map(|row| self.matches.paths[edge].row(row).len() as i64);
                Ok(Arc::new(lengths.collect::<Int64Array>()))
            }
            (Place::Edge(edge), _) => self.graph.edge_values(property, Wanted::These(&self.matches.edges[edge])),
            _ => internal_err!("a hop's value was read outside of a function"),
        }
    }

    fn function(&mut self, place: Place, fold: PathFold, body: &Compiled) -> Result<ArrayRef> {
        let (Place::Hop(path) | Place::InnerNode(path)) = place else {
            return internal_err!("a function goes over the hops of an edge");
        };
        // What is gone over, and the match that each is of.
        let mut numbers = Vec::new();
        let mut rows = Vec::new();
        let mut ends = Vec::with_capacity(self.matches.rows);
        let left = self.spec.edges[path].left;
        for row in 0..self.matches.rows {
            let hops = self.matches.paths[path].row(row);
            match place {
                Place::Hop(_) => numbers.extend_from_slice(hops),
                _ => {
                    let mut node = self.matches.nodes[left][row];
                    for edge in hops.split_last().map_or(&[][..], |(_, inner)| inner) {
                        node = self.graph.topology.across(*edge, node);
                        numbers.push(node);
                    }
                }
            }
            rows.resize(numbers.len(), row as u32);
            ends.push(numbers.len());
        }
        let mut columns = Vec::with_capacity(body.slots.len());
        let at = UInt32Array::from(rows);
        for slot in &body.slots {
            let column = match &self.spec.slots[*slot] {
                Slot::Element(element) if element.place == place => match place {
                    Place::Hop(_) => self.graph.edge_values(element.property, Wanted::These(&numbers))?,
                    _ => self.graph.node_values(element.property, Wanted::These(&numbers))?,
                },
                _ => take(&self.slot(*slot)?, &at, None)?,
            };
            columns.push(column);
        }
        let values = body.evaluate(columns, numbers.len())?;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let ranges = starts.zip(ends.iter().copied());
        Ok(match fold {
            PathFold::All | PathFold::Any => {
                let truths = truths(&values);
                let folded = ranges.map(|(start, end)| match fold {
                    PathFold::All => (start..end).all(|at| truths.value(at)),
                    _ => (start..end).any(|at| truths.value(at)),
                });
                Arc::new(BooleanArray::from(folded.collect::<Vec<bool>>()))
            }
            PathFold::Map => Arc::new(arrays(&values, ranges, self.matches.rows)),
        })
    }
}

/// Arrays of one element joined to longer ones.
fn arrays(
    values: &ArrayRef,
    ranges: impl Iterator<Item = (usize, usize)>,
    rows: usize,
) -> arrow::array::StringViewArray {
    let texts = values.as_string_view();
    let mut joined = StringViewBuilder::with_capacity(rows);
    let mut text = String::new();
    for (start, end) in ranges {
        text.clear();
        text.push('[');
        for at in start..end {
            if at > start {
                text.push(',');
            }
            let one = if texts.is_valid(at) { texts.value(at) } else { "" };
            let element = one.strip_prefix('[').and_then(|one| one.strip_suffix(']')).unwrap_or("null");
            text.push_str(element);
        }
        text.push(']');
        joined.append_value(&text);
    }
    joined.finish()
}

/// Which nodes or edges of a graph satisfy the conditions on single parts of a pattern.
pub struct Masks {
    nodes: HashMap<usize, BooleanBuffer>,
    edges: HashMap<usize, BooleanBuffer>,
    inner: HashMap<usize, BooleanBuffer>,
}

impl Masks {
    /// Evaluates the conditions for all nodes and edges.
    pub async fn new(graph: &Graph, spec: &MatchSpec) -> Result<Masks> {
        let mut masks = Masks { nodes: HashMap::new(), edges: HashMap::new(), inner: HashMap::new() };
        for (place, condition) in &spec.masks {
            let is_node = matches!(place, Place::Node(_) | Place::InnerNode(_));
            let mask = mask(graph, is_node, condition, |slot| match &spec.slots[slot] {
                Slot::Element(element) => Some(element.property),
                Slot::Function { .. } => None,
            });
            let mask = mask.await?;
            let (all, at) = match place {
                Place::Node(node) => (&mut masks.nodes, *node),
                Place::Edge(edge) | Place::Hop(edge) => (&mut masks.edges, *edge),
                Place::InnerNode(edge) => (&mut masks.inner, *edge),
            };
            let mask = match all.get(&at) {
                Some(known) => known & &mask,
                None => mask,
            };
            all.insert(at, mask);
        }
        Ok(masks)
    }

    /// The nodes that a node of the pattern may be; `None` is all.
    pub fn node(&self, node: usize) -> Option<&BooleanBuffer> {
        self.nodes.get(&node)
    }

    /// The edges that an edge of the pattern, or its hops, may be.
    pub fn edge(&self, edge: usize) -> Option<&BooleanBuffer> {
        self.edges.get(&edge)
    }

    /// The nodes that may stand between the hops of an edge of the pattern.
    pub fn inner(&self, edge: usize) -> Option<&BooleanBuffer> {
        self.inner.get(&edge)
    }
}

/// Which nodes or edges satisfy a condition over their properties.
pub async fn mask(
    graph: &Graph,
    is_node: bool,
    condition: &Compiled,
    property: impl Fn(usize) -> Option<Property>,
) -> Result<BooleanBuffer> {
    let count = if is_node { graph.node_count } else { graph.edge_count() };
    let mut bits = arrow::array::BooleanBufferBuilder::new(count);
    for start in (0..count).step_by(BATCH) {
        let wanted = Wanted::Range(start, BATCH.min(count - start));
        let mut columns = Vec::with_capacity(condition.slots.len());
        for slot in &condition.slots {
            let Some(property) = property(*slot) else { return internal_err!("a condition on one part reads others") };
            columns.push(if is_node {
                graph.node_values(property, wanted)?
            } else {
                graph.edge_values(property, wanted)?
            });
        }
        bits.append_buffer(&truths(&condition.evaluate(columns, wanted.len())?));
        tokio::task::yield_now().await;
    }
    Ok(bits.finish())
}

/// Whether a number is among those of a mask.
pub fn allowed(mask: Option<&BooleanBuffer>, number: u32) -> bool {
    mask.is_none_or(|mask| mask.value(number as usize))
}
