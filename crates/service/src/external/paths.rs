//! Files behind a connection string: wildcards, folders, and the partitions that paths tell.

use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;
use tidewater_kql::KqlType;
use tidewater_kql::value::datetime;
use tidewater_plan::{ExternalSource, Partition, PartitionValue, PathPiece};

use super::location::Policy;
use crate::error::{Error, Fault, Result};

/// Files of one source.
pub const MAX_FILES: usize = 20_000;
/// Folders looked into for one source.
const MAX_FOLDERS: usize = 100_000;

/// A file that was found, with its path below the folder or wildcard that named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its full path.
    pub path: PathBuf,
    /// Its path below the connection string's folder, with `/`.
    pub below: String,
    /// Bytes.
    pub size: u64,
}

/// The local files that a path names: a file, a folder with everything below it, or a pattern with `*`, `**` and `?`.
pub fn local_files(policy: &Policy, pattern: &str) -> Result<Vec<Found>> {
    let refused = || Policy::refused(pattern);
    let is_pattern = pattern.contains(['*', '?']);
    let base = match is_pattern {
        false => PathBuf::from(pattern),
        true => {
            let fixed = pattern.split(['*', '?']).next().unwrap_or_default();
            PathBuf::from(
                fixed.rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder }),
            )
        }
    };
    let real = base.canonicalize().map_err(|_| refused())?;
    if !policy.covers(&real) {
        return Err(refused());
    }
    if !is_pattern && real.is_file() {
        let size = real.metadata().map_or(0, |metadata| metadata.len());
        return Ok(vec![Found { below: String::new(), path: real, size }]);
    }
    let matcher = match is_pattern {
        false => None,
        true => {
            let rest = pattern.strip_prefix(base.to_string_lossy().as_ref()).unwrap_or(pattern);
            Some(wildcard(rest.trim_start_matches('/'))?)
        }
    };
    let mut found = Vec::new();
    let mut folders = vec![real.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        seen += 1;
        if seen > MAX_FOLDERS {
            return Err(Error::bad_request(format!("external data '{pattern}' has more than {MAX_FOLDERS} folders")));
        }
        let entries = std::fs::read_dir(&folder).map_err(|_| refused())?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // What other engines keep beside data: `_SUCCESS`, `_delta_log`, `.crc` files.
            if name.starts_with(['_', '.']) {
                continue;
            }
            // Links may lead out of the allowed directories.
            let Ok(path) = entry.path().canonicalize() else { continue };
            if !policy.covers(&path) {
                continue;
            }
            if path.is_dir() {
                // A link to a folder above would never end.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
                continue;
            }
            let own = entry.path();
            let below = own.strip_prefix(&real).unwrap_or(&own).to_string_lossy().replace('\\', "/");
            if matcher.as_ref().is_some_and(|matcher| !matcher.is_match(&below)) {
                continue;
            }
            if found.len() == MAX_FILES {
                return Err(Error::bad_request(format!("external data '{pattern}' has more than {MAX_FILES} files")));
            }
            let size = path.metadata().map_or(0, |metadata| metadata.len());
            found.push(Found { path: own, below, size });
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

/// `*` is any part of one name, `**` any folders, `?` one character.
pub fn wildcard(pattern: &str) -> Result<Regex> {
    let mut text = String::from("^");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            text.push_str("(?:[^/]+/)*");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**") {
            text.push_str(".*");
            rest = after;
        } else {
            match c {
                '*' => text.push_str("[^/]*"),
                '?' => text.push_str("[^/]"),
                c => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    text.push('$');
    Regex::new(&text).map_err(|error| Error::new(Fault::BadRequest, format!("wildcard '{pattern}': {error}")))
}

/// A partition's value in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathValue {
    /// string
    Text(String),
    /// long
    Long(i64),
    /// datetime, in ticks
    DateTime(i64),
}

/// What paths of a partitioned source look like.
pub struct PathFormat {
    matcher: Regex,
    /// Parallel to the matcher's groups: the partition and, for datetimes, which part of it.
    groups: Vec<(String, Group)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Text,
    Long,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl PathFormat {
    /// The format that a source declares, or the default one of its partitions; `None` without partitions.
    pub fn of(source: &ExternalSource) -> Result<Option<PathFormat>> {
        if source.partitions.is_empty() {
            return Ok(None);
        }
        let pieces = match source.path.is_empty() {
            false => source.path.clone(),
            true => {
                let mut pieces = Vec::new();
                for partition in &source.partitions {
                    if !pieces.is_empty() {
                        pieces.push(PathPiece::Text("/".to_string()));
                    }
                    pieces.push(PathPiece::Partition(partition.name.clone()));
                }
                pieces
            }
        };
        let partition = |name: &str| source.partitions.iter().find(|partition| partition.name == name);
        let mut text = String::from("^");
        let mut groups = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            match piece {
                PathPiece::Text(part) if at == 0 => text.push_str(&regex::escape(part.trim_start_matches('/'))),
                PathPiece::Text(part) => text.push_str(&regex::escape(part)),
                PathPiece::Partition(name) => {
                    let Some(partition) = partition(name) else { continue };
                    match partition.ty {
                        KqlType::DateTime => date_pattern(default_pattern(partition), name, &mut text, &mut groups)?,
                        KqlType::Long => {
                            text.push_str("(-?[0-9]+)");
                            groups.push((name.clone(), Group::Long));
                        }
                        _ => {
                            text.push_str("([^/]*)");
                            groups.push((name.clone(), Group::Text));
                        }
                    }
                }
                PathPiece::DateTime { pattern, partition } => date_pattern(pattern, partition, &mut text, &mut groups)?,
            }
        }
        text.push_str(if matches!(pieces.last(), Some(PathPiece::Text(_))) { ".*$" } else { "/.*$" });
        let matcher = Regex::new(&text).map_err(|error| Error::bad_request(format!("the path format: {error}")))?;
        Ok(Some(PathFormat { matcher, groups }))
    }

    /// The partitions that a path tells; `None` when it has another form.
    pub fn values(&self, below: &str) -> Option<BTreeMap<String, PathValue>> {
        let captures = self.matcher.captures(below)?;
        let mut values = BTreeMap::new();
        let mut dates: BTreeMap<&str, [i32; 6]> = BTreeMap::new();
        for (at, (name, group)) in self.groups.iter().enumerate() {
            let text = captures.get(at + 1)?.as_str();
            match group {
                Group::Text => {
                    values.insert(name.clone(), PathValue::Text(decoded(text)));
                }
                Group::Long => {
                    values.insert(name.clone(), PathValue::Long(text.parse().ok()?));
                }
                part => {
                    let place = match part {
                        Group::Year => 0,
                        Group::Month => 1,
                        Group::Day => 2,
                        Group::Hour => 3,
                        Group::Minute => 4,
                        _ => 5,
                    };
                    dates.entry(name).or_insert([1, 1, 1, 0, 0, 0])[place] = text.parse().ok()?;
                }
            }
        }
        for (name, [year, month, day, hour, minute, second]) in dates {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
            values.insert(name.to_string(), PathValue::DateTime(datetime::parse(&text)?));
        }
        Some(values)
    }
}

/// `a%20b`, as Spark writes names of folders.
fn decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_string();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Source: external-tables-azure-storage page, table of default formats.
pub(crate) fn default_pattern(partition: &Partition) -> &'static str {
    use tidewater_kql::value::timespan::{TICKS_PER_DAY, TICKS_PER_HOUR};
    match &partition.value {
        PartitionValue::StartOf(function, _) if function == "startofyear" => "yyyy",
        PartitionValue::StartOf(function, _) if function == "startofmonth" => "yyyy/MM",
        PartitionValue::Bin(_, ticks) if *ticks < TICKS_PER_HOUR => "yyyy/MM/dd/HH/mm",
        PartitionValue::Bin(_, ticks) if *ticks < TICKS_PER_DAY => "yyyy/MM/dd/HH",
        _ => "yyyy/MM/dd",
    }
}

/// A moment as a part of a path, by a .NET pattern: `'year='yyyy`, `year={yyyy}`, `yyyyMMdd`.
pub(crate) fn path_of_moment(pattern: &str, ticks: i64) -> Result<String> {
    let civil = datetime::civil(ticks);
    let mut out = String::new();
    let mut rest = pattern;
    let braced = pattern.contains('{');
    let mut inside = !braced;
    while let Some(c) = rest.chars().next() {
        if c == '\'' || c == '"' {
            let end = rest[1..]
                .find(c)
                .ok_or_else(|| Error::bad_request(format!("pattern '{pattern}' has an open quote")))?;
            out.push_str(&rest[1..=end]);
            rest = &rest[end + 2..];
            continue;
        }
        if braced && (c == '{' || c == '}') {
            inside = c == '{';
            rest = &rest[1..];
            continue;
        }
        if c == '\\' {
            let mut chars = rest.chars();
            chars.next();
            out.extend(chars.next());
            rest = chars.as_str();
            continue;
        }
        let run = rest.chars().take_while(|next| *next == c).count();
        let (value, width) = match (c, run) {
            _ if !inside => (None, 0),
            ('y', 4) => (Some(civil.year), 4),
            ('M', 1 | 2) => (Some(civil.month), run),
            ('d', 1 | 2) => (Some(civil.day), run),
            ('H', 1 | 2) => (Some(civil.hour), run),
            ('m', 2) => (Some(civil.minute), 2),
            ('s', 2) => (Some(civil.second), 2),
            ('y' | 'M' | 'd' | 'H' | 'h' | 'm' | 's' | 'f' | 'F' | 't' | 'z' | 'K' | 'g', _) => {
                let specifier: String = rest.chars().take(run).collect();
                return Err(Error::not_served(format!("the specifier '{specifier}' of datetime_pattern()")));
            }
            _ => (None, 0),
        };
        match value {
            Some(value) => {
                out.push_str(&format!("{value:0width$}"));
                rest = &rest[run..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(out)
}

/// A .NET pattern as groups: `'year='yyyy`, `year={yyyy}`, `yyyyMMdd`.
fn date_pattern(pattern: &str, name: &str, text: &mut String, groups: &mut Vec<(String, Group)>) -> Result<()> {
    let mut rest = pattern;
    let braced = pattern.contains('{');
    let mut inside = !braced;
    while let Some(c) = rest.chars().next() {
        if c == '\'' || c == '"' {
            let end = rest[1..]
                .find(c)
                .ok_or_else(|| Error::bad_request(format!("pattern '{pattern}' has an open quote")))?;
            text.push_str(&regex::escape(&rest[1..=end]));
            rest = &rest[end + 2..];
            continue;
        }
        if braced && (c == '{' || c == '}') {
            inside = c == '{';
            rest = &rest[1..];
            continue;
        }
        if c == '\\' {
            let mut chars = rest.chars();
            chars.next();
            if let Some(next) = chars.next() {
                text.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
            }
            rest = chars.as_str();
            continue;
        }
        let run = rest.chars().take_while(|next| *next == c).count();
        let group = match (c, run) {
            _ if !inside => None,
            ('y', 4) => Some((Group::Year, "([0-9]{4})")),
            ('M', 2) => Some((Group::Month, "([0-9]{2})")),
            ('M', 1) => Some((Group::Month, "([0-9]{1,2})")),
            ('d', 2) => Some((Group::Day, "([0-9]{2})")),
            ('d', 1) => Some((Group::Day, "([0-9]{1,2})")),
            ('H', 2) => Some((Group::Hour, "([0-9]{2})")),
            ('H', 1) => Some((Group::Hour, "([0-9]{1,2})")),
            ('m', 2) => Some((Group::Minute, "([0-9]{2})")),
            ('s', 2) => Some((Group::Second, "([0-9]{2})")),
            ('y' | 'M' | 'd' | 'H' | 'h' | 'm' | 's' | 'f' | 'F' | 't' | 'z' | 'K' | 'g', _) => {
                let specifier: String = rest.chars().take(run).collect();
                return Err(Error::not_served(format!("the specifier '{specifier}' of datetime_pattern()")));
            }
            _ => None,
        };
        match group {
            Some((group, part)) => {
                text.push_str(part);
                groups.push((name.to_string(), group));
                rest = &rest[run..];
            }
            None => {
                text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(partitions: Vec<(&str, KqlType, PartitionValue)>, path: Vec<PathPiece>) -> ExternalSource {
        let partitions = partitions.into_iter();
        ExternalSource {
            columns: vec![],
            partitions: partitions.map(|(name, ty, value)| Partition { name: name.into(), ty, value }).collect(),
            path,
            kind: "storage".into(),
            format: None,
            uris: vec![],
            properties: vec![],
        }
    }

    #[test]
    fn partitions_are_read_from_paths() {
        let text = |text: &str| PathPiece::Text(text.into());
        let date = |pattern: &str| PathPiece::DateTime { pattern: pattern.into(), partition: "Date".into() };
        let virtuals = || {
            vec![
                ("Customer", KqlType::String, PartitionValue::Virtual),
                ("Date", KqlType::DateTime, PartitionValue::Virtual),
            ]
        };
        let path = vec![text("customer="), PathPiece::Partition("Customer".into()), text("/date="), date("yyyyMMdd")];
        let format = PathFormat::of(&source(virtuals(), path)).unwrap().unwrap();
        let values = format.values("customer=john.doe/date=20200102/part-1.csv").unwrap();
        assert_eq!(values["Customer"], PathValue::Text("john.doe".into()));
        assert_eq!(values["Date"], PathValue::DateTime(datetime::parse("2020-01-02").unwrap()));
        assert!(format.values("other/x.csv").is_none());
        let path = vec![date("'year='yyyy'/month='MM")];
        let format = PathFormat::of(&source(virtuals(), path)).unwrap().unwrap();
        assert_eq!(
            format.values("year=2021/month=05/x").unwrap()["Date"],
            PathValue::DateTime(datetime::parse("2021-05-01").unwrap())
        );
        let day = PartitionValue::Bin("Timestamp".into(), tidewater_kql::value::timespan::TICKS_PER_DAY);
        let format = PathFormat::of(&source(vec![("Date", KqlType::DateTime, day)], vec![])).unwrap().unwrap();
        assert!(format.values("2019/02/01/a.csv").is_some());
        assert!(format.values("2019/02/a.csv").is_none());
    }

    #[test]
    fn a_written_path_is_read_again() {
        let ticks = datetime::parse("2021-05-07T03:00:00").unwrap();
        for (pattern, text) in [
            ("'year='yyyy'/month='MM", "year=2021/month=05"),
            ("yyyyMMdd", "20210507"),
            ("year={yyyy}/day={d}", "year=2021/day=7"),
            ("yyyy/MM/dd/HH", "2021/05/07/03"),
        ] {
            assert_eq!(path_of_moment(pattern, ticks).unwrap(), text);
        }
        assert!(path_of_moment("yy", ticks).is_err() && path_of_moment("'yyyy", ticks).is_err());
    }

    #[test]
    fn wildcards_stay_inside_a_name_unless_doubled() {
        let fits = |pattern: &str, path: &str| wildcard(pattern).unwrap().is_match(path);
        assert!(fits("*.csv", "a.csv") && !fits("*.csv", "b/a.csv"));
        assert!(fits("**/*.csv", "a.csv") && fits("**/*.csv", "b/c/a.csv"));
        assert!(fits("a?.csv", "a1.csv") && !fits("a?.csv", "a12.csv"));
    }

    #[test]
    fn files_outside_of_the_allowed_directories_are_told_like_absent_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (open, closed) = (folder.path().join("open"), folder.path().join("closed"));
        for directory in [&open, &closed] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("a.csv"), "1\n").unwrap();
        }
        std::os::unix::fs::symlink(&closed, open.join("link")).unwrap();
        let policy = Policy::new(vec![open.clone()], &[]).unwrap();
        let files = |path: PathBuf| local_files(&policy, &path.display().to_string());
        assert_eq!(files(open.join("*.csv")).unwrap().len(), 1);
        assert_eq!(files(open.clone()).unwrap().len(), 1);
        for refused in [closed.join("a.csv"), open.join("../closed/a.csv"), open.join("link/a.csv"), open.join("b.csv")]
        {
            let message = files(refused).unwrap_err().message().to_string();
            assert!(message.contains("external_directories"), "{message}");
        }
    }
}
