//! Management commands about what stands in a database beside tables and functions: external tables, materialized
//! views, stored query results, graph models with their snapshots, entity groups.
//!
//! Made by the parser, run by the service. Each enum is a noun; its variants are the verbs.

use crate::ast::{Expr, ExternalDefinition, Lambda, Name, Property, Script};
use crate::span::Span;

/// How a `.create`, `.alter` or `.create-or-alter` treats what exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// `.create`: refused when it exists.
    Create,
    /// `.alter`: refused when it does not.
    Alter,
    /// `.create-or-alter`.
    CreateOrAlter,
}

/// One command about an entity.
#[derive(Clone, Debug, PartialEq)]
pub enum EntityCommand {
    /// External tables.
    ExternalTable(ExternalTableCommand),
    /// Materialized views.
    MaterializedView(MaterializedViewCommand),
    /// Stored query results.
    StoredResult(StoredResultCommand),
    /// Graph models and snapshots.
    Graph(GraphCommand),
    /// Entity groups.
    EntityGroup(EntityGroupCommand),
    /// `.alter function F docstring "..."`, `.alter function F folder "..."`.
    AlterFunctionText {
        /// The function.
        function: Name,
        /// Which of the two.
        which: TextKind,
        /// The new text.
        text: String,
    },
}

/// The two texts that describe an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// `folder`
    Folder,
    /// `docstring`
    DocString,
}

/// Commands about external tables.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the syntax line above each variant explains its fields")]
pub enum ExternalTableCommand {
    /// `.create external table T (columns) kind=storage ... (uris) [with (...)]` and its kin.
    Put { mode: PutMode, table: Name, definition: ExternalDefinition },
    /// `.alter external table T folder "..."`, `docstring "..."`.
    AlterText { table: Name, which: TextKind, text: String },
    /// `.drop external table T [ifexists]`.
    Drop { table: Name, if_exists: bool },
    /// `.show external tables`, `.show external table T`.
    Show { table: Option<Name> },
    /// `.show external tables details`, `.show external table T details`.
    ShowDetails { table: Option<Name> },
    /// `.show external table T schema as json`, `... schema as csl`, `... cslschema`.
    ShowSchema { table: Name, as_json: bool },
    /// `.show external table T artifacts [limit n]`.
    ShowArtifacts { table: Name, limit: Option<i64> },
    /// `.create external table T mapping "M" '[...]'`, `.alter external table T mapping "M" '[...]'`.
    PutMapping { alter: bool, table: Name, mapping: String, text: String },
    /// `.show external table T mappings`, `.show external table T mapping "M"`.
    ShowMappings { table: Name, mapping: Option<String> },
    /// `.drop external table T mapping "M"`.
    DropMapping { table: Name, mapping: String },
}

/// Commands about materialized views.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the syntax line above each variant explains its fields")]
pub enum MaterializedViewCommand {
    /// `.create [async] [ifnotexists] materialized-view [with (...)] V on table T { query }` and its kin.
    Put(Box<ViewDefinition>),
    /// `.alter materialized-view V folder "..."`, `docstring "..."`.
    AlterText { view: Name, which: TextKind, text: String },
    /// `.alter materialized-view V lookback 1d`.
    AlterLookback { view: Name, lookback: Expr },
    /// `.alter materialized-view V autoUpdateSchema true`.
    AlterAutoUpdateSchema { view: Name, value: bool },
    /// `.rename materialized-view V to W`.
    Rename { from: Name, to: Name },
    /// `.drop materialized-view V [ifexists]`.
    Drop { view: Name, if_exists: bool },
    /// `.enable materialized-view V`, `.disable materialized-view V`.
    Enable { view: Name, enable: bool, properties: Vec<Property> },
    /// `.clear materialized-view V data`.
    Clear { view: Name },
    /// `.show materialized-views`, `.show materialized-view V`, and what follows the name.
    Show { view: Option<Name>, what: ShowView },
}

/// A materialized view as its command gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDefinition {
    /// Create, alter or both.
    pub mode: PutMode,
    /// `async`.
    pub is_async: bool,
    /// `ifnotexists`.
    pub if_not_exists: bool,
    /// `with (...)`.
    pub properties: Vec<Property>,
    /// The view.
    pub name: Name,
    /// What it is defined on.
    pub source: Name,
    /// `on materialized-view`.
    pub over_view: bool,
    /// The body: no parameters.
    pub body: Lambda,
    /// The text between the braces.
    pub query_text: String,
    /// Its place.
    pub query_span: Span,
}

/// What `.show materialized-view` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowView {
    /// Nothing said: definition and state.
    Definition,
    /// `details`
    Details,
    /// `cslschema`, `schema as csl`
    CslSchema,
    /// `schema as json`
    JsonSchema,
    /// `extents`
    Extents,
    /// `failures`
    Failures,
    /// `statistics`
    Statistics,
}

/// Commands about stored query results.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the syntax line above each variant explains its fields")]
pub enum StoredResultCommand {
    /// `.set [async] stored_query_result R [with (...)] <| query`, `.set-or-replace ...`.
    Set { replace: bool, is_async: bool, name: Name, properties: Vec<Property>, query: Script, query_span: Span },
    /// `.show stored_query_results [R]`.
    Show { name: Option<Name> },
    /// `.show stored_query_result R schema`.
    ShowSchema { name: Name },
    /// `.drop stored_query_result R`.
    Drop { name: Name },
    /// `.drop stored_query_results by user "u"`.
    DropByUser { user: String },
}

/// Commands about graph models and their snapshots.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the syntax line above each variant explains its fields")]
pub enum GraphCommand {
    /// `.create-or-alter graph_model M 'json'`.
    PutModel { name: Name, model: String, model_span: Span },
    /// `.show graph_model M [details] [with (id = "...")]`.
    ShowModel { name: Name, details: bool, properties: Vec<Property> },
    /// `.show graph_models [details] [with (showAll = true)]`.
    ShowModels { details: bool, properties: Vec<Property> },
    /// `.drop graph_model M`.
    DropModel { name: Name },
    /// `.make [async] graph_snapshot S from M`.
    MakeSnapshot { is_async: bool, snapshot: Name, model: Name },
    /// `.show graph_snapshot M.S [details]`.
    ShowSnapshot { model: Name, snapshot: Name, details: bool },
    /// `.show graph_snapshots M`, `.show graph_snapshots *`.
    ShowSnapshots { model: Option<Name> },
    /// `.drop graph_snapshot M.S`.
    DropSnapshot { model: Name, snapshot: Name },
    /// `.drop graph_snapshots M`.
    DropSnapshots { model: Name },
}

/// Commands about entity groups.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the syntax line above each variant explains its fields")]
pub enum EntityGroupCommand {
    /// `.create entity_group G [ifnotexists] (cluster('c').database('d'), ...)` and its kin; entities as written.
    Put { mode: PutMode, if_not_exists: bool, name: Name, entities: Vec<String> },
    /// `.alter-merge entity_group G (...)`.
    Merge { name: Name, entities: Vec<String> },
    /// `.drop entity_group G`.
    Drop { name: Name },
    /// `.show entity_groups`, `.show entity_group G`.
    Show { name: Option<Name> },
}

impl EntityCommand {
    /// Whether the command changes something.
    pub fn is_write(&self) -> bool {
        use EntityCommand as E;
        !matches!(
            self,
            E::ExternalTable(
                ExternalTableCommand::Show { .. }
                    | ExternalTableCommand::ShowDetails { .. }
                    | ExternalTableCommand::ShowSchema { .. }
                    | ExternalTableCommand::ShowArtifacts { .. }
                    | ExternalTableCommand::ShowMappings { .. }
            ) | E::MaterializedView(MaterializedViewCommand::Show { .. })
                | E::StoredResult(StoredResultCommand::Show { .. } | StoredResultCommand::ShowSchema { .. })
                | E::Graph(
                    GraphCommand::ShowModel { .. }
                        | GraphCommand::ShowModels { .. }
                        | GraphCommand::ShowSnapshot { .. }
                        | GraphCommand::ShowSnapshots { .. }
                )
                | E::EntityGroup(EntityGroupCommand::Show { .. })
        )
    }

    /// The command's name in journals.
    pub fn journal_name(&self) -> &'static str {
        use EntityCommand as E;
        match self {
            E::ExternalTable(ExternalTableCommand::Put { mode: PutMode::Create, .. }) => "ExternalTableCreate",
            E::ExternalTable(ExternalTableCommand::Put { mode: PutMode::Alter, .. }) => "ExternalTableAlter",
            E::ExternalTable(ExternalTableCommand::Put { .. }) => "ExternalTableCreateOrAlter",
            E::ExternalTable(ExternalTableCommand::Drop { .. }) => "ExternalTableDrop",
            E::ExternalTable(ExternalTableCommand::PutMapping { .. }) => "ExternalTableMappingCreate",
            E::ExternalTable(ExternalTableCommand::DropMapping { .. }) => "ExternalTableMappingDrop",
            E::ExternalTable(ExternalTableCommand::AlterText { .. }) => "ExternalTableAlter",
            E::ExternalTable(_) => "ExternalTablesShow",
            E::MaterializedView(MaterializedViewCommand::Put(_)) => "MaterializedViewCreateOrAlter",
            E::MaterializedView(MaterializedViewCommand::Rename { .. }) => "MaterializedViewRename",
            E::MaterializedView(MaterializedViewCommand::Drop { .. }) => "MaterializedViewDrop",
            E::MaterializedView(MaterializedViewCommand::Enable { .. }) => "MaterializedViewEnableDisable",
            E::MaterializedView(MaterializedViewCommand::Clear { .. }) => "MaterializedViewClearData",
            E::MaterializedView(MaterializedViewCommand::Show { .. }) => "MaterializedViewsShow",
            E::MaterializedView(_) => "MaterializedViewAlter",
            E::StoredResult(StoredResultCommand::Set { replace: false, .. }) => "StoredQueryResultSet",
            E::StoredResult(StoredResultCommand::Set { .. }) => "StoredQueryResultSetOrReplace",
            E::StoredResult(StoredResultCommand::Drop { .. }) => "StoredQueryResultDrop",
            E::StoredResult(StoredResultCommand::DropByUser { .. }) => "StoredQueryResultsDrop",
            E::StoredResult(_) => "StoredQueryResultsShow",
            E::Graph(GraphCommand::PutModel { .. }) => "GraphModelCreateOrAlter",
            E::Graph(GraphCommand::DropModel { .. }) => "GraphModelDrop",
            E::Graph(GraphCommand::MakeSnapshot { .. }) => "GraphSnapshotMake",
            E::Graph(GraphCommand::DropSnapshot { .. }) => "GraphSnapshotDrop",
            E::Graph(GraphCommand::DropSnapshots { .. }) => "GraphSnapshotsDrop",
            E::Graph(_) => "GraphModelsShow",
            E::EntityGroup(EntityGroupCommand::Put { .. }) => "EntityGroupCreate",
            E::EntityGroup(EntityGroupCommand::Merge { .. }) => "EntityGroupAlterMerge",
            E::EntityGroup(EntityGroupCommand::Drop { .. }) => "EntityGroupDrop",
            E::EntityGroup(_) => "EntityGroupsShow",
            E::AlterFunctionText { which: TextKind::Folder, .. } => "FunctionAlterFolder",
            E::AlterFunctionText { .. } => "FunctionAlterDocString",
        }
    }
}
