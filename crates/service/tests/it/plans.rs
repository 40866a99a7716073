//! Execution plans in a form that is the same on every machine, for the answers of `cases/plans/`.

/// A plan without what differs from run to run: paths of files, and settings that follow from others.
pub(crate) fn normalized(plan: &str) -> String {
    plan.lines().map(line).collect::<Vec<_>>().join("\n")
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
