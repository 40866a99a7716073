//! Tabular operators.

use super::{P, Parser};
use crate::ast::{
    Argument, ColumnDeclaration, Expr, ExprKind, Literal, MvItem, Name, NamedExpr, OperatorKind, ParsePart, Pipeline,
    Property, ScanStep, TopNestedLevel,
};
use crate::diagnostic::{self, Diagnostic};
use crate::lexer::TokenKind;
use crate::types::KqlType;

/// Names of the operators, for "did you mean".
const OPERATORS: &[&str] = &[
    "as",
    "assert-schema",
    "consume",
    "count",
    "distinct",
    "evaluate",
    "extend",
    "facet",
    "filter",
    "find",
    "fork",
    "getschema",
    "graph-mark-components",
    "graph-match",
    "graph-shortest-paths",
    "graph-to-table",
    "graph-where-edges",
    "graph-where-nodes",
    "invoke",
    "join",
    "limit",
    "lookup",
    "macro-expand",
    "make-graph",
    "make-series",
    "mv-apply",
    "mv-expand",
    "order",
    "parse",
    "parse-kv",
    "parse-where",
    "partition",
    "print",
    "project",
    "project-away",
    "project-by-names",
    "project-keep",
    "project-rename",
    "project-reorder",
    "range",
    "reduce",
    "render",
    "sample",
    "sample-distinct",
    "scan",
    "search",
    "serialize",
    "sort",
    "summarize",
    "take",
    "top",
    "top-hitters",
    "top-nested",
    "union",
    "where",
];

impl<'a> Parser<'a> {
    /// The operator's name with its hyphens, and how many tokens it has.
    pub(super) fn operator_name(&self) -> (&'a str, usize) {
        let mut tokens = 1;
        while self.kind_at(tokens) == TokenKind::Minus
            && self.lexeme(tokens).glued
            && self.kind_at(tokens + 1) == TokenKind::Name
            && self.lexeme(tokens + 1).glued
        {
            tokens += 2;
        }
        let whole = self.span().to(self.lexeme(tokens - 1).span).text(self.text);
        if tokens == 1 || OPERATORS.contains(&whole) || whole == "project-smart" {
            return (whole, tokens);
        }
        // `count-x` is an operator and something wrong behind it; `mv-exapnd` is one unknown word.
        if OPERATORS.contains(&self.word()) && crate::diagnostic::nearest(whole, OPERATORS.iter().copied()).is_none() {
            return (self.word(), 1);
        }
        (whole, tokens)
    }

    /// An operator from its name to its last argument.
    pub(super) fn operator(&mut self) -> P<OperatorKind> {
        if !self.at(TokenKind::Name) {
            return Err(self.missing("the name of an operator"));
        }
        let (before, start) = (self.gap(), self.span());
        let (name, tokens) = self.operator_name();
        let name = name.to_string();
        let name_span = start.to(self.lexeme(tokens - 1).span);
        for _ in 0..tokens {
            self.bump();
        }
        match name.as_str() {
            "where" | "filter" => {
                let parameters = self.parameters(&[])?;
                Ok(OperatorKind::Where { parameters, predicate: self.expression()? })
            }
            "extend" => Ok(OperatorKind::Extend(self.named_list()?)),
            "project" => Ok(OperatorKind::Project(self.optional_items()?)),
            "project-away" => Ok(OperatorKind::ProjectAway(self.column_patterns()?)),
            "project-keep" => Ok(OperatorKind::ProjectKeep(self.column_patterns()?)),
            "project-by-names" => Ok(OperatorKind::ProjectByNames(self.column_patterns()?)),
            "project-rename" => Ok(OperatorKind::ProjectRename(self.optional_items()?)),
            "project-reorder" => self.project_reorder(),
            "summarize" => self.summarize(),
            "distinct" => self.distinct(),
            "sort" | "order" => self.sort(),
            "top" => self.top(),
            "top-hitters" => self.top_hitters(),
            "top-nested" => self.top_nested(),
            "take" | "limit" => {
                let parameters = self.parameters(&[])?;
                Ok(OperatorKind::Take { parameters, count: self.expression()? })
            }
            "sample" => Ok(OperatorKind::Sample { count: self.expression()? }),
            "sample-distinct" => {
                let parameters = self.parameters(&[])?;
                let count = self.expression()?;
                self.expect_word("of")?;
                Ok(OperatorKind::SampleDistinct { parameters, count, of: self.named_expression()? })
            }
            "count" => {
                let name = if self.eat_word("as") { Some(self.declared_name()?) } else { None };
                Ok(OperatorKind::Count { name })
            }
            "join" => {
                let (parameters, right, on) = self.join(true)?;
                Ok(OperatorKind::Join { parameters, right, on })
            }
            "lookup" => {
                let (parameters, right, on) = self.join(false)?;
                Ok(OperatorKind::Lookup { parameters, right, on })
            }
            "union" => {
                let parameters = self.parameters(&["kind", "withsource", "with_source", "isfuzzy"])?;
                Ok(OperatorKind::Union { parameters, items: self.comma_list(Self::table_reference)? })
            }
            "mv-expand" => self.mv_expand(None),
            // The old spelling stops after 128 rows unless told. Source: mv-expand-operator page.
            "mvexpand" => self.mv_expand(Some(128)),
            "mv-apply" | "mvapply" => self.mv_apply(),
            "parse" => self.parse_operator(false),
            "parse-where" => self.parse_operator(true),
            "parse-kv" => self.parse_kv(),
            "make-series" => self.make_series(),
            "scan" => self.scan(),
            "serialize" => {
                // Hints change nothing here.
                self.parameters(&[])?;
                Ok(OperatorKind::Serialize(self.optional_items()?))
            }
            "partition" => self.partition(),
            "__partitionby" => self.partition_by(),
            "fork" => self.fork(),
            "facet" => self.facet(),
            "reduce" => self.reduce(),
            "evaluate" => self.evaluate(),
            "invoke" => self.invoke(),
            "consume" => Ok(OperatorKind::Consume(self.parameters(&["decodeblocks"])?)),
            "getschema" => Ok(OperatorKind::GetSchema(self.parameters(&["kind"])?)),
            "execute_and_cache" => Ok(OperatorKind::ExecuteAndCache),
            "assert-schema" => Ok(OperatorKind::AssertSchema(self.schema()?)),
            "macro-expand" => self.macro_expand(),
            "as" => {
                let parameters = self.parameters(&[])?;
                Ok(OperatorKind::As { parameters, name: self.any_name("a name")? })
            }
            "render" => self.render(),
            "search" => self.search(),
            "find" => self.find(),
            "print" => Ok(OperatorKind::Print(self.named_list()?)),
            "range" => self.range(),
            "make-graph" => self.make_graph(),
            "graph-match" => self.graph_match(false),
            "graph-shortest-paths" => self.graph_match(true),
            "graph-mark-components" => {
                Ok(OperatorKind::GraphMarkComponents(self.parameters(&["kind", "with_component_id"])?))
            }
            "graph-to-table" => Ok(OperatorKind::GraphToTable(self.comma_list(Self::graph_output)?)),
            "graph-where-nodes" => Ok(OperatorKind::GraphWhereNodes(self.expression()?)),
            "graph-where-edges" => Ok(OperatorKind::GraphWhereEdges(self.expression()?)),
            _ => {
                let message = format!("Query could not be parsed at '{name}': expected the name of an operator");
                // A keyword means that the operator is missing; any other word is meant as one.
                let place = if super::keywords::is_keyword(&name) { before } else { name_span };
                let diagnostic = Diagnostic::new(diagnostic::SYNTAX, place, message);
                Err(self.report(diagnostic.hint_nearest(&name, OPERATORS.iter().copied())))
            }
        }
    }

    /// Items that an operator may also go without.
    fn optional_items(&mut self) -> P<Vec<NamedExpr>> {
        if self.at_no_item()? { Ok(Vec::new()) } else { self.named_list() }
    }

    /// Whether an optional list is empty; a keyword there belongs to nothing.
    fn at_no_item(&mut self) -> P<bool> {
        if self.at_operator_end() {
            return Ok(true);
        }
        let can_begin = match self.kind() {
            TokenKind::Name => !self.at_misplaced_keyword(),
            TokenKind::Minus | TokenKind::Plus | TokenKind::Comma | TokenKind::OpenBracket => true,
            TokenKind::Star | TokenKind::Long => self.at_star_operand() || self.lexeme(1).glued || self.at_expression(),
            _ => self.at_expression(),
        };
        if !can_begin {
            return Err(self.unexpected("a column, '|', ';' or the end of the operator"));
        }
        Ok(false)
    }

    /// Whether an operator begins here, as if its `|` were forgotten.
    pub(super) fn at_operator_name(&self) -> bool {
        self.at(TokenKind::Name) && OPERATORS.contains(&self.operator_name().0)
    }

    fn at_operator_end(&self) -> bool {
        matches!(
            self.kind(),
            TokenKind::Pipe | TokenKind::Semicolon | TokenKind::CloseParen | TokenKind::CloseBrace | TokenKind::End
        )
    }

    /// Names, wildcards and, for `project-by-names`, expressions.
    pub(super) fn column_patterns(&mut self) -> P<Vec<Expr>> {
        if !self.at(TokenKind::Star) && self.at_no_item()? {
            return Ok(Vec::new());
        }
        self.comma_list(Self::column_pattern)
    }

    fn column_pattern(&mut self) -> P<Expr> {
        match self.wildcard() {
            Some(wildcard) => Ok(wildcard),
            None => self.expression(),
        }
    }

    fn project_reorder(&mut self) -> P<OperatorKind> {
        if !self.at(TokenKind::Star) && self.at_no_item()? {
            return Ok(OperatorKind::ProjectReorder(Vec::new()));
        }
        let items = self.comma_list(|parser| {
            let column = parser.column_pattern()?;
            let order = match parser.word() {
                "asc" | "desc" => Some(parser.bump().span.text(parser.text).to_string()),
                "granny" if parser.kind_at(1) == TokenKind::Minus && matches!(parser.word_at(2), "asc" | "desc") => {
                    let start = parser.bump().span;
                    parser.bump();
                    parser.bump();
                    Some(parser.since(start).text(parser.text).to_string())
                }
                _ => None,
            };
            Ok((column, order))
        })?;
        Ok(OperatorKind::ProjectReorder(items))
    }

    fn summarize(&mut self) -> P<OperatorKind> {
        let mut parameters = self.parameters(&["bin_legacy"])?;
        let aggregates = if self.at_word("by") || self.at_operator_end() { Vec::new() } else { self.named_list()? };
        let mut by = None;
        if self.eat_word("by") {
            by = Some(self.named_list()?);
            // The old way to give a bin's size: `by t bin=1h`.
            if self.at_word("bin") && self.kind_at(1) == TokenKind::Equal {
                let name = self.any_name("a name")?;
                self.bump();
                parameters.push(Property { name, value: self.unary()? });
            }
        }
        Ok(OperatorKind::Summarize { parameters, aggregates, by })
    }

    fn distinct(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&[])?;
        let columns = self.comma_list(|parser| {
            if !parser.at(TokenKind::Star) {
                return parser.named_expression();
            }
            let span = parser.bump().span;
            Ok(NamedExpr { names: Vec::new(), tuple: false, value: Expr { kind: ExprKind::Star, span } })
        })?;
        Ok(OperatorKind::Distinct { parameters, columns })
    }

    fn sort(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&[])?;
        self.expect_word("by")?;
        Ok(OperatorKind::Sort { parameters, keys: self.comma_list(Self::order_key)? })
    }

    fn top(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&[])?;
        let count = self.expression()?;
        self.expect_word("by")?;
        Ok(OperatorKind::Top { parameters, count, key: self.order_key()? })
    }

    fn top_hitters(&mut self) -> P<OperatorKind> {
        let count = self.expression()?;
        self.expect_word("of")?;
        let of = self.named_expression()?;
        let by = if self.eat_word("by") { Some(self.named_expression()?) } else { None };
        Ok(OperatorKind::TopHitters { count, of, by })
    }

    fn top_nested(&mut self) -> P<OperatorKind> {
        let mut levels = vec![self.top_nested_level()?];
        while self.eat(TokenKind::Comma) {
            if self.operator_name().0 != "top-nested" {
                return Err(self.missing("'top-nested'"));
            }
            for _ in 0..3 {
                self.bump();
            }
            levels.push(self.top_nested_level()?);
        }
        Ok(OperatorKind::TopNested(levels))
    }

    fn top_nested_level(&mut self) -> P<TopNestedLevel> {
        let count = if self.at_word("of") { None } else { Some(self.expression()?) };
        self.expect_word("of")?;
        let of = self.named_expression()?;
        let mut others = None;
        if self.at_word("with") {
            self.bump();
            self.expect_word("others")?;
            self.expect(TokenKind::Equal)?;
            others = Some(self.expression()?);
        }
        self.expect_word("by")?;
        let by = self.named_expression()?;
        let ascending = match self.word() {
            "asc" => Some(true),
            "desc" => Some(false),
            _ => None,
        };
        if ascending.is_some() {
            self.bump();
        }
        Ok(TopNestedLevel { count, of, others, by, ascending })
    }

    #[allow(clippy::type_complexity, reason = "the three parts of two operators")]
    fn join(&mut self, is_join: bool) -> P<(Vec<Property>, Box<Expr>, Vec<Expr>)> {
        let start = self.last_end();
        let mut parameters = self.parameters(&["kind", "__isFuzzy"])?;
        let right = self.table_reference()?;
        parameters.extend(self.parameters(&["kind"])?);
        if !self.at_word("on") && self.at_operator_end() {
            // The whole `join` lacks its condition. Source: the reference parser.
            let place = if is_join { self.since(start) } else { self.gap() };
            return Err(self.found_instead("'on' and the columns to join by", place));
        }
        self.expect_word("on")?;
        let on = self.comma_list(Self::expression)?;
        Ok((parameters, Box::new(right), on))
    }

    const MV_PARAMETERS: &'static [&'static str] = &["kind", "bagexpansion", "with_itemindex", "expandoutput"];

    fn mv_item(&mut self) -> P<MvItem> {
        let NamedExpr { mut names, value, .. } = self.named_expression()?;
        if names.len() > 1 {
            return Err(self.error(value.span, "Query could not be parsed: an expanded column has one name".into()));
        }
        let to = if self.eat_word("to") { Some(self.type_of_type()?) } else { None };
        Ok(MvItem { name: names.pop(), value, to })
    }

    /// `typeof(type)`.
    fn type_of_type(&mut self) -> P<KqlType> {
        if !self.at_word("typeof") || self.kind_at(1) != TokenKind::OpenParen {
            return Err(self.missing("'typeof(' and a type"));
        }
        self.bump();
        self.expect(TokenKind::OpenParen)?;
        let ty = self.type_name_any_case()?;
        self.expect(TokenKind::CloseParen)?;
        Ok(ty)
    }

    fn limit_clause(&mut self) -> P<Option<Expr>> {
        if self.eat_word("limit") { Ok(Some(self.expression()?)) } else { Ok(None) }
    }

    fn mv_expand(&mut self, default_limit: Option<i64>) -> P<OperatorKind> {
        let start = self.span();
        let parameters = self.parameters(Self::MV_PARAMETERS)?;
        let items = self.comma_list(Self::mv_item)?;
        let limit = match self.limit_clause()? {
            Some(limit) => Some(limit),
            None => default_limit
                .map(|rows| Expr { kind: ExprKind::Literal(Literal::Long(Some(rows))), span: self.since(start) }),
        };
        Ok(OperatorKind::MvExpand { parameters, items, limit })
    }

    fn mv_apply(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(Self::MV_PARAMETERS)?;
        let items = self.comma_list(Self::mv_item)?;
        let limit = self.limit_clause()?;
        let id = if self.eat_word("id") { Some(self.expression()?) } else { None };
        self.expect_word("on")?;
        let on = Box::new(self.parenthesized_pipeline()?);
        Ok(OperatorKind::MvApply { parameters, items, limit, id, on })
    }

    fn parse_operator(&mut self, drop_unmatched: bool) -> P<OperatorKind> {
        let parameters = self.parameters(&["kind", "flags"])?;
        let source = self.expression()?;
        self.expect_word("with")?;
        let mut pattern = Vec::new();
        loop {
            let span = self.span();
            match self.kind() {
                TokenKind::Star => {
                    self.bump();
                    pattern.push(ParsePart::Skip(span));
                }
                TokenKind::String => {
                    let text = self.string_literal()?;
                    pattern.push(ParsePart::Text(text, self.since(span)));
                }
                TokenKind::Name | TokenKind::OpenBracket => {
                    let name = self.declared_name()?;
                    let ty = if self.eat(TokenKind::Colon) { Some(self.type_name()?) } else { None };
                    pattern.push(ParsePart::Column(name, ty));
                }
                _ if pattern.is_empty() => {
                    return Err(self.expected("a pattern: '*', a string literal or a column name"));
                }
                _ => return Ok(OperatorKind::Parse { drop_unmatched, parameters, source, pattern }),
            }
        }
    }

    fn parse_kv(&mut self) -> P<OperatorKind> {
        let source = self.expression()?;
        self.expect_word("as")?;
        let columns = self.schema()?;
        Ok(OperatorKind::ParseKv { source, columns, properties: self.with_properties()? })
    }

    fn make_series(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&["kind"])?;
        let aggregates = self.comma_list(|parser| {
            let aggregate = parser.named_expression()?;
            let mut default = None;
            if parser.eat_word("default") {
                parser.expect(TokenKind::Equal)?;
                default = Some(parser.expression()?);
            }
            Ok((aggregate, default))
        })?;
        self.expect_word("on")?;
        // `in` belongs to the operator, not to the axis.
        let axis = self.named(Self::additive)?;
        let (mut from, mut to, mut step, mut in_range) = (None, None, None, None);
        if self.eat_word("in") {
            self.expect_word("range")?;
            let range = self.parenthesized(Self::expression)?;
            let count = range.len();
            let mut parts = range.into_iter();
            match (parts.next(), parts.next(), parts.next()) {
                (Some(start), Some(stop), Some(size)) if count == 3 => in_range = Some((start, stop, size)),
                _ => return Err(self.expected("three arguments of range()")),
            }
        } else {
            if self.eat_word("from") {
                from = Some(self.expression()?);
            }
            if self.eat_word("to") {
                to = Some(self.expression()?);
            }
            self.expect_word("step")?;
            step = Some(self.expression()?);
        }
        let by = if self.eat_word("by") { self.named_list()? } else { Vec::new() };
        Ok(OperatorKind::MakeSeries { parameters, aggregates, axis, from, to, step, in_range, by })
    }

    fn scan(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&["kind", "with_match_id"])?;
        let (mut order, mut partition, mut declare) = (Vec::new(), Vec::new(), Vec::new());
        if self.eat_word("order") {
            self.expect_word("by")?;
            order = self.comma_list(Self::order_key)?;
        }
        if self.eat_word("partition") {
            self.expect_word("by")?;
            partition = self.named_list()?;
        }
        if self.eat_word("declare") {
            declare = self.parenthesized(Self::parameter)?;
        }
        self.expect_word("with")?;
        self.expect(TokenKind::OpenParen)?;
        let steps = self.nested(|parser| {
            let mut steps = Vec::new();
            while !parser.at(TokenKind::CloseParen) {
                steps.push(parser.scan_step()?);
                parser.expect(TokenKind::Semicolon)?;
            }
            parser.expect(TokenKind::CloseParen)?;
            Ok(steps)
        })?;
        Ok(OperatorKind::Scan { parameters, order, partition, declare, steps })
    }

    fn scan_step(&mut self) -> P<ScanStep> {
        self.expect_word("step")?;
        let name = self.any_name("the name of the step")?;
        let optional = self.eat_word("optional");
        let mut output = None;
        if self.eat_word("output") {
            self.expect(TokenKind::Equal)?;
            output = Some(self.any_name("'all', 'last' or 'none'")?);
        }
        self.expect(TokenKind::Colon)?;
        let condition = self.expression()?;
        let assignments = if self.eat(TokenKind::Arrow) { self.named_list()? } else { Vec::new() };
        Ok(ScanStep { name, optional, output, condition, assignments })
    }

    fn partition(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&[])?;
        self.expect_word("by")?;
        let by = self.column_path()?;
        let scope = match self.eat_word("in") {
            true if !self.at(TokenKind::Name) => return Err(self.missing("a function call or a dynamic value")),
            true => {
                let scope = self.postfix()?;
                if !matches!(scope.kind, ExprKind::Call { base: None, .. } | ExprKind::Literal(Literal::Dynamic(_))) {
                    let message =
                        "Query could not be parsed: the scope of 'partition' is a function call or a dynamic value";
                    return Err(self.error(scope.span, message.to_string()));
                }
                Some(scope)
            }
            false => None,
        };
        let start = self.span();
        let body = if self.at(TokenKind::OpenBrace) {
            self.bump();
            self.nested(|parser| {
                let body = parser.pipe_expression()?;
                parser.expect(TokenKind::CloseBrace)?;
                Ok(body)
            })?
        } else {
            let pipeline = self.parenthesized_pipeline()?;
            Expr { kind: ExprKind::Pipe(Box::new(pipeline)), span: self.since(start) }
        };
        Ok(OperatorKind::Partition { parameters, by, scope, body: Box::new(body) })
    }

    /// `__partitionby column [id "..."] (pipeline)`: the old spelling; the id changes no row.
    fn partition_by(&mut self) -> P<OperatorKind> {
        let mut parameters = self.parameters(&[])?;
        let by = self.column_path()?;
        if self.at_word("id") {
            let name = self.any_name("'id'")?;
            parameters.push(Property { name, value: self.unary()? });
        }
        let start = self.span();
        let pipeline = self.parenthesized_pipeline()?;
        let body = Expr { kind: ExprKind::Pipe(Box::new(pipeline)), span: self.since(start) };
        Ok(OperatorKind::Partition { parameters, by, scope: None, body: Box::new(body) })
    }

    /// `a.b`: a bracket behind it is the operator's.
    fn column_path(&mut self) -> P<Expr> {
        let start = self.span();
        let name = self.any_name("a column name")?;
        let mut path = Expr { kind: ExprKind::Name(name), span: self.since(start) };
        while self.eat(TokenKind::Dot) {
            let name = self.any_name("a name")?;
            self.taller()?;
            path = Expr { kind: ExprKind::Member { base: Box::new(path), name }, span: self.since(start) };
        }
        Ok(path)
    }

    fn fork(&mut self) -> P<OperatorKind> {
        let mut branches = Vec::new();
        while self.at(TokenKind::OpenParen) || self.at(TokenKind::Name) || self.at(TokenKind::OpenBracket) {
            let mut name = None;
            if !self.at(TokenKind::OpenParen) {
                if self.at(TokenKind::Name) && self.kind_at(1) != TokenKind::Equal {
                    break;
                }
                name = Some(self.declared_name()?);
                self.expect(TokenKind::Equal)?;
            }
            branches.push((name, self.parenthesized_pipeline()?));
        }
        if branches.is_empty() {
            return Err(self.expected("'('"));
        }
        Ok(OperatorKind::Fork(branches))
    }

    /// The name of a column, and nothing else.
    fn column_name(&mut self) -> P<Expr> {
        if self.at_misplaced_keyword() {
            return Err(self.reserved_reference());
        }
        let name = self.any_name("a column name")?;
        let span = name.span;
        Ok(Expr { kind: ExprKind::Name(name), span })
    }

    fn facet(&mut self) -> P<OperatorKind> {
        self.expect_word("by")?;
        let by = self.comma_list(Self::column_name)?;
        let mut with = None;
        if self.eat_word("with") {
            let pipeline = if self.at(TokenKind::OpenParen) {
                self.parenthesized_pipeline()?
            } else {
                let start = self.span();
                let kind = self.nested(Self::operator)?;
                Pipeline { source: None, operators: vec![crate::ast::Operator { kind, span: self.since(start) }] }
            };
            with = Some(Box::new(pipeline));
        }
        Ok(OperatorKind::Facet { by, with })
    }

    fn reduce(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&["kind"])?;
        self.expect_word("by")?;
        let by = self.named_expression()?;
        let mut with = Vec::new();
        if self.eat_word("with") {
            with = self.comma_list(Self::bare_property)?;
        }
        Ok(OperatorKind::Reduce { parameters, by, with })
    }

    fn bare_property(&mut self) -> P<Property> {
        let name = self.dotted_name()?;
        self.expect(TokenKind::Equal)?;
        Ok(Property { name, value: self.property_value()? })
    }

    fn evaluate(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&[])?;
        let plugin = self.any_name("the name of a plugin")?;
        let arguments = self.arguments(false)?;
        let schema = if self.eat(TokenKind::Colon) { Some(self.parenthesized(Self::output_column)?) } else { None };
        Ok(OperatorKind::Evaluate { parameters, plugin, arguments, schema })
    }

    /// A column of a plugin's output schema; `*` (the input's columns) is a declaration named `*`.
    pub(super) fn output_column(&mut self) -> P<ColumnDeclaration> {
        if self.at(TokenKind::Star) {
            let span = self.bump().span;
            return Ok(ColumnDeclaration { name: Name { text: "*".into(), span }, ty: KqlType::Dynamic });
        }
        self.column_declaration()
    }

    fn invoke(&mut self) -> P<OperatorKind> {
        let call = self.postfix()?;
        match call.kind {
            ExprKind::Call { base: None, name, arguments } => Ok(OperatorKind::Invoke { function: name, arguments }),
            ExprKind::Call { base: Some(_), .. } => {
                Err(self.report(Diagnostic::not_served(call.span, "'invoke' of another database's function")))
            }
            ExprKind::Name(function) => Ok(OperatorKind::Invoke { function, arguments: Vec::<Argument>::new() }),
            _ => Err(self.error(call.span, "Query could not be parsed: expected a call of a function".into())),
        }
    }

    fn macro_expand(&mut self) -> P<OperatorKind> {
        let parameters = self.parameters(&["isfuzzy", "kind"])?;
        let group = self.postfix()?;
        let name = if self.eat_word("as") { Some(self.any_name("a name")?) } else { None };
        self.expect(TokenKind::OpenParen)?;
        let statements = self.nested(|parser| Ok(parser.statements(TokenKind::CloseParen)))?;
        self.expect(TokenKind::CloseParen)?;
        Ok(OperatorKind::MacroExpand { parameters, group, name, statements })
    }

    fn range(&mut self) -> P<OperatorKind> {
        let name = self.declared_name()?;
        self.expect_word("from")?;
        let from = self.expression()?;
        self.expect_word("to")?;
        let to = self.expression()?;
        self.expect_word("step")?;
        Ok(OperatorKind::Range { name, from, to, step: self.expression()? })
    }
}
