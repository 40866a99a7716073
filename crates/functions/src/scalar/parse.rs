//! Texts with parts: versions, URLs, file paths, command lines.

use datafusion_common::{Result, exec_err};
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::decimal::Decimal;
use tidewater_kql::value::json;

use super::kernel::{Texts, each, each_dynamic};
use super::rows::{STRING_TO_DYNAMIC, TO_DYNAMIC, row};
use crate::call::Call;
use crate::registry::Scalar;
use crate::signature::{Returns, STRING, required, sig};

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "parse_version",
        &[sig(&[required("version", STRING)], Returns::Type(KqlType::Decimal))],
        parse_version,
        "A version of one to four numbers as a decimal that sorts as the versions do; null when it is not one.",
        "parse-version-function",
        examples: &[("print parse_version('0.0.0.5')", "5")],
    ),
    row!(
        "parse_url",
        STRING_TO_DYNAMIC,
        |call| parsed(call, write_url),
        "The parts of an absolute URL: Scheme, Host, Port, Path, Username, Password, Query Parameters, Fragment.",
        "parse-url-function",
        aliases: &["parseurl"],
    ),
    row!(
        "parse_urlquery",
        STRING_TO_DYNAMIC,
        |call| parsed(call, |text, out| {
            out.extend_from_slice(b"{\"Query Parameters\":");
            write_parameters(text.strip_prefix('?').unwrap_or(text), out);
            out.push(b'}');
        }),
        "The parameters of a URL's query.",
        "parse-url-query-function",
        aliases: &["parseurlquery"],
        examples: &[("print parse_urlquery('k1=v1&k2=v2')", "{\"Query Parameters\":{\"k1\":\"v1\",\"k2\":\"v2\"}}")],
    ),
    row!(
        "parse_path",
        STRING_TO_DYNAMIC,
        |call| parsed(call, write_path),
        "The parts of a file path: Scheme, RootPath, DirectoryPath, DirectoryName, Filename, Extension, AlternateDataStreamName.",
        "parse-path-function",
    ),
    row!(
        "parse_command_line",
        &[sig(&[required("command_line", STRING), required("parser_type", STRING)], TO_DYNAMIC)],
        parse_command_line,
        "The arguments of a command line, read as Windows reads them (`CommandLineToArgvW`).",
        "parse-command-line-function",
        examples: &[("print parse_command_line('echo \"hello world!\"', 'windows')", "[\"echo\",\"hello world!\"]")],
    ),
];

/// Each part holds up to eight digits: the parts are the digits of one number, eight for each.
fn version(text: &str) -> Option<Decimal> {
    let mut digits = [b'0'; 32];
    for (position, part) in text.split('.').enumerate() {
        let is_number = (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if position > 3 || !is_number {
            return None;
        }
        let end = (position + 1) * 8;
        digits[end - part.len()..end].copy_from_slice(part.as_bytes());
    }
    Decimal::parse(std::str::from_utf8(&digits).ok()?)
}

fn parse_version(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each(call, |row| version(source.text(row)).map(Decimal::bytes))
}

/// An object for each text. A key may occur twice in it: the canonical form keeps the last.
fn parsed(call: &Call<'_>, write: fn(&str, &mut Vec<u8>)) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    let mut raw = Vec::new();
    each_dynamic(call, |row, out| {
        raw.clear();
        write(source.text(row), &mut raw);
        match std::str::from_utf8(&raw).ok().and_then(json::canonical) {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                true
            }
            None => false,
        }
    })
}

fn write_member(is_first: bool, name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(if is_first { b'{' } else { b',' });
    json::quote(name, out);
    out.push(b':');
    json::quote(value, out);
}

/// `a=1&b=2` as an object of texts, as they stand.
fn write_parameters(query: &str, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut is_first = true;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        json::quote(name, out);
        out.push(b':');
        json::quote(value, out);
    }
    out.push(b'}');
}

fn write_url(url: &str, out: &mut Vec<u8>) {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let (scheme, authority, path) = match rest.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            (scheme, &rest[..end], &rest[end..])
        }
        None => ("", "", rest),
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    // The colons of an IPv6 host stand within brackets.
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (host, ""),
    };
    write_member(true, "Scheme", scheme, out);
    write_member(false, "Host", host, out);
    write_member(false, "Port", port, out);
    write_member(false, "Path", path, out);
    write_member(false, "Username", user, out);
    write_member(false, "Password", password, out);
    out.extend_from_slice(b",\"Query Parameters\":");
    write_parameters(query, out);
    write_member(false, "Fragment", fragment, out);
    out.push(b'}');
}

fn write_path(path: &str, out: &mut Vec<u8>) {
    let (scheme, rest) = path.split_once("://").unwrap_or(("", path));
    let rest = rest.strip_prefix(r"\\?\").unwrap_or(rest);
    let is_separator = |c: char| matches!(c, '/' | '\\');
    let is_drive = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':'
    };
    // `file:///C:/...` has a slash before the drive.
    let rest = rest.strip_prefix('/').filter(|rest| !scheme.is_empty() && is_drive(rest)).unwrap_or(rest);
    let root = if is_drive(rest) { &rest[..2] } else { "" };
    let (directory, file) = match rest.rfind(is_separator) {
        Some(position) => (&rest[..position], &rest[position + 1..]),
        None => (root, &rest[root.len()..]),
    };
    let (file, stream) = file.split_once(':').unwrap_or((file, ""));
    let directory_name = match directory.rfind(is_separator) {
        Some(position) => &directory[position + 1..],
        None if directory == root => "",
        None => directory,
    };
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    write_member(true, "Scheme", scheme, out);
    write_member(false, "RootPath", root, out);
    write_member(false, "DirectoryPath", directory, out);
    write_member(false, "DirectoryName", directory_name, out);
    write_member(false, "Filename", file, out);
    write_member(false, "Extension", extension, out);
    write_member(false, "AlternateDataStreamName", stream, out);
    out.push(b'}');
}

/// The rules of `CommandLineToArgvW`: a quote opens and closes, backslashes count only before a quote, and
/// the first argument, a program's name, knows no backslashes at all.
fn arguments(line: &str) -> Vec<String> {
    let is_blank = |c: char| matches!(c, ' ' | '\t');
    let mut arguments = Vec::new();
    let mut rest = if let Some(quoted) = line.strip_prefix('"') {
        let (program, rest) = quoted.split_once('"').unwrap_or((quoted, ""));
        arguments.push(program.to_string());
        rest
    } else {
        let end = line.find(is_blank).unwrap_or(line.len());
        arguments.push(line[..end].to_string());
        &line[end..]
    };
    rest = rest.trim_start_matches(is_blank);
    let mut characters = rest.chars().peekable();
    while characters.peek().is_some() {
        let mut argument = String::new();
        let mut is_quoted = false;
        while let Some(character) = characters.next() {
            match character {
                '\\' => {
                    let mut count = 1;
                    while characters.next_if_eq(&'\\').is_some() {
                        count += 1;
                    }
                    let before_quote = characters.peek() == Some(&'"');
                    argument.extend(std::iter::repeat_n('\\', if before_quote { count / 2 } else { count }));
                    if before_quote && count % 2 == 1 {
                        characters.next();
                        argument.push('"');
                    }
                }
                // Within quotes a doubled one stands for itself, and closes.
                '"' if is_quoted && characters.next_if_eq(&'"').is_some() => {
                    argument.push('"');
                    is_quoted = false;
                }
                '"' => is_quoted = !is_quoted,
                blank if is_blank(blank) && !is_quoted => break,
                other => argument.push(other),
            }
        }
        while characters.next_if(|c| is_blank(*c)).is_some() {}
        arguments.push(argument);
    }
    arguments
}

fn parse_command_line(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, parser) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    if let Some(name) = parser.constant_text()
        && !name.eq_ignore_ascii_case("windows")
    {
        return exec_err!("parse_command_line(): the parser '{name}' is not known; 'windows' is the only one");
    }
    each_dynamic(call, |row, out| {
        let line = source.text(row);
        if line.is_empty() || !parser.text(row).eq_ignore_ascii_case("windows") {
            return false;
        }
        for (position, argument) in arguments(line).iter().enumerate() {
            out.push(if position == 0 { b'[' } else { b',' });
            json::quote(argument, out);
        }
        out.push(b']');
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&str, &mut Vec<u8>), text: &str) -> String {
        let mut out = Vec::new();
        write(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn documented_versions_come_out() {
        for (text, number) in [
            ("0.0.0.5", "5"),
            ("0.0.7.0", "700000000"),
            ("0.0.3", "300000000"),
            ("0.2", "20000000000000000"),
            ("0.1.2.0", "10000000200000000"),
            ("1.2.3.4", "1000000020000000300000004"),
            ("1", "1000000000000000000000000"),
            ("99999999.99999999.99999999.99999999", "99999999999999999999999999999999"),
        ] {
            assert_eq!(version(text).map(Decimal::to_text).as_deref(), Some(number), "{text}");
        }
        for text in ["", "1.", "1..2", "1.2.3.4.5", "123456789", "v1", "1.a", "-1"] {
            assert_eq!(version(text), None, "{text:?}");
        }
    }

    #[test]
    fn documented_paths_come_out() {
        let parts = [
            (
                r"C:\temp\file.txt",
                r#"{"Scheme":"","RootPath":"C:","DirectoryPath":"C:\\temp","DirectoryName":"temp","Filename":"file.txt","Extension":"txt","AlternateDataStreamName":""}"#,
            ),
            (
                r"temp\file.txt",
                r#"{"Scheme":"","RootPath":"","DirectoryPath":"temp","DirectoryName":"temp","Filename":"file.txt","Extension":"txt","AlternateDataStreamName":""}"#,
            ),
            (
                "file://C:/temp/file.txt:some.exe",
                r#"{"Scheme":"file","RootPath":"C:","DirectoryPath":"C:/temp","DirectoryName":"temp","Filename":"file.txt","Extension":"txt","AlternateDataStreamName":"some.exe"}"#,
            ),
            (
                r"\\shared\users\temp\file.txt.gz",
                r#"{"Scheme":"","RootPath":"","DirectoryPath":"\\\\shared\\users\\temp","DirectoryName":"temp","Filename":"file.txt.gz","Extension":"gz","AlternateDataStreamName":""}"#,
            ),
            (
                "/usr/lib/temp/file.txt",
                r#"{"Scheme":"","RootPath":"","DirectoryPath":"/usr/lib/temp","DirectoryName":"temp","Filename":"file.txt","Extension":"txt","AlternateDataStreamName":""}"#,
            ),
            (
                "é:x",
                r#"{"Scheme":"","RootPath":"","DirectoryPath":"","DirectoryName":"","Filename":"é","Extension":"","AlternateDataStreamName":"x"}"#,
            ),
        ];
        for (path, expected) in parts {
            assert_eq!(written(write_path, path), expected);
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(
            written(write_url, "scheme://username:password@host:1234/this/is/a/path?k1=v1&k2=v2#fragment"),
            r#"{"Scheme":"scheme","Host":"host","Port":"1234","Path":"/this/is/a/path","Username":"username","Password":"password","Query Parameters":{"k1":"v1","k2":"v2"},"Fragment":"fragment"}"#
        );
        assert_eq!(
            written(write_url, "https://[::1]?"),
            r#"{"Scheme":"https","Host":"[::1]","Port":"","Path":"","Username":"","Password":"","Query Parameters":{},"Fragment":""}"#
        );
    }

    #[test]
    fn command_lines_are_cut_as_windows_cuts_them() {
        let lines: [(&str, &[&str]); 7] = [
            ("echo \"hello world!\"", &["echo", "hello world!"]),
            ("\"C:\\a b\\x.exe\" c:\\d\\ e", &["C:\\a b\\x.exe", "c:\\d\\", "e"]),
            ("x a\\\\\"b c\" d", &["x", "a\\b c", "d"]),
            ("x a\\\"b", &["x", "a\"b"]),
            ("x \"a\"\"b\" c", &["x", "a\"b c"]),
            ("x  ", &["x"]),
            ("x \"\" y", &["x", "", "y"]),
        ];
        for (line, expected) in lines {
            assert_eq!(arguments(line), expected, "{line}");
        }
    }
}
