//! Functions of graphs: the binder answers them, inside the patterns of `graph-match` and `graph-shortest-paths` only.

use tidewater_kql::KqlType;

use super::rows::{TO_BOOL, TO_DYNAMIC, TO_LONG, TO_STRING};
use crate::registry::{Imp, Scalar};
use crate::signature::{Accepts, BOOL, Returns, STRING, Signature, optional, required, sig};

const ANY: Accepts = Accepts::Any;
const CONDITION: &[Signature] = &[sig(&[required("path", ANY), required("condition", BOOL)], TO_BOOL)];

const fn row(
    name: &'static str,
    signatures: &'static [Signature],
    summary: &'static str,
    docs: &'static str,
) -> Scalar {
    Scalar { name, signatures, imp: Imp::Binder, summary, docs, ..Scalar::ROW }
}

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row(
        "graph",
        &[sig(&[required("name", STRING), optional("snapshot", ANY)], Returns::Type(KqlType::Dynamic))],
        "A stored graph by its model's name; tabular operators do not read it, graph operators do.",
        "graph-function",
    ),
    row("all", CONDITION, "Whether a condition holds on all edges, or inner nodes, of a path.", "all-graph-function"),
    row("any", CONDITION, "Whether a condition holds on an edge, or inner node, of a path.", "any-graph-function"),
    row(
        "map",
        &[sig(&[required("path", ANY), required("value", ANY)], TO_DYNAMIC)],
        "An array with a value for every edge, or inner node, of a path.",
        "map-graph-function",
    ),
    row(
        "inner_nodes",
        &[sig(&[required("path", ANY)], TO_DYNAMIC)],
        "The nodes between the edges of a path: the first argument of `all`, `any` and `map`.",
        "inner-nodes-graph-function",
    ),
    row("node_id", &[sig(&[optional("node", ANY)], TO_STRING)], "The id of a node as text.", "node-id"),
    row(
        "node_degree_in",
        &[sig(&[optional("node", ANY)], TO_LONG)],
        "How many edges lead to a node.",
        "node-degree-in",
    ),
    row(
        "node_degree_out",
        &[sig(&[optional("node", ANY)], TO_LONG)],
        "How many edges leave a node.",
        "node-degree-out",
    ),
    row(
        "labels",
        &[sig(&[optional("element", ANY)], TO_DYNAMIC)],
        "The labels of a node or edge; none where the graph was made by `make-graph`.",
        "labels-graph-function",
    ),
];
