//! `scan`. Source: scan-operator page; kql-behaviour section 13.
//!
//! The columns of a step (`s1.x`) are columns of their own while expressions are bound; the program
//! that is made of them tells what reads the state from what reads the current row.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tidewater_kql::ast::{NamedExpr, Operator, OperatorKind, Parameter, ParameterType, ScanStep};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::row::{Row, StepColumns};
use crate::bind::scope::Binding;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BoundColumn, ColumnId, Constant, Rel, RelOp, RowStage, StageOrder};
use crate::exec::cells::Cell;
use crate::exec::scan::{FieldValue, Scan, ScanField, Step, StepOutput};
use crate::exec::scan_program::{Compiler, Node};

/// A step with bound expressions.
struct BoundStep {
    condition: BExpr,
    assignments: Vec<(String, BExpr)>,
    output: StepOutput,
}

impl Binder<'_> {
    /// Columns: the input's, the declared ones, the match id.
    pub fn scan_operator(&mut self, input: &Arc<Rel>, operator: &Operator) -> Bound<Arc<Rel>> {
        let OperatorKind::Scan { parameters, order, partition, declare, steps } = &operator.kind else {
            return Err(Stopped);
        };
        let span = operator.span;
        let match_id = match self.word(parameters, &["with_match_id"]) {
            Some((_, Some(name))) => Some(name),
            Some((name, None)) => {
                let span = name.span;
                return self.fail(diagnostic::GENERAL, span, "'with_match_id' is the name of a column");
            }
            None => None,
        };
        match self.word(parameters, &["kind"]) {
            None => {}
            Some((_, Some(word))) if word == "partial" => {}
            Some((name, _)) => {
                let span = name.span;
                return self.not_served(span, "'scan' of a kind other than partial");
            }
        }
        let input = match order.is_empty() {
            true => input.clone(),
            false => self.sorted(input, order, None, "scan", span)?,
        };
        if !input.is_serialized {
            let message = "'scan' needs a serialized row set: put 'serialize' or a sort before it";
            return self.fail(diagnostic::GENERAL, span, message);
        }
        let groups = self.keys(&input, partition, "a key of 'scan'")?;
        let declared = self.scan_declared(&input, declare)?;
        let mut names: Vec<BoundColumn> = input.columns.clone();
        names.extend(declared.iter().map(|(column, _)| column.clone()));
        if let Some(name) = match_id.as_ref().filter(|name| names.iter().any(|column| column.name == **name)) {
            return Err(self.duplicate_column(name, span));
        }
        let scopes = self.step_columns(&names, steps)?;
        // A declared name by itself is its default.
        let outer = self.enter(self.env);
        for (column, default) in &declared {
            self.define(&column.name, Binding::Scalar(Rc::new(BExpr::constant(default.clone()))));
        }
        let bound = self.scan_steps(&input, &names, &scopes, steps);
        self.env = outer;
        let bound = bound?;
        self.scan_rel(
            &input,
            groups.into_iter().map(|group| group.expr).collect(),
            declared,
            match_id,
            &scopes,
            bound,
            span,
        )
    }

    /// The declared columns with their defaults.
    fn scan_declared(&mut self, input: &Rel, declare: &[Parameter]) -> Bound<Vec<(BoundColumn, Constant)>> {
        let mut declared: Vec<(BoundColumn, Constant)> = Vec::with_capacity(declare.len());
        let mut failed = false;
        for parameter in declare {
            let name = &parameter.name;
            let ParameterType::Scalar(ty) = parameter.ty else {
                return self.fail(diagnostic::GENERAL, name.span, "a column of 'scan' has a scalar type");
            };
            if input.column(&name.text).is_some() || declared.iter().any(|(column, _)| column.name == name.text) {
                self.duplicate_column(&name.text, name.span);
                failed = true;
                continue;
            }
            let default = match &parameter.default {
                None => Constant::null(ty),
                Some(default) => {
                    let what = format!("the default of '{}'", name.text);
                    let value = self.expr(default, &mut Row::none())?;
                    let value = self.constant(&value, default.span, &what)?;
                    self.constant_of_type(value, ty, default.span, &what)?
                }
            };
            declared.push((self.fresh_column(&name.text, ty), default));
        }
        if failed { Err(Stopped) } else { Ok(declared) }
    }

    /// Every step's columns under ids of their own.
    fn step_columns(&mut self, names: &[BoundColumn], steps: &[ScanStep]) -> Bound<Vec<StepColumns>> {
        let mut scopes: Vec<StepColumns> = Vec::with_capacity(steps.len());
        for step in steps {
            let name = &step.name;
            if scopes.iter().any(|scope| scope.name == name.text) {
                let message = format!("'scan' has two steps named '{}'", name.text);
                return self.fail(diagnostic::DUPLICATE_LET, name.span, message);
            }
            self.spend(names.len(), name.span)?;
            let columns = names.iter().map(|column| self.fresh_column(&column.name, column.ty)).collect();
            scopes.push(StepColumns { name: name.text.clone(), columns });
        }
        Ok(scopes)
    }

    fn scan_steps(
        &mut self,
        input: &Rel,
        names: &[BoundColumn],
        scopes: &[StepColumns],
        steps: &[ScanStep],
    ) -> Bound<Vec<BoundStep>> {
        let mut bound = Vec::with_capacity(steps.len());
        let mut failed = false;
        for step in steps {
            match self.scan_step(input, names, scopes, step) {
                Ok(step) => bound.push(step),
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(bound) }
    }

    fn scan_step(
        &mut self,
        input: &Rel,
        names: &[BoundColumn],
        scopes: &[StepColumns],
        step: &ScanStep,
    ) -> Bound<BoundStep> {
        if step.optional {
            return self.not_served(step.name.span, "an optional step of 'scan'");
        }
        let output = match step.output.as_ref().map(|output| (output.text.as_str(), output.span)) {
            None | Some(("all", _)) => StepOutput::All,
            Some(("last", _)) => StepOutput::Last,
            Some(("none", _)) => StepOutput::None,
            Some((_, span)) => {
                return self.fail(diagnostic::SYNTAX, span, "the output of a step is 'all', 'last' or 'none'");
            }
        };
        let condition = self.predicate(&step.condition, &mut Row::of_steps(&input.columns, scopes));
        let mut assignments: Vec<(String, BExpr)> = Vec::with_capacity(step.assignments.len());
        let mut failed = false;
        for assignment in &step.assignments {
            match self.scan_assignment(input, names, scopes, assignment) {
                Ok((name, _)) if assignments.iter().any(|(other, _)| *other == name) => {
                    let message = format!("'{name}' is assigned twice in one step");
                    self.report(Diagnostic::new(diagnostic::DUPLICATE_COLUMN, assignment.value.span, message));
                    failed = true;
                }
                Ok(assignment) => assignments.push(assignment),
                Err(Stopped) => failed = true,
            }
        }
        let condition = condition?;
        if failed { Err(Stopped) } else { Ok(BoundStep { condition, assignments, output }) }
    }

    fn scan_assignment(
        &mut self,
        input: &Rel,
        names: &[BoundColumn],
        scopes: &[StepColumns],
        assignment: &NamedExpr,
    ) -> Bound<(String, BExpr)> {
        let [name] = assignment.names.as_slice() else {
            return self.fail(diagnostic::GENERAL, assignment.value.span, "a step assigns to a column: name = value");
        };
        let Some(column) = names.iter().find(|column| column.name == name.text) else {
            return Err(self.unresolved_column(&name.text, names, name.span));
        };
        let span = assignment.value.span;
        let value = self.expr(&assignment.value, &mut Row::of_steps(&input.columns, scopes))?;
        let from = value.ty;
        // Numbers go both ways, as in a conversion by name.
        if from.is_numeric() && column.ty.is_numeric() {
            return Ok((name.text.clone(), self.convert(value, column.ty)));
        }
        match self.assignable(value, column.ty, span)? {
            Some(value) => Ok((name.text.clone(), value)),
            None => {
                let message = format!("column '{}' is of type {}, but the value is {from}", name.text, column.ty);
                self.fail(diagnostic::ARGUMENT_TYPE, span, message)
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one operator")]
    fn scan_rel(
        &mut self,
        input: &Arc<Rel>,
        groups: Vec<BExpr>,
        declared: Vec<(BoundColumn, Constant)>,
        match_id: Option<String>,
        scopes: &[StepColumns],
        steps: Vec<BoundStep>,
        span: Span,
    ) -> Bound<Arc<Rel>> {
        let mut args = Vec::new();
        let mut known: HashMap<ColumnId, usize> = HashMap::new();
        // Fields: input columns that are assigned or read from a state, then the declared ones.
        let is_assigned = |name: &str| steps.iter().any(|step| step.assignments.iter().any(|(other, _)| other == name));
        let mut read = std::collections::HashSet::new();
        for expr in steps.iter().flat_map(|step| step.assignments.iter().map(|(_, expr)| expr).chain([&step.condition]))
        {
            expr.any(|node| {
                if let crate::bound::BExprKind::Column(id) = node.kind {
                    read.insert(id);
                }
                false
            });
        }
        let mut fields: Vec<ScanField> = Vec::new();
        let mut positions: Vec<Option<usize>> = Vec::new();
        let mut keep = Vec::new();
        let mut own: Vec<BoundColumn> = Vec::new();
        let mut result: Vec<BoundColumn> = Vec::new();
        for (place, column) in input.columns.iter().enumerate() {
            let is_output = is_assigned(&column.name);
            let is_read = scopes.iter().any(|scope| read.contains(&scope.columns[place].id));
            if is_output {
                let made = self.fresh_column(&column.name, column.ty);
                own.push(made.clone());
                result.push(made);
            } else {
                keep.push(column.id);
                result.push(column.clone());
            }
            if !is_output && !is_read {
                positions.push(None);
                continue;
            }
            positions.push(Some(fields.len()));
            known.insert(column.id, args.len());
            fields.push(ScanField {
                ty: column.ty,
                value: FieldValue::Arg(args.len()),
                default: Cell::of(&Constant::null(column.ty)),
                is_output,
            });
            args.push(BExpr::column(column));
        }
        for (column, default) in &declared {
            positions.push(Some(fields.len()));
            fields.push(ScanField {
                ty: column.ty,
                value: FieldValue::Default,
                default: Cell::of(default),
                is_output: true,
            });
            own.push(column.clone());
            result.push(column.clone());
        }
        let mut places: HashMap<ColumnId, (usize, usize)> = HashMap::new();
        for (step, scope) in scopes.iter().enumerate() {
            for (column, field) in scope.columns.iter().zip(&positions) {
                if let Some(field) = field {
                    places.insert(column.id, (step, *field));
                }
            }
        }
        let names: Vec<&str> = input
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .chain(declared.iter().map(|(column, _)| column.name.as_str()))
            .collect();
        let field_of = |name: &str| names.iter().position(|other| *other == name).and_then(|place| positions[place]);
        let states = |id: ColumnId| places.get(&id).copied();
        let mut compiler = Compiler { states: &states, args: &mut args, known: &mut known, slots: 0 };
        let mut made: Vec<Step> = Vec::with_capacity(steps.len());
        for step in &steps {
            let condition: Node = compiler.node(&step.condition);
            let mut assignments = Vec::with_capacity(step.assignments.len());
            for (name, value) in &step.assignments {
                let Some(field) = field_of(name) else { return Err(Stopped) };
                assignments.push((field, compiler.node(value)));
            }
            made.push(Step { condition, assignments, output: step.output });
        }
        let slots = compiler.slots;
        if let Some(name) = &match_id {
            let column = self.fresh_column(name, KqlType::Long);
            own.push(column.clone());
            result.push(column);
        }
        let algorithm = Scan {
            id: self.fresh_id().0,
            fields,
            steps: made,
            args: args.iter().map(|arg| arg.ty).collect(),
            has_match_id: match_id.is_some(),
            slots,
        };
        let kept = input.columns.iter().filter(|column| keep.contains(&column.id)).cloned();
        let columns = kept.chain(own).collect();
        let stage = RowStage {
            input: input.clone(),
            groups,
            args,
            keep,
            order: StageOrder::Kept,
            algorithm: Arc::new(algorithm),
        };
        let scanned = self.rel(RelOp::Stage(Box::new(stage)), columns, span)?;
        self.columns_only(&scanned, &result, span)
    }
}
