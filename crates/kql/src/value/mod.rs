//! Text forms of KQL's scalar values: how they are read, how they are written.
//!
//! Input: the text of a literal, a cell of ingested data or a string value. Output: the engine's
//! form of the value (`KqlType::arrow`), or `None` where Kusto gives null. Nothing here fails in
//! another way, whatever the text.
//!
//! Writers append to a `Vec<u8>` because results leave the server as bytes; what they append is
//! always UTF-8.

pub mod boolean;
pub mod datetime;
pub mod decimal;
pub mod guid;
pub mod integer;
pub mod json;
pub mod real;
pub mod timespan;

/// The text without the blanks around it.
pub(crate) fn trim(text: &str) -> &[u8] {
    text.as_bytes().trim_ascii()
}

/// What a writer appended, as a `String`.
pub(crate) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("value writers append UTF-8 only")
}

/// Appends `value` with leading zeros, `width` digits wide; higher digits are dropped.
pub(crate) fn push_padded(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width, b'0');
    for slot in out[start..].iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// A reader over the bytes of a short text.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, position: 0 }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    pub(crate) fn advance(&mut self) {
        self.position += 1;
    }

    /// A place to come back to.
    pub(crate) fn mark(&self) -> usize {
        self.position
    }

    pub(crate) fn reset(&mut self, mark: usize) {
        self.position = mark;
    }

    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        if is_there {
            self.position += 1;
        }
        is_there
    }

    /// Skips blanks; tells whether there were any.
    pub(crate) fn blanks(&mut self) -> bool {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.position += 1;
        }
        self.position > start
    }

    /// The run of bytes that satisfy `keep`.
    pub(crate) fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.position;
        while self.peek().is_some_and(&keep) {
            self.position += 1;
        }
        &self.bytes[start..self.position]
    }

    /// A run of decimal digits.
    pub(crate) fn digits(&mut self) -> &'a [u8] {
        self.take_while(|byte| byte.is_ascii_digit())
    }

    /// A number of `min` to `max` digits with nothing but those digits before the next non-digit.
    pub(crate) fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let digits = self.digits();
        if digits.len() < min || digits.len() > max {
            return None;
        }
        number(digits)
    }
}

/// The value of a run of decimal digits; `None` for an empty run and beyond `i64`.
pub(crate) fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))
}

/// The first seven digits of a fraction of a second as ticks; further digits are dropped.
pub(crate) fn fraction_ticks(digits: &[u8]) -> i64 {
    let mut ticks = 0;
    for position in 0..7 {
        ticks = ticks * 10 + digits.get(position).map_or(0, |digit| i64::from(digit - b'0'));
    }
    ticks
}

/// Digits before an exponent: `d.ddd` and `E` with its sign. There is at least one digit.
fn write_mantissa(digits: &[u8], adjusted: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if adjusted < 0 { b"E-" } else { b"E+" });
}

/// Digits in positional form; the first one stands for ten to the power of `adjusted`. Tells whether a fraction was written.
fn write_positional(digits: &[u8], adjusted: i32, out: &mut Vec<u8>) -> bool {
    if adjusted < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-1 - adjusted) as usize, b'0');
        out.extend_from_slice(digits);
        return true;
    }
    let whole = adjusted as usize + 1;
    if digits.len() > whole {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
        return true;
    }
    out.extend_from_slice(digits);
    out.resize(out.len() + whole - digits.len(), b'0');
    false
}

#[cfg(test)]
mod tests {
    /// A small generator with a fixed seed (xorshift), enough for property tests.
    pub(crate) struct Random(u64);

    impl Random {
        pub(crate) fn new(seed: u64) -> Self {
            Random(seed | 1)
        }

        pub(crate) fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
        }

        pub(crate) fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit
        }
    }

    /// The corners of `i64` and values of every magnitude.
    pub(crate) fn some_longs(count: usize) -> impl Iterator<Item = i64> {
        let mut random = Random::new(7);
        let corners = [0, 1, -1, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1];
        corners
            .into_iter()
            .chain(std::iter::repeat_with(move || {
                let shift = random.below(64);
                random.next() as i64 >> shift
            }))
            .take(count)
    }

    #[test]
    fn no_reader_panics_on_any_text() {
        let alphabet: Vec<char> =
            "0123456789012345678901 -:.TZ+/,xeEdhmsNaInfJtruGMé\"\\[]{}ul\u{661}".chars().collect();
        let mut random = Random::new(42);
        for _ in 0..40_000 {
            let length = random.below(24);
            let text: String = (0..length).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
            super::boolean::parse(&text);
            super::datetime::parse(&text);
            super::datetime::parse_constructor(&text);
            super::decimal::Decimal::parse(&text);
            super::guid::parse(&text);
            super::integer::parse_int(&text);
            super::integer::parse_long(&text);
            super::json::canonical(&text);
            super::real::parse(&text);
            super::timespan::parse(&text);
            super::timespan::parse_constructor(&text);
            super::timespan::parse_literal(&text, "d");
        }
    }
}
