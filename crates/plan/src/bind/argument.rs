//! Fits arguments to the signatures of the registry.

use tidewater_functions::signature::{Accepts, Occurs};
use tidewater_functions::{Param, Returns, Signature};
use tidewater_kql::ast::{Argument, ExprKind};
use tidewater_kql::{KqlType, Span, diagnostic};

use crate::bind::argument_rules::is_refused_whole;
use crate::bind::conversion::{common_type, widens};
use crate::bind::{Binder, Bound};
use crate::bound::{BExpr, BExprKind, Value};

/// Arguments of one call; more are refused. Source: the documented limits are 64 (coalesce, strcat) to a few hundred.
const MAX_ARGUMENTS: usize = 1_000;

/// Functions whose regular expression stands alone; those of the `trim` family put theirs into a larger one.
const TAKES_A_REGEX: &[&str] = &["extract", "extract_all", "extractall", "indexof_regex", "replace_regex", "replace"];

/// How well an argument fits a parameter; the signature whose worst fit is best is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Exact,
    Widened,
    FromDynamic,
}

/// The arguments of a call after conversion.
pub(crate) struct Fitted {
    pub args: Vec<BExpr>,
    pub returns: KqlType,
}

impl Binder<'_> {
    /// Chooses a signature of `name` and converts the arguments.
    pub fn fit(
        &mut self,
        name: &str,
        signatures: &'static [Signature],
        args: Vec<(BExpr, Span)>,
        span: Span,
    ) -> Bound<Fitted> {
        let counted: Vec<(&Signature, Vec<&Param>)> =
            signatures.iter().filter_map(|signature| Some((signature, params_for(signature, args.len())?))).collect();
        if counted.is_empty() {
            return self.no_such_count(name, signatures, args.len(), span);
        }
        let types: Vec<KqlType> = args.iter().map(|(arg, _)| arg.ty).collect();
        let best = counted
            .iter()
            .filter_map(|(signature, params)| Some((worst_fit(params, &types, &args)?, *signature, params)))
            .min_by_key(|(fit, _, _)| *fit);
        let Some((_, signature, params)) = best else {
            return self.misfit(name, &counted, &args, span);
        };
        self.check_rules(name, &args, span)?;
        let common = common_type(
            params.iter().zip(&types).filter(|(param, _)| param.accepts == Accepts::Common).map(|(_, ty)| *ty),
        );
        let mut converted = Vec::with_capacity(args.len());
        for ((arg, arg_span), param) in args.into_iter().zip(params) {
            let arg = self.fit_one(arg, param, common, arg_span)?;
            if matches!(param.name, "regex" | "lookup_regex") && TAKES_A_REGEX.contains(&name) {
                self.regular_expression(name, &arg, arg_span)?;
            }
            converted.push(if param.constant {
                let what = format!("the argument '{}' of {name}()", param.name);
                BExpr::constant(self.constant(&arg, arg_span, &what)?)
            } else {
                arg
            });
        }
        let types: Vec<KqlType> = converted.iter().map(|arg| arg.ty).collect();
        let returns = match signature.returns {
            Returns::Type(ty) => ty,
            Returns::Argument(position) => types.get(position).copied().unwrap_or(KqlType::Dynamic),
            Returns::Common => common.unwrap_or(KqlType::Dynamic),
            Returns::By(rule) => match rule(&types) {
                Ok(ty) => ty,
                Err(message) => return self.fail(diagnostic::ARGUMENT_TYPE, span, format!("{name}(): {message}")),
            },
        };
        Ok(Fitted { args: converted, returns })
    }

    /// Refuses a number of arguments that no signature takes, before the arguments are looked at: the name stands first.
    pub fn count_fits(
        &mut self,
        name: &str,
        signatures: &'static [Signature],
        arguments: &[Argument],
        span: Span,
    ) -> Bound<()> {
        let is_open = arguments.iter().any(|argument| matches!(argument.value.kind, ExprKind::Star));
        let count = arguments.len();
        if is_open || signatures.is_empty() || signatures.iter().any(|one| params_for(one, count).is_some()) {
            return Ok(());
        }
        self.no_such_count(name, signatures, count, span)
    }

    fn no_such_count<T>(&mut self, name: &str, signatures: &[Signature], given: usize, span: Span) -> Bound<T> {
        let message = format!("{name}(): {} expected, but {given} given", expected_count(signatures));
        self.fail(diagnostic::ARGUMENT_COUNT, span, message)
    }

    fn fit_one(&mut self, arg: BExpr, param: &Param, common: Option<KqlType>, span: Span) -> Bound<BExpr> {
        match param.accepts {
            // A dynamic parameter takes a value of any type as it is, not as JSON text.
            Accepts::Only(KqlType::Dynamic) => self.boxed(arg, span),
            Accepts::Only(ty) => Ok(self.convert(arg, ty)),
            Accepts::OneOf(types) if !types.contains(&arg.ty) => match types.iter().find(|ty| widens(arg.ty, **ty)) {
                Some(ty) => Ok(self.convert(arg, *ty)),
                None => Ok(self.convert(arg, KqlType::String)),
            },
            Accepts::OneOf(_) | Accepts::Number | Accepts::Any => Ok(arg),
            Accepts::Text => Ok(self.convert(arg, KqlType::String)),
            Accepts::Common => {
                let ty = common.unwrap_or(arg.ty);
                self.common(arg, ty, span)
            }
        }
    }

    fn misfit(
        &mut self,
        name: &str,
        counted: &[(&Signature, Vec<&Param>)],
        args: &[(BExpr, Span)],
        span: Span,
    ) -> Bound<Fitted> {
        // The form that the fewest arguments do not fit; each of those is named where it stands.
        let misfits = |params: &[&Param]| {
            args.iter().zip(params).filter(|((arg, _), param)| fit_of(param, arg).is_none()).count()
        };
        let nearest = counted.iter().min_by_key(|(_, params)| misfits(params));
        if let (Some((_, params)), false) = (nearest, is_refused_whole(name)) {
            let mut named = false;
            for ((arg, arg_span), param) in args.iter().zip(params) {
                if fit_of(param, arg).is_none() {
                    let message = format!(
                        "{name}(): argument '{}' must be {}, but this is {}",
                        param.name,
                        accepted(param.accepts),
                        arg.ty
                    );
                    self.report(tidewater_kql::Diagnostic::new(diagnostic::ARGUMENT_TYPE, *arg_span, message));
                    named = true;
                }
            }
            if named {
                return Err(crate::bind::Stopped);
            }
        }
        let types: Vec<&str> = args.iter().map(|(arg, _)| arg.ty.name()).collect();
        let message = format!("{name}() is not defined for the types ({})", types.join(", "));
        self.fail(diagnostic::ARGUMENT_TYPE, span, message)
    }
}

/// The parameter of each of `count` arguments; `None` when that many do not go.
fn params_for(signature: &'static Signature, count: usize) -> Option<Vec<&'static Param>> {
    let params = signature.params;
    let repeated: Vec<&Param> = params.iter().filter(|param| param.occurs == Occurs::Repeated).collect();
    let single: Vec<&Param> = params.iter().filter(|param| param.occurs != Occurs::Repeated).collect();
    let required = params.iter().filter(|param| param.occurs == Occurs::Required).count();
    if count < required || count > MAX_ARGUMENTS {
        return None;
    }
    if count <= single.len() {
        return Some(single[..count].to_vec());
    }
    if repeated.is_empty() || !(count - single.len()).is_multiple_of(repeated.len()) {
        return None;
    }
    let rest = repeated.iter().cycle().take(count - single.len());
    Some(single.iter().chain(rest).copied().collect())
}

fn expected_count(signatures: &[Signature]) -> String {
    let count = |signature: &Signature, wanted: &[Occurs]| {
        signature.params.iter().filter(|param| wanted.contains(&param.occurs)).count()
    };
    let required = [Occurs::Required];
    let single = [Occurs::Required, Occurs::Optional];
    let least = signatures.iter().map(|signature| count(signature, &required)).min().unwrap_or(0);
    let most = signatures.iter().map(|signature| count(signature, &single)).max().unwrap_or(0);
    let open = signatures.iter().any(|signature| signature.params.iter().any(|param| param.occurs == Occurs::Repeated));
    let plural = |count: usize| if count == 1 { "argument is" } else { "arguments are" };
    match (least, most) {
        _ if open => format!("{least} or more arguments are"),
        (least, most) if least == most => format!("{least} {}", plural(least)),
        (least, most) => format!("{least} to {most} arguments are"),
    }
}

fn worst_fit(params: &[&Param], types: &[KqlType], args: &[(BExpr, Span)]) -> Option<Fit> {
    let common = params.iter().zip(types).filter(|(param, _)| param.accepts == Accepts::Common).map(|(_, ty)| *ty);
    let common: Vec<KqlType> = common.collect();
    if !common.is_empty() {
        common_type(common)?;
    }
    let mut worst = Fit::Exact;
    for (param, (arg, _)) in params.iter().zip(args) {
        worst = worst.max(fit_of(param, arg)?);
    }
    Some(worst)
}

fn fit_of(param: &Param, arg: &BExpr) -> Option<Fit> {
    let ty = arg.ty;
    match param.accepts {
        Accepts::Only(wanted) if wanted == ty => Some(Fit::Exact),
        Accepts::Only(wanted) if widens(ty, wanted) => Some(Fit::Widened),
        // Integer literals are long; where int is wanted they are meant.
        Accepts::Only(KqlType::Int) if ty == KqlType::Long => Some(Fit::Widened),
        // The text of a dynamic is taken where a string is wanted; other types need an explicit cast.
        Accepts::Only(KqlType::String) if ty == KqlType::Dynamic && !is_container(arg) => Some(Fit::FromDynamic),
        Accepts::Only(_) => None,
        Accepts::OneOf(types) if types.contains(&ty) => Some(Fit::Exact),
        Accepts::OneOf(types) if types.iter().any(|wanted| widens(ty, *wanted)) => Some(Fit::Widened),
        Accepts::OneOf(_) => None,
        Accepts::Number => ty.is_numeric().then_some(Fit::Exact),
        Accepts::Any | Accepts::Text | Accepts::Common => Some(Fit::Exact),
    }
}

/// Whether an argument is a literal array or bag, which has no text to read.
fn is_container(arg: &BExpr) -> bool {
    matches!(&arg.kind, BExprKind::Constant(Value::Dynamic(text)) if text.starts_with(['[', '{']))
}

fn accepted(accepts: Accepts) -> String {
    match accepts {
        Accepts::Only(ty) => ty.name().to_string(),
        Accepts::OneOf(types) => types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" or "),
        Accepts::Number => "a number".to_string(),
        Accepts::Any | Accepts::Text | Accepts::Common => "a value".to_string(),
    }
}
