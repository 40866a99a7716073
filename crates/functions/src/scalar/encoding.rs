//! Texts in other forms: base64, compressed, percent-encoded, hexadecimal, Punycode.

use std::io::{Read, Write};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use tidewater_kql::KqlType;

use super::kernel::{Bytes16, Integers, Texts, each, each_dynamic, each_text};
use super::punycode;
use super::rows::{INTEGER, STRING_TO_DYNAMIC, STRING_TO_STRING, TO_STRING, refused, row};
use crate::call::Call;
use crate::dynamic::{Dynamic, Json};
use crate::registry::{NameRule, Scalar};
use crate::signature::{DYNAMIC, GUID, Returns, STRING, optional, required, sig};

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "base64_encode_tostring",
        STRING_TO_STRING,
        |call| texts(call, |text| Some(BASE64.encode(text))),
        "A text's UTF-8 bytes in base64.",
        "base64-encode-tostring-function",
        aliases: &["base64_encodestring"],
        examples: &[("print base64_encode_tostring('Kusto')", "S3VzdG8=")],
    ),
    row!(
        "base64_decode_tostring",
        STRING_TO_STRING,
        |call| texts(call, |text| String::from_utf8(BASE64.decode(text).ok()?).ok()),
        "The text whose UTF-8 bytes are given in base64; empty when it is not one.",
        "base64-decode-tostring-function",
        aliases: &["base64_decodestring"],
        examples: &[("print base64_decode_tostring('S3VzdG8=')", "Kusto")],
    ),
    row!(
        "base64_decode_toarray",
        STRING_TO_DYNAMIC,
        base64_decode_toarray,
        "The bytes given in base64, as an array of longs.",
        "base64-decode-toarray-function",
        examples: &[("print base64_decode_toarray('S3VzdG8=')", "[75,117,115,116,111]")],
    ),
    row!(
        "base64_encode_fromarray",
        &[sig(&[required("bytes", DYNAMIC)], TO_STRING)],
        base64_encode_fromarray,
        "An array of bytes in base64; empty when it is not one.",
        "base64-encode-fromarray-function",
        examples: &[("print base64_encode_fromarray(dynamic([75,117,115,116,111]))", "S3VzdG8=")],
    ),
    row!(
        "base64_decode_toguid",
        &[sig(&[required("string", STRING)], Returns::Type(KqlType::Guid))],
        base64_decode_toguid,
        "The guid whose 16 bytes, in .NET's order, are given in base64.",
        "base64-decode-toguid-function",
        examples: &[("print base64_decode_toguid('JpbpECu8dUy7Pv5gbeJXAA==')", "10e99626-bc2b-4c75-bb3e-fe606de25700")],
    ),
    row!(
        "base64_encode_fromguid",
        &[sig(&[required("guid", GUID)], TO_STRING)],
        base64_encode_fromguid,
        "A guid's 16 bytes, in .NET's order, in base64.",
        "base64-encode-fromguid-function",
        examples: &[(
            "print base64_encode_fromguid(toguid('ae3133f2-6e22-49ae-b06a-16e6a9b212eb'))",
            "8jMxriJurkmwahbmqbIS6w==",
        )],
    ),
    row!(
        "gzip_compress_to_base64_string",
        STRING_TO_STRING,
        |call| texts(call, |text| Some(BASE64.encode(gzip(text.as_bytes())))),
        "A text compressed with gzip, in base64.",
        "gzip-base64-compress",
    ),
    row!(
        "gzip_decompress_from_base64_string",
        STRING_TO_STRING,
        |call| texts(call, gunzip),
        "The text that was compressed with gzip and put into base64; empty when it was not.",
        "gzip-base64-decompress",
        examples: &[(
            "print gzip_decompress_from_base64_string('H4sIAAAAAAAA/wEUAOv/MTIzNDU2Nzg5MHF3ZXJ0eXVpb3A6m7f2FAAAAA==')",
            "1234567890qwertyuiop",
        )],
    ),
    row!(
        "zlib_compress_to_base64_string",
        STRING_TO_STRING,
        |call| texts(call, |text| Some(BASE64.encode(zlib(text.as_bytes())))),
        "A text compressed with zlib, in base64.",
        "zlib-base64-compress-function",
    ),
    row!(
        "zlib_decompress_from_base64_string",
        STRING_TO_STRING,
        |call| texts(call, |text| inflate(ZlibDecoder::new(BASE64.decode(text).ok()?.as_slice()))),
        "The text that was compressed with zlib and put into base64; empty when it was not.",
        "zlib-base64-decompress-function",
        examples: &[("print zlib_decompress_from_base64_string('eJwLSS0uUSguKcrMS1cwNDIGACxqBQ4=')", "Test string 123")],
    ),
    row!(
        "url_encode",
        STRING_TO_STRING,
        |call| each_encoded(call, "+"),
        "A text percent-encoded for a form: blanks become `+`.",
        "url-encode-function",
        examples: &[("print url_encode('https://www.bing.com/hello world')", "https%3a%2f%2fwww.bing.com%2fhello+world")],
    ),
    row!(
        "url_encode_component",
        STRING_TO_STRING,
        |call| each_encoded(call, "%20"),
        "A text percent-encoded for a part of a URL.",
        "url-encode-component-function",
        examples: &[("print url_encode_component('hello world')", "hello%20world")],
    ),
    row!(
        "url_decode",
        STRING_TO_STRING,
        |call| texts(call, |text| Some(url_decode(text))),
        "The text that was percent-encoded.",
        "url-decode-function",
        examples: &[("print url_decode('https%3a%2f%2fwww.bing.com%2f')", "https://www.bing.com/")],
    ),
    row!(
        "tohex",
        &[sig(&[required("value", INTEGER), optional("minLength", INTEGER)], TO_STRING)],
        tohex,
        "An integer in hexadecimal (two's complement), with zeros in front up to `minLength` digits.",
        "tohex-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print tohex(256, 8)", "00000100"), ("print tohex(-256)", "ffffffffffffff00")],
    ),
    row!(
        "punycode_from_string",
        STRING_TO_STRING,
        |call| texts(call, punycode::encode),
        "A text in Punycode.",
        "punycode-from-string-function",
        examples: &[("print punycode_from_string('académie-française')", "acadmie-franaise-npb1a")],
    ),
    row!(
        "punycode_to_string",
        STRING_TO_STRING,
        |call| texts(call, punycode::decode),
        "The text of a Punycode text; empty when it is not one.",
        "punycode-to-string-function",
        examples: &[("print punycode_to_string('acadmie-franaise-npb1a')", "académie-française")],
    ),
    row!(
        "punycode_domain_to_string",
        STRING_TO_STRING,
        |call| texts(call, punycode::encode_domain),
        "A domain name with its labels in Punycode.",
        "punycode-domain-to-string-function",
        examples: &[("print punycode_domain_to_string('Artorījos.edu')", "xn--Artorjos-ejb.edu")],
    ),
    row!(
        "punycode_domain_from_string",
        STRING_TO_STRING,
        |call| texts(call, punycode::decode_domain),
        "A domain name with its Punycode labels decoded; empty when one is not Punycode.",
        "punycode-domain-from-string-function",
        examples: &[("print punycode_domain_from_string('xn--Ge-mia.Bulg.edu')", "Gáe.Bulg.edu")],
    ),
    refused!(
        "__lz4_compress_dynamic_array_to_base64_string",
        "internal to the service, not documented",
        "An array compressed with LZ4, in base64.",
        ""
    ),
];

/// Padding is required, stray bits at the end are not looked at.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// What one value may decompress to. Source: the size of a dynamic or string value, kql-behaviour section 16.
const MAX_DECOMPRESSED: u64 = 64 << 20;

/// `None` is the empty text.
fn texts(call: &Call<'_>, f: fn(&str) -> Option<String>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each_text(call, |row, out| {
        if let Some(text) = f(source.text(row)) {
            out.push_str(&text);
        }
    })
}

fn base64_decode_toarray(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let Ok(bytes) = BASE64.decode(source.text(row)) else { return false };
        out.push(b'[');
        let mut buffer = itoa::Buffer::new();
        for (position, byte) in bytes.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(buffer.format(*byte).as_bytes());
        }
        out.push(b']');
        true
    })
}

fn base64_encode_fromarray(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each_text(call, |row, out| {
        let Some(elements) = Json::new(source.get(row)).array() else { return };
        let byte = |element: Json<'_>| u8::try_from(element.number()?.exact_long()?).ok();
        if let Some(bytes) = elements.into_iter().map(byte).collect::<Option<Vec<u8>>>() {
            BASE64.encode_string(bytes, out);
        }
    })
}

/// .NET keeps the first three groups of a guid little-endian. The same steps lead back.
fn swap_guid(mut guid: [u8; 16]) -> [u8; 16] {
    guid[0..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    guid
}

fn base64_decode_toguid(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each(call, |row| {
        let bytes: [u8; 16] = BASE64.decode(source.text(row)).ok()?.try_into().ok()?;
        Some(swap_guid(bytes))
    })
}

fn base64_encode_fromguid(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Bytes16::of(call, 0)?;
    each_text(call, |row, out| {
        if let Some(guid) = source.get(row) {
            BASE64.encode_string(swap_guid(guid), out);
        }
    })
}

/// Texts shorter than this are stored as they are, as the service does.
const STORED_BELOW: usize = 64;

fn deflate(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() < STORED_BELOW {
        let length = bytes.len() as u16;
        let mut out = vec![1];
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(bytes);
        return out;
    }
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    out.extend_from_slice(&deflate(bytes));
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    out.extend_from_slice(&deflate(bytes));
    let (mut a, mut b) = (1u32, 0u32);
    for chunk in bytes.chunks(5000) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        a %= 65_521;
        b %= 65_521;
    }
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

fn gunzip(text: &str) -> Option<String> {
    let bytes = BASE64.decode(text).ok()?;
    // Optional header fields are not read. Source: gzip-base64-decompress page.
    if !bytes.starts_with(&[0x1F, 0x8B, 8, 0]) {
        return None;
    }
    inflate(GzDecoder::new(bytes.as_slice()))
}

fn inflate(decoder: impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    decoder.take(MAX_DECOMPRESSED + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > MAX_DECOMPRESSED {
        return None;
    }
    String::from_utf8(bytes).ok()
}

/// Letters, digits and `-_.!*()` stand for themselves, as .NET's encoder has it; digits of escapes are lower-case.
fn each_encoded(call: &Call<'_>, blank: &str) -> Result<ColumnarValue> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let source = Texts::of(call, 0)?;
    each_text(call, |row, out| {
        for byte in source.text(row).bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'*' | b'(' | b')' => {
                    out.push(char::from(byte));
                }
                b' ' => out.push_str(blank),
                _ => {
                    out.push('%');
                    out.push(char::from(HEX[usize::from(byte >> 4)]));
                    out.push(char::from(HEX[usize::from(byte & 15)]));
                }
            }
        }
    })
}

/// Malformed escapes stay as they are; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn url_decode(text: &str) -> String {
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_encoding::percent_decode(&bytes).decode_utf8_lossy().into_owned()
}

fn tohex(call: &Call<'_>) -> Result<ColumnarValue> {
    use std::fmt::Write as _;
    let value = Integers::of(call, 0)?;
    let width = if call.args.len() > 1 { Some(Integers::of(call, 1)?) } else { None };
    let is_int = matches!(value, Integers::Int(_));
    each_text(call, |row, out| {
        let Some(value) = value.get(row) else { return };
        let width = width.as_ref().and_then(|width| width.get(row)).unwrap_or(0).clamp(0, 16) as usize;
        let bits = if is_int { u64::from(value as u32) } else { value as u64 };
        // Writing to a string cannot fail.
        let _ = write!(out, "{bits:0width$x}");
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_compress_to_the_documented_bytes() {
        let text = b"1234567890qwertyuiop";
        assert_eq!(BASE64.encode(gzip(text)), "H4sIAAAAAAAA/wEUAOv/MTIzNDU2Nzg5MHF3ZXJ0eXVpb3A6m7f2FAAAAA==");
        assert_eq!(BASE64.encode(zlib(text)), "eAEBFADr/zEyMzQ1Njc4OTBxd2VydHl1aW9wOAkGdw==");
    }

    #[test]
    fn compressed_texts_come_back() {
        for length in [0usize, 1, 63, 64, 65, 5000, 300_000] {
            let text: String = (0..length).map(|index| char::from(b'a' + (index * index % 23) as u8)).collect();
            let unzlib = |text: &str| inflate(ZlibDecoder::new(BASE64.decode(text).ok()?.as_slice()));
            assert_eq!(gunzip(&BASE64.encode(gzip(text.as_bytes()))).as_deref(), Some(text.as_str()));
            assert_eq!(unzlib(&BASE64.encode(zlib(text.as_bytes()))).as_deref(), Some(text.as_str()));
        }
        for text in ["x0x0x0", "", "H4sIAAAAAAAA/wEUAOv/MTIz", "H4sIAA=="] {
            assert_eq!(gunzip(text), None, "{text}");
        }
    }

    #[test]
    fn what_inflates_without_end_is_refused() {
        let zeros = vec![b'a'; (MAX_DECOMPRESSED + 10) as usize];
        assert_eq!(gunzip(&BASE64.encode(gzip(&zeros))), None);
    }

    #[test]
    fn escapes_are_read_leniently() {
        assert_eq!(url_decode("a%20b+c%2"), "a b c%2");
        assert_eq!(url_decode("%zz%c3%a9%ff"), "%zzé\u{fffd}");
    }
}
