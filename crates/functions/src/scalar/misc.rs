//! What belongs to no other family: conditions and null tests, conversions, rows and identity, and what is not served.

use datafusion_common::{Result, exec_err};
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;

use super::kernel::{Bools, Texts, each};
use super::rows::{TO_BOOL, TO_DATETIME, TO_DYNAMIC, TO_LONG, TO_STRING, refused, row};
use crate::call::Call;
use crate::registry::{Imp, NameRule, Scalar};
use crate::signature::{
    Accepts, BOOL, DATETIME, LONG, Returns, STRING, Signature, TIMESPAN, optional, repeated, required, sig,
};

const ANY: Accepts = Accepts::Any;
const COMMON: Accepts = Accepts::Common;
const TESTED: &[Signature] = &[sig(&[required("value", ANY)], TO_BOOL)];

/// A row that the binder answers.
const fn binder(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [Signature],
    summary: &'static str,
    docs: &'static str,
) -> Scalar {
    Scalar { name, aliases, signatures, imp: Imp::Binder, summary, docs, ..Scalar::ROW }
}

/// A conversion, which the binder turns into `functions::convert`.
const fn conversion(
    name: &'static str,
    aliases: &'static [&'static str],
    signatures: &'static [Signature],
    summary: &'static str,
    docs: &'static str,
) -> Scalar {
    Scalar { name_rule: NameRule::PassThrough, ..binder(name, aliases, signatures, summary, docs) }
}

/// A window function, which the binder turns into a window expression.
const fn window(
    name: &'static str,
    signatures: &'static [Signature],
    summary: &'static str,
    docs: &'static str,
) -> Scalar {
    Scalar { is_window: true, ..binder(name, &[], signatures, summary, docs) }
}

macro_rules! to {
    ($ty:ident) => {
        &[sig(&[required("value", ANY)], Returns::Type(KqlType::$ty))]
    };
}

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    conversion("tostring", &[], to!(String), "The value's text; never null.", "tostring-function"),
    conversion("tobool", &["toboolean"], to!(Bool), "The value as a bool; null where it is none.", "tobool-function"),
    conversion("toint", &[], to!(Int), "The value as an int; null where it is none.", "toint-function"),
    conversion("tolong", &[], to!(Long), "The value as a long; null where it is none.", "tolong-function"),
    conversion("toreal", &["todouble"], to!(Real), "The value as a real; null where it is none.", "toreal-function"),
    conversion("todecimal", &[], to!(Decimal), "The value as a decimal; null where it is none.", "todecimal-function"),
    conversion(
        "todatetime",
        &[],
        to!(DateTime),
        "The value as a datetime; null where it is none.",
        "todatetime-function",
    ),
    conversion(
        "totimespan",
        &["totime"],
        to!(TimeSpan),
        "The value as a timespan; null where it is none.",
        "totimespan-function",
    ),
    conversion("toguid", &[], to!(Guid), "The value as a guid; null where it is none.", "toguid-function"),
    binder(
        "iff",
        &["iif"],
        &[sig(&[required("if", BOOL), required("then", COMMON), required("else", COMMON)], Returns::Common)],
        "One value if a condition holds, else the other.",
        "iff-function",
    ),
    binder(
        "case",
        &[],
        &[sig(
            &[
                required("predicate", BOOL),
                required("then", COMMON),
                required("else", COMMON),
                repeated("predicate", BOOL),
                repeated("then", COMMON),
            ],
            Returns::Common,
        )],
        "The value after the first condition that holds, else the last value.",
        "case-function",
    ),
    binder(
        "coalesce",
        &[],
        &[sig(&[required("arg", COMMON), required("arg", COMMON), repeated("arg", COMMON)], Returns::Common)],
        "The first value that is not null, of strings the first that is not empty.",
        "coalesce-function",
    ),
    binder(
        "not",
        &[],
        &[sig(&[required("expression", BOOL)], TO_BOOL)],
        "The contrary; null stays null.",
        "not-function",
    ),
    binder("isnull", &[], TESTED, "Whether the value is null; no string is.", "isnull-function"),
    binder("isnotnull", &["notnull"], TESTED, "Whether the value is not null.", "isnotnull-function"),
    binder("isempty", &[], TESTED, "Whether the value is null or an empty text.", "isempty-function"),
    binder(
        "isnotempty",
        &["notempty"],
        TESTED,
        "Whether the value is neither null nor an empty text.",
        "isnotempty-function",
    ),
    binder(
        "column_ifexists",
        &["columnifexists"],
        &[sig(&[required("columnName", STRING), required("defaultValue", ANY)], Returns::Argument(1))],
        "A column if it exists, else a default.",
        "column-ifexists-function",
    ),
    binder(
        "column_names_of",
        &[],
        &[sig(&[required("table", ANY)], TO_DYNAMIC)],
        "The names of a table's columns, as an array.",
        "column-names-of-function",
    ),
    binder(
        "pack_all",
        &[],
        &[sig(&[optional("ignore_null_empty", BOOL)], TO_DYNAMIC)],
        "A bag of all columns.",
        "pack-all-function",
    ),
    binder(
        "bag_pack_columns",
        &[],
        &[sig(&[required("column", ANY), repeated("column", ANY)], TO_DYNAMIC)],
        "A bag of columns under their own names.",
        "bag-pack-columns-function",
    ),
    binder(
        "toscalar",
        &[],
        &[sig(&[required("table", ANY)], Returns::Argument(0))],
        "The first value of a table.",
        "toscalar-function",
    ),
    binder(
        "materialize",
        &[],
        &[sig(&[required("table", ANY)], Returns::Argument(0))],
        "A table that is computed once.",
        "materialize-function",
    ),
    binder(
        "table",
        &[],
        &[sig(&[required("name", STRING), optional("query_data_scope", STRING)], TO_DYNAMIC)],
        "A table by its name.",
        "table-function",
    ),
    binder(
        "database",
        &[],
        &[sig(&[optional("name", STRING)], TO_DYNAMIC)],
        "A database by its name.",
        "database-function",
    ),
    binder(
        "cluster",
        &[],
        &[sig(&[required("name", STRING)], TO_DYNAMIC)],
        "A cluster by its name.",
        "cluster-function",
    ),
    binder(
        "current_database",
        &[],
        &[sig(&[], TO_STRING)],
        "The name of the database that the query runs in.",
        "current-database-function",
    ),
    binder("current_principal", &[], &[sig(&[], TO_STRING)], "Who runs the query.", "current-principal-function"),
    binder("ingestion_time", &[], &[sig(&[], TO_DATETIME)], "When the row was ingested.", "ingestion-time-function"),
    binder(
        "extent_id",
        &["extentid"],
        &[sig(&[], Returns::Type(KqlType::Guid))],
        "The extent that holds the row.",
        "extent-id-function",
    ),
    binder(
        "extent_tags",
        &[],
        &[sig(&[], TO_DYNAMIC)],
        "The tags of the extent that holds the row.",
        "extent-tags-function",
    ),
    window(
        "row_number",
        &[sig(&[optional("startingIndex", LONG), optional("restart", BOOL)], TO_LONG)],
        "The number of the row.",
        "row-number-function",
    ),
    window(
        "row_cumsum",
        &[sig(&[required("term", ANY), optional("restart", BOOL)], Returns::Argument(0))],
        "The sum of a column up to the row.",
        "row-cumsum-function",
    ),
    window(
        "row_rank_dense",
        &[sig(&[required("term", ANY), optional("restart", BOOL)], TO_LONG)],
        "How many different values of a column came up to the row.",
        "row-rank-dense-function",
    ),
    window(
        "row_rank_min",
        &[sig(&[required("term", ANY), optional("restart", BOOL)], TO_LONG)],
        "The number of the first row of a run of equal values.",
        "row-rank-min-function",
    ),
    window(
        "row_window_session",
        &[sig(
            &[
                required("expr", DATETIME),
                required("maxDistanceFromFirst", TIMESPAN),
                required("maxDistanceBetweenNeighbors", TIMESPAN),
                optional("restart", BOOL),
            ],
            TO_DATETIME,
        )],
        "When the row's session began.",
        "row-window-session-function",
    ),
    window(
        "prev",
        &[sig(
            &[required("column", ANY), optional("offset", LONG), optional("default_value", ANY)],
            Returns::Argument(0),
        )],
        "The value of a column some rows before.",
        "prev-function",
    ),
    window(
        "next",
        &[sig(
            &[required("column", ANY), optional("offset", LONG), optional("default_value", ANY)],
            Returns::Argument(0),
        )],
        "The value of a column some rows after.",
        "next-function",
    ),
    row!(
        "assert",
        &[sig(&[required("condition", BOOL).constant(), required("message", STRING).constant()], TO_BOOL)],
        assert,
        "True; the query fails with the message when the condition does not hold.",
        "assert-function",
        examples: &[("print assert(1 < 2, 'numbers')", "true")],
    ),
    window(
        "row_rank",
        &[sig(&[required("column", ANY), optional("dense", BOOL).constant()], TO_LONG)],
        "Obsolete name of row_rank_dense(), or of row_rank_min() where `dense` is false.",
        "row-rank-dense-function",
    ),
    binder(
        "external_table",
        &[],
        &[sig(&[required("name", STRING), optional("mapping", STRING)], TO_DYNAMIC)],
        "An external table by its name.",
        "external-table-function",
    ),
    binder(
        "materialized_view",
        &[],
        &[sig(&[required("name", STRING), optional("max_age", TIMESPAN)], TO_DYNAMIC)],
        "The materialized part of a view.",
        "materialized-view-function",
    ),
    refused!(
        "entity_group",
        "entity groups stand in 'macro-expand' and in the commands for them, not in expressions",
        "An entity group by its name.",
        "entity-groups"
    ),
    binder(
        "stored_query_result",
        &[],
        &[sig(&[required("name", STRING)], TO_DYNAMIC)],
        "A stored query result by its name.",
        "stored-query-result-function",
    ),
    binder(
        "current_cluster_endpoint",
        &[],
        &[sig(&[], TO_STRING)],
        "The address of the cluster.",
        "current-cluster-endpoint-function",
    ),
    binder(
        "current_principal_details",
        &[],
        &[sig(&[], TO_DYNAMIC)],
        "What is known of who runs the query.",
        "current-principal-details-function",
    ),
    binder(
        "current_principal_is_member_of",
        &[],
        &[sig(&[repeated("principal", STRING)], TO_BOOL)],
        "Whether one of the names is that of who runs the query; there are no groups.",
        "current-principal-is-member-of-function",
    ),
    refused!("current_node_id", "it is not documented", "The node that runs the query.", ""),
    binder(
        "cursor_after",
        &[],
        &[sig(&[required("cursor", STRING)], TO_BOOL)],
        "Whether a row was ingested after a cursor.",
        "cursor-after-function",
    ),
    binder(
        "cursor_before_or_at",
        &[],
        &[sig(&[required("cursor", STRING)], TO_BOOL)],
        "Whether a row was ingested before a cursor.",
        "cursor-before-or-at-function",
    ),
    binder("cursor_current", &["current_cursor"], &[sig(&[], TO_STRING)], "The database's cursor.", "cursor-current"),
    refused!("row_id", "rows have no identity of their own", "The identity of a row.", ""),
    refused!("rowstore_ordinal_range", "it is not documented", "Positions in a row store.", ""),
    binder(
        "iscolumnexists",
        &[],
        &[sig(&[required("column_name", STRING).constant()], TO_BOOL)],
        "Whether the input has a column of this name.",
        "",
    ),
    refused!("__invoke", "it is not documented", "Internal.", ""),
    refused!("__cast", "it is not documented", "Internal.", ""),
    refused!("__geo_length_to_s2cell_level", "it is not documented", "Internal.", ""),
    refused!("__geo_line_s2cell_covering_level", "it is not documented", "Internal.", ""),
    refused!("__geo_line_validate", "it is not documented", "Internal.", ""),
    refused!("__geo_polygon_s2cell_covering_level", "it is not documented", "Internal.", ""),
    refused!("__geo_polygon_validate", "it is not documented", "Internal.", ""),
];

fn assert(call: &Call<'_>) -> Result<ColumnarValue> {
    let (condition, message) = (Bools::of(call, 0)?, Texts::of(call, 1)?);
    if condition.get(0) == Some(false) {
        return exec_err!("assert() has failed with message: '{}'", message.text(0));
    }
    each(call, |row| condition.get(row))
}
