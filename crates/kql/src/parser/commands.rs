//! Management commands.
//!
//! A command with a variant is read by its own rule. Where that rule stops short of the text's end,
//! the text may be a longer command that is only known by name (`.show table T policy caching`).

use super::{P, Parsed, Parser, shortened};
use crate::ast::{ColumnDeclaration, Name, Property, Script};
use crate::command::{
    Command, EntityCommand, ExtentScope, FunctionDefinition, FunctionMode, QueryIngestion, RoleChange, SchemaForm,
    SecurityScope, ShowTable, TableDefinition, TagTest, TextKind,
};
use crate::diagnostic::{self, Diagnostic};
use crate::lexer::TokenKind;
use crate::running_command::{JournalScope, RunningCommand};
use crate::span::Span;

/// Reads a text that begins with `.`.
pub(super) fn parse(text: &str) -> Parsed<Command> {
    let mut parser = Parser::over(text, 0, true);
    let tree = parser.command();
    Parsed { tree, diagnostics: parser.finish() }
}

impl Parser<'_> {
    fn command(&mut self) -> Command {
        if self.expect(TokenKind::Dot).is_err() {
            return Command::Error;
        }
        let result = self.known_command();
        if let Ok(Some(command)) = result {
            if self.at(TokenKind::Semicolon) && self.kind_at(1) != TokenKind::End {
                return self.with_query(command);
            }
            if self.at_command_end() {
                return self.piped(command);
            }
            return match self.longer_command() {
                Some(other) => other,
                None if self.at(TokenKind::Dot) => {
                    self.expected("the end of the command, since a request holds one command");
                    command
                }
                None => {
                    self.expected("'|' or the end of the command");
                    command
                }
            };
        }
        // Words that begin no rule of ours may have been read on the way; a mistake inside a rule stands.
        if result.is_ok() {
            self.index = 0;
        }
        if let Some(other) = self.longer_command() {
            return other;
        }
        if result.is_ok() {
            self.unknown_command();
        }
        Command::Error
    }

    /// A command that is known by name and reaches beyond what has been read.
    fn longer_command(&mut self) -> Option<Command> {
        let found = self.documented_command()?;
        if found.last_token < self.index {
            return None;
        }
        self.diagnostics.clear();
        self.stopped = false;
        // `<|` begins data or a query of the command's own; a `|` before it begins a query over its rows.
        self.index = 0;
        loop {
            self.skip_until(self.index, |kind| matches!(kind, TokenKind::Pipe | TokenKind::LessPipe));
            if !super::is_closing(self.kind()) {
                break;
            }
            self.bump();
        }
        let command = Command::Other { name: found.name.to_string() };
        Some(if self.at(TokenKind::Pipe) { self.piped(command) } else { command })
    }

    fn unknown_command(&mut self) {
        let start = self.tokens[0].span;
        let mut end = 1;
        while end < 5
            && self
                .tokens
                .get(end)
                .is_some_and(|token| token.kind == TokenKind::Name || token.kind == TokenKind::Minus && token.glued)
        {
            end += 1;
        }
        let span = start.to(self.tokens[end - 1].span);
        let message = format!(
            "Query could not be parsed at '{}': not a known management command",
            shortened(span.text(self.text))
        );
        let mut diagnostic = Diagnostic::new(diagnostic::SYNTAX, span, message);
        if let Some(name) = self.nearest_command() {
            diagnostic = diagnostic.hint(format!("did you mean '.{name}'?"));
        }
        self.report(diagnostic);
    }

    fn at_command_end(&self) -> bool {
        match self.kind() {
            TokenKind::Pipe | TokenKind::End => true,
            TokenKind::Semicolon => self.kind_at(1) == TokenKind::End,
            _ => false,
        }
    }

    fn piped(&mut self, command: Command) -> Command {
        let start = self.span();
        let operators = self.pipeline_tail();
        let pipeline_span = self.since(start);
        self.eat(TokenKind::Semicolon);
        if !self.at(TokenKind::End) {
            self.expected("'|' or the end of the command");
        }
        if operators.is_empty() {
            return command;
        }
        Command::Piped { command: Box::new(command), pipeline_span, operators }
    }

    /// `; statements`: a query that names the command's rows `$command_results`.
    fn with_query(&mut self, command: Command) -> Command {
        self.bump();
        let start = self.span();
        let query = self.script();
        Command::WithQuery { command: Box::new(command), query, query_span: self.since(start) }
    }

    /// A word with its hyphens (`set-or-append`); empty when none is here.
    pub(super) fn hyphenated(&mut self) -> String {
        let mut word = String::new();
        while self.at(TokenKind::Name) {
            word.push_str(self.bump().span.text(self.text));
            if !(self.at(TokenKind::Minus)
                && self.lexeme(0).glued
                && self.lexeme(1).glued
                && self.kind_at(1) == TokenKind::Name)
            {
                break;
            }
            self.bump();
            word.push('-');
        }
        word
    }

    /// Reads the words if all of them are next.
    pub(super) fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(ahead, word)| self.is_word(ahead, word));
        if found {
            for _ in words {
                self.bump();
            }
        }
        found
    }

    /// A command with a variant; `None` when the words begin no such command.
    fn known_command(&mut self) -> P<Option<Command>> {
        let verb = self.hyphenated();
        if let Some(command) = self.policy_command(&verb)? {
            return Ok(Some(command));
        }
        if let Some(command) = self.management_command(&verb)? {
            return Ok(Some(command));
        }
        match verb.as_str() {
            "show" if self.eat_words(&["export", "containers"]) => Ok(Some(Command::ShowExportContainers)),
            "show" => self.show_command(),
            "create" | "create-merge" | "alter" | "alter-merge" | "create-or-alter" => self.create_command(&verb),
            "add" => self.change_role(RoleChange::Add),
            "drop" => self.drop_command(),
            "rename" => self.rename_command(),
            "ingest" => self.ingest_command(),
            "set" => match self.change_role(RoleChange::Set)? {
                Some(command) => Ok(Some(command)),
                None => self.ingest_from_query(QueryIngestion::Set),
            },
            "append" => self.ingest_from_query(QueryIngestion::Append),
            "set-or-append" => self.ingest_from_query(QueryIngestion::SetOrAppend),
            "set-or-replace" => self.ingest_from_query(QueryIngestion::SetOrReplace),
            "clear" if self.eat_word("table") => {
                let table = self.entity_name()?;
                Ok(self.eat_word("data").then_some(Command::ClearTableData { table }))
            }
            "clear" => self.clear_entity(),
            "enable" => self.enable_entity(true),
            "disable" => self.enable_entity(false),
            "make" => self.make_command(),
            "cancel" if self.eat_word("query") => {
                let client_request_id = self.identifier()?;
                Ok(Some(Command::CancelQuery { client_request_id, properties: self.with_properties()? }))
            }
            "cancel" if self.eat_word("operation") => {
                let id = self.identifier()?;
                Ok(Some(Command::CancelOperation { id, properties: self.with_properties()? }))
            }
            "get" if self.eat_words(&["kusto", "identity", "token"]) => Ok(Some(Command::GetKustoIdentityToken)),
            "get" if self.eat_words(&["ingestion", "resources"]) => Ok(Some(Command::GetIngestionResources)),
            _ => Ok(None),
        }
    }

    // Names and small clauses.

    /// The name of a table, database or function: bare, with hyphens and dots, bracketed or quoted.
    pub(super) fn entity_name(&mut self) -> P<Name> {
        if self.at(TokenKind::String) {
            let span = self.span();
            return Ok(Name { text: self.string_token()?, span });
        }
        let mut name = self.any_name("a name")?;
        loop {
            let is_joined = matches!(self.kind(), TokenKind::Minus | TokenKind::Dot)
                && self.lexeme(0).glued
                && self.lexeme(1).glued;
            let is_bare = matches!(self.kind_at(1), TokenKind::Name | TokenKind::Long);
            if !is_joined || !(is_bare || self.at_bracketed_name(1) && self.at(TokenKind::Dot)) {
                return Ok(name);
            }
            name.text.push_str(self.bump().span.text(self.text));
            if is_bare {
                name.text.push_str(self.bump().span.text(self.text));
            } else {
                name.text.push_str(&self.bracketed_name()?.text);
            }
            name.span = self.since(name.span);
        }
    }

    /// `(a, b)` or `a, b`.
    fn entity_names(&mut self) -> P<Vec<Name>> {
        if self.at(TokenKind::OpenParen) {
            self.parenthesized(Self::entity_name)
        } else {
            self.comma_list(Self::entity_name)
        }
    }

    /// A quoted text or a bare run of characters such as a GUID.
    pub(super) fn identifier(&mut self) -> P<String> {
        if self.at(TokenKind::String) {
            return self.string_literal();
        }
        let start = self.span();
        let is_part = |kind| {
            matches!(
                kind,
                TokenKind::Name
                    | TokenKind::Long
                    | TokenKind::Real
                    | TokenKind::TimeSpan
                    | TokenKind::Minus
                    | TokenKind::Dot
            )
        };
        if !is_part(self.kind()) {
            return Err(self.expected("an identifier"));
        }
        self.bump();
        while is_part(self.kind()) && self.lexeme(0).glued {
            self.bump();
        }
        Ok(self.since(start).text(self.text).to_string())
    }

    fn command_column(&mut self) -> P<ColumnDeclaration> {
        let name = self.entity_name()?;
        self.expect(TokenKind::Colon)?;
        Ok(ColumnDeclaration { name, ty: self.type_name()? })
    }

    fn table_definition(&mut self) -> P<TableDefinition> {
        let name = self.entity_name()?;
        Ok(TableDefinition { name, columns: self.parenthesized(Self::command_column)? })
    }

    fn as_json(&mut self) -> bool {
        self.eat_words(&["as", "json"])
    }

    // .show

    fn show_command(&mut self) -> P<Option<Command>> {
        let noun = self.hyphenated();
        if let Some(command) = self.show_running(&noun)? {
            return Ok(Some(command));
        }
        let command = match noun.as_str() {
            "tables" => return self.show_tables(),
            "table" => return self.show_table(),
            "databases" => return self.show_databases(),
            "database" => return self.show_database(),
            "schema" => Command::ShowSchema { as_json: self.as_json() },
            "cluster" if self.eat_word("extents") => self.show_extents(ExtentScope::Cluster)?,
            "extents" => self.show_extents(ExtentScope::Cluster)?,
            "cluster" => match self.show_security(SecurityScope::Cluster)? {
                Some(command) => command,
                None => Command::ShowCluster,
            },
            "version" => Command::ShowVersion,
            "functions" => Command::ShowFunctions,
            "function" => {
                let function = self.entity_name()?;
                if let Some(command) = self.show_security(SecurityScope::Function(function.clone()))? {
                    return Ok(Some(command));
                }
                Command::ShowFunction { function, schema_as_json: self.eat_words(&["schema", "as", "json"]) }
            }
            "queries" => self.show_queries(false)?,
            "running" if self.eat_word("queries") => self.show_queries(true)?,
            "commands" => Command::ShowCommands,
            "principal" => return self.show_principal(),
            noun => return self.show_entity(noun),
        };
        Ok(Some(command))
    }

    fn show_queries(&mut self, running: bool) -> P<Command> {
        let mut by_user = None;
        if self.eat_word("by") {
            if self.eat(TokenKind::Star) {
                by_user = Some("*".to_string());
            } else {
                self.expect_word("user")?;
                by_user = Some(self.string_literal()?);
            }
        }
        Ok(Command::ShowQueries { running, by_user })
    }

    fn show_tables(&mut self) -> P<Option<Command>> {
        let tables = if self.at(TokenKind::OpenParen) { self.parenthesized(Self::entity_name)? } else { Vec::new() };
        if self.eat_word("extents") {
            return Ok(Some(self.show_extents(ExtentScope::Tables(tables))?));
        }
        Ok(Some(Command::ShowTables { tables, details: self.eat_word("details") }))
    }

    fn show_table(&mut self) -> P<Option<Command>> {
        let table = self.entity_name()?;
        if self.eat_word("extents") {
            return Ok(Some(self.show_extents(ExtentScope::Tables(vec![table]))?));
        }
        if let Some(command) = self.show_security(SecurityScope::Table(table.clone()))? {
            return Ok(Some(command));
        }
        let what = if self.eat_word("cslschema") {
            ShowTable::CslSchema
        } else if self.eat_words(&["schema", "as", "json"]) {
            ShowTable::SchemaAsJson
        } else if self.eat_word("details") {
            ShowTable::Details
        } else {
            ShowTable::Columns
        };
        Ok(Some(Command::ShowTable { table, what }))
    }

    fn show_databases(&mut self) -> P<Option<Command>> {
        let databases = if self.at(TokenKind::OpenParen) { self.parenthesized(Self::entity_name)? } else { Vec::new() };
        if self.eat_word("schema") {
            self.eat_word("details");
            let as_json = self.as_json();
            return Ok(Some(Command::ShowDatabasesSchema { databases, as_json, properties: self.with_properties()? }));
        }
        if self.eat_word("entities") {
            return Ok(Some(Command::ShowDatabasesEntities { databases, properties: self.with_properties()? }));
        }
        if self.eat_word("extents") {
            return Ok(Some(self.show_extents(ExtentScope::Databases(databases))?));
        }
        if !databases.is_empty() {
            return Err(self.expected("'schema' or 'entities'"));
        }
        Ok(Some(Command::ShowDatabases { details: self.eat_word("details") }))
    }

    fn show_database(&mut self) -> P<Option<Command>> {
        let is_clause = self.at(TokenKind::Name)
            && matches!(
                self.word(),
                "schema"
                    | "cslschema"
                    | "details"
                    | "extents"
                    | "policies"
                    | "datastats"
                    | "metadata"
                    | "identity"
                    | "principals"
                    | "principal"
            );
        let has_name = !is_clause && !self.at_command_end();
        let database = if has_name { Some(self.entity_name()?) } else { None };
        if self.eat_word("extents") {
            return Ok(Some(self.show_extents(ExtentScope::Database(database))?));
        }
        if let Some(name) = &database
            && self.at_word("journal")
        {
            let scope = JournalScope::Database(name.clone());
            self.bump();
            return Ok(Some(Command::Running(Box::new(RunningCommand::ShowJournal { scope }))));
        }
        if let Some(command) = self.show_security(SecurityScope::Database(database.clone()))? {
            return Ok(Some(command));
        }
        let form = if self.eat_word("cslschema") {
            SchemaForm::CslSchema
        } else if self.eat_word("schema") {
            self.eat_word("details");
            if self.as_json() {
                SchemaForm::Json
            } else if self.eat_words(&["as", "csl", "script"]) {
                SchemaForm::CslScript
            } else {
                SchemaForm::Rows
            }
        } else {
            return Ok(Some(Command::ShowDatabase { database, details: self.eat_word("details") }));
        };
        let if_later_than = if self.eat_word("if_later_than") { Some(self.string_literal()?) } else { None };
        let properties = self.with_properties()?;
        Ok(Some(Command::ShowDatabaseSchema { database, form, if_later_than, properties }))
    }

    /// `[hot] [(ids)] [where tags has "x" and ...]` behind `extents`.
    fn show_extents(&mut self, scope: ExtentScope) -> P<Command> {
        let ids = if self.at(TokenKind::OpenParen) { self.parenthesized(Self::identifier)? } else { Vec::new() };
        let hot = self.eat_word("hot");
        let mut tags = Vec::new();
        if self.eat_word("where") {
            loop {
                self.expect_word("tags")?;
                let test = match self.word() {
                    "has" => TagTest::Has,
                    "!has" => TagTest::NotHas,
                    "contains" => TagTest::Contains,
                    "!contains" => TagTest::NotContains,
                    _ => return Err(self.expected("'has', '!has', 'contains' or '!contains'")),
                };
                self.bump();
                tags.push((test, self.string_literal()?));
                if !self.eat_word("and") {
                    break;
                }
            }
        }
        Ok(Command::ShowExtents { scope, hot, ids, tags })
    }

    // .create, .alter, .drop, .rename

    fn create_command(&mut self, verb: &str) -> P<Option<Command>> {
        if let Some(command) = self.put_running(verb)? {
            return Ok(Some(command));
        }
        match self.word() {
            "table" => {
                self.bump();
                self.create_table(verb)
            }
            "tables" if matches!(verb, "create" | "create-merge") => {
                self.bump();
                let tables = self.comma_list(Self::table_definition)?;
                let properties = self.with_properties()?;
                Ok(Some(Command::CreateTables { tables, merge: verb == "create-merge", properties }))
            }
            "database" if verb == "create" => {
                self.bump();
                self.create_database()
            }
            "function" => {
                self.bump();
                let mode = match verb {
                    "create" => FunctionMode::Create,
                    "alter" => FunctionMode::Alter,
                    "create-or-alter" => FunctionMode::CreateOrAlter,
                    _ => return Ok(None),
                };
                self.create_function(mode)
            }
            _ => self.put_entity(verb),
        }
    }

    fn create_table(&mut self, verb: &str) -> P<Option<Command>> {
        let name = self.entity_name()?;
        let mut if_not_exists = self.eat_word("ifnotexists");
        if verb == "create" && self.eat_words(&["based"]) {
            self.expect(TokenKind::Minus)?;
            self.expect_word("on")?;
            let base = self.entity_name()?;
            if_not_exists |= self.eat_word("ifnotexists");
            let properties = self.with_properties()?;
            return Ok(Some(Command::CreateTableBasedOn { name, base, if_not_exists, properties }));
        }
        if verb == "alter" && self.eat_word("docstring") {
            return Ok(Some(Command::AlterTableDocString { table: name, text: self.string_literal()? }));
        }
        if verb == "alter" && self.eat_word("folder") {
            return Ok(Some(Command::AlterTableFolder { table: name, text: self.string_literal()? }));
        }
        let columns = self.parenthesized(Self::command_column)?;
        if_not_exists |= self.eat_word("ifnotexists");
        let properties = self.with_properties()?;
        let table = TableDefinition { name, columns };
        Ok(match verb {
            "create" => Some(Command::CreateTable { table, merge: false, if_not_exists, properties }),
            "create-merge" => Some(Command::CreateTable { table, merge: true, if_not_exists, properties }),
            "alter" => Some(Command::AlterTable { table, merge: false, properties }),
            "alter-merge" => Some(Command::AlterTable { table, merge: true, properties }),
            _ => None,
        })
    }

    fn create_database(&mut self) -> P<Option<Command>> {
        let database = self.entity_name()?;
        let (mut persist, mut volatile, mut if_not_exists) = (Vec::new(), false, false);
        loop {
            if self.eat_word("persist") {
                persist = self.parenthesized(Self::string_literal)?;
            } else if self.eat_word("volatile") {
                volatile = true;
            } else if self.eat_word("ifnotexists") {
                if_not_exists = true;
            } else {
                return Ok(Some(Command::CreateDatabase { database, persist, volatile, if_not_exists }));
            }
        }
    }

    fn create_function(&mut self, mode: FunctionMode) -> P<Option<Command>> {
        let mut if_not_exists = self.eat_word("ifnotexists");
        let properties = self.with_properties()?;
        if_not_exists |= self.eat_word("ifnotexists");
        let name = self.entity_name()?;
        if mode == FunctionMode::Alter && self.kind_at(1) == TokenKind::String {
            let which = if self.eat_word("folder") { Some(TextKind::Folder) } else { None };
            let which = which.or_else(|| self.eat_word("docstring").then_some(TextKind::DocString));
            if let Some(which) = which {
                let text = self.string_literal()?;
                let alter = EntityCommand::AlterFunctionText { function: name, which, text };
                return Ok(Some(Command::Entity(Box::new(alter))));
            }
        }
        let start = self.span();
        let parameters = self.parenthesized(Self::parameter)?;
        let parameters_text = self.since(start).text(self.text).to_string();
        let lambda = self.lambda_body(false, parameters)?;
        let body_text = lambda.body_span.text(self.text).to_string();
        let function = FunctionDefinition { name, parameters_text, body_text, lambda };
        Ok(Some(Command::CreateFunction { mode, if_not_exists, properties, function }))
    }

    fn drop_command(&mut self) -> P<Option<Command>> {
        if let Some(command) = self.change_role(RoleChange::Drop)? {
            return Ok(Some(command));
        }
        if self.eat_word("table") {
            let table = self.entity_name()?;
            return Ok(Some(Command::DropTable { table, if_exists: self.eat_word("ifexists") }));
        }
        if self.eat_word("tables") {
            let tables = self.entity_names()?;
            return Ok(Some(Command::DropTables { tables, if_exists: self.eat_word("ifexists") }));
        }
        if self.eat_word("database") {
            let database = self.entity_name()?;
            return Ok(Some(Command::DropDatabase { database, if_exists: self.eat_word("ifexists") }));
        }
        if self.eat_word("function") {
            let function = self.entity_name()?;
            return Ok(Some(Command::DropFunction { function, if_exists: self.eat_word("ifexists") }));
        }
        if self.eat_word("functions") {
            let functions = self.entity_names()?;
            return Ok(Some(Command::DropFunctions { functions, if_exists: self.eat_word("ifexists") }));
        }
        if let Some(command) = self.drop_running()? {
            return Ok(Some(command));
        }
        self.drop_entity()
    }

    fn rename_command(&mut self) -> P<Option<Command>> {
        if self.eat_word("table") {
            let from = self.entity_name()?;
            self.expect_word("to")?;
            return Ok(Some(Command::RenameTable { from, to: self.entity_name()? }));
        }
        if self.eat_word("tables") {
            let renames = self.comma_list(|parser| {
                let new = parser.entity_name()?;
                parser.expect(TokenKind::Equal)?;
                Ok((new, parser.entity_name()?))
            })?;
            return Ok(Some(Command::RenameTables { renames }));
        }
        self.rename_entity()
    }

    // Ingestion

    fn ingest_command(&mut self) -> P<Option<Command>> {
        if self.eat_words(&["inline", "into", "table"]) {
            return self.ingest_inline();
        }
        let is_async = self.eat_word("async");
        self.expect_word("into")?;
        self.expect_word("table")?;
        let table = self.entity_name()?;
        let sources = if self.at(TokenKind::OpenParen) {
            self.parenthesized(Self::string_literal)?
        } else {
            vec![self.string_literal()?]
        };
        let properties = self.with_properties()?;
        Ok(Some(Command::IngestSources { is_async, table, sources, properties }))
    }

    fn ingest_inline(&mut self) -> P<Option<Command>> {
        let table = self.entity_name()?;
        let properties = self.with_properties()?;
        if self.at(TokenKind::OpenBracket) {
            return self.ingest_rows(table, properties);
        }
        let marker = self.expect(TokenKind::LessPipe)?;
        let rest = &self.text[marker.span.end as usize..];
        // The line of `<|` is no data unless something stands there.
        let data = rest.trim_start_matches([' ', '\t']);
        let data = data.strip_prefix("\r\n").or_else(|| data.strip_prefix('\n')).unwrap_or(data);
        let data_span = Span::new(self.text.len() - data.len(), self.text.len());
        Ok(Some(Command::IngestInline { table, properties, data: data.to_string(), data_span }))
    }

    /// `[row] [row]`: the text of a row is data, in which `""` quotes hide brackets.
    fn ingest_rows(&mut self, table: Name, properties: Vec<Property>) -> P<Option<Command>> {
        let start = self.span();
        let bytes = self.text.as_bytes();
        let mut at = start.start as usize;
        let mut data = String::new();
        while bytes.get(at) == Some(&b'[') {
            let row = at + 1;
            let mut is_quoted = false;
            at = row;
            while at < bytes.len() && (is_quoted || bytes[at] != b']') {
                is_quoted ^= bytes[at] == b'"';
                at += 1;
            }
            if at >= bytes.len() {
                return Err(
                    self.error(Span::new(row - 1, row), "Query could not be parsed: the row has no closing ']'".into())
                );
            }
            data.push_str(&self.text[row..at]);
            data.push('\n');
            at += 1;
            while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
                at += 1;
            }
        }
        let data_span = Span::new(start.start as usize, at);
        while self.kind() != TokenKind::End && (self.span().start as usize) < at {
            self.bump();
        }
        Ok(Some(Command::IngestInline { table, properties, data, data_span }))
    }

    fn ingest_from_query(&mut self, mode: QueryIngestion) -> P<Option<Command>> {
        let is_async = self.eat_word("async");
        if self.at_word("stored_query_result") {
            return match mode {
                QueryIngestion::Set | QueryIngestion::SetOrReplace => {
                    self.set_stored_result(mode == QueryIngestion::SetOrReplace, is_async)
                }
                _ => Ok(None),
            };
        }
        // `.set table T admins (...)` is another command; here `table` may stand before the name.
        if self.at_word("table") && (self.kind_at(1) == TokenKind::Name || self.at_bracketed_name(1)) {
            self.bump();
        }
        let table = self.entity_name()?;
        let properties = self.with_properties()?;
        let (query, query_span) = self.query_behind_marker()?;
        Ok(Some(Command::IngestFromQuery { mode, is_async, table, properties, query, query_span }))
    }

    /// `<| query`, to the end of the text.
    pub(super) fn query_behind_marker(&mut self) -> P<(Script, Span)> {
        let marker = self.expect(TokenKind::LessPipe)?;
        let from = marker.span.end as usize;
        let mut parser = Parser::over(self.text, from, false);
        let query = parser.script();
        let query_span = parser.query_span(from);
        self.diagnostics.extend(parser.finish());
        Ok((query, query_span))
    }

    /// From the first token to the end of the last one.
    fn query_span(&self, from: usize) -> Span {
        let first = self.tokens[0].span.start as usize;
        let last = self.tokens.len().checked_sub(2).map_or(from, |index| self.tokens[index].span.end as usize);
        Span::new(first.min(last), last)
    }
}
