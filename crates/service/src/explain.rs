//! What a function does, told from its registry row: `tidewater explain-function NAME`.

use std::fmt::Write as _;

use tidewater_functions::registry::{AggregateImp, aggregate_names, scalar_names};
use tidewater_functions::signature::Occurs;
use tidewater_functions::{Accepts, Imp, Param, Returns, Signature, find_aggregate, find_scalar};
use tidewater_kql::diagnostic::nearest;

use crate::library;

/// Where the pages of the language are.
const PAGES: &str = "https://learn.microsoft.com/kusto/query/";

/// Ways to call, meaning, examples and page of a function or aggregate; an unknown name is answered by the nearest one.
pub fn explain_function(name: &str) -> Result<String, String> {
    if let Some(function) = library::functions().find(|function| function.name == name) {
        return Ok(format!(
            "{name}{}\n  {} (function of the database '{}', which the setting 'library' switches on)\n",
            function.parameters,
            function.docstring,
            library::LIBRARY_DATABASE
        ));
    }
    let (scalar, aggregate) = (find_scalar(name), find_aggregate(name));
    if scalar.is_none() && aggregate.is_none() {
        // Names are written in lower case; a page's "strlen()" is meant as a name.
        let asked = name.trim().trim_end_matches("()").to_lowercase();
        if asked != name && (find_scalar(&asked).is_some() || find_aggregate(&asked).is_some()) {
            return Err(format!("no function is named '{name}'; did you mean '{asked}'?"));
        }
        let names = scalar_names().chain(aggregate_names()).chain(library::functions().map(|function| function.name));
        return Err(match nearest(&asked, names) {
            Some(near) => format!("no function is named '{name}'; did you mean '{near}'?"),
            None => format!("no function is named '{name}'; docs/reference/functions.md lists them"),
        });
    }
    let mut out = String::new();
    if let Some(row) = scalar {
        let kind = if row.is_window { "window function" } else { "scalar function" };
        head(&mut out, name, row.name, kind, row.signatures, row.summary);
        if let Imp::Refused(why) = row.imp {
            let _ = writeln!(out, "  not served: {why}");
        }
        if !row.aliases.is_empty() {
            let _ = writeln!(out, "  also named: {}", row.aliases.join(", "));
        }
        for (query, answer) in row.examples {
            let _ = writeln!(out, "  example: {query}\n           {answer}");
        }
        page(&mut out, row.docs);
    }
    if let Some(row) = aggregate {
        if !out.is_empty() {
            out.push('\n');
        }
        head(&mut out, name, row.name, "aggregate", row.signatures, row.summary);
        if let AggregateImp::Refused(why) = row.imp {
            let _ = writeln!(out, "  not served: {why}");
        }
        if !row.aliases.is_empty() {
            let _ = writeln!(out, "  also named: {}", row.aliases.join(", "));
        }
        page(&mut out, row.docs);
    }
    Ok(out)
}

fn head(out: &mut String, name: &str, row_name: &str, kind: &str, signatures: &[Signature], summary: &str) {
    for signature in signatures {
        let _ = writeln!(out, "{}", call(name, signature));
    }
    if signatures.is_empty() {
        let _ = writeln!(out, "{name}(...)");
    }
    let _ = writeln!(out, "  {summary} ({kind})");
    if name != row_name {
        let _ = writeln!(out, "  the same as {row_name}");
    }
}

fn page(out: &mut String, docs: &str) {
    if !docs.is_empty() {
        let _ = writeln!(out, "  page: {PAGES}{docs}");
    }
}

fn call(name: &str, signature: &Signature) -> String {
    let mut text = format!("{name}(");
    for (place, param) in signature.params.iter().enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        let _ = match param.occurs {
            Occurs::Required => write!(text, "{comma}{}", parameter(param)),
            Occurs::Optional => write!(text, "[{comma}{}]", parameter(param)),
            Occurs::Repeated => write!(text, "[{comma}{}, ...]", parameter(param)),
        };
    }
    text.push_str(") -> ");
    match signature.returns {
        Returns::Argument(place) => {
            let name = signature.params.get(place).map_or("the argument", |param| param.name);
            let _ = write!(text, "type of {name}");
        }
        returns => {
            let _ = write!(text, "{returns:?}");
        }
    }
    text
}

fn parameter(param: &Param) -> String {
    let ty = match param.accepts {
        Accepts::Only(ty) => ty.to_string(),
        Accepts::OneOf(types) => types.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"),
        Accepts::Number => "number".to_string(),
        Accepts::Any => "any".to_string(),
        Accepts::Text => "any, as text".to_string(),
        Accepts::Common => "any, of one type".to_string(),
    };
    let constant = if param.constant { "constant " } else { "" };
    format!("{}: {constant}{ty}", param.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_explained_with_its_signature_example_and_page() {
        let text = explain_function("strlen").unwrap();
        assert!(text.starts_with("strlen(source: string) -> long\n"), "{text}");
        assert!(text.contains("(scalar function)") && text.contains("page: https://"), "{text}");
        assert!(explain_function("row_number").unwrap().contains("(window function)"));
        assert!(explain_function("hash_xxhash64").unwrap().contains("the same as hash"));
        assert!(explain_function("dcount").unwrap().contains("(aggregate)"));
        assert!(explain_function("comb_fl").unwrap().starts_with("comb_fl(n: real, k: real)\n"));
        assert!(explain_function("comb_f").unwrap_err().contains("'comb_fl'"));
        assert!(explain_function("round").unwrap().contains("[, "));
    }

    #[test]
    fn every_name_is_explained() {
        for name in scalar_names().chain(aggregate_names()) {
            assert!(explain_function(name).unwrap().contains(name), "{name}");
        }
    }

    #[test]
    fn a_typing_error_is_answered_by_the_nearest_name() {
        assert!(explain_function("strlne").unwrap_err().contains("'strlen'"));
        assert!(explain_function("StrLen()").unwrap_err().contains("'strlen'"));
        assert!(explain_function("no such thing at all").unwrap_err().contains("functions.md"));
    }
}
