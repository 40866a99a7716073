//! `declare pattern` and references to patterns. Source: pattern-statement page; the reference parser for what bodies see.
//!
//! A reference `name("a", "b").path` stands for the body of the first match with these texts. References
//! that nothing matches are collected over the whole query and told together, because a middle tier reads
//! them from the error and declares what is missing.

use std::rc::Rc;

use tidewater_kql::ast::{Argument, Expr, ExprKind, Literal, Name, ParameterType, PatternDeclaration, PatternMatch};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::let_::AnyValue;
use crate::bind::row::Row;
use crate::bind::scope::{Binding, FunctionDef, PatternDef};
use crate::bind::{Binder, Bound, MAX_CALL_DEPTH, Stopped};
use crate::bound::{BExpr, Constant};

/// References that no pattern matches. Source: pattern-statement page.
const MISSING_PATTERN: &str = "SEM0036";

/// A reference to a pattern.
pub(crate) struct PatternReference<'e> {
    pub pattern: Rc<PatternDef>,
    pub arguments: &'e [Argument],
    pub path: Option<&'e Name>,
    pub span: Span,
}

impl PatternDef {
    /// A match as the function that it is.
    pub fn function_of(&self, found: &PatternMatch) -> FunctionDef {
        FunctionDef {
            name: self.name.clone(),
            lambda: found.body.clone(),
            env: Some(self.env),
            database: self.database.clone(),
            restriction: self.restriction.clone(),
        }
    }
}

impl Binder<'_> {
    /// `declare pattern`.
    pub fn pattern_statement(&mut self, declaration: &PatternDeclaration) {
        let name = &declaration.name;
        let is_other =
            self.is_defined_here(&name.text) && !matches!(self.lookup(&name.text), Some(Binding::Pattern(_)));
        if is_other {
            let message = format!("'{}' is already defined by an earlier 'let'", name.text);
            self.report(Diagnostic::new(diagnostic::DUPLICATE_LET, name.span, message));
            return;
        }
        let pattern = Rc::new(PatternDef {
            name: name.text.clone(),
            definition: declaration.definition.clone(),
            env: self.env,
            database: self.database.clone(),
            restriction: self.view.restriction().cloned(),
        });
        let is_sound = self.check_pattern(declaration).is_ok();
        if is_sound && let Some(definition) = &declaration.definition {
            for found in &definition.matches {
                self.check_later(|binder| binder.pattern_body(&pattern, found).map(drop));
            }
        }
        self.define(&name.text, if is_sound { Binding::Pattern(pattern) } else { Binding::Failed });
    }

    fn check_pattern(&mut self, declaration: &PatternDeclaration) -> Bound<()> {
        let Some(definition) = &declaration.definition else { return Ok(()) };
        let mut failed = false;
        for parameter in definition.parameters.iter().chain(&definition.path) {
            if !matches!(parameter.ty, ParameterType::Scalar(KqlType::String)) {
                let message = format!("parameter '{}' of a pattern must be a string", parameter.name.text);
                self.report(Diagnostic::new(diagnostic::ARGUMENT_TYPE, parameter.name.span, message));
                failed = true;
            }
        }
        for found in &definition.matches {
            let (wanted, given) = (definition.parameters.len(), found.values.len());
            if wanted != given {
                let message = format!("the pattern has {wanted} parameters, but the match gives {given} values");
                self.report(Diagnostic::new(diagnostic::ARGUMENT_COUNT, found.span, message));
                failed = true;
            }
            if found.path.is_some() != definition.path.is_some() {
                let message = if found.path.is_some() {
                    "the pattern has no path, but the match gives one"
                } else {
                    "the pattern has a path, but the match gives none"
                };
                self.report(Diagnostic::new(diagnostic::ARGUMENT_COUNT, found.span, message));
                failed = true;
            }
        }
        if failed { Err(Stopped) } else { Ok(()) }
    }

    /// The expression as a reference to a pattern: `p("x")`, `p("x").y`, `p("x").["y"]`.
    pub fn pattern_reference<'e>(&self, expr: &'e Expr) -> Option<PatternReference<'e>> {
        let (call, path) = match &expr.kind {
            ExprKind::Member { base, name } => (base.as_ref(), Some(name)),
            _ => (expr, None),
        };
        let ExprKind::Call { base: None, name, arguments } = &call.kind else { return None };
        match self.lookup(&name.text) {
            Some(Binding::Pattern(pattern)) => Some(PatternReference { pattern, arguments, path, span: expr.span }),
            _ => None,
        }
    }

    /// What a reference stands for.
    pub fn pattern_value(&mut self, reference: &PatternReference<'_>) -> Bound<AnyValue> {
        let (found, written) = self.matching(reference)?;
        match found {
            Some(found) => self.pattern_body(&reference.pattern, &found),
            None => {
                if !self.missing_patterns.iter().any(|(known, _)| *known == written) {
                    self.missing_patterns.push((written, reference.span));
                }
                Err(Stopped)
            }
        }
    }

    /// The match that a reference means, without binding it; for looking ahead.
    pub fn pattern_match(&mut self, reference: &PatternReference<'_>) -> Option<PatternMatch> {
        self.attempt(|binder| binder.matching(reference)).ok()?.0
    }

    /// The first match that fits, and the reference as the service writes it.
    fn matching(&mut self, reference: &PatternReference<'_>) -> Bound<(Option<PatternMatch>, String)> {
        let pattern = Rc::clone(&reference.pattern);
        let mut values = Vec::with_capacity(reference.arguments.len());
        for argument in reference.arguments {
            values.push(self.text_argument(argument, &format!("the argument of pattern '{}'", pattern.name))?);
        }
        let path = reference.path.map(|path| path.text.as_str());
        let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
        let mut written = format!("{}({})", pattern.name, quoted.join(","));
        if let Some(path) = path {
            written.push_str(&format!(".['{path}']"));
        }
        let Some(definition) = &pattern.definition else { return Ok((None, written)) };
        let wanted = definition.parameters.len();
        self.count(&pattern.name, values.len(), wanted, wanted, reference.span)?;
        let found = definition.matches.iter().find(|found| {
            found.values.iter().map(literal_text).eq(values.iter().map(String::as_str))
                && found.path.as_ref().map(literal_text) == path
        });
        Ok((found.cloned(), written))
    }

    fn pattern_body(&mut self, pattern: &Rc<PatternDef>, found: &PatternMatch) -> Bound<AnyValue> {
        if self.calls.len() >= MAX_CALL_DEPTH {
            let message = format!("patterns refer to each other deeper than {MAX_CALL_DEPTH} levels");
            return self.fail(diagnostic::GENERAL, found.span, message);
        }
        self.spend(1, found.span)?;
        let Some(definition) = &pattern.definition else { return Err(Stopped) };
        let outer_database = std::mem::replace(&mut self.database, pattern.database.clone());
        let outer_restriction = self.view.restrict(pattern.restriction.clone());
        let outer_env = self.enter(pattern.env);
        let parameters = definition.parameters.iter().chain(&definition.path);
        for (parameter, value) in parameters.zip(found.values.iter().chain(&found.path)) {
            let text = Constant::string(literal_text(value));
            self.define(&parameter.name.text, Binding::Scalar(Rc::new(BExpr::constant(text))));
        }
        self.enter(self.env);
        let result = self.deeper(found.span, |binder| binder.function_body(&found.body, &mut Row::none(), found.span));
        self.env = outer_env;
        self.view.restrict(outer_restriction);
        self.database = outer_database;
        result
    }

    /// The diagnostic that names every reference without a match.
    pub fn missing_pattern_references(&self) -> Option<Diagnostic> {
        let (_, span) = self.missing_patterns.first()?;
        let names: Vec<&str> = self.missing_patterns.iter().map(|(name, _)| name.as_str()).collect();
        let list = serde_json::to_string(&names).unwrap_or_default();
        let message = format!("One or more pattern references were not declared. Detected pattern references: {list}");
        Some(Diagnostic::new(MISSING_PATTERN, *span, message))
    }
}

fn literal_text(value: &Expr) -> &str {
    match &value.kind {
        ExprKind::Literal(Literal::String(text)) => text,
        _ => "",
    }
}
