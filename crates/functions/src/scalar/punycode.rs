//! Punycode (RFC 3492) and the domain labels that use it.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;
/// The longest text: both directions take time with the square of the length.
const MAX_TEXT: usize = 1 << 16;
const PREFIX: &str = "xn--";

fn adapt(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

fn threshold(k: u32, bias: u32) -> u32 {
    k.saturating_sub(bias).clamp(T_MIN, T_MAX)
}

/// The Punycode of a text; `None` when it is too long.
pub(crate) fn encode(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let points: Vec<u32> = text.chars().map(u32::from).collect();
    let mut out: String = text.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0u32, INITIAL_BIAS, basic);
    let total = u32::try_from(points.len()).ok()?;
    while handled < total {
        let next = points.iter().copied().filter(|point| *point >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for point in &points {
            if *point < n {
                delta = delta.checked_add(1)?;
            }
            if *point == n {
                let mut q = delta;
                let mut k = BASE;
                loop {
                    let t = threshold(k, bias);
                    if q < t {
                        break;
                    }
                    out.push(digit(t + (q - t) % (BASE - t)));
                    q = (q - t) / (BASE - t);
                    k += BASE;
                }
                out.push(digit(q));
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(out)
}

fn digit(value: u32) -> char {
    char::from(if value < 26 { b'a' + value as u8 } else { b'0' + (value - 26) as u8 })
}

/// The text of a Punycode text; `None` when it is not one.
pub(crate) fn decode(text: &str) -> Option<String> {
    if !text.is_ascii() || text.len() > MAX_TEXT {
        return None;
    }
    let (basic, extended) = text.rsplit_once('-').unwrap_or(("", text));
    let mut points: Vec<char> = basic.chars().collect();
    let (mut n, mut index, mut bias) = (INITIAL_N, 0u32, INITIAL_BIAS);
    let mut bytes = extended.bytes().peekable();
    while bytes.peek().is_some() {
        let before = index;
        let mut weight = 1u32;
        let mut k = BASE;
        loop {
            let value = match bytes.next()? {
                byte @ b'a'..=b'z' => u32::from(byte - b'a'),
                byte @ b'A'..=b'Z' => u32::from(byte - b'A'),
                byte @ b'0'..=b'9' => u32::from(byte - b'0') + 26,
                _ => return None,
            };
            index = index.checked_add(value.checked_mul(weight)?)?;
            let t = threshold(k, bias);
            if value < t {
                break;
            }
            weight = weight.checked_mul(BASE - t)?;
            k += BASE;
        }
        let count = points.len() as u32 + 1;
        bias = adapt(index - before, count, before == 0);
        n = n.checked_add(index / count)?;
        index %= count;
        points.insert(index as usize, char::from_u32(n)?);
        index += 1;
    }
    Some(points.into_iter().collect())
}

/// Labels are separated by a full stop or one of its ideographic forms.
fn labels(domain: &str) -> impl Iterator<Item = &str> {
    domain.split(['.', '\u{3002}', '\u{FF0E}', '\u{FF61}'])
}

/// A domain name with its labels in Punycode where they need it.
pub(crate) fn encode_domain(domain: &str) -> Option<String> {
    let encoded = labels(domain).map(|label| {
        if label.is_ascii() { Some(label.to_string()) } else { Some(format!("{PREFIX}{}", encode(label)?)) }
    });
    Some(encoded.collect::<Option<Vec<_>>>()?.join("."))
}

/// A domain name with its Punycode labels decoded.
pub(crate) fn decode_domain(domain: &str) -> Option<String> {
    let decoded = labels(domain).map(|label| match label.strip_prefix(PREFIX) {
        Some(encoded) => decode(encoded),
        None => Some(label.to_string()),
    });
    Some(decoded.collect::<Option<Vec<_>>>()?.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_names_are_encoded_and_decoded() {
        for (text, encoded) in [("académie-française", "acadmie-franaise-npb1a"), ("艺术", "cqv902d"), ("", "")] {
            assert_eq!(encode(text).as_deref(), Some(encoded));
            assert_eq!(decode(encoded).as_deref(), Some(text));
        }
        for (domain, encoded) in [
            ("Lê Lợi。Thuận Thiên。com", "xn--L Li-gpa4517b.xn--Thun Thin-s4a7194f.com"),
            ("Riðill｡Skáldskaparmál｡org", "xn--Riill-jta.xn--Skldskaparml-dbbj.org"),
            ("Kaledvoulc'h.Artorījos.edu", "Kaledvoulc'h.xn--Artorjos-ejb.edu"),
        ] {
            assert_eq!(encode_domain(domain).as_deref(), Some(encoded));
        }
        for (encoded, domain) in [
            ("xn--Ge-mia.Bulg.edu", "Gáe.Bulg.edu"),
            ("xn--Ry-lja8c.xn--Jng-uta63a.xn--Bng-9ka.com", "Rúyì.Jīngū.Bàng.com"),
        ] {
            assert_eq!(decode_domain(encoded).as_deref(), Some(domain));
        }
    }

    #[test]
    fn junk_is_none_and_never_a_panic() {
        for text in ["é", "99999999", "a-99999999999", "-!", "zzzzzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
