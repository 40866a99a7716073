//! `render`: the hint for clients; the rows stay as they are. Source: render-operator page, kusto-rest section 5.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tidewater_kql::ast::{Expr, ExprKind, Literal, Name, Property, UnaryOp};
use tidewater_kql::{Diagnostic, diagnostic};

use crate::bind::row::Row;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{Rel, Value};

const VISUALIZATIONS: &[&str] = &[
    "anomalychart",
    "areachart",
    "barchart",
    "card",
    "columnchart",
    "graph",
    "ladderchart",
    "linechart",
    "list",
    "piechart",
    "pivotchart",
    "plotly",
    "scatterchart",
    "stackedareachart",
    "table",
    "timechart",
    "timeline",
    "timepivot",
    "treemap",
    "sankey",
    "3Dchart",
];

/// Property names of the language and the members of the object.
const MEMBERS: &[(&str, &str)] = &[
    ("title", "Title"),
    ("xcolumn", "XColumn"),
    ("series", "Series"),
    ("ycolumns", "YColumns"),
    ("anomalycolumns", "AnomalyColumns"),
    ("xtitle", "XTitle"),
    ("ytitle", "YTitle"),
    ("xaxis", "XAxis"),
    ("yaxis", "YAxis"),
    ("legend", "Legend"),
    ("ysplit", "YSplit"),
    ("accumulate", "Accumulate"),
    ("kind", "Kind"),
    ("ymin", "Ymin"),
    ("ymax", "Ymax"),
    ("xmin", "Xmin"),
    ("xmax", "Xmax"),
];

/// Properties that take one of some words. Source: render-operator page, supported properties.
const WORDS: &[(&str, &[&str])] = &[
    ("kind", &["default", "unstacked", "stacked", "stacked100", "map"]),
    ("legend", &["visible", "hidden"]),
    ("ysplit", &["none", "axes", "panels"]),
    ("xaxis", &["linear", "log"]),
    ("yaxis", &["linear", "log"]),
];

impl Binder<'_> {
    /// The visualization object.
    pub fn render(&mut self, visualization: &Name, properties: &[Property], input: &Arc<Rel>) -> Bound<Json> {
        if !VISUALIZATIONS.contains(&visualization.text.as_str()) {
            let message = format!("'render' knows no chart '{}'", visualization.text);
            let diagnostic = Diagnostic::new(diagnostic::NOT_IN_LIST, visualization.span, message)
                .hint_nearest(&visualization.text, VISUALIZATIONS.iter().copied());
            return Err(self.report(diagnostic));
        }
        let mut object = Map::new();
        object.insert("Visualization".into(), Json::from(visualization.text.clone()));
        for (_, member) in &MEMBERS[..11] {
            object.insert((*member).into(), Json::Null);
        }
        object.insert("Accumulate".into(), Json::Bool(false));
        object.insert("IsQuerySorted".into(), Json::Bool(input.is_sorted));
        object.insert("Kind".into(), Json::Null);
        object.insert("Ymin".into(), Json::from("NaN"));
        object.insert("Ymax".into(), Json::from("NaN"));
        object.insert("Xmin".into(), Json::Null);
        object.insert("Xmax".into(), Json::Null);
        let mut failed = false;
        let mut seen: Vec<&str> = Vec::new();
        for property in properties {
            let name = if property.name.text == "by" { "series" } else { property.name.text.as_str() };
            let Some((known, member)) = MEMBERS.iter().find(|(known, _)| *known == name) else {
                let message = format!("'render' has no property '{}'", property.name.text);
                let diagnostic = Diagnostic::new(diagnostic::NOT_IN_LIST, property.name.span, message)
                    .hint_nearest(name, MEMBERS.iter().map(|(known, _)| *known));
                self.report(diagnostic);
                failed = true;
                continue;
            };
            if seen.contains(known) {
                let message = format!("the property '{known}' is already given");
                self.report(Diagnostic::new(diagnostic::GENERAL, property.name.span, message));
                failed = true;
                continue;
            }
            seen.push(known);
            match self.render_value(known, &property.value, input) {
                Ok(value) => drop(object.insert((*member).into(), value)),
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(Json::Object(object)) }
    }

    /// The value of a property, which must be what the property takes. Source: the reference parser.
    fn render_value(&mut self, property: &str, value: &Expr, input: &Arc<Rel>) -> Bound<Json> {
        match property {
            "xcolumn" | "series" | "ycolumns" | "anomalycolumns" => {
                let ExprKind::Name(names) = &value.kind else {
                    return self.fail(diagnostic::GENERAL, value.span, format!("'{property}' takes names of columns"));
                };
                for name in names.text.split(',') {
                    if input.column(name).is_none() {
                        let message = format!("Failed to resolve column named '{name}'");
                        let columns = input.columns.iter().map(|column| column.name.as_str());
                        let diagnostic = Diagnostic::new(diagnostic::UNRESOLVED, value.span, message);
                        return Err(self.report(diagnostic.hint_nearest(name, columns)));
                    }
                }
                Ok(Json::from(names.text.clone()))
            }
            "title" | "xtitle" | "ytitle" => {
                let bound = self.expr(value, &mut Row::none())?;
                match self.constant(&bound, value.span, &format!("the value of '{property}'"))?.value {
                    Value::String(text) => Ok(Json::from(text)),
                    _ => self.fail(diagnostic::ARGUMENT_TYPE, value.span, format!("'{property}' takes a text")),
                }
            }
            "accumulate" => match &value.kind {
                ExprKind::Literal(Literal::Bool(Some(flag))) => Ok(Json::from(*flag)),
                _ => self.fail(diagnostic::ARGUMENT_TYPE, value.span, "'accumulate' is true or false"),
            },
            "ymin" | "ymax" | "xmin" | "xmax" => match property_json(value) {
                Json::Null => self.fail(diagnostic::ARGUMENT_TYPE, value.span, format!("'{property}' takes a number")),
                Json::String(_) if matches!(value.kind, ExprKind::Literal(Literal::String(_)) | ExprKind::Name(_)) => {
                    self.fail(diagnostic::ARGUMENT_TYPE, value.span, format!("'{property}' takes a number"))
                }
                number => Ok(number),
            },
            _ => {
                let words = WORDS.iter().find(|(known, _)| *known == property).map_or(&[][..], |(_, words)| *words);
                match property_json(value) {
                    Json::String(word) if words.contains(&word.as_str()) => Ok(Json::from(word)),
                    other => {
                        let message = format!("'{property}' is one of {}", words.join(", "));
                        let diagnostic = Diagnostic::new(diagnostic::NOT_IN_LIST, value.span, message);
                        let found = other.as_str().unwrap_or_default();
                        Err(self.report(diagnostic.hint_nearest(found, words.iter().copied())))
                    }
                }
            }
        }
    }
}

fn property_json(value: &Expr) -> Json {
    match &value.kind {
        ExprKind::Name(name) => Json::from(name.text.clone()),
        ExprKind::Literal(Literal::String(text)) => Json::from(text.clone()),
        ExprKind::Literal(Literal::Bool(Some(flag))) => Json::from(*flag),
        ExprKind::Literal(Literal::Int(Some(number))) => Json::from(*number),
        ExprKind::Literal(Literal::Long(Some(number))) => Json::from(*number),
        ExprKind::Literal(Literal::Real(Some(number))) => Json::from(*number),
        ExprKind::Literal(Literal::DateTime(Some(ticks))) => {
            Json::from(tidewater_kql::value::datetime::to_text(*ticks))
        }
        ExprKind::Literal(Literal::TimeSpan(Some(ticks))) => {
            Json::from(tidewater_kql::value::timespan::to_text(*ticks))
        }
        ExprKind::Unary { op: UnaryOp::Minus, operand } => match property_json(operand) {
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Json::from(-number),
                (None, Some(number)) => Json::from(-number),
                (None, None) => Json::Null,
            },
            other => other,
        },
        _ => Json::Null,
    }
}
