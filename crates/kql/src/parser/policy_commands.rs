//! Commands about policies: `.VERB ENTITY policy KIND [value]`.
//!
//! Whether a text is one shows only behind the entity's name, so the tokens up to there are read on trial.

use super::{P, Parser};
use crate::ast::{Expr, ExprKind, Literal, Name};
use crate::command::{Command, property_flag};
use crate::lexer::TokenKind;
use crate::policy_command::{PolicyCommand, PolicyKind, PolicyTarget, PolicyValue, PolicyVerb};
use crate::span::Span;

impl Parser<'_> {
    /// Behind the verb: a command about a policy, or `None` with nothing read.
    pub(super) fn policy_command(&mut self, verb: &str) -> P<Option<Command>> {
        let verb = match verb {
            "show" => PolicyVerb::Show,
            "alter" => PolicyVerb::Alter,
            "alter-merge" => PolicyVerb::AlterMerge,
            "delete" => PolicyVerb::Delete,
            _ => return Ok(None),
        };
        let (index, complaints) = (self.index, self.diagnostics.len());
        let found = self.policy_target_and_kind().filter(|(target, kind)| kind.knows(verb, target));
        let Some((target, kind)) = found else {
            self.index = index;
            self.diagnostics.truncate(complaints);
            return Ok(None);
        };
        let start = self.span();
        let value = match verb {
            PolicyVerb::Show | PolicyVerb::Delete => PolicyValue::None,
            PolicyVerb::Alter | PolicyVerb::AlterMerge => self.policy_value(verb, kind)?,
        };
        let value_span = self.since(start);
        if matches!(verb, PolicyVerb::Alter | PolicyVerb::AlterMerge | PolicyVerb::Show) {
            self.with_properties()?;
        }
        Ok(Some(Command::Policy(Box::new(PolicyCommand { verb, target, kind, value, value_span }))))
    }

    fn policy_target_and_kind(&mut self) -> Option<(PolicyTarget, PolicyKind)> {
        let target = self.policy_target().ok()??;
        if !self.eat_word("policy") || !self.at(TokenKind::Name) {
            return None;
        }
        let kind = PolicyKind::of_word(self.word())?;
        self.bump();
        Some((target, kind))
    }

    /// The entity, or an error or `None` when what stands here is none.
    fn policy_target(&mut self) -> P<Option<PolicyTarget>> {
        use PolicyTarget as T;
        let star = |parser: &mut Self| parser.eat(TokenKind::Star);
        Ok(Some(if self.eat_word("cluster") {
            T::Cluster
        } else if self.eat_word("database") {
            if star(self) {
                T::AllDatabases
            } else if self.at_word("policy") && !self.is_word(1, "policy") {
                T::Database(None)
            } else {
                T::Database(Some(self.entity_name()?))
            }
        } else if self.eat_word("table") {
            if star(self) { T::AllTables } else { T::Table(self.policy_owner_name()?) }
        } else if self.eat_word("tables") {
            T::Tables(self.parenthesized(Self::entity_name)?)
        } else if self.eat_word("column") {
            if star(self) { T::AllColumns } else { T::Column(self.policy_owner_name()?) }
        } else if self.eat_word("external") {
            if !self.eat_word("table") {
                return Ok(None);
            }
            if star(self) { T::AllExternalTables } else { T::ExternalTable(self.policy_owner_name()?) }
        } else if self.eat_word("graph_model") {
            if star(self) { T::AllGraphModels } else { T::GraphModel(self.policy_owner_name()?) }
        } else if self.eat_dashed("materialized", "view") {
            T::MaterializedView(self.policy_owner_name()?)
        } else {
            return Ok(None);
        }))
    }

    /// A name, which `[T]` is as well in the reference's own examples.
    fn policy_owner_name(&mut self) -> P<Name> {
        if self.at(TokenKind::OpenBracket)
            && self.kind_at(1) == TokenKind::Name
            && self.kind_at(2) == TokenKind::CloseBracket
        {
            self.bump();
            let name = self.any_name("a name")?;
            self.bump();
            return Ok(name);
        }
        self.entity_name()
    }

    fn policy_value(&mut self, verb: PolicyVerb, kind: PolicyKind) -> P<PolicyValue> {
        match kind {
            PolicyKind::Caching => self.caching_policy(),
            PolicyKind::Retention if !self.at(TokenKind::String) && verb == PolicyVerb::AlterMerge => {
                self.retention_policy()
            }
            PolicyKind::Retention if self.at_word("softdelete") || self.at_word("recoverability") => {
                self.retention_policy()
            }
            PolicyKind::IngestionTime | PolicyKind::RestrictedViewAccess => {
                let value = self.property_value()?;
                match value.kind {
                    ExprKind::Literal(Literal::Bool(Some(flag))) => Ok(PolicyValue::Flag(flag)),
                    _ => Err(self.expected("'true' or 'false'")),
                }
            }
            PolicyKind::StreamingIngestion if verb == PolicyVerb::Alter && !self.at(TokenKind::String) => {
                match (self.eat_word("enable"), self.eat_word("disable")) {
                    (true, _) => Ok(PolicyValue::Flag(true)),
                    (_, true) => Ok(PolicyValue::Flag(false)),
                    _ => Err(self.expected("a policy as JSON, 'enable' or 'disable'")),
                }
            }
            PolicyKind::RowLevelSecurity => {
                let enabled = self.eat_word("enable");
                if !enabled && !self.eat_word("disable") {
                    return Err(self.expected("'enable' or 'disable'"));
                }
                let properties = self.with_properties()?;
                let allows_views = property_flag(&properties, "allowMaterializedViewsWithoutRowLevelSecurity");
                Ok(PolicyValue::RowLevelSecurity { enabled, query: self.string_literal()?, allows_views })
            }
            PolicyKind::RowOrder => self.parenthesized(Self::sort_key).map(PolicyValue::RowOrder),
            PolicyKind::Encoding if !self.at(TokenKind::String) => {
                if !self.eat_word("type") {
                    return Ok(PolicyValue::Encoding(None));
                }
                self.expect(TokenKind::Equal)?;
                if self.at(TokenKind::Name) {
                    let word = self.word().to_string();
                    self.bump();
                    return Ok(PolicyValue::Encoding(Some(word)));
                }
                Ok(PolicyValue::Encoding(Some(self.string_literal()?)))
            }
            PolicyKind::Mirroring if !self.at(TokenKind::String) => self.mirroring_policy(),
            _ => {
                let text = self.string_literal()?;
                let mut query = None;
                if kind == PolicyKind::RequestClassification && self.at(TokenKind::LessPipe) {
                    let (_, span) = self.query_behind_marker()?;
                    query = Some(span.text(self.text).to_string());
                }
                Ok(PolicyValue::Json { text, query })
            }
        }
    }

    fn sort_key(&mut self) -> P<(Name, bool)> {
        let name = self.any_name("a column")?;
        if self.eat_word("asc") {
            return Ok((name, true));
        }
        if self.eat_word("desc") {
            return Ok((name, false));
        }
        Err(self.expected("'asc' or 'desc'"))
    }

    fn caching_policy(&mut self) -> P<PolicyValue> {
        let (data, index);
        if self.eat_word("hot") {
            self.expect(TokenKind::Equal)?;
            data = self.timespan_value()?;
            index = data;
        } else if self.eat_word("hotdata") {
            self.expect(TokenKind::Equal)?;
            data = self.timespan_value()?;
            self.eat(TokenKind::Comma);
            self.expect_word("hotindex")?;
            self.expect(TokenKind::Equal)?;
            index = self.timespan_value()?;
        } else {
            return Err(self.expected("'hot' or 'hotdata'"));
        }
        let mut windows = Vec::new();
        while self.at(TokenKind::Comma) || self.at_word("hot_window") {
            self.eat(TokenKind::Comma);
            self.expect_word("hot_window")?;
            self.expect(TokenKind::Equal)?;
            let from = self.datetime_value()?;
            self.expect(TokenKind::DotDot)?;
            windows.push((from, self.datetime_value()?));
        }
        Ok(PolicyValue::Caching { data, index, windows })
    }

    fn retention_policy(&mut self) -> P<PolicyValue> {
        let mut soft_delete = None;
        if self.eat_word("softdelete") {
            self.expect(TokenKind::Equal)?;
            soft_delete = Some(self.timespan_value()?);
        }
        let mut recoverability = None;
        if self.eat_word("recoverability") {
            self.expect(TokenKind::Equal)?;
            recoverability = match (self.eat_word("enabled"), self.eat_word("disabled")) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => return Err(self.expected("'enabled' or 'disabled'")),
            };
        }
        if soft_delete.is_none() && recoverability.is_none() {
            return Err(self.expected("a policy as JSON, 'softdelete' or 'recoverability'"));
        }
        Ok(PolicyValue::Retention { soft_delete, recoverability })
    }

    fn mirroring_policy(&mut self) -> P<PolicyValue> {
        let mut partitions = None;
        if self.eat_word("partition") {
            self.expect_word("by")?;
            let start = self.span();
            let partner = self.partner[self.index];
            if !self.at(TokenKind::OpenParen) || partner == super::NO_PARTNER {
                return Err(self.expected("'('"));
            }
            self.index = partner as usize;
            self.bump();
            partitions = Some(self.since(start).text(self.text).to_string());
        }
        self.expect_word("dataformat")?;
        self.expect(TokenKind::Equal)?;
        self.expect_word("parquet")?;
        let mut properties = Vec::new();
        for property in self.with_properties()? {
            let value = match &property.value.kind {
                ExprKind::Literal(Literal::Bool(Some(value))) => value.to_string(),
                ExprKind::Literal(Literal::Long(Some(value))) => value.to_string(),
                ExprKind::Literal(Literal::DateTime(Some(ticks))) => {
                    format!("\"{}\"", crate::value::datetime::to_text(*ticks))
                }
                ExprKind::Literal(Literal::String(text)) => {
                    let mut quoted = Vec::new();
                    crate::value::json::quote(text, &mut quoted);
                    String::from_utf8(quoted).unwrap_or_default()
                }
                _ => return Err(self.error(property.value.span, "a property of the policy must be a literal".into())),
            };
            properties.push((property.name.text, value));
        }
        Ok(PolicyValue::Mirroring { partitions, properties })
    }

    /// A literal timespan, in ticks.
    pub(super) fn timespan_value(&mut self) -> P<i64> {
        let span = self.span();
        let value = self.unary()?;
        match literal(&value) {
            Some(Literal::TimeSpan(Some(ticks))) => Ok(*ticks),
            Some(Literal::String(text)) if crate::value::timespan::parse(text).is_some() => {
                Ok(crate::value::timespan::parse(text).unwrap_or_default())
            }
            _ => Err(self.not_literal(span, "a timespan")),
        }
    }

    /// A literal datetime, in ticks.
    fn datetime_value(&mut self) -> P<i64> {
        let span = self.span();
        let value = self.unary()?;
        match literal(&value) {
            Some(Literal::DateTime(Some(ticks))) => Ok(*ticks),
            _ => Err(self.not_literal(span, "a datetime")),
        }
    }

    fn not_literal(&mut self, start: Span, what: &str) -> super::Failed {
        let span = self.since(start);
        let found = super::shortened(span.text(self.text));
        self.error(span, format!("Query could not be parsed at '{found}': expected {what}"))
    }
}

fn literal(value: &Expr) -> Option<&Literal> {
    match &value.kind {
        ExprKind::Literal(literal) => Some(literal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> PolicyCommand {
        let parsed = crate::parse_command(text);
        assert!(parsed.diagnostics.is_empty(), "{text}: {:?}", parsed.diagnostics);
        match parsed.tree {
            Command::Policy(command) => *command,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_kind_of_entity_is_read() {
        let target = |text: &str| policy(text).target;
        assert_eq!(target(".show cluster policy caching"), PolicyTarget::Cluster);
        assert_eq!(target(".show database policy caching"), PolicyTarget::Database(None));
        assert!(matches!(target(".show database X policy caching"), PolicyTarget::Database(Some(_))));
        assert!(matches!(target(".show table X.T policy merge"), PolicyTarget::Table(name) if name.text == "X.T"));
        assert!(matches!(target(".show table [T] policy merge"), PolicyTarget::Table(name) if name.text == "T"));
        assert!(
            matches!(target(".show table policy policy merge"), PolicyTarget::Table(name) if name.text == "policy")
        );
        assert_eq!(target(".show table * policy update"), PolicyTarget::AllTables);
        assert!(
            matches!(target(".alter tables (A, B) policy caching hot = 1d"), PolicyTarget::Tables(n) if n.len() == 2)
        );
        assert!(matches!(target(".show column T.C policy encoding"), PolicyTarget::Column(n) if n.text == "T.C"));
        assert!(matches!(target(".show materialized-view V policy retention"), PolicyTarget::MaterializedView(_)));
        assert_eq!(target(".show external table * policy query_acceleration"), PolicyTarget::AllExternalTables);
        assert!(matches!(target(".show graph_model M policy retention"), PolicyTarget::GraphModel(_)));
    }

    #[test]
    fn short_forms_are_read() {
        let value = |text: &str| policy(text).value;
        const DAY: i64 = crate::value::timespan::TICKS_PER_DAY;
        assert_eq!(
            value(".alter-merge table T policy retention softdelete = 10d recoverability = disabled"),
            PolicyValue::Retention { soft_delete: Some(10 * DAY), recoverability: Some(false) }
        );
        assert!(matches!(
            value(".alter table T policy caching hot = 3d, hot_window = datetime(2021-01-01) .. datetime(2021-02-01)"),
            PolicyValue::Caching { data, windows, .. } if data == 3 * DAY && windows.len() == 1
        ));
        assert_eq!(value(".alter table T policy ingestiontime true"), PolicyValue::Flag(true));
        assert_eq!(
            value(".alter table T policy row_level_security enable \"T | where true\""),
            PolicyValue::RowLevelSecurity { enabled: true, query: "T | where true".into(), allows_views: false }
        );
        assert!(matches!(value(".alter table T policy roworder (a asc, b desc)"), PolicyValue::RowOrder(k) if !k[1].1));
        assert_eq!(
            value(".alter column T.a policy encoding type='Identifier'"),
            PolicyValue::Encoding(Some("Identifier".into()))
        );
        assert!(matches!(
            value(".alter table T policy mirroring partition by (N: string=N) dataformat=parquet with (IsEnabled=true)"),
            PolicyValue::Mirroring { partitions: Some(text), properties } if text == "(N: string=N)" && properties.len() == 1
        ));
        assert!(matches!(
            value(".alter cluster policy request_classification '{\"IsEnabled\":true}' <| iff(true, 'a', 'b')"),
            PolicyValue::Json { query: Some(query), .. } if query == "iff(true, 'a', 'b')"
        ));
    }

    #[test]
    fn other_commands_are_left_alone() {
        for text in [".alter table policy (a: long)", ".show table policy details", ".show tables | where true"] {
            let parsed = crate::parse_command(text);
            assert!(parsed.diagnostics.is_empty(), "{text}: {:?}", parsed.diagnostics);
            assert!(!matches!(parsed.tree, Command::Policy(_)), "{text}");
        }
    }
}
