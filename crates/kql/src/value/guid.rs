//! guid: 16 bytes in the order of the text, so that bytes sort as the text does.

use super::into_text;

/// Reads the first 32 hexadecimal digits; hyphens after the 8th, 12th, 16th and 20th are skipped, and
/// what follows the 32nd digit is ignored; a brace may open. Source: toguid() page, recorded answers.
pub fn parse(text: &str) -> Option<[u8; 16]> {
    let mut guid = [0u8; 16];
    let mut count = 0;
    let mut after_hyphen = false;
    // The form in braces or brackets is read too: its end comes after the last digit.
    for byte in text.strip_prefix(['{', '(']).unwrap_or(text).bytes() {
        if byte == b'-' {
            if after_hyphen || !matches!(count, 8 | 12 | 16 | 20) {
                return None;
            }
            after_hyphen = true;
            continue;
        }
        after_hyphen = false;
        let digit = char::from(byte).to_digit(16)? as u8;
        guid[count / 2] = guid[count / 2] << 4 | digit;
        count += 1;
        if count == 32 {
            return Some(guid);
        }
    }
    None
}

/// Appends the lower-case text with hyphens.
pub fn write(guid: &[u8; 16], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (position, byte) in guid.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

/// The lower-case text with hyphens.
pub fn to_text(guid: &[u8; 16]) -> String {
    let mut out = Vec::with_capacity(36);
    write(guid, &mut out);
    into_text(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_with_and_without_hyphens_are_read_and_the_rest_is_ignored() {
        let text = "01234567-89ab-cdef-0123-456789abcdef";
        for form in [
            text,
            "0123456789abcdef0123456789abcdef",
            "0123456789ab-cdef-0123-456789abcdef",
            "01234567-89AB-CDEF-0123-456789ABCDEF and more",
        ] {
            assert_eq!(parse(form).map(|guid| to_text(&guid)).as_deref(), Some(text), "{form}");
        }
        for form in [
            "",
            "a string that is not a guid",
            "0123-456789abcdef0123456789abcdef",
            "0123456789abcdef",
            "01234567--89ab",
        ] {
            assert_eq!(parse(form), None, "{form:?}");
        }
    }
}
