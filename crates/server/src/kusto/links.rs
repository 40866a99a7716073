//! Deep links: `GET /` and `GET /{database}` lead to the page. Source: kusto-rest section 12, UI deep links page.
//!
//! A link runs nothing here: it only brings its text to the page.

use std::io::Read;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::app::App;
use crate::ui;

/// The longest text that a link can carry, unpacked and with its parameters put in.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// What a link says. Everything in it is a stranger's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The database in the path.
    pub database: Option<String>,
    /// `query`, unpacked, with its parameters put in.
    pub text: Option<String>,
    /// Whether the text was cut at [`MAX_TEXT_BYTES`].
    pub is_cut: bool,
    /// `querysrc`: where the text is to be had.
    pub source: Option<String>,
    /// `uri`: another cluster than this one.
    pub cluster: Option<String>,
    /// `name` of the connection.
    pub name: Option<String>,
}

/// `GET /` and `GET /{database}`
pub async fn redirect(State(app): State<App>, uri: Uri) -> Response {
    let mut place = match reqwest::Url::parse(&app.public_url()) {
        Ok(url) => url.path().trim_end_matches('/').to_string(),
        Err(_) => String::new(),
    };
    place.push_str(ui::PAGE);
    if let Some(database) = decoded(uri.path().trim_start_matches('/')) {
        let name = percent_encoding::utf8_percent_encode(&database, percent_encoding::NON_ALPHANUMERIC);
        place.push_str(&format!("databases/{name}"));
    }
    if let Some(query) = uri.query() {
        place.push('?');
        // Bytes outside of ASCII are legal nowhere in a header.
        for byte in query.bytes() {
            match byte {
                b'!'..=b'~' => place.push(char::from(byte)),
                other => place.push_str(&format!("%{other:02X}")),
            }
        }
    }
    match HeaderValue::from_str(&place) {
        Ok(place) => (StatusCode::FOUND, [(header::LOCATION, place)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// A part of an address as text; `None` when empty.
fn decoded(part: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    Some(text).filter(|text| !text.is_empty())
}

impl Link {
    /// Reads the arguments of a link's address; names have no case.
    pub fn of(database: Option<&str>, query: &str) -> Link {
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let text = |part: &str| decoded(&part.replace('+', " "));
                Some((text(name)?, text(value).unwrap_or_default()))
            })
            .collect();
        let argument = |wanted: &str| {
            let value = pairs.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            value.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let mut link = Link {
            database: database.and_then(decoded),
            source: argument("querysrc"),
            cluster: argument("uri"),
            name: argument("name"),
            ..Link::default()
        };
        if let Some(text) = argument("query") {
            let (text, cut) = unpacked(&text);
            let (text, cut_again) = filled(&text, &pairs);
            (link.text, link.is_cut) = (Some(text), cut || cut_again);
        }
        link
    }
}

/// Azure's own links carry base64 of gzip, which begins `H4sI`. What is not packed after all stays as it is.
fn unpacked(text: &str) -> (String, bool) {
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let as_it_is = || cut(text.to_string());
    if !text.starts_with("H4sI") {
        return as_it_is();
    }
    // A plus sign that was not percent-encoded has become a space.
    let packed = text.trim().replace([' ', '-'], "+").replace('_', "/");
    let Ok(packed) = BASE64.decode(packed) else { return as_it_is() };
    let mut plain = Vec::new();
    let limit = MAX_TEXT_BYTES as u64 + 1;
    match flate2::read::MultiGzDecoder::new(&packed[..]).take(limit).read_to_end(&mut plain) {
        Ok(_) => cut(String::from_utf8_lossy(&plain).into_owned()),
        Err(_) => as_it_is(),
    }
}

fn cut(mut text: String) -> (String, bool) {
    if text.len() <= MAX_TEXT_BYTES {
        return (text, false);
    }
    let end = (0..=MAX_TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    (text, true)
}

/// Replaces each `{Name}` by the link's argument of this name; others stay.
fn filled(text: &str, arguments: &[(String, String)]) -> (String, bool) {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let length = rest[1..].bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let name = &rest[1..1 + length];
        let value = arguments.iter().rev().find(|(known, _)| !name.is_empty() && known == name);
        match value {
            Some((_, value)) if rest[1 + length..].starts_with('}') => {
                out.push_str(value);
                rest = &rest[length + 2..];
            }
            _ => {
                out.push('{');
                rest = &rest[1..];
            }
        }
        // A short link could otherwise grow into gigabytes.
        if out.len() > MAX_TEXT_BYTES {
            return cut(out);
        }
    }
    out.push_str(rest);
    cut(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_plain_or_packed() {
        let text = |query: &str| Link::of(None, query).text.unwrap_or_default();
        assert_eq!(text("query=print+%22%C3%A4%2B%22"), "print \"ä+\"");
        assert_eq!(text("web=1&QUERY=H4sIAAAAAAAACysoyswrUahQsFUwBACplErMCwAAAA%3D%3D"), "print x = 1");
        assert_eq!(text("query=H4sIAAAAAAAACysoyswrUahQsFUwBACplErMCwAAAA"), "print x = 1");
        assert_eq!(text("query=H4sI"), "H4sI");
        assert_eq!(text("query=H4sIAAAA%00"), "H4sIAAAA\0");
        assert_eq!(text("query=%ff%fe"), "\u{fffd}\u{fffd}");
        assert_eq!(Link::of(None, "query=&web=0").text, None);
    }

    #[test]
    fn parameters_are_put_in_once() {
        let link =
            Link::of(Some("My%20Db"), "query=T+%7C+where+a+%3E+ago({Period})+{Other}+{}+{Period&Period=1h{Period}&x");
        assert_eq!(link.text.as_deref(), Some("T | where a > ago(1h{Period}) {Other} {} {Period"));
        assert_eq!(link.database.as_deref(), Some("My Db"));
    }

    #[test]
    fn a_short_link_does_not_grow_without_bound() {
        let query = format!("query={}&a={}", "{a}".repeat(15_000), "x".repeat(15_000));
        let link = Link::of(None, &query);
        assert!(link.is_cut && link.text.unwrap().len() <= MAX_TEXT_BYTES);
    }

    #[test]
    fn a_packed_bomb_is_cut() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b'x'; 10 * MAX_TEXT_BYTES]).unwrap();
        let packed = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(encoder.finish().unwrap());
        let link = Link::of(None, &format!("query={packed}"));
        assert!(link.is_cut);
        assert_eq!(link.text.unwrap().len(), MAX_TEXT_BYTES);
    }
}
