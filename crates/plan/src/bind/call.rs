//! Calls of scalar functions: user functions first, then the binder's own, then the registry's.

use tidewater_functions::{Imp, find_aggregate, find_scalar, registry};
use tidewater_kql::ast::{Argument, Expr, ExprKind, Name};
use tidewater_kql::{Diagnostic, KqlType, Span, diagnostic};

use crate::bind::let_::AnyValue;
use crate::bind::row::Row;
use crate::bind::scope::Binding;
use crate::bind::{Binder, Bound, Stopped};
use crate::bound::{BExpr, BExprKind, ScalarRow};

impl Binder<'_> {
    /// A call where a scalar is expected.
    pub fn call(
        &mut self,
        base: Option<&Expr>,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
    ) -> Bound<BExpr> {
        if let Some(base) = base {
            let database = self.database_of(base)?;
            let Some(function) = self.stored_function(&database, name)? else {
                return self.unknown_function(name);
            };
            return self.scalar_call(function, arguments, row, name.span);
        }
        match self.lookup(&name.text) {
            Some(Binding::Function(function)) => return self.scalar_call(function, arguments, row, name.span),
            Some(Binding::Failed) => return Err(Stopped),
            _ => {}
        }
        if let Some(result) = self.graph_call(name, arguments, row, name.span) {
            return result;
        }
        if let Some(result) = self.builtin(name, arguments, row, name.span) {
            return result;
        }
        // Where aggregates stand, a name that both kinds have (`hll_merge`) is the aggregate's.
        let takes_aggregates = row.aggregates.as_ref().is_some_and(|aggregates| !aggregates.inside);
        if let (true, Some(aggregate)) = (takes_aggregates, find_aggregate(&name.text)) {
            return self.aggregate_in_expression(aggregate, name, arguments, row, name.span);
        }
        if let Some(scalar) = find_scalar(&name.text) {
            return self.registry_call(scalar, name, arguments, row, name.span);
        }
        if let Some(aggregate) = find_aggregate(&name.text) {
            return self.aggregate_in_expression(aggregate, name, arguments, row, name.span);
        }
        let database = self.database.clone();
        if let Some(function) = self.stored_function(&database, name)? {
            return self.scalar_call(function, arguments, row, name.span);
        }
        self.unknown_function(name)
    }

    fn scalar_call(
        &mut self,
        function: std::rc::Rc<crate::bind::scope::FunctionDef>,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<BExpr> {
        // Said before its arguments, which may vary by row, get in the way of constants inside.
        if self.is_tabular_function(&function) {
            return self.scalar_expected(span);
        }
        match self.invoke_function(&function, arguments, None, row, span)? {
            AnyValue::Scalar(expr) => Ok(expr),
            AnyValue::Table(_) => self.scalar_expected(span),
        }
    }

    /// Reports a name that no function has.
    pub fn unknown_function<T>(&mut self, name: &Name) -> Bound<T> {
        let mut names: Vec<String> = self.visible_names();
        names.extend(self.view.function_names(&self.database));
        names.extend(registry::scalar_names().chain(registry::aggregate_names()).map(str::to_string));
        let diagnostic =
            Diagnostic::new(diagnostic::UNKNOWN_FUNCTION, name.span, format!("Unknown function: '{}'", name.text))
                .hint_nearest(&name.text, names.iter().map(String::as_str));
        Err(self.report(diagnostic))
    }

    /// Binds plain arguments; several mistakes are reported at once.
    pub fn arguments(&mut self, name: &str, arguments: &[Argument], row: &mut Row<'_>) -> Bound<Vec<(BExpr, Span)>> {
        let mut bound = Vec::with_capacity(arguments.len());
        let mut failed = false;
        for argument in self.in_order(name, arguments) {
            let argument = match argument {
                Ok(argument) => argument,
                Err(label) => {
                    let message = format!("{name}() takes no argument by the name '{}'", label.text);
                    self.report(Diagnostic::new(diagnostic::ARGUMENT_COUNT, label.span, message));
                    failed = true;
                    continue;
                }
            };
            // `pack_array(*)`: every column.
            if matches!(argument.value.kind, ExprKind::Star) && STAR_FUNCTIONS.contains(&name) && row.allows_columns() {
                bound.extend(row.columns.iter().map(|column| (BExpr::column(column), argument.value.span)));
                continue;
            }
            match self.expr(&argument.value, row) {
                Ok(expr) => bound.push((expr, argument.value.span)),
                Err(Stopped) => failed = true,
            }
        }
        if failed { Err(Stopped) } else { Ok(bound) }
    }

    /// Arguments in the order of the parameters: those with a name go to the parameter that has it.
    fn in_order<'e>(&self, name: &str, arguments: &'e [Argument]) -> Vec<Result<&'e Argument, &'e Name>> {
        if arguments.iter().all(|argument| argument.name.is_none()) {
            return arguments.iter().map(Ok).collect();
        }
        let parameters: Vec<&str> = find_scalar(name)
            .and_then(|row| row.signatures.first())
            .map(|signature| signature.params.iter().map(|param| param.name).collect())
            .unwrap_or_default();
        let mut placed: Vec<(usize, Result<&Argument, &Name>)> = arguments
            .iter()
            .enumerate()
            .map(|(position, argument)| match &argument.name {
                None => (position, Ok(argument)),
                Some(label) => match parameters.iter().position(|parameter| *parameter == label.text) {
                    Some(place) => (place, Ok(argument)),
                    None => (position, Err(label)),
                },
            })
            .collect();
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().map(|(_, argument)| argument).collect()
    }

    /// A call of a registered function.
    pub fn registry_call(
        &mut self,
        scalar: &'static registry::Scalar,
        name: &Name,
        arguments: &[Argument],
        row: &mut Row<'_>,
        span: Span,
    ) -> Bound<BExpr> {
        let (arguments, wanted) = wanted_type(&name.text, arguments);
        self.count_fits(&name.text, scalar.signatures, arguments, span)?;
        let bound = self.arguments(&name.text, arguments, row)?;
        // Mistakes in the call are told before the refusal to serve it.
        let fitted = match scalar.signatures {
            [] => None,
            signatures => Some(self.fit(&name.text, signatures, bound, span)?),
        };
        let fitted = match (scalar.imp, fitted) {
            (Imp::Refused(why), _) => return self.not_served(span, format!("{}() ({why})", name.text)),
            (Imp::Native(_) | Imp::Kernel(_), Some(fitted)) => fitted,
            _ => return self.not_served(span, format!("{}()", name.text)),
        };
        let kind = BExprKind::Call { row: ScalarRow(scalar), args: fitted.args };
        let call = BExpr { kind, ty: fitted.returns };
        match wanted.map(|argument| (&argument.value.kind, argument.value.span)) {
            None => Ok(call),
            Some((ExprKind::TypeOf(ty), _)) => Ok(self.convert(call, *ty)),
            Some((_, span)) => {
                let message = format!("{}(): the last argument must be a type, such as typeof(long)", name.text);
                self.fail(diagnostic::ARGUMENT_TYPE, span, message)
            }
        }
    }

    /// A call of a registry function on bound arguments, for expressions that the binder makes itself.
    pub fn registry_expr(&mut self, name: &'static str, args: Vec<BExpr>, span: Span) -> Bound<BExpr> {
        let row = find_scalar(name).filter(|row| matches!(row.imp, Imp::Native(_) | Imp::Kernel(_)));
        let Some(row) = row else {
            return self.not_served(span, format!("{name}()"));
        };
        let args = args.into_iter().map(|arg| (arg, span)).collect();
        let fitted = self.fit(name, row.signatures, args, span)?;
        Ok(BExpr { kind: BExprKind::Call { row: ScalarRow(row), args: fitted.args }, ty: fitted.returns })
    }
}

/// Functions whose last argument may name the type of their value, and how many come before it.
const TYPED_FUNCTIONS: &[(&str, usize)] =
    &[("extract", 3), ("extract_json", 2), ("extractjson", 2), ("percentile_tdigest", 2)];

/// The arguments, and behind them the type of the value that `extract(regex, group, text, typeof(long))` and the like name.
fn wanted_type<'a>(name: &str, arguments: &'a [Argument]) -> (&'a [Argument], Option<&'a Argument>) {
    let typed = TYPED_FUNCTIONS.iter().find(|(typed, _)| *typed == name);
    match (typed, arguments.split_last()) {
        (Some((_, others)), Some((last, rest)))
            if rest.len() == *others || matches!(last.value.kind, ExprKind::TypeOf(_)) =>
        {
            (rest, Some(last))
        }
        _ => (arguments, None),
    }
}

/// Functions that take `*` for all columns.
const STAR_FUNCTIONS: &[&str] = &["pack_array", "estimate_data_size"];

/// The type that a conversion function gives.
pub(crate) fn conversion_target(name: &str) -> Option<KqlType> {
    Some(match name {
        "tostring" => KqlType::String,
        "tobool" | "toboolean" => KqlType::Bool,
        "toint" => KqlType::Int,
        "tolong" => KqlType::Long,
        "todouble" | "toreal" => KqlType::Real,
        "todecimal" => KqlType::Decimal,
        "todatetime" => KqlType::DateTime,
        "totimespan" | "totime" => KqlType::TimeSpan,
        "toguid" => KqlType::Guid,
        "todynamic" | "toobject" | "parse_json" | "parsejson" => KqlType::Dynamic,
        _ => return None,
    })
}
