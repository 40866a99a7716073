//! Commands about mappings, extents, records, columns, databases, scripts, plugins and exports.
//!
//! Each verb's function reads on trial and gives `None` when the text is no command of its own; nothing is read then.

use super::{P, Parser};
use crate::ast::{ExprKind, Literal, Name};
use crate::command::Command;
use crate::lexer::TokenKind;
use crate::management_command::{
    DatabaseAspect, DatabaseChoice, ExtentChoice, ExtentStatistics, ManagementCommand as M, MappingMode, MappingOwner,
    ShowContinuousExport, TagEdit, Trim,
};
use crate::span::Span;

/// The words behind `ingestion` in commands about mappings.
const KINDS: &[&str] = &["csv", "json", "avro", "apacheavro", "parquet", "orc", "w3clogfile", "azmonstream"];

impl Parser<'_> {
    /// Behind the verb: one of these commands, or `None` with nothing read.
    pub(super) fn management_command(&mut self, verb: &str) -> P<Option<Command>> {
        let (index, complaints) = (self.index, self.diagnostics.len());
        let found = match verb {
            "show" => self.show_managed(),
            "create" | "create-or-alter" | "alter" | "alter-merge" => self.put_managed(verb),
            "drop" => self.drop_managed(),
            "drop-pretend" if self.eat_word("extents") => self.drop_extents(true),
            "move" => self.move_extents(),
            "replace" => self.replace_extents(),
            "merge" => self.merge_extents(),
            "delete" => self.delete_records(),
            "update" => self.update_records(),
            "purge" => self.purge(),
            "cancel" => self.cancel_purges(),
            "undo" => self.undo_drop(),
            "rename" => self.rename_columns(),
            "set" => self.set_pretty_name(),
            "execute" => self.execute_script(),
            "enable" | "disable" => self.enable_managed(verb == "enable"),
            "export" => self.export(),
            _ => Ok(None),
        }?;
        if found.is_none() {
            self.index = index;
            self.diagnostics.truncate(complaints);
        }
        Ok(found.map(|command| Command::Management(Box::new(command))))
    }

    /// The rest of the text behind `<|`, which must not be empty.
    fn inner(&mut self) -> P<Span> {
        let marker = self.expect(TokenKind::LessPipe)?;
        let rest = &self.text[marker.span.end as usize..];
        let start = self.text.len() - rest.trim_start().len();
        let end = start + rest.trim().len();
        if start >= end {
            return Err(self.expected("a query"));
        }
        Ok(Span::new(start, end))
    }

    fn count(&mut self) -> P<u64> {
        let value = self.unary()?;
        match value.kind {
            ExprKind::Literal(Literal::Long(Some(count))) if count >= 0 => Ok(count.unsigned_abs()),
            _ => Err(self.error(value.span, "Query could not be parsed: expected a whole number".into())),
        }
    }

    fn ids(&mut self) -> P<Vec<String>> {
        self.parenthesized(Self::identifier)
    }

    // .show

    fn show_managed(&mut self) -> P<Option<M>> {
        if self.eat_word("table") {
            if self.at(TokenKind::Star) {
                return Ok(None);
            }
            let table = self.entity_name()?;
            if self.eat_word("ingestion") {
                return self.show_mappings(MappingOwner::Table(table));
            }
            if self.eat_words(&["data", "statistics"]) {
                return Ok(Some(M::ShowDataStatistics { table, properties: self.with_properties()? }));
            }
            return Ok(None);
        }
        if self.eat_word("database") {
            return self.show_managed_database();
        }
        let cluster = self.eat_word("cluster");
        if self.eat_word("databases") {
            return self.show_managed_databases(cluster);
        }
        if self.eat_word("ingestion") {
            return self.show_mappings(MappingOwner::Cluster);
        }
        if cluster {
            return Ok(self.eat_word("details").then_some(M::ShowClusterDetails));
        }
        if self.eat_word("diagnostics") {
            self.with_properties()?;
            return Ok(Some(M::ShowDiagnostics));
        }
        if self.eat_word("plugins") {
            self.with_properties()?;
            return Ok(Some(M::ShowPlugins));
        }
        if self.eat_word("purges") {
            return self.show_purges();
        }
        if self.eat_dashed("continuous", "exports") {
            return Ok(Some(M::ShowContinuousExports { name: None, what: ShowContinuousExport::Definition }));
        }
        if self.eat_dashed("continuous", "export") {
            let name = Some(self.entity_name()?);
            let what = if self.eat_dashed("exported", "artifacts") {
                ShowContinuousExport::Artifacts
            } else if self.eat_word("failures") {
                ShowContinuousExport::Failures
            } else {
                ShowContinuousExport::Definition
            };
            return Ok(Some(M::ShowContinuousExports { name, what }));
        }
        Ok(None)
    }

    fn show_mappings(&mut self, owner: MappingOwner) -> P<Option<M>> {
        let kind = self.mapping_kind();
        if self.eat_word("mappings") {
            let mapping = if self.at(TokenKind::String) { Some(self.string_literal()?) } else { None };
            self.with_properties()?;
            return Ok(Some(M::ShowMappings { owner, kind, mapping }));
        }
        if self.eat_word("mapping") {
            return Ok(Some(M::ShowMappings { owner, kind, mapping: Some(self.string_literal()?) }));
        }
        Ok(None)
    }

    fn mapping_kind(&mut self) -> Option<String> {
        let word = self.word();
        let found = self.at(TokenKind::Name) && KINDS.contains(&word);
        found.then(|| {
            self.bump();
            word.to_string()
        })
    }

    fn database_aspect(&mut self) -> Option<DatabaseAspect> {
        let aspect = match self.word() {
            "details" | "verbose" => DatabaseAspect::Details,
            "identity" => DatabaseAspect::Identity,
            "policies" => DatabaseAspect::Policies,
            "datastats" => DatabaseAspect::DataStats,
            "metadata" => DatabaseAspect::Metadata,
            _ => return None,
        };
        self.bump();
        Some(aspect)
    }

    fn show_managed_database(&mut self) -> P<Option<M>> {
        let one = DatabaseChoice::One;
        if let Some(aspect) = self.database_aspect() {
            self.with_properties()?;
            return Ok(Some(M::ShowDatabases { databases: one(None), aspect }));
        }
        if self.eat_words(&["keyvault", "secrets"]) {
            return Ok(Some(M::ShowDatabases { databases: one(None), aspect: DatabaseAspect::KeyVaultSecrets }));
        }
        let is_clause = self.at(TokenKind::Name)
            && matches!(
                self.word(),
                "schema" | "cslschema" | "kqlschema" | "extents" | "extent" | "ingestion" | "cache"
            );
        if !is_clause && !self.at(TokenKind::Name) && !self.at(TokenKind::String) && !self.at_bracketed_name(0) {
            return Ok(None);
        }
        let name = if is_clause { None } else { Some(self.entity_name()?) };
        if self.eat_word("ingestion") {
            return self.show_mappings(MappingOwner::Database(name));
        }
        if self.eat_words(&["schema", "violations"]) {
            return Ok(Some(M::ShowDatabases { databases: one(name), aspect: DatabaseAspect::Violations }));
        }
        if self.eat_words(&["extents", "partitioning", "statistics"]) {
            return Ok(Some(M::ShowExtentStatistics { database: name, what: ExtentStatistics::Partitioning }));
        }
        if self.eat_words(&["extent", "tags", "statistics"]) {
            self.with_properties()?;
            return Ok(Some(M::ShowExtentStatistics { database: name, what: ExtentStatistics::Tags }));
        }
        if let Some(database) = name {
            if self.eat_word("entity") {
                let entity = self.entity_name()?;
                self.with_properties()?;
                return Ok(Some(M::ShowDatabaseEntity { database, entity }));
            }
            if let Some(aspect) = self.database_aspect() {
                self.with_properties()?;
                return Ok(Some(M::ShowDatabases { databases: one(Some(database)), aspect }));
            }
        }
        Ok(None)
    }

    fn show_managed_databases(&mut self, cluster: bool) -> P<Option<M>> {
        let names = if self.at(TokenKind::OpenParen) { self.parenthesized(Self::entity_name)? } else { Vec::new() };
        let databases = DatabaseChoice::Many(names.clone());
        match self.database_aspect() {
            // Without names and without `cluster` it is an older rule's.
            Some(DatabaseAspect::Details) if names.is_empty() && !cluster => Ok(None),
            Some(aspect) => {
                self.with_properties()?;
                Ok(Some(M::ShowDatabases { databases, aspect }))
            }
            None if self.at_word("schema") || self.at_word("entities") || self.at_word("extents") => Ok(None),
            None if names.is_empty() && !cluster => Ok(None),
            None => {
                self.with_properties()?;
                Ok(Some(M::ShowDatabases { databases, aspect: DatabaseAspect::Names }))
            }
        }
    }

    fn show_purges(&mut self) -> P<Option<M>> {
        let (mut id, mut from, mut to, mut database) = (None, None, None, None);
        if !self.at_word("from") && !self.at_word("in") && !matches!(self.kind(), TokenKind::End | TokenKind::Pipe) {
            id = Some(self.identifier()?);
        }
        if self.eat_word("from") {
            from = Some(self.string_literal()?);
            if self.eat_word("to") {
                to = Some(self.string_literal()?);
            }
        }
        if self.eat_word("in") {
            self.expect_word("database")?;
            database = Some(self.entity_name()?);
        }
        Ok(Some(M::ShowPurges { id, from, to, database }))
    }

    // .create, .create-or-alter, .alter, .alter-merge

    fn put_managed(&mut self, verb: &str) -> P<Option<M>> {
        if verb == "create-or-alter" && self.eat_dashed("continuous", "export") {
            return self.put_continuous_export();
        }
        if verb == "alter" && self.eat_word("column") {
            let column = self.entity_name()?;
            if !self.eat_word("type") {
                return Ok(None);
            }
            self.expect(TokenKind::Equal)?;
            return Ok(Some(M::AlterColumnType { column, ty: self.type_name()? }));
        }
        let is_async = self.eat_word("async");
        if self.eat_word("table") {
            let table = self.entity_name()?;
            if self.eat_word("ingestion") {
                return self.put_mapping(verb, MappingOwner::Table(table));
            }
            let is_alter = matches!(verb, "alter" | "alter-merge");
            if is_alter && self.eat_dashed("column", "docstrings") {
                let texts = self.parenthesized(|parser| {
                    let column = parser.entity_name()?;
                    parser.expect(TokenKind::Colon)?;
                    Ok((column, parser.string_literal()?))
                })?;
                return Ok(Some(M::ColumnDocstrings { table, merge: verb == "alter-merge", texts }));
            }
            if is_alter && self.eat_words(&["extent", "tags"]) {
                let edit = if verb == "alter" { TagEdit::Set } else { TagEdit::Add };
                return self.extent_tags(is_async, edit, table);
            }
            return Ok(None);
        }
        if !is_async && self.eat_word("database") {
            let at_clause = self.at_word("prettyname");
            let name = if at_clause { None } else { Some(self.entity_name()?) };
            if verb == "alter" && self.eat_word("prettyname") {
                return Ok(Some(M::PrettyName { database: name, text: Some(self.string_literal()?) }));
            }
            if self.eat_word("ingestion") {
                return self.put_mapping(verb, MappingOwner::Database(name));
            }
        }
        Ok(None)
    }

    fn put_mapping(&mut self, verb: &str, owner: MappingOwner) -> P<Option<M>> {
        let mode = match verb {
            "create" => MappingMode::Create,
            "create-or-alter" => MappingMode::CreateOrAlter,
            "alter" => MappingMode::Alter,
            _ => MappingMode::AlterMerge,
        };
        let Some(kind) = self.mapping_kind() else { return Err(self.expected("the kind of a mapping")) };
        self.expect_word("mapping")?;
        // Two literals beside each other, which elsewhere would be one.
        let mapping = self.string_token()?;
        let text = self.string_literal()?;
        let properties = self.with_properties()?;
        Ok(Some(M::PutMapping { mode, owner, kind, mapping, text, properties }))
    }

    fn set_pretty_name(&mut self) -> P<Option<M>> {
        // `.set database <| ...` makes a table of that name.
        if !self.at_word("database") || self.kind_at(1) == TokenKind::LessPipe {
            return Ok(None);
        }
        self.bump();
        let database = Some(self.entity_name()?);
        if !self.eat_word("prettyname") {
            return Ok(None);
        }
        Ok(Some(M::PrettyName { database, text: Some(self.string_literal()?) }))
    }

    // .drop

    fn drop_managed(&mut self) -> P<Option<M>> {
        let is_async = self.eat_word("async");
        if self.eat_word("table") {
            let table = self.entity_name()?;
            if self.eat_words(&["extent", "tags"]) {
                return self.extent_tags(is_async, TagEdit::Remove, table);
            }
            if !is_async && self.eat_word("columns") {
                return Ok(Some(M::DropColumns { table, columns: self.parenthesized(Self::entity_name)? }));
            }
            if !is_async && self.eat_word("ingestion") {
                return self.drop_mapping(MappingOwner::Table(table));
            }
            return Ok(None);
        }
        if self.eat_words(&["extent", "tags", "from", "table"]) {
            let table = self.entity_name()?;
            return self.extent_tags(is_async, TagEdit::Remove, table);
        }
        if is_async {
            return Ok(None);
        }
        if self.eat_word("extents") {
            return self.drop_extents(false);
        }
        if self.eat_word("extent") {
            let ids = vec![self.identifier()?];
            let table = if self.eat_word("from") { Some(self.entity_name()?) } else { None };
            let chosen = ExtentChoice::Ids { ids, table };
            return Ok(Some(M::DropExtents { pretend: false, chosen, trim: None, limit: None }));
        }
        if self.eat_word("column") {
            let column = self.entity_name()?;
            return Ok(Some(M::DropColumn { column, if_exists: self.eat_word("ifexists") }));
        }
        if self.eat_word("database") {
            let name = self.entity_name()?;
            if self.eat_word("prettyname") {
                return Ok(Some(M::PrettyName { database: Some(name), text: None }));
            }
            if self.eat_word("ingestion") {
                return self.drop_mapping(MappingOwner::Database(Some(name)));
            }
            return Ok(None);
        }
        if self.eat_dashed("continuous", "export") {
            return Ok(Some(M::DropContinuousExport { name: self.entity_name()? }));
        }
        Ok(None)
    }

    fn drop_mapping(&mut self, owner: MappingOwner) -> P<Option<M>> {
        let Some(kind) = self.mapping_kind() else { return Err(self.expected("the kind of a mapping")) };
        self.expect_word("mapping")?;
        Ok(Some(M::DropMapping { owner, kind, mapping: self.string_literal()? }))
    }

    /// Behind `.drop extents`.
    fn drop_extents(&mut self, pretend: bool) -> P<Option<M>> {
        let what_if = self.eat_word("whatif");
        if self.at(TokenKind::LessPipe) {
            let chosen = ExtentChoice::Query(self.inner()?);
            return Ok(Some(M::DropExtents { pretend: pretend || what_if, chosen, trim: None, limit: None }));
        }
        if self.at(TokenKind::OpenParen) {
            let ids = self.ids()?;
            let table = if self.eat_word("from") { Some(self.entity_name()?) } else { None };
            return Ok(Some(M::DropExtents {
                pretend: pretend || what_if,
                chosen: ExtentChoice::Ids { ids, table },
                trim: None,
                limit: None,
            }));
        }
        let mut older = None;
        if self.eat_word("older") {
            let count = self.count()?;
            let unit = match self.word() {
                "days" => crate::value::timespan::TICKS_PER_DAY,
                "hours" => crate::value::timespan::TICKS_PER_HOUR,
                _ => return Err(self.expected("'days' or 'hours'")),
            };
            self.bump();
            older = Some(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(unit));
        }
        if !self.eat_word("from") {
            return if older.is_some() { Err(self.expected("'from'")) } else { Ok(None) };
        }
        let tables = if self.eat_words(&["all", "tables"]) {
            Vec::new()
        } else if self.at_word("tables") && self.kind_at(1) == TokenKind::OpenParen {
            self.bump();
            self.parenthesized(Self::entity_name)?
        } else {
            vec![self.entity_name()?]
        };
        let mut trim = None;
        if self.eat_words(&["trim", "by"]) {
            let by_data_size = match (self.eat_word("extentsize"), self.eat_word("datasize")) {
                (true, _) => false,
                (_, true) => true,
                _ => return Err(self.expected("'extentsize' or 'datasize'")),
            };
            let count = self.count()?;
            let unit: u64 = match self.word() {
                "bytes" => 1,
                "MB" => 1 << 20,
                "GB" => 1 << 30,
                _ => return Err(self.expected("'MB', 'GB' or 'bytes'")),
            };
            self.bump();
            trim = Some(Trim { by_data_size, bytes: count.saturating_mul(unit) });
        }
        let limit = if self.eat_word("limit") { Some(self.count()?) } else { None };
        Ok(Some(M::DropExtents { pretend, chosen: ExtentChoice::Tables { tables, older }, trim, limit }))
    }

    /// Behind `extent tags` and, in an older form, the table.
    fn extent_tags(&mut self, is_async: bool, edit: TagEdit, table: Name) -> P<Option<M>> {
        let mut tags = Vec::new();
        if self.at(TokenKind::OpenParen) {
            tags = self.parenthesized(Self::string_literal)?;
        }
        let properties = self.with_properties()?;
        let query = if self.at(TokenKind::LessPipe) { Some(self.inner()?) } else { None };
        let is_whole = match edit {
            TagEdit::Remove => tags.is_empty() != query.is_none(),
            TagEdit::Set | TagEdit::Add => query.is_some(),
        };
        if !is_whole {
            return Err(self.expected(if tags.is_empty() { "tags in brackets or '<|'" } else { "'<|'" }));
        }
        Ok(Some(M::ExtentTags { is_async, edit, table, tags, properties, query }))
    }

    // Extents

    fn move_extents(&mut self) -> P<Option<M>> {
        let is_async = self.eat_word("async");
        if !self.eat_word("extents") {
            return Ok(None);
        }
        if self.eat_words(&["to", "table"]) {
            let to = self.entity_name()?;
            let properties = self.with_properties()?;
            let chosen = ExtentChoice::Query(self.inner()?);
            return Ok(Some(M::MoveExtents { is_async, to, chosen, properties }));
        }
        let all = self.eat_word("all");
        let mut ids = if !all && self.at(TokenKind::OpenParen) { Some(self.ids()?) } else { None };
        self.expect_word("from")?;
        self.expect_word("table")?;
        let from = self.entity_name()?;
        self.expect_word("to")?;
        self.expect_word("table")?;
        let to = self.entity_name()?;
        let mut properties = self.with_properties()?;
        if !all && ids.is_none() {
            ids = Some(self.ids()?);
        }
        if properties.is_empty() {
            properties = self.with_properties()?;
        }
        let chosen = match ids {
            Some(ids) => ExtentChoice::Ids { ids, table: Some(from) },
            None => ExtentChoice::Tables { tables: vec![from], older: None },
        };
        Ok(Some(M::MoveExtents { is_async, to, chosen, properties }))
    }

    fn replace_extents(&mut self) -> P<Option<M>> {
        let is_async = self.eat_word("async");
        if !self.eat_words(&["extents", "in", "table"]) {
            return Ok(None);
        }
        let table = self.entity_name()?;
        let properties = self.with_properties()?;
        let marker = self.expect(TokenKind::LessPipe)?;
        let mut inner = Parser::over(self.text, marker.span.end as usize, false);
        let queries = inner.two_bodies();
        self.diagnostics.extend(inner.finish());
        let (drop, add) = queries?;
        Ok(Some(M::ReplaceExtents { is_async, table, drop, add, properties }))
    }

    /// `{ ... }, { ... }` to the end of the text: what stands between the braces.
    fn two_bodies(&mut self) -> P<(Span, Span)> {
        let first = self.braced()?;
        self.expect(TokenKind::Comma)?;
        let second = self.braced()?;
        if !self.at(TokenKind::End) {
            return Err(self.expected("the end of the command"));
        }
        Ok((first, second))
    }

    fn braced(&mut self) -> P<Span> {
        let partner = self.partner[self.index];
        if !self.at(TokenKind::OpenBrace) || partner == super::NO_PARTNER {
            return Err(self.expected("'{'"));
        }
        let open = self.span().end as usize;
        let close = self.tokens[partner as usize].span.start as usize;
        self.index = partner as usize;
        self.bump();
        let body = &self.text[open..close];
        let start = open + body.len() - body.trim_start().len();
        if body.trim().is_empty() {
            return Err(self.error(Span::new(open, close), "Query could not be parsed: expected a query".into()));
        }
        Ok(Span::new(start, start + body.trim().len()))
    }

    fn merge_extents(&mut self) -> P<Option<M>> {
        let is_async = self.eat_word("async");
        let dry_run =
            !is_async && self.at_word("dryrun") && self.kind_at(1) != TokenKind::OpenParen && self.eat_word("dryrun");
        if !self.at(TokenKind::Name) && !self.at_bracketed_name(0) {
            return Ok(None);
        }
        let table = self.entity_name()?;
        if !self.at(TokenKind::OpenParen) {
            return Ok(None);
        }
        let ids = self.ids()?;
        self.with_properties()?;
        Ok(Some(M::MergeExtents { is_async, dry_run, table, ids }))
    }

    // Records

    fn delete_records(&mut self) -> P<Option<M>> {
        let is_async = self.eat_word("async");
        let is_view = self.eat_dashed("materialized", "view");
        if !is_view && !self.eat_word("table") {
            return Ok(None);
        }
        let table = self.entity_name()?;
        if !self.eat_word("records") {
            return Ok(None);
        }
        let properties = self.with_properties()?;
        Ok(Some(M::DeleteRecords { is_async, is_view, table, properties, query: self.inner()? }))
    }

    fn update_records(&mut self) -> P<Option<M>> {
        let is_async = self.eat_word("async");
        if !self.eat_word("table") {
            return Ok(None);
        }
        let table = self.entity_name()?;
        self.expect_word("delete")?;
        let delete = self.any_name("the name of a query")?;
        self.expect_word("append")?;
        let append = self.any_name("the name of a query")?;
        let properties = self.with_properties()?;
        Ok(Some(M::UpdateRecords { is_async, table, delete, append, properties, query: self.inner()? }))
    }

    fn purge(&mut self) -> P<Option<M>> {
        let is_view = self.eat_dashed("materialized", "view");
        if !is_view && !self.eat_word("table") {
            return Ok(None);
        }
        let table = self.entity_name()?;
        let records = self.eat_word("records");
        self.expect_word("in")?;
        self.expect_word("database")?;
        let database = self.entity_name()?;
        if !records {
            self.expect_word("allrecords")?;
        }
        let properties = self.with_properties()?;
        let predicate = if records { Some(self.inner()?) } else { None };
        Ok(Some(M::Purge { is_view, table, database, properties, predicate }))
    }

    fn cancel_purges(&mut self) -> P<Option<M>> {
        if self.eat_word("purge") {
            return Ok(Some(M::CancelPurges { id: Some(self.identifier()?), database: None }));
        }
        if !self.eat_words(&["all", "purges"]) {
            return Ok(None);
        }
        let mut database = None;
        if self.eat_word("in") {
            self.expect_word("database")?;
            database = Some(self.entity_name()?);
        }
        Ok(Some(M::CancelPurges { id: None, database }))
    }

    fn undo_drop(&mut self) -> P<Option<M>> {
        if !self.eat_words(&["drop", "table"]) {
            return Ok(None);
        }
        let table = self.entity_name()?;
        let new_name = if self.eat_word("as") { Some(self.entity_name()?) } else { None };
        self.expect_word("version")?;
        self.expect(TokenKind::Equal)?;
        let version = if self.at(TokenKind::String) { self.string_literal()? } else { self.identifier()? };
        Ok(Some(M::UndoDropTable { table, new_name, version }))
    }

    fn rename_columns(&mut self) -> P<Option<M>> {
        if self.eat_word("column") {
            let column = self.entity_name()?;
            self.expect_word("to")?;
            return Ok(Some(M::RenameColumns { renames: vec![(self.any_name("a name")?, column)] }));
        }
        if !self.eat_word("columns") {
            return Ok(None);
        }
        let renames = self.comma_list(|parser| {
            let new = parser.any_name("a name")?;
            parser.expect(TokenKind::Equal)?;
            Ok((new, parser.entity_name()?))
        })?;
        Ok(Some(M::RenameColumns { renames }))
    }

    // Scripts and plugins

    fn execute_script(&mut self) -> P<Option<M>> {
        let is_cluster = self.eat_word("cluster");
        if !is_cluster {
            self.eat_word("database");
        }
        if !self.eat_word("script") {
            return Ok(None);
        }
        let properties = self.with_properties()?;
        Ok(Some(M::ExecuteScript { is_cluster, properties, script: self.inner()? }))
    }

    fn enable_managed(&mut self, enable: bool) -> P<Option<M>> {
        if self.eat_word("plugin") {
            let plugin = self.entity_name()?.text;
            return Ok(Some(M::EnablePlugin { plugin, enable }));
        }
        if self.eat_dashed("continuous", "export") {
            return Ok(Some(M::EnableContinuousExport { name: self.entity_name()?, enable }));
        }
        Ok(None)
    }

    // Export

    fn export(&mut self) -> P<Option<M>> {
        let is_async = self.eat_word("async");
        let compressed = self.eat_word("compressed");
        if !self.eat_word("to") {
            return Ok(None);
        }
        if !compressed && self.eat_word("table") {
            let table = self.entity_name()?;
            let properties = self.with_properties()?;
            return Ok(Some(M::ExportToTable { is_async, table, properties, query: self.inner()? }));
        }
        if !["csv", "tsv", "json", "parquet"].iter().any(|format| self.at_word(format)) {
            return Ok(None);
        }
        let format = self.word().to_string();
        self.bump();
        let uris = self.parenthesized(Self::string_literal)?;
        let properties = self.with_properties()?;
        let query = self.inner()?;
        Ok(Some(M::Export { is_async, compressed, format, uris, properties, query }))
    }

    fn put_continuous_export(&mut self) -> P<Option<M>> {
        let name = self.entity_name()?;
        let mut over = None;
        if self.eat_word("over") {
            over = Some(self.parenthesized(Self::entity_name)?);
        }
        self.expect_word("to")?;
        self.expect_word("table")?;
        let table = self.entity_name()?;
        let properties = self.with_properties()?;
        Ok(Some(M::PutContinuousExport { name, over, table, properties, query: self.inner()? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> M {
        let parsed = crate::parse_command(text);
        assert!(parsed.diagnostics.is_empty(), "{text}: {:?}", parsed.diagnostics);
        match parsed.tree {
            Command::Management(command) => *command,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_mapping_has_a_name_and_a_text_in_pieces() {
        let text = ".create table T ingestion json mapping \"M\" '[' '{\"column\":\"a\"}' ']'";
        let M::PutMapping { mapping, text, kind, .. } = read(text) else { panic!() };
        assert_eq!((mapping.as_str(), text.as_str(), kind.as_str()), ("M", "[{\"column\":\"a\"}]", "json"));
        assert!(matches!(read(".show table T ingestion mappings"), M::ShowMappings { kind: None, .. }));
        assert!(matches!(
            read(".show database ingestion csv mappings"),
            M::ShowMappings { owner: MappingOwner::Database(None), kind: Some(_), mapping: None }
        ));
    }

    #[test]
    fn extents_are_chosen_in_every_way() {
        let text = ".replace async extents in table T with (extentCreatedOnFrom=datetime(2023-03-10)) <| { .show table T extents | where true }, { print ExtentId = '}' }";
        let M::ReplaceExtents { is_async: true, drop, add, .. } = read(text) else { panic!() };
        assert_eq!(drop.text(text), ".show table T extents | where true");
        assert_eq!(add.text(text), "print ExtentId = '}'");
        let ids = "(AE6CD250-BE62-4978-90F2-5CB7A10D16D7,399F9254-4751-49E3-8192-C1CA78020706)";
        let text =
            format!(".move extents from table A to table B with (extentCreatedOnFrom=datetime(2023-03-10)) {ids}");
        let M::MoveExtents { chosen: ExtentChoice::Ids { ids, .. }, .. } = read(&text) else { panic!() };
        assert_eq!(ids[1], "399F9254-4751-49E3-8192-C1CA78020706");
        let M::DropExtents { pretend: true, chosen: ExtentChoice::Tables { tables, older }, .. } =
            read(".drop-pretend extents older 10 days from all tables")
        else {
            panic!()
        };
        assert!(tables.is_empty());
        assert_eq!(older, Some(10 * crate::value::timespan::TICKS_PER_DAY));
        assert!(matches!(read(".drop extents whatif <| T | where true"), M::DropExtents { pretend: true, .. }));
        assert!(matches!(
            read(".drop extents from T trim by extentsize 10 MB limit 5"),
            M::DropExtents { trim: Some(Trim { bytes: 10485760, .. }), limit: Some(5), .. }
        ));
    }

    #[test]
    fn the_rest_is_read() {
        assert!(matches!(
            read(".delete table T records with (whatif=true) <| T | where a == 1"),
            M::DeleteRecords { .. }
        ));
        assert!(matches!(
            read(".purge table T records in database D <| where a == 1"),
            M::Purge { predicate: Some(_), .. }
        ));
        assert!(matches!(read(".purge table T in database D allrecords"), M::Purge { predicate: None, .. }));
        assert!(matches!(read(".rename columns a = T.b, b = T.a"), M::RenameColumns { renames } if renames.len() == 2));
        assert!(matches!(read(".alter column ['T'].['C'] type=string"), M::AlterColumnType { .. }));
        assert!(matches!(read(".drop table T columns (a, b)"), M::DropColumns { .. }));
        assert!(matches!(read(".alter table T column-docstrings (a: 'x')"), M::ColumnDocstrings { merge: false, .. }));
        assert!(matches!(read(".alter database X prettyname 'p'"), M::PrettyName { text: Some(_), .. }));
        assert!(matches!(read(".show database identity"), M::ShowDatabases { aspect: DatabaseAspect::Identity, .. }));
        assert!(matches!(read(".show cluster databases"), M::ShowDatabases { aspect: DatabaseAspect::Names, .. }));
        assert!(matches!(read(".execute script <| .show tables"), M::ExecuteScript { is_cluster: false, .. }));
        assert!(matches!(read(".undo drop table T version=\"v1.2\""), M::UndoDropTable { .. }));
        assert!(matches!(
            read(".export async compressed to csv ('/x') with (namePrefix='e') <| T"),
            M::Export { is_async: true, compressed: true, .. }
        ));
        assert!(matches!(
            read(".create-or-alter continuous-export E over (T) to table X with (intervalBetweenRuns=1h) <| T"),
            M::PutContinuousExport { over: Some(_), .. }
        ));
        assert!(matches!(
            read(".show continuous-export E exported-artifacts"),
            M::ShowContinuousExports { what: ShowContinuousExport::Artifacts, .. }
        ));
    }
}
