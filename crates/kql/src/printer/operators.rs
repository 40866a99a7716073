//! Tabular operators as text.

use super::{ADDITIVE, OR, PIPE, PRIMARY, Printer, is_name_token};
use crate::ast::{
    Expr, ExprKind, FindColumn, MvItem, OperatorKind, ParsePart, Pipeline, Property, ScanStep, TopNestedLevel,
};

impl Printer {
    fn word(&mut self, word: &str, parameters: &[Property]) {
        self.push(word);
        self.parameters(parameters);
    }

    fn after(&mut self, word: &str, value: &Expr) {
        self.push(word);
        self.expression(value, OR);
    }

    fn patterns(&mut self, word: &str, columns: &[Expr]) {
        self.push(word);
        if !columns.is_empty() {
            self.push(" ");
            self.list(columns, |printer, column| printer.expression(column, OR));
        }
    }

    fn bracketed_pipeline(&mut self, pipeline: &Pipeline) {
        self.push("(");
        self.pipeline(pipeline);
        self.push(")");
    }

    pub(super) fn operator(&mut self, kind: &OperatorKind) {
        match kind {
            OperatorKind::Print(items) => {
                self.push("print ");
                self.named_list(items);
            }
            OperatorKind::Range { name, from, to, step } => {
                self.push("range ");
                self.name(name);
                self.after(" from ", from);
                self.after(" to ", to);
                self.after(" step ", step);
            }
            OperatorKind::Where { parameters, predicate } => {
                self.word("where", parameters);
                self.after(" ", predicate);
            }
            OperatorKind::Extend(items) => {
                self.push("extend ");
                self.named_list(items);
            }
            OperatorKind::Project(items) => {
                self.push("project ");
                self.named_list(items);
            }
            OperatorKind::ProjectAway(columns) => self.patterns("project-away", columns),
            OperatorKind::ProjectKeep(columns) => self.patterns("project-keep", columns),
            OperatorKind::ProjectByNames(columns) => self.patterns("project-by-names", columns),
            OperatorKind::ProjectRename(items) => {
                self.push("project-rename ");
                self.named_list(items);
            }
            OperatorKind::ProjectReorder(items) => {
                self.push("project-reorder ");
                self.list(items, |printer, (column, order)| {
                    printer.expression(column, OR);
                    if let Some(order) = order {
                        printer.push(" ");
                        printer.push(order);
                    }
                });
            }
            OperatorKind::Summarize { parameters, aggregates, by } => {
                // `bin=` stands behind the keys.
                let is_bin = |property: &&Property| property.name.text == "bin";
                let leading: Vec<Property> = parameters.iter().filter(|property| !is_bin(property)).cloned().collect();
                self.word("summarize ", &leading);
                self.push(" ");
                self.named_list(aggregates);
                if let Some(by) = by {
                    self.push(" by ");
                    self.named_list(by);
                }
                for property in parameters.iter().filter(is_bin) {
                    self.push(" bin=");
                    self.expression(&property.value, super::UNARY);
                }
            }
            OperatorKind::Distinct { parameters, columns } => {
                self.word("distinct", parameters);
                self.push(" ");
                self.named_list(columns);
            }
            OperatorKind::Sort { parameters, keys } => {
                self.word("sort", parameters);
                self.push(" by ");
                self.list(keys, Self::order_key);
            }
            OperatorKind::Top { parameters, count, key } => {
                self.word("top", parameters);
                self.after(" ", count);
                self.push(" by ");
                self.order_key(key);
            }
            OperatorKind::TopHitters { count, of, by } => {
                self.after("top-hitters ", count);
                self.push(" of ");
                self.named(of);
                if let Some(by) = by {
                    self.push(" by ");
                    self.named(by);
                }
            }
            OperatorKind::TopNested(levels) => self.list(levels, Self::top_nested_level),
            OperatorKind::Take { parameters, count } => {
                self.word("take", parameters);
                self.after(" ", count);
            }
            OperatorKind::Sample { count } => self.after("sample ", count),
            OperatorKind::SampleDistinct { parameters, count, of } => {
                self.word("sample-distinct", parameters);
                self.after(" ", count);
                self.push(" of ");
                self.named(of);
            }
            OperatorKind::Count { name } => {
                self.push("count");
                if let Some(name) = name {
                    self.push(" as ");
                    self.name(name);
                }
            }
            OperatorKind::Join { parameters, right, on } => self.join("join", parameters, right, on),
            OperatorKind::Lookup { parameters, right, on } => self.join("lookup", parameters, right, on),
            OperatorKind::Union { parameters, items } => {
                self.word("union", parameters);
                self.push(" ");
                self.list(items, |printer, item| printer.expression(item, PRIMARY));
            }
            OperatorKind::MvExpand { parameters, items, limit } => {
                self.word("mv-expand", parameters);
                self.push(" ");
                self.list(items, Self::mv_item);
                self.optional(" limit ", limit.as_ref());
            }
            OperatorKind::MvApply { parameters, items, limit, id, on } => {
                self.word("mv-apply", parameters);
                self.push(" ");
                self.list(items, Self::mv_item);
                self.optional(" limit ", limit.as_ref());
                self.optional(" id ", id.as_ref());
                self.push(" on ");
                self.bracketed_pipeline(on);
            }
            OperatorKind::Parse { drop_unmatched, parameters, source, pattern } => {
                self.word(if *drop_unmatched { "parse-where" } else { "parse" }, parameters);
                self.after(" ", source);
                self.push(" with");
                for part in pattern {
                    self.push(" ");
                    self.parse_part(part);
                }
            }
            OperatorKind::ParseKv { source, columns, properties } => {
                self.after("parse-kv ", source);
                self.push(" as ");
                self.schema(columns);
                self.with_properties(properties);
            }
            OperatorKind::Serialize(items) => {
                self.push("serialize ");
                self.named_list(items);
            }
            _ => self.rarer_operator(kind),
        }
    }

    fn rarer_operator(&mut self, kind: &OperatorKind) {
        match kind {
            OperatorKind::MakeSeries { parameters, aggregates, axis, from, to, step, in_range, by } => {
                self.word("make-series", parameters);
                self.push(" ");
                self.list(aggregates, |printer, (aggregate, default)| {
                    printer.named(aggregate);
                    printer.optional(" default=", default.as_ref());
                });
                self.push(" on ");
                self.named_at(axis, ADDITIVE);
                self.optional(" from ", from.as_ref());
                self.optional(" to ", to.as_ref());
                self.optional(" step ", step.as_ref());
                if let Some((start, stop, size)) = in_range {
                    self.after(" in range(", start);
                    self.after(", ", stop);
                    self.after(", ", size);
                    self.push(")");
                }
                if !by.is_empty() {
                    self.push(" by ");
                    self.named_list(by);
                }
            }
            OperatorKind::Scan { parameters, order, partition, declare, steps } => {
                self.word("scan", parameters);
                if !order.is_empty() {
                    self.push(" order by ");
                    self.list(order, Self::order_key);
                }
                if !partition.is_empty() {
                    self.push(" partition by ");
                    self.named_list(partition);
                }
                if !declare.is_empty() {
                    self.push(" declare (");
                    self.list(declare, Self::parameter);
                    self.push(")");
                }
                self.push(" with (");
                for step in steps {
                    self.scan_step(step);
                }
                self.push(")");
            }
            OperatorKind::Partition { parameters, by, scope, body } => {
                // The id belongs to the old spelling.
                match parameters.split_last() {
                    Some((id, others)) if id.name.text == "id" => {
                        self.word("__partitionby", others);
                        self.after(" ", by);
                        self.after(" id ", &id.value);
                    }
                    _ => {
                        self.word("partition", parameters);
                        self.after(" by ", by);
                    }
                }
                self.optional(" in ", scope.as_ref());
                match &body.kind {
                    ExprKind::Pipe(pipeline) if pipeline.source.is_none() => {
                        self.push(" ");
                        self.bracketed_pipeline(pipeline);
                    }
                    _ => {
                        self.push(" { ");
                        self.expression(body, PIPE);
                        self.push(" }");
                    }
                }
            }
            OperatorKind::Fork(branches) => {
                self.push("fork");
                for (name, pipeline) in branches {
                    self.push(" ");
                    if let Some(name) = name {
                        self.name(name);
                        self.push(" = ");
                    }
                    self.bracketed_pipeline(pipeline);
                }
            }
            OperatorKind::Facet { by, with } => {
                self.patterns("facet by", by);
                if let Some(pipeline) = with {
                    self.push(" with ");
                    self.bracketed_pipeline(pipeline);
                }
            }
            OperatorKind::Reduce { parameters, by, with } => {
                self.word("reduce", parameters);
                self.push(" by ");
                self.named(by);
                if !with.is_empty() {
                    self.push(" with ");
                    self.list(with, Self::property);
                }
            }
            OperatorKind::Evaluate { parameters, plugin, arguments, schema } => {
                self.word("evaluate", parameters);
                self.push(" ");
                // Any word names a plugin, keywords too; a bracket at the start of a query would index a name.
                self.name_text(&plugin.text, is_name_token(&plugin.text));
                self.arguments(arguments);
                if let Some(columns) = schema {
                    self.push(" : ");
                    self.schema(columns);
                }
            }
            OperatorKind::Invoke { function, arguments } => {
                self.push("invoke ");
                self.call_name(function);
                self.arguments(arguments);
            }
            OperatorKind::Consume(parameters) => self.word("consume", parameters),
            OperatorKind::GetSchema(parameters) => self.word("getschema", parameters),
            OperatorKind::ExecuteAndCache => self.push("execute_and_cache"),
            OperatorKind::AssertSchema(columns) => {
                self.push("assert-schema ");
                self.schema(columns);
            }
            OperatorKind::MacroExpand { parameters, group, name, statements } => {
                self.word("macro-expand", parameters);
                self.after(" ", group);
                if let Some(name) = name {
                    self.push(" as ");
                    self.name(name);
                }
                self.push(" (");
                self.statements(statements);
                self.push(")");
            }
            OperatorKind::As { parameters, name } => {
                self.word("as", parameters);
                self.push(" ");
                self.name(name);
            }
            OperatorKind::Render { visualization, properties } => {
                self.push("render ");
                self.name(visualization);
                self.render_properties(properties);
            }
            OperatorKind::Search { parameters, tables, predicate } => {
                self.word("search", parameters);
                self.in_tables(tables);
                self.after(" ", predicate);
            }
            OperatorKind::Find { parameters, tables, predicate, project, smart } => {
                self.word("find", parameters);
                self.in_tables(tables);
                self.after(" where ", predicate);
                if let Some(columns) = project {
                    self.push(" project ");
                    self.list(columns, Self::find_column);
                }
                if *smart {
                    self.push(" project-smart");
                }
            }
            OperatorKind::MakeGraph(graph) => self.make_graph(graph),
            OperatorKind::GraphMatch(graph) => self.graph_match(graph),
            OperatorKind::GraphMarkComponents(parameters) => self.word("graph-mark-components", parameters),
            OperatorKind::GraphToTable(outputs) => {
                self.push("graph-to-table ");
                self.list(outputs, Self::graph_output);
            }
            OperatorKind::GraphWhereNodes(predicate) => self.after("graph-where-nodes ", predicate),
            OperatorKind::GraphWhereEdges(predicate) => self.after("graph-where-edges ", predicate),
            // Everything else is printed by `operator`.
            _ => self.push("<error>"),
        }
    }

    fn optional(&mut self, word: &str, value: Option<&Expr>) {
        if let Some(value) = value {
            self.after(word, value);
        }
    }

    fn top_nested_level(&mut self, level: &TopNestedLevel) {
        self.push("top-nested ");
        if let Some(count) = &level.count {
            self.expression(count, OR);
            self.push(" ");
        }
        self.push("of ");
        self.named(&level.of);
        self.optional(" with others = ", level.others.as_ref());
        self.push(" by ");
        self.named(&level.by);
        match level.ascending {
            Some(true) => self.push(" asc"),
            Some(false) => self.push(" desc"),
            None => {}
        }
    }

    fn join(&mut self, word: &str, parameters: &[Property], right: &Expr, on: &[Expr]) {
        self.word(word, parameters);
        self.push(" ");
        // A bare name behind `kind=inner` is a name again.
        self.expression(right, PRIMARY);
        self.push(" on ");
        self.list(on, |printer, key| printer.expression(key, OR));
    }

    fn mv_item(&mut self, item: &MvItem) {
        if let Some(name) = &item.name {
            self.name(name);
            self.push(" = ");
        }
        self.expression(&item.value, OR);
        if let Some(ty) = item.to {
            self.push(&format!(" to typeof({})", ty.name()));
        }
    }

    fn parse_part(&mut self, part: &ParsePart) {
        match part {
            ParsePart::Skip(_) => self.push("*"),
            ParsePart::Text(text, _) => self.string(text),
            ParsePart::Column(name, ty) => {
                self.name(name);
                if let Some(ty) = ty {
                    self.push(":");
                    self.push(ty.name());
                }
            }
        }
    }

    fn scan_step(&mut self, step: &ScanStep) {
        self.push("step ");
        self.name(&step.name);
        if step.optional {
            self.push(" optional");
        }
        if let Some(output) = &step.output {
            self.push(" output=");
            self.name(output);
        }
        self.after(": ", &step.condition);
        if !step.assignments.is_empty() {
            self.push(" => ");
            self.named_list(&step.assignments);
        }
        self.push("; ");
    }

    fn render_properties(&mut self, properties: &[Property]) {
        let has_by = properties.iter().any(|property| property.name.text == "by");
        if properties.is_empty() {
            return;
        }
        if has_by {
            for property in properties {
                self.push(" ");
                self.render_property(property);
            }
            return;
        }
        self.push(" with (");
        self.list(properties, Self::render_property);
        self.push(")");
    }

    fn render_property(&mut self, property: &Property) {
        if property.name.text == "by" {
            self.push("by ");
        } else {
            self.dotted(&property.name);
            self.push("=");
        }
        match &property.value.kind {
            // Several columns are one name with commas.
            ExprKind::Name(name) => {
                let names: Vec<&str> = name.text.split(',').collect();
                self.list(&names, |printer, text| printer.name_text(text, super::is_name_token(text)));
            }
            _ => self.property_value(&property.value),
        }
    }

    fn in_tables(&mut self, tables: &[Expr]) {
        if !tables.is_empty() {
            self.push(" in (");
            self.list(tables, |printer, table| printer.expression(table, PRIMARY));
            self.push(")");
        }
    }

    fn find_column(&mut self, column: &FindColumn) {
        match column {
            FindColumn::Pack => self.push("pack(*)"),
            FindColumn::Column(name, ty) => {
                self.name(name);
                if let Some(ty) = ty {
                    self.push(": ");
                    self.push(ty.name());
                }
            }
        }
    }
}
