//! Walks over the elements of a dynamic array or bag in its compact text, without reading them.
//!
//! Input is text that the engine wrote itself (canonical JSON). Other text ends the walk early; it
//! never panics.

/// The texts of the elements of an array; nothing for anything but an array.
pub fn elements(array: &str) -> Elements<'_> {
    let inner = array.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or("");
    Elements { rest: inner, ended: inner.is_empty() }
}

/// The keys, quoted as they stand, and the texts of the values of a bag; nothing for anything but a bag.
pub fn entries(bag: &str) -> impl Iterator<Item = (&str, &str)> {
    let inner = bag.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or("");
    Elements { rest: inner, ended: inner.is_empty() }.filter_map(|entry| {
        let end = string_end(entry.as_bytes())?;
        let value = entry[end..].strip_prefix(':')?;
        Some((&entry[..end], value))
    })
}

/// See `elements`.
pub struct Elements<'a> {
    rest: &'a str,
    ended: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.ended {
            return None;
        }
        let bytes = self.rest.as_bytes();
        let (mut depth, mut place) = (0usize, 0);
        while let Some(byte) = bytes.get(place) {
            match byte {
                b'"' => {
                    place += string_end(&bytes[place..]).unwrap_or(bytes.len() - place);
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => {
                    let element = &self.rest[..place];
                    self.rest = &self.rest[place + 1..];
                    return Some(element);
                }
                _ => {}
            }
            place += 1;
        }
        self.ended = true;
        Some(self.rest)
    }
}

/// Length of the string literal, quotes included, at the start of the bytes; `None` when it does not close.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut place = 1;
    loop {
        place += memchr::memchr2(b'"', b'\\', bytes.get(place..)?)?;
        if bytes[place] == b'"' {
            return Some(place + 1);
        }
        place += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_split_at_the_commas_of_the_array_itself() {
        let split = |text| elements(text).collect::<Vec<_>>();
        assert_eq!(
            split(r#"[1,"a,\"]",[2,3],{"k":[4,5]},null]"#),
            ["1", r#""a,\"]""#, "[2,3]", r#"{"k":[4,5]}"#, "null"]
        );
        assert_eq!(split("[]"), [""; 0]);
        assert_eq!(split("[[]]"), ["[]"]);
        assert_eq!(split("{}"), [""; 0]);
        assert_eq!(split("null"), [""; 0]);
    }

    #[test]
    fn entries_are_keys_and_values() {
        let split = |text| entries(text).collect::<Vec<_>>();
        assert_eq!(split(r#"{"a":1,"b\":":{"c":[1,2]}}"#), [(r#""a""#, "1"), (r#""b\":""#, r#"{"c":[1,2]}"#)]);
        assert_eq!(split("{}"), []);
        assert_eq!(split("[1]"), []);
    }

    #[test]
    fn text_that_is_no_json_ends_the_walk() {
        for text in ["[\"", "[\"a", "[\"\\", "[,]", "{\"a\"}", "{a:1}", "{\"a\":}", "[}", "]", "[é\"é,]"] {
            let _ = elements(text).count();
            let _ = entries(text).count();
        }
    }
}
