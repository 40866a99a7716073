//! Execution plans in a form that is the same on every machine, for the answers of `cases/plans/`.

use std::collections::HashMap;

/// A plan without what differs from run to run: paths of files, settings that follow from others, the numbers of columns.
pub(crate) fn normalized(plan: &str) -> String {
    numbered(&plan.lines().map(line).collect::<Vec<_>>().join("\n"))
}

/// The engine's names of columns (`c17`) numbered as they come: what is bound beside the query counts, too.
fn numbered(plan: &str) -> String {
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut out = String::with_capacity(plan.len());
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut rest = plan;
    while !rest.is_empty() {
        let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match word.strip_prefix('c') {
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let next = known.len() + 1;
                out.push_str(&format!("c{}", known.entry(word).or_insert(next)));
            }
            _ => out.push_str(word),
        }
        let begin = after.find(is_word).unwrap_or(after.len());
        out.push_str(&after[..begin]);
        rest = &after[begin..];
    }
    out
}

fn line(line: &str) -> String {
    let line = without(line, ", pruning_predicate=", &[", required_guarantees="]);
    let line = without(&line, ", required_guarantees=", &["]"]);
    let line = without(&line, " from seed ", &[]);
    let line = files(&line);
    line.trim_end().to_string()
}

/// The line without the part from `begin` to before one of the ends, or to the line's end. An end that is `]` goes too.
fn without(line: &str, begin: &str, ends: &[&str]) -> String {
    let Some(at) = line.find(begin) else { return line.to_string() };
    let rest = &line[at + begin.len()..];
    let end = ends.iter().filter_map(|end| rest.find(end).map(|found| (found, *end))).min();
    let rest = match end {
        Some((found, "]")) => &rest[found + 1..],
        Some((found, _)) => &rest[found..],
        None => "",
    };
    format!("{}{rest}", &line[..at])
}

/// `file_groups={...}` as the number of files.
fn files(line: &str) -> String {
    let Some(at) = line.find("file_groups={") else { return line.to_string() };
    let Some(end) = line[at..].find('}') else { return line.to_string() };
    let count = line[at..at + end].matches(".parquet").count();
    format!("{}files={count}{}", &line[..at], &line[at + end + 1..])
}
