//! `ipv4_lookup`, `ipv6_lookup`, `geo_polygon_lookup`, `geo_line_lookup`: joins with a small table by what holds a value.

use std::sync::Arc;

use tidewater_functions::scalar::geo::ShapeKind;
use tidewater_kql::ast::{Argument, ExprKind, Literal};
use tidewater_kql::{KqlType, diagnostic};

use super::PluginCall;
use crate::bind::conversion::widest;
use crate::bind::join::beside;
use crate::bind::row::Row;
use crate::bind::source::Tabular;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, ColumnId, Rel, RelOp, RowLookup, Value};
use crate::exec::lookup::LookupKind;
use crate::exec::lookup_network::Networks;
use crate::exec::lookup_shape::Shapes;

impl Binder<'_> {
    /// `ipv4_lookup(table, source key, table key [, extra keys] [, return_unmatched])`.
    pub(super) fn ipv4_lookup(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.ip_lookup(input, call, Networks::Four)
    }

    /// `ipv6_lookup(table, source key, table key [, return_unmatched])`; extra keys as with IPv4.
    pub(super) fn ipv6_lookup(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.ip_lookup(input, call, Networks::Six)
    }

    fn ip_lookup(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>, kind: Networks) -> Bound<Tabular> {
        let (mut positional, named): (Vec<&Argument>, Vec<&Argument>) =
            call.arguments.iter().partition(|argument| argument.name.is_none());
        let mut unmatched: Option<&Argument> = None;
        for argument in named {
            match &argument.name {
                Some(name) if name.text == "return_unmatched" && unmatched.is_none() => unmatched = Some(argument),
                _ => return self.unknown_parameter(call, argument, &["return_unmatched"]),
            }
        }
        self.count(call.name, positional.len(), 3, usize::MAX, call.span)?;
        if let Some(last) = positional.pop_if(|last| is_flag(last)) {
            if unmatched.is_some() {
                return self.unknown_parameter(call, last, &["return_unmatched"]);
            }
            unmatched = Some(last);
        }
        self.count(call.name, positional.len(), 3, usize::MAX, call.span)?;
        let keeps_unmatched = self.optional_flag(call, unmatched, "return_unmatched")?;
        let table = self.single_table(&positional[0].value)?.rel;
        let source_key = self.text_key(call, positional[1], input);
        let table_key = self.text_key(call, positional[2], &table);
        let (source_key, table_key) = (source_key?, table_key?);
        let mut equal = Vec::with_capacity(positional.len() - 3);
        let mut left_out: Vec<ColumnId> = Vec::new();
        for argument in &positional[3..] {
            let pair = (self.plugin_input_column(input, argument), self.plugin_input_column(&table, argument));
            let (left, right) = (pair.0?, pair.1?);
            let common = if left.ty == right.ty { Some(left.ty) } else { widest(left.ty, right.ty) };
            let Some(ty) = common.filter(|ty| *ty != KqlType::Dynamic) else {
                let message = format!(
                    "{}(): column '{}' is {} in the source, but {} in the lookup table",
                    call.name, left.name, left.ty, right.ty
                );
                return self.fail(diagnostic::JOIN_KEY, argument.value.span, message);
            };
            equal.push((self.convert(BExpr::column(&left), ty), self.convert(BExpr::column(&right), ty)));
            left_out.push(right.id);
        }
        let lookup = RowLookup {
            input: input.clone(),
            table,
            equal,
            args: vec![BExpr::column(&source_key)],
            table_args: vec![BExpr::column(&table_key)],
            kind: Arc::new(kind),
            keeps_unmatched,
        };
        self.looked_up(lookup, &left_out, call)
    }

    fn text_key(&mut self, call: &PluginCall<'_>, argument: &Argument, rel: &Rel) -> Bound<BoundColumn> {
        let column = self.plugin_input_column(rel, argument)?;
        if column.ty == KqlType::String {
            return Ok(column);
        }
        let message = format!("{}(): column '{}' must be a string, but it is {}", call.name, column.name, column.ty);
        self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message)
    }

    /// `geo_polygon_lookup(table, key, longitude, latitude [, radius] [, return_unmatched] [, lookup_area_radius]
    /// [, return_lookup_key])`.
    pub(super) fn geo_polygon_lookup(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.geo_lookup(input, call, ShapeKind::Polygon)
    }

    /// `geo_line_lookup(...)`: the same with a radius that must be given.
    pub(super) fn geo_line_lookup(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>) -> Bound<Tabular> {
        self.geo_lookup(input, call, ShapeKind::Line)
    }

    fn geo_lookup(&mut self, input: &Arc<Rel>, call: &PluginCall<'_>, kind: ShapeKind) -> Bound<Tabular> {
        let parameters = [
            "LookupTable",
            if kind == ShapeKind::Line { "LookupLineKey" } else { "LookupPolygonKey" },
            "SourceLongitude",
            "SourceLatitude",
            "radius",
            "return_unmatched",
            "lookup_area_radius",
            "return_lookup_key",
        ];
        let least = if kind == ShapeKind::Line { 5 } else { 4 };
        self.count(call.name, call.arguments.len(), least, parameters.len(), call.span)?;
        let given = self.parameters(call, &parameters, least)?;
        let (Some(table), Some(key), Some(longitude), Some(latitude)) = (given[0], given[1], given[2], given[3]) else {
            return Err(Stopped);
        };
        let table = self.single_table(&table.value)?.rel;
        let key_column = self.plugin_input_column(&table, key)?;
        if key_column.ty != KqlType::Dynamic {
            let message =
                format!("{}(): column '{}' must be dynamic, but it is {}", call.name, key_column.name, key_column.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, key.value.span, message);
        }
        let degrees = (self.degrees(call, longitude, input), self.degrees(call, latitude, input));
        let args = vec![degrees.0?, degrees.1?];
        let radius_metres = self.metres(call, given[4], "radius")?;
        let keeps_unmatched = self.optional_flag(call, given[5], "return_unmatched")?;
        // How the service looks is its own business; ours needs no hint.
        self.metres(call, given[6], "lookup_area_radius")?;
        let returns_key = self.optional_flag(call, given[7], "return_lookup_key")?;
        let left_out: Vec<ColumnId> = if returns_key { Vec::new() } else { vec![key_column.id] };
        let kind: Arc<dyn LookupKind> = Arc::new(Shapes { kind, radius_metres });
        let table_args = vec![BExpr::column(&key_column)];
        let lookup =
            RowLookup { input: input.clone(), table, equal: Vec::new(), args, table_args, kind, keeps_unmatched };
        self.looked_up(lookup, &left_out, call)
    }

    /// A longitude or latitude as a real.
    fn degrees(&mut self, call: &PluginCall<'_>, argument: &Argument, input: &Rel) -> Bound<BExpr> {
        let bound = self.expr(&argument.value, &mut Row::of(&input.columns))?;
        if !matches!(bound.ty, KqlType::Real | KqlType::Int | KqlType::Long | KqlType::Decimal) {
            let message = format!("{}(): a coordinate must be a number, but this is {}", call.name, bound.ty);
            return self.fail(diagnostic::ARGUMENT_TYPE, argument.value.span, message);
        }
        Ok(self.convert(bound, KqlType::Real))
    }

    fn metres(&mut self, call: &PluginCall<'_>, argument: Option<&Argument>, name: &str) -> Bound<Option<f64>> {
        let Some(argument) = argument else { return Ok(None) };
        let what = format!("{}(): '{name}'", call.name);
        match self.plugin_value(argument, KqlType::Real, &what)?.value {
            Value::Real(metres) if metres >= 0.0 && metres.is_finite() => Ok(Some(metres)),
            _ => {
                let message = format!("{what} is a number of metres that is not negative");
                self.fail(diagnostic::NOT_IN_LIST, argument.value.span, message)
            }
        }
    }

    fn optional_flag(&mut self, call: &PluginCall<'_>, argument: Option<&Argument>, name: &str) -> Bound<bool> {
        match argument {
            Some(argument) => self.plugin_flag(argument, &format!("{}(): '{name}'", call.name)),
            None => Ok(false),
        }
    }

    /// The columns of both sides, those of the table but the keys that need not be seen twice.
    fn looked_up(&mut self, lookup: RowLookup, left_out: &[ColumnId], call: &PluginCall<'_>) -> Bound<Tabular> {
        let source = lookup.input.columns.clone();
        let shown: Vec<BoundColumn> =
            lookup.table.columns.iter().filter(|column| !left_out.contains(&column.id)).cloned().collect();
        let columns = source.iter().chain(&lookup.table.columns).cloned().collect();
        let rel = self.rel(RelOp::Lookup(Box::new(lookup)), columns, call.span)?;
        let named = beside(&source, &shown);
        Ok(Tabular::of(self.project(rel, named, call.span)?))
    }
}

/// Whether an argument is written as true or false.
fn is_flag(argument: &Argument) -> bool {
    match &argument.value.kind {
        ExprKind::Literal(Literal::Bool(_)) => true,
        ExprKind::Name(name) => name.text == "true" || name.text == "false",
        _ => false,
    }
}
