//! Access paths: `a.b[0]` prepared once, and the JSONPath notation of some functions.

use std::borrow::Cow;

use tidewater_kql::value::json;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A property, its key as it stands between the quotes of canonical JSON text. Made by `Step::key`.
    Key(Box<str>),
    /// An element; negative positions count from the end.
    Index(i64),
}

impl Step {
    /// A property.
    pub fn key(name: &str) -> Step {
        Step::Key(quoted_key(name).into())
    }
}

/// A key as it stands between quotes in canonical JSON text.
pub(super) fn quoted_key(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        return Cow::Borrowed(name);
    }
    let mut out = Vec::with_capacity(name.len() + 8);
    json::quote(name, &mut out);
    let quoted = String::from_utf8(out).expect("a quoted text is UTF-8");
    Cow::Owned(quoted[1..quoted.len() - 1].to_string())
}

/// A prepared path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    /// A path of these steps.
    pub fn new(steps: Vec<Step>) -> Path {
        Path(steps)
    }

    /// Reads JSONPath notation: `$`, `.name`, `['name']`, `["name"]`, `[n]`. `None` for anything else.
    /// Source: jsonpath page.
    pub fn parse(text: &str) -> Option<Path> {
        let mut rest = text.trim().strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 || after[..end].contains([']', '*']) {
                    return None;
                }
                steps.push(Step::key(&after[..end]));
                rest = &after[end..];
            } else {
                let after = rest.strip_prefix('[')?.trim_start();
                let (step, after) = match after.chars().next()? {
                    quote @ ('\'' | '"') => {
                        let inner = &after[1..];
                        // The quote that ends a name stands before a bracket: names may hold quotes.
                        let end = inner
                            .match_indices(quote)
                            .map(|(end, _)| end)
                            .find(|end| inner[end + 1..].trim_start().starts_with(']'))?;
                        (Step::key(&inner[..end]), &inner[end + 1..])
                    }
                    _ => {
                        let end = after.find(']')?;
                        (Step::Index(after[..end].trim().parse().ok()?), &after[end..])
                    }
                };
                steps.push(step);
                rest = after.trim_start().strip_prefix(']')?;
            }
        }
        Some(Path(steps))
    }

    /// A key of `bag_has_key`, `bag_remove_keys` and `bag_set_key`: JSONPath notation if it begins with `$.` or
    /// `$[`, else a property of the first level. `None` for a path that cannot be used there: indexes are not supported.
    pub fn of_key(key: &str) -> Option<Path> {
        if !key.starts_with("$.") && !key.starts_with("$[") {
            return Some(Path(vec![Step::key(key)]));
        }
        Path::parse(key).filter(|path| path.0.iter().all(|step| matches!(step, Step::Key(_))))
    }

    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonpath_notation_is_read() {
        let steps = |text: &str| Path::parse(text).map(|path| path.0);
        assert_eq!(steps("$"), Some(vec![]));
        assert_eq!(
            steps("$.a['b c'][\"d\"][0].e"),
            Some(vec![Step::key("a"), Step::key("b c"), Step::key("d"), Step::Index(0), Step::key("e")])
        );
        assert_eq!(steps("$['it's']"), Some(vec![Step::key("it's")]));
        assert_eq!(steps("$[ -1 ]"), Some(vec![Step::Index(-1)]));
        for text in ["", "a", "$..a", "$.", "$[", "$[a]", "$['a'", "$['a", "$.a]", "$[*]", "$.a[1:2]", "$a"] {
            assert_eq!(steps(text), None, "{text}");
        }
    }
}
