//! Texts in formats of their own: CSV, JSON by path, XML. Source: the pages of the functions.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::json;

use super::kernel::{Piece, Texts, each_dynamic, each_piece_or_new};
use super::rows::{STRING_TO_DYNAMIC, TO_STRING, row};
use crate::call::Call;
use crate::dynamic::{ArrayWriter, BagWriter, Dynamic, Json, Path};
use crate::registry::{Imp, NameRule, Scalar};
use crate::signature::{Accepts, Returns, STRING, required, sig};

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    // The binder takes `parse_json` for the conversion of a string to dynamic (`functions::convert`).
    Scalar {
        name: "parse_json",
        aliases: &["parsejson", "todynamic", "toobject"],
        signatures: &[sig(
            &[required("json", Accepts::OneOf(&[KqlType::String, KqlType::Dynamic]))],
            Returns::Type(KqlType::Dynamic),
        )],
        name_rule: NameRule::PassThrough,
        imp: Imp::Binder,
        summary: "The value of a JSON text; text that is not JSON becomes a dynamic string.",
        docs: "parse-json-function",
        examples: &[("print parse_json('{\"a\": 1}').a", "1")],
        ..Scalar::ROW
    },
    row!(
        "parse_csv",
        STRING_TO_DYNAMIC,
        parse_csv,
        "The values of the first record of a CSV text, as an array of strings.",
        "parse-csv-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print parse_csv('a,\"b,c\"')", "[\"a\",\"b,c\"]")],
    ),
    row!(
        "parse_xml",
        STRING_TO_DYNAMIC,
        parse_xml,
        "An XML text as a bag: attributes under `@name`, text beside them under `#text`, repeated elements as arrays.",
        "parse-xml-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print parse_xml('<e a=\"1\">x</e>')", "{\"e\":{\"@a\":\"1\",\"#text\":\"x\"}}")],
    ),
    row!(
        "extract_json",
        &[sig(&[required("jsonPath", STRING), required("dataSource", STRING)], TO_STRING)],
        extract_json,
        "The text of the value at a JSONPath in a JSON text; empty where there is none.",
        "extract-json-function",
        aliases: &["extractjson"],
        examples: &[("print extract_json('$.a[0]', '{\"a\": [5]}')", "5")],
    ),
];

/// Source: parse_csv() page: only the first record is read; quotes enclose values with commas, line ends and doubled quotes.
fn parse_csv(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Texts::of(call, 0)?;
    let mut value = String::new();
    each_dynamic(call, |row, out| {
        let mut array = ArrayWriter::new(out);
        let mut rest = input.text(row);
        loop {
            value.clear();
            if let Some(mut quoted) = rest.strip_prefix('"') {
                // To the quote that is not doubled; what follows it up to the comma belongs to the value.
                loop {
                    let end = quoted.find('"').unwrap_or(quoted.len());
                    value.push_str(&quoted[..end]);
                    match quoted.get(end + 1..) {
                        Some(after) if after.starts_with('"') => {
                            value.push('"');
                            quoted = &after[1..];
                        }
                        after => {
                            rest = after.unwrap_or("");
                            break;
                        }
                    }
                }
            }
            let end = rest.find([',', '\n', '\r']).unwrap_or(rest.len());
            value.push_str(&rest[..end]);
            array.string(&value);
            match rest.get(end..).and_then(|rest| rest.strip_prefix(',')) {
                Some(next) => rest = next,
                None => break,
            }
        }
        array.close();
        true
    })
}

fn extract_json(call: &Call<'_>) -> Result<ColumnarValue> {
    let (path, source) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let prepared = path.constant_text().map(Path::parse);
    each_piece_or_new(call, &source, |row, text, new| {
        let own;
        let path = match &prepared {
            Some(prepared) => prepared.as_ref(),
            None => {
                own = Path::parse(path.text(row));
                own.as_ref()
            }
        };
        if let Some(path) = path
            && let Some(canonical) = json::canonical(text)
            && let Some(value) = Json::new(Some(&canonical)).get(path)
        {
            new.push_str(&value.text());
        }
        Piece::New
    })
}

/// Longer texts are null. Source: parse_xml() page.
const MAX_XML_BYTES: usize = 1 << 20;
/// Elements may be nested this deep; deeper texts are null.
const MAX_XML_DEPTH: usize = 128;

fn parse_xml(call: &Call<'_>) -> Result<ColumnarValue> {
    let input = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let text = input.text(row);
        if text.len() > MAX_XML_BYTES {
            return false;
        }
        match (Xml { rest: text }).document() {
            Some((name, element)) => {
                let mut bag = BagWriter::new(out);
                element.write(bag.key(name));
                bag.close();
                true
            }
            None => false,
        }
    })
}

/// An element read.
#[derive(Default)]
struct Element<'a> {
    attributes: Vec<(&'a str, String)>,
    text: String,
    /// In the order in which the names were first met.
    children: Vec<(&'a str, Vec<Element<'a>>)>,
}

impl Element<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let text = self.text.trim();
        if self.attributes.is_empty() && self.children.is_empty() {
            match text {
                "" => out.extend_from_slice(b"null"),
                text => json::quote(text, out),
            }
            return;
        }
        let mut bag = BagWriter::new(out);
        for (name, value) in &self.attributes {
            json::quote(value, bag.key(&format!("@{name}")));
        }
        if !text.is_empty() {
            json::quote(text, bag.key("#text"));
        }
        for (name, elements) in &self.children {
            let place = bag.key(name);
            match &elements[..] {
                [element] => element.write(place),
                elements => {
                    let mut array = ArrayWriter::new(place);
                    elements.iter().for_each(|element| element.write(array.next()));
                    array.close();
                }
            }
        }
        bag.close();
    }
}

/// Reads the part of XML that the function translates: elements, attributes, text. Everything else is skipped.
struct Xml<'a> {
    rest: &'a str,
}

impl<'a> Xml<'a> {
    fn document(mut self) -> Option<(&'a str, Element<'a>)> {
        self.skip_others()?;
        let root = self.element(0)?;
        self.skip_others()?;
        self.rest.is_empty().then_some(root)
    }

    /// Skips blanks, comments, processing instructions and the document type.
    fn skip_others(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start().trim_start_matches('\u{feff}');
            if self.skip("<?", "?>")? || self.skip("<!--", "-->")? {
                continue;
            }
            if !self.rest.starts_with("<!") {
                return Some(());
            }
            // A document type may hold declarations in brackets.
            let mut depth = 0usize;
            let end = self.rest.find(|character| {
                match character {
                    '<' | '[' => depth += 1,
                    ']' => depth = depth.saturating_sub(1),
                    '>' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                character == '>' && depth == 0
            })?;
            self.rest = &self.rest[end + 1..];
        }
    }

    /// Skips one construct from `open` to `close`; `None` when it does not end.
    fn skip(&mut self, open: &str, close: &str) -> Option<bool> {
        let Some(after) = self.rest.strip_prefix(open) else { return Some(false) };
        self.rest = &after[after.find(close)? + close.len()..];
        Some(true)
    }

    fn name(&mut self) -> Option<&'a str> {
        let end = self
            .rest
            .find(|character: char| character.is_whitespace() || matches!(character, '>' | '/' | '=' | '<'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let is_name = name.starts_with(|character: char| character.is_alphabetic() || matches!(character, '_' | ':'));
        is_name.then_some(name)
    }

    fn element(&mut self, depth: usize) -> Option<(&'a str, Element<'a>)> {
        if depth > MAX_XML_DEPTH {
            return None;
        }
        self.rest = self.rest.strip_prefix('<')?;
        let name = self.name()?;
        let mut element = Element::default();
        loop {
            let before = self.rest.len();
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix("/>") {
                self.rest = rest;
                return Some((name, element));
            }
            if let Some(rest) = self.rest.strip_prefix('>') {
                self.rest = rest;
                break;
            }
            if before == self.rest.len() {
                return None;
            }
            element.attributes.push(self.attribute()?);
        }
        loop {
            let end = self.rest.find('<')?;
            unescape(&self.rest[..end], &mut element.text)?;
            self.rest = &self.rest[end..];
            if let Some(rest) = self.rest.strip_prefix("</") {
                self.rest = rest;
                if self.name()? != name {
                    return None;
                }
                self.rest = self.rest.trim_start().strip_prefix('>')?;
                return Some((name, element));
            }
            if let Some(data) = self.rest.strip_prefix("<![CDATA[") {
                let end = data.find("]]>")?;
                element.text.push_str(&data[..end]);
                self.rest = &data[end + 3..];
            } else if !self.skip("<?", "?>")? && !self.skip("<!--", "-->")? {
                let (child, value) = self.element(depth + 1)?;
                match element.children.iter_mut().find(|(name, _)| *name == child) {
                    Some((_, values)) => values.push(value),
                    None => element.children.push((child, vec![value])),
                }
            }
        }
    }

    fn attribute(&mut self) -> Option<(&'a str, String)> {
        let name = self.name()?;
        self.rest = self.rest.trim_start().strip_prefix('=')?.trim_start();
        let quote = self.rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let inner = &self.rest[1..];
        let end = inner.find(quote)?;
        let mut value = String::new();
        unescape(&inner[..end], &mut value)?;
        self.rest = &inner[end + 1..];
        Some((name, value))
    }
}

/// Appends a text with its entities resolved; `None` for an entity that XML does not define.
fn unescape(mut text: &str, out: &mut String) -> Option<()> {
    while let Some(position) = text.find('&') {
        out.push_str(&text[..position]);
        let (entity, rest) = text[position + 1..].split_once(';')?;
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let code = entity.strip_prefix('#')?;
                let code = match code.strip_prefix(['x', 'X']) {
                    Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                    None => code.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        text = rest;
    }
    out.push_str(text);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(text: &str) -> Option<String> {
        let (name, element) = (Xml { rest: text }).document()?;
        let mut out = Vec::new();
        let mut bag = BagWriter::new(&mut out);
        element.write(bag.key(name));
        bag.close();
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn xml_becomes_bags_as_the_page_says() {
        for (text, expected) in [
            ("<e/>", r#"{"e":null}"#),
            ("<e>text</e>", r#"{"e":"text"}"#),
            (r#"<e name="value" />"#, r#"{"e":{"@name":"value"}}"#),
            (r#"<e name="value">text</e>"#, r##"{"e":{"@name":"value","#text":"text"}}"##),
            ("<e> <a>text</a> <b>text</b> </e>", r#"{"e":{"a":"text","b":"text"}}"#),
            ("<e> <a>text</a> <a>text</a> </e>", r#"{"e":{"a":["text","text"]}}"#),
            ("<e> text <a>text</a> </e>", r##"{"e":{"#text":"text","a":"text"}}"##),
            (
                "<?xml version=\"1.0\"?><!DOCTYPE e [<!ELEMENT e ANY>]><!-- c --><e a='&lt;&#65;'><![CDATA[<x>]]></e>",
                r##"{"e":{"@a":"<A","#text":"<x>"}}"##,
            ),
        ] {
            assert_eq!(xml(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "text", "<e>", "<e></f>", "<e/><f/>", "<e>&no;</e>", "<e a=1/>", "<1/>", "<e", "<e><!--</e>"] {
            assert_eq!(xml(text), None, "{text}");
        }
        assert_eq!(xml(&"<a>".repeat(100_000)), None);
    }
}
