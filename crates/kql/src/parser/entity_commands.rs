//! Commands about external tables, materialized views, stored query results, graphs and entity groups.
//!
//! Each function is called behind the verb, and gives `None` when the words that follow are no command of its noun.

use super::{P, Parser};
use crate::ast::{ExprKind, Literal, Name};
use crate::command::Command;
use crate::entity_command::{
    EntityCommand, EntityGroupCommand, ExternalTableCommand, GraphCommand, MaterializedViewCommand, PutMode, ShowView,
    StoredResultCommand, TextKind, ViewDefinition,
};
use crate::lexer::TokenKind;
use crate::security_command::SecurityScope;
use crate::span::Span;

fn entity(command: EntityCommand) -> P<Option<Command>> {
    Ok(Some(Command::Entity(Box::new(command))))
}

fn external(command: ExternalTableCommand) -> P<Option<Command>> {
    entity(EntityCommand::ExternalTable(command))
}

fn view(command: MaterializedViewCommand) -> P<Option<Command>> {
    entity(EntityCommand::MaterializedView(command))
}

fn graph(command: GraphCommand) -> P<Option<Command>> {
    entity(EntityCommand::Graph(command))
}

fn group(command: EntityGroupCommand) -> P<Option<Command>> {
    entity(EntityCommand::EntityGroup(command))
}

fn put_mode(verb: &str) -> Option<PutMode> {
    match verb {
        "create" => Some(PutMode::Create),
        "alter" => Some(PutMode::Alter),
        "create-or-alter" => Some(PutMode::CreateOrAlter),
        _ => None,
    }
}

impl Parser<'_> {
    /// Reads `a-b` if it is next.
    pub(super) fn eat_dashed(&mut self, left: &str, right: &str) -> bool {
        let found = self.is_word(0, left)
            && self.kind_at(1) == TokenKind::Minus
            && self.lexeme(1).glued
            && self.lexeme(2).glued
            && self.is_word(2, right);
        if found {
            for _ in 0..3 {
                self.bump();
            }
        }
        found
    }

    fn text_kind(&mut self) -> Option<TextKind> {
        if self.kind_at(1) != TokenKind::String {
            return None;
        }
        let which = match self.word() {
            "folder" => TextKind::Folder,
            "docstring" => TextKind::DocString,
            _ => return None,
        };
        self.bump();
        Some(which)
    }

    // Behind `.create`, `.alter`, `.create-or-alter`, `.alter-merge`

    /// A definition of one of these entities.
    pub(super) fn put_entity(&mut self, verb: &str) -> P<Option<Command>> {
        if self.eat_word("external") {
            self.expect_word("table")?;
            return self.put_external_table(verb);
        }
        if self.eat_word("graph_model") {
            if verb != "create-or-alter" {
                return Ok(None);
            }
            let name = self.entity_name()?;
            let start = self.span();
            let model = self.string_literal()?;
            return graph(GraphCommand::PutModel { name, model, model_span: self.since(start) });
        }
        if self.eat_word("entity_group") {
            return self.put_entity_group(verb);
        }
        let Some(mode) = put_mode(verb) else { return Ok(None) };
        let (mut is_async, mut if_not_exists) = (false, false);
        loop {
            if self.eat_word("async") {
                is_async = true;
            } else if self.eat_word("ifnotexists") {
                if_not_exists = true;
            } else {
                break;
            }
        }
        if !self.eat_dashed("materialized", "view") {
            return Ok(None);
        }
        self.put_view(mode, is_async, if_not_exists)
    }

    fn put_external_table(&mut self, verb: &str) -> P<Option<Command>> {
        let table = self.entity_name()?;
        if matches!(verb, "create" | "alter") && self.eat_word("mapping") {
            // Two literals beside each other, which elsewhere would be one.
            let mapping = self.string_token()?;
            let text = self.string_literal()?;
            return external(ExternalTableCommand::PutMapping { alter: verb == "alter", table, mapping, text });
        }
        if verb == "alter"
            && let Some(which) = self.text_kind()
        {
            return external(ExternalTableCommand::AlterText { table, which, text: self.string_literal()? });
        }
        let Some(mode) = put_mode(verb) else { return Ok(None) };
        if !self.at(TokenKind::OpenParen) && !self.at_word("kind") {
            return Ok(None);
        }
        let definition = self.external_definition()?;
        external(ExternalTableCommand::Put { mode, table, definition })
    }

    fn put_entity_group(&mut self, verb: &str) -> P<Option<Command>> {
        let name = self.entity_name()?;
        let if_not_exists = self.eat_word("ifnotexists");
        let entities = self.parenthesized(|parser| {
            let entity = parser.postfix()?;
            Ok(entity.span.text(parser.text).to_string())
        })?;
        match put_mode(verb) {
            Some(mode) => group(EntityGroupCommand::Put { mode, if_not_exists, name, entities }),
            None if verb == "alter-merge" => group(EntityGroupCommand::Merge { name, entities }),
            None => Ok(None),
        }
    }

    fn put_view(&mut self, mode: PutMode, is_async: bool, mut if_not_exists: bool) -> P<Option<Command>> {
        let mut properties = self.with_properties()?;
        if_not_exists |= self.eat_word("ifnotexists");
        let name = self.entity_name()?;
        if mode == PutMode::Alter {
            if let Some(which) = self.text_kind() {
                let text = self.string_literal()?;
                return view(MaterializedViewCommand::AlterText { view: name, which, text });
            }
            if self.eat_word("lookback") {
                return view(MaterializedViewCommand::AlterLookback { view: name, lookback: self.unary()? });
            }
            if self.eat_word("autoUpdateSchema") || self.eat_word("autoupdateschema") {
                let value = self.property_value()?;
                let ExprKind::Literal(Literal::Bool(Some(value))) = value.kind else {
                    return Err(self.expected("'true' or 'false'"));
                };
                return view(MaterializedViewCommand::AlterAutoUpdateSchema { view: name, value });
            }
        }
        if properties.is_empty() {
            properties = self.with_properties()?;
        }
        if !self.eat_word("on") {
            return Ok(None);
        }
        let over_view = self.eat_dashed("materialized", "view");
        if !over_view {
            self.expect_word("table")?;
        }
        let source = self.entity_name()?;
        let body = self.lambda_body(false, Vec::new())?;
        let query_span = Span { start: body.body_span.start + 1, end: body.body_span.end.saturating_sub(1) };
        let query_text = query_span.text(self.text).trim().to_string();
        view(MaterializedViewCommand::Put(Box::new(ViewDefinition {
            mode,
            is_async,
            if_not_exists,
            properties,
            name,
            source,
            over_view,
            body,
            query_text,
            query_span,
        })))
    }

    // Behind `.drop`

    pub(super) fn drop_entity(&mut self) -> P<Option<Command>> {
        if self.eat_word("external") {
            self.expect_word("table")?;
            let table = self.entity_name()?;
            if self.eat_word("mapping") {
                return external(ExternalTableCommand::DropMapping { table, mapping: self.string_literal()? });
            }
            return external(ExternalTableCommand::Drop { table, if_exists: self.eat_word("ifexists") });
        }
        if self.eat_dashed("materialized", "view") {
            let name = self.entity_name()?;
            return view(MaterializedViewCommand::Drop { view: name, if_exists: self.eat_word("ifexists") });
        }
        if self.eat_word("stored_query_result") {
            let name = self.entity_name()?;
            return entity(EntityCommand::StoredResult(StoredResultCommand::Drop { name }));
        }
        if self.eat_word("stored_query_results") {
            self.expect_word("by")?;
            self.expect_word("user")?;
            let user = self.string_literal()?;
            return entity(EntityCommand::StoredResult(StoredResultCommand::DropByUser { user }));
        }
        if self.eat_word("graph_model") {
            return graph(GraphCommand::DropModel { name: self.entity_name()? });
        }
        if self.eat_word("graph_snapshot") {
            let (model, snapshot) = self.snapshot_name()?;
            return graph(GraphCommand::DropSnapshot { model, snapshot });
        }
        if self.eat_word("graph_snapshots") {
            return graph(GraphCommand::DropSnapshots { model: self.entity_name()? });
        }
        if self.eat_word("entity_group") {
            return group(EntityGroupCommand::Drop { name: self.entity_name()? });
        }
        Ok(None)
    }

    /// `Model.Snapshot`.
    fn snapshot_name(&mut self) -> P<(Name, Name)> {
        let model = self.any_name("the name of a graph model")?;
        self.expect(TokenKind::Dot)?;
        Ok((model, self.any_name("the name of a snapshot")?))
    }

    // Other verbs

    /// Behind `.rename`.
    pub(super) fn rename_entity(&mut self) -> P<Option<Command>> {
        if !self.eat_dashed("materialized", "view") {
            return Ok(None);
        }
        let from = self.entity_name()?;
        self.expect_word("to")?;
        view(MaterializedViewCommand::Rename { from, to: self.entity_name()? })
    }

    /// Behind `.enable` and `.disable`.
    pub(super) fn enable_entity(&mut self, enable: bool) -> P<Option<Command>> {
        if !self.eat_dashed("materialized", "view") {
            return Ok(None);
        }
        let name = self.entity_name()?;
        let properties = self.with_properties()?;
        view(MaterializedViewCommand::Enable { view: name, enable, properties })
    }

    /// Behind `.clear`.
    pub(super) fn clear_entity(&mut self) -> P<Option<Command>> {
        if !self.eat_dashed("materialized", "view") {
            return Ok(None);
        }
        let name = self.entity_name()?;
        if !self.eat_word("data") {
            return Ok(None);
        }
        view(MaterializedViewCommand::Clear { view: name })
    }

    /// Behind `.make`.
    pub(super) fn make_command(&mut self) -> P<Option<Command>> {
        let is_async = self.eat_word("async");
        if !self.eat_word("graph_snapshot") {
            return Ok(None);
        }
        let snapshot = self.entity_name()?;
        self.expect_word("from")?;
        graph(GraphCommand::MakeSnapshot { is_async, snapshot, model: self.entity_name()? })
    }

    /// Behind `.set [async]` and `.set-or-replace [async]`, at `stored_query_result`.
    pub(super) fn set_stored_result(&mut self, replace: bool, is_async: bool) -> P<Option<Command>> {
        self.bump();
        let name = self.entity_name()?;
        let properties = self.with_properties()?;
        let (query, query_span) = self.query_behind_marker()?;
        let set = StoredResultCommand::Set { replace, is_async, name, properties, query, query_span };
        entity(EntityCommand::StoredResult(set))
    }

    // Behind `.show`: the noun has been read.

    pub(super) fn show_entity(&mut self, noun: &str) -> P<Option<Command>> {
        match noun {
            "external" if self.eat_word("tables") => {
                if self.eat_word("details") {
                    return external(ExternalTableCommand::ShowDetails { table: None });
                }
                external(ExternalTableCommand::Show { table: None })
            }
            "external" if self.eat_word("table") => self.show_external_table(),
            "materialized-views" => {
                if self.at(TokenKind::OpenParen) {
                    return Ok(None);
                }
                let what = if self.eat_word("details") { ShowView::Details } else { ShowView::Definition };
                view(MaterializedViewCommand::Show { view: None, what })
            }
            "materialized-view" => self.show_view(),
            "stored_query_results" => {
                let name = if self.at_name() { Some(self.entity_name()?) } else { None };
                entity(EntityCommand::StoredResult(StoredResultCommand::Show { name }))
            }
            "stored_query_result" => {
                let name = self.entity_name()?;
                let command = match self.eat_word("schema") {
                    true => StoredResultCommand::ShowSchema { name },
                    false => StoredResultCommand::Show { name: Some(name) },
                };
                entity(EntityCommand::StoredResult(command))
            }
            "graph_models" => {
                let details = self.eat_word("details");
                graph(GraphCommand::ShowModels { details, properties: self.with_properties()? })
            }
            "graph_model" => {
                let name = self.entity_name()?;
                if let Some(command) = self.show_security(SecurityScope::GraphModel(name.clone()))? {
                    return Ok(Some(command));
                }
                let details = self.eat_word("details");
                graph(GraphCommand::ShowModel { name, details, properties: self.with_properties()? })
            }
            "graph_snapshots" => {
                let model = if self.eat(TokenKind::Star) { None } else { Some(self.entity_name()?) };
                graph(GraphCommand::ShowSnapshots { model })
            }
            "graph_snapshot" => {
                let (model, snapshot) = self.snapshot_name()?;
                graph(GraphCommand::ShowSnapshot { model, snapshot, details: self.eat_word("details") })
            }
            "entity_groups" => group(EntityGroupCommand::Show { name: None }),
            "entity_group" => group(EntityGroupCommand::Show { name: Some(self.entity_name()?) }),
            _ => Ok(None),
        }
    }

    fn at_name(&self) -> bool {
        matches!(self.kind(), TokenKind::Name | TokenKind::String) || self.at_bracketed_name(0)
    }

    fn show_external_table(&mut self) -> P<Option<Command>> {
        let table = self.entity_name()?;
        if let Some(command) = self.show_security(SecurityScope::ExternalTable(table.clone()))? {
            return Ok(Some(command));
        }
        if self.eat_word("details") {
            return external(ExternalTableCommand::ShowDetails { table: Some(table) });
        }
        if self.eat_word("cslschema") || self.eat_words(&["schema", "as", "csl"]) {
            return external(ExternalTableCommand::ShowSchema { table, as_json: false });
        }
        if self.eat_words(&["schema", "as", "json"]) {
            return external(ExternalTableCommand::ShowSchema { table, as_json: true });
        }
        if self.eat_word("artifacts") {
            let mut limit = None;
            if self.eat_word("limit") {
                let value = self.unary()?;
                let ExprKind::Literal(Literal::Long(Some(count))) = value.kind else {
                    return Err(self.expected("a number of artifacts"));
                };
                limit = Some(count);
            }
            return external(ExternalTableCommand::ShowArtifacts { table, limit });
        }
        if self.eat_word("mappings") {
            return external(ExternalTableCommand::ShowMappings { table, mapping: None });
        }
        if self.eat_word("mapping") {
            return external(ExternalTableCommand::ShowMappings { table, mapping: Some(self.string_literal()?) });
        }
        external(ExternalTableCommand::Show { table: Some(table) })
    }

    fn show_view(&mut self) -> P<Option<Command>> {
        let name = self.entity_name()?;
        if let Some(command) = self.show_security(SecurityScope::MaterializedView(name.clone()))? {
            return Ok(Some(command));
        }
        let what = if self.eat_word("details") {
            ShowView::Details
        } else if self.eat_word("cslschema") || self.eat_words(&["schema", "as", "csl"]) {
            ShowView::CslSchema
        } else if self.eat_words(&["schema", "as", "json"]) {
            ShowView::JsonSchema
        } else if self.eat_word("extents") {
            self.eat_word("hot");
            ShowView::Extents
        } else if self.eat_word("failures") {
            ShowView::Failures
        } else if self.eat_word("statistics") {
            ShowView::Statistics
        } else {
            ShowView::Definition
        };
        view(MaterializedViewCommand::Show { view: Some(name), what })
    }
}
