//! dynamic: JSON text in one canonical form.

use super::into_text;

/// Arrays and objects may be nested this deep; deeper text is not read as JSON. Other readers of the
/// same text stop at the same depth.
pub const MAX_DEPTH: usize = 128;

/// The compact text of a JSON text: no blanks outside strings, strings with the fewest escapes, numbers
/// as they stand, keys in their order. A key that occurs again takes the last value and keeps its
/// first place. An escaped half of a surrogate pair becomes U+FFFD. `None` when the text is not
/// JSON, or deeper than `MAX_DEPTH`.
pub fn canonical(text: &str) -> Option<String> {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        position: 0,
        out: Vec::with_capacity(text.len()),
        frames: vec![],
        entries: vec![],
    };
    reader.run()?;
    Some(into_text(reader.out))
}

/// Appends `text` as a JSON string.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let run = plain_run(rest);
        out.extend_from_slice(&rest[..run]);
        let Some(byte) = rest.get(run) else { break };
        push_escaped(*byte, out);
        rest = &rest[run + 1..];
    }
    out.push(b'"');
}

/// How many bytes from the start need no escape.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut position = 0;
    // Eight bytes at once: the high bit of each byte that is a quote, a backslash or below a blank.
    while let Some(chunk) = bytes.get(position..position + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = control | is_zero(word ^ (ONES * b'"' as u64)) | is_zero(word ^ (ONES * b'\\' as u64));
        if found != 0 {
            // A borrow may mark a byte after the first one found, never before it.
            return position + found.trailing_zeros() as usize / 8;
        }
        position += 8;
    }
    let tail = &bytes[position..];
    position + tail.iter().position(|byte| needs_escape(*byte)).unwrap_or(tail.len())
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends a byte below 0x80, escaped where it must be.
fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        0x00..=0x1F => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
        _ => {
            out.push(byte);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// An array or object that is not closed yet.
struct Frame {
    is_object: bool,
    /// Where it begins in the output.
    start: usize,
    /// Its first entry.
    first_entry: usize,
}

/// A key and its value, as ranges of the output.
#[derive(Clone, Copy)]
struct Entry {
    key: (usize, usize),
    value: (usize, usize),
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    Key,
    AfterValue,
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    out: Vec<u8>,
    frames: Vec<Frame>,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }

    fn run(&mut self) -> Option<()> {
        let mut state = State::Value;
        loop {
            self.blanks();
            let Some(byte) = self.peek() else {
                return (state == State::AfterValue && self.frames.is_empty()).then_some(());
            };
            state = match state {
                State::Value | State::FirstElement => match byte {
                    b'{' => self.open(true)?,
                    b'[' => self.open(false)?,
                    b']' if state == State::FirstElement => self.close()?,
                    b'"' => self.string()?,
                    b'-' | b'0'..=b'9' => self.number()?,
                    b't' => self.word(b"true")?,
                    b'f' => self.word(b"false")?,
                    b'n' => self.word(b"null")?,
                    _ => return None,
                },
                State::FirstKey if byte == b'}' => self.close()?,
                State::FirstKey | State::Key => self.key()?,
                State::AfterValue => self.after_value(byte)?,
            };
        }
    }

    fn open(&mut self, is_object: bool) -> Option<State> {
        if self.frames.len() == MAX_DEPTH {
            return None;
        }
        self.frames.push(Frame { is_object, start: self.out.len(), first_entry: self.entries.len() });
        self.out.push(if is_object { b'{' } else { b'[' });
        self.position += 1;
        Some(if is_object { State::FirstKey } else { State::FirstElement })
    }

    fn close(&mut self) -> Option<State> {
        let frame = self.frames.pop()?;
        self.position += 1;
        if !frame.is_object {
            self.out.push(b']');
            return Some(State::AfterValue);
        }
        if self.has_duplicates(frame.first_entry) {
            self.drop_duplicates(&frame);
        }
        self.entries.truncate(frame.first_entry);
        self.out.push(b'}');
        Some(State::AfterValue)
    }

    fn key(&mut self) -> Option<State> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.out.len();
        self.string()?;
        let key = (start, self.out.len());
        self.blanks();
        if self.peek() != Some(b':') {
            return None;
        }
        self.position += 1;
        self.out.push(b':');
        let value = self.out.len();
        self.entries.push(Entry { key, value: (value, value) });
        Some(State::Value)
    }

    fn after_value(&mut self, byte: u8) -> Option<State> {
        let is_object = self.frames.last()?.is_object;
        if is_object {
            // Entries of inner objects are gone by now: the last one is this object's.
            self.entries.last_mut()?.value.1 = self.out.len();
        }
        match byte {
            b',' => {
                self.position += 1;
                self.out.push(b',');
                Some(if is_object { State::Key } else { State::Value })
            }
            b'}' if is_object => self.close(),
            b']' if !is_object => self.close(),
            _ => None,
        }
    }

    fn has_duplicates(&self, first_entry: usize) -> bool {
        let key = |entry: &Entry| &self.out[entry.key.0..entry.key.1];
        let entries = &self.entries[first_entry..];
        if entries.len() <= 16 {
            return entries
                .iter()
                .enumerate()
                .any(|(index, one)| entries[..index].iter().any(|other| key(one) == key(other)));
        }
        let mut keys: Vec<&[u8]> = entries.iter().map(key).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Writes the object at the end of the output again, each key once.
    fn drop_duplicates(&mut self, frame: &Frame) {
        let old = self.out.split_off(frame.start);
        let slice = |range: (usize, usize)| &old[range.0 - frame.start..range.1 - frame.start];
        let mut kept: Vec<Entry> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for entry in &self.entries[frame.first_entry..] {
            let place = *places.entry(slice(entry.key)).or_insert(kept.len());
            match kept.get_mut(place) {
                Some(first) => first.value = entry.value,
                None => kept.push(*entry),
            }
        }
        self.out.push(b'{');
        for (index, entry) in kept.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(slice(entry.key));
            self.out.push(b':');
            self.out.extend_from_slice(slice(entry.value));
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<State> {
        if !self.bytes[self.position..].starts_with(word) {
            return None;
        }
        self.position += word.len();
        self.out.extend_from_slice(word);
        Some(State::AfterValue)
    }

    fn number(&mut self) -> Option<State> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        if self.peek() == Some(b'0') {
            self.position += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.position += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.position += 1;
            }
            self.digits()?;
        }
        self.out.extend_from_slice(&self.bytes[start..self.position]);
        Some(State::AfterValue)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        (self.position > start).then_some(())
    }

    /// Copies the string that begins here.
    fn string(&mut self) -> Option<State> {
        self.out.push(b'"');
        self.position += 1;
        loop {
            let rest = &self.bytes[self.position..];
            let run = plain_run(rest);
            self.out.extend_from_slice(&rest[..run]);
            self.position += run + 1;
            match rest.get(run)? {
                b'"' => {
                    self.out.push(b'"');
                    return Some(State::AfterValue);
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let byte = match self.peek()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.position += 1;
                let mut code = self.hex4()?;
                if (0xD800..0xDC00).contains(&code) && self.bytes[self.position..].starts_with(b"\\u") {
                    let mark = self.position;
                    self.position += 2;
                    let low = self.hex4()?;
                    if (0xDC00..0xE000).contains(&low) {
                        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    } else {
                        self.position = mark;
                    }
                }
                if code < 0x80 {
                    push_escaped(code as u8, &mut self.out);
                } else {
                    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                    self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                return Some(());
            }
            _ => return None,
        };
        self.position += 1;
        push_escaped(byte, &mut self.out);
        Some(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.position..self.position + 4)?;
        self.position += 4;
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Random;
    use super::*;

    #[test]
    fn json_becomes_compact_and_keeps_numbers_and_order() {
        let texts = [
            (" { \"b\" : [ 1 , 2.50, -0, 1E+5 ] , \"a\" : null } ", "{\"b\":[1,2.50,-0,1E+5],\"a\":null}"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("\"a\\u0062\\/\\u00e9\\ud83d\\ude00\\n\\u0001\"", "\"ab/é😀\\n\\u0001\""),
            ("\"\\ud800x\\udc00\"", "\"\u{fffd}x\u{fffd}\""),
            ("\"\\ud800\\u0041\"", "\"\u{fffd}A\""),
            ("[]", "[]"),
            ("{ }", "{}"),
            ("true", "true"),
            ("{\"a\":1,\"b\":{\"c\":1,\"c\":[2]},\"\\u0061\":{\"x\":3}}", "{\"a\":{\"x\":3},\"b\":{\"c\":[2]}}"),
            ("[{\"a\":1,\"a\":2},{\"a\":3}]", "[{\"a\":2},{\"a\":3}]"),
        ];
        for (text, expected) in texts {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
            assert_eq!(canonical(expected).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_not_json_is_none() {
        let texts = [
            "",
            " ",
            "abc",
            "'a'",
            "{a:1}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\":}",
            "[1 2]",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "+1",
            "NaN",
            "tru",
            "truex",
            "\"a",
            "\"\\q\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[1]]",
            "[}",
            "{]",
            "1 2",
            "\"\\",
        ];
        for text in texts {
            assert_eq!(canonical(text), None, "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(canonical(&nested(MAX_DEPTH)).is_some());
        assert_eq!(canonical(&nested(MAX_DEPTH + 1)), None);
        assert_eq!(canonical(&"[".repeat(1_000_000)), None);
        assert_eq!(canonical(&"{\"a\":".repeat(1_000_000)), None);
    }

    #[test]
    fn many_keys_are_deduplicated() {
        let text = (0..100).map(|key| format!("\"k{}\":{key}", key % 40)).collect::<Vec<_>>().join(",");
        let compact = canonical(&format!("{{{text}}}")).expect("JSON");
        assert!(compact.starts_with("{\"k0\":80,\"k1\":81,") && compact.ends_with("\"k39\":79}"), "{compact}");
    }

    #[test]
    fn quoted_text_is_read_back_by_another_reader() {
        let alphabet: Vec<char> = ('\0'..'\u{80}').chain("éß😀\u{2028}".chars()).collect();
        let mut random = Random::new(5);
        for _ in 0..3000 {
            let text: String =
                (0..random.below(40)).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
            let mut out = Vec::new();
            quote(&text, &mut out);
            let json = into_text(out);
            assert_eq!(serde_json::from_str::<String>(&json).ok().as_deref(), Some(text.as_str()));
            assert_eq!(canonical(&json).as_deref(), Some(json.as_str()));
        }
    }

    #[test]
    fn values_agree_with_another_reader() {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"b\\n\"",
            "1",
            "-2.5e3",
            "true",
            "null",
            " ",
            "\"\\u00e9\"",
            "\\",
            "x",
        ];
        let mut random = Random::new(9);
        for _ in 0..50_000 {
            let text: String =
                (0..random.below(12)).map(|_| pieces[random.below(pieces.len() as u64) as usize]).collect();
            let expected = serde_json::from_str::<serde_json::Value>(&text).ok();
            let compact = canonical(&text);
            assert_eq!(compact.is_some(), expected.is_some(), "{text}");
            assert_eq!(
                compact.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()),
                expected,
                "{text}"
            );
        }
    }
}
