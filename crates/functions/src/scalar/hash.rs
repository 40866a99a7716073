//! Hashes: xxHash64 of a value's bytes, digests of its text.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use md5::Digest;
use tidewater_kql::KqlType;
use xxhash_rust::xxh64::xxh64;

use super::kernel::{Bools, Bytes16, Integers, Reals, Texts, each, each_text};
use super::rows::{INTEGER, Numbers, TO_LONG, TO_STRING, refused, row};
use crate::call::Call;
use crate::registry::Scalar;
use crate::signature::{Accepts, LONG, Signature, optional, repeated, required, sig};

/// Every type but dynamic, which the service refuses too.
const VALUE: Accepts = Accepts::OneOf(&[
    KqlType::Bool,
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::String,
    KqlType::DateTime,
    KqlType::TimeSpan,
    KqlType::Guid,
]);

const DIGEST: &[Signature] = &[sig(&[required("source", Accepts::Text)], TO_STRING)];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "hash",
        &[sig(&[required("source", VALUE), optional("mod", INTEGER)], TO_LONG)],
        hash,
        "The xxHash64 of a value; with `mod`, its remainder.",
        "hash-function",
        aliases: &["hash_xxhash64"],
        examples: &[("print hash('World')", "1846988464401551951"), ("print hash('World', 100)", "51")],
    ),
    // How the service combines hashes is not published, and its pages say that it may change.
    row!(
        "hash_combine",
        &[sig(&[required("h", LONG), required("h", LONG), repeated("h", LONG)], TO_LONG)],
        hash_combine,
        "One hash of several.",
        "hash-combine-function",
    ),
    row!(
        "hash_many",
        &[sig(&[required("s", VALUE), repeated("s", VALUE)], TO_LONG)],
        hash_many,
        "One hash of several values.",
        "hash-many-function",
    ),
    row!(
        "hash_md5",
        DIGEST,
        digest::<md5::Md5>,
        "The MD5 digest of a value's text in hexadecimal; empty for an empty text.",
        "hash-md5-function",
        examples: &[("print hash_md5('World')", "f5a7924e621e84c9280a9a27e1bcb7f6")],
    ),
    row!(
        "hash_sha1",
        DIGEST,
        digest::<sha1::Sha1>,
        "The SHA-1 digest of a value's text in hexadecimal; empty for an empty text.",
        "hash-sha1-function",
        examples: &[("print hash_sha1('World')", "70c07ec18ef89c5309bbb0937f3a6342411e1fdd")],
    ),
    row!(
        "hash_sha256",
        DIGEST,
        digest::<sha2::Sha256>,
        "The SHA-256 digest of a value's text in hexadecimal; empty for an empty text.",
        "hash-sha256-function",
        examples: &[(
            "print hash_sha256('World')",
            "78ae647dc5544d227130a0682a51e30bc7777fbb6d8a8f17007463a3ecd1d524",
        )],
    ),
    refused!("__hash_crc32", "internal to the service, not documented", "CRC-32 of a value.", ""),
    refused!("__hash_djb2", "internal to the service, not documented", "DJB2 hash of a value.", ""),
    refused!("__hash_xxh64", "internal to the service, not documented", "xxHash64 with a seed.", ""),
    refused!("__hash_many_crc32", "internal to the service, not documented", "CRC-32 of several values.", ""),
];

/// A value of any type, hashed by its bytes as they lie in memory (little-endian).
enum Hashable {
    Text(Texts),
    Number(Numbers),
    Real(Reals),
    Bool(Bools),
    Guid(Bytes16),
}

impl Hashable {
    fn of(call: &Call<'_>, position: usize) -> Result<Self> {
        Ok(match call.types[position] {
            KqlType::String | KqlType::Dynamic => Hashable::Text(Texts::of(call, position)?),
            KqlType::Real => Hashable::Real(Reals::of(call, position)?),
            KqlType::Bool => Hashable::Bool(Bools::of(call, position)?),
            KqlType::Guid | KqlType::Decimal => Hashable::Guid(Bytes16::of(call, position)?),
            _ => Hashable::Number(Numbers::of(call, position)?),
        })
    }

    fn hash(&self, row: usize) -> Option<i64> {
        let hash = match self {
            Hashable::Text(input) => xxh64(input.text(row).as_bytes(), 0),
            // An int hashes like the long of the same value, so that both find each other.
            Hashable::Number(input) => xxh64(&input.long(row)?.to_le_bytes(), 0),
            Hashable::Real(input) => xxh64(&input.get(row)?.to_le_bytes(), 0),
            Hashable::Bool(input) => xxh64(&[u8::from(input.get(row)?)], 0),
            Hashable::Guid(input) => xxh64(&input.get(row)?, 0),
        };
        Some(hash as i64)
    }
}

fn hash(call: &Call<'_>) -> Result<ColumnarValue> {
    let source = Hashable::of(call, 0)?;
    if call.args.len() < 2 {
        return each(call, |row| source.hash(row));
    }
    let modulus = Integers::of(call, 1)?;
    each(call, |row| {
        let modulus = modulus.get(row)?;
        if modulus <= 0 { None } else { Some(source.hash(row)?.rem_euclid(modulus)) }
    })
}

fn combine(hash: i64, other: i64) -> i64 {
    let (hash, other) = (hash as u64, other as u64);
    let mixed = other.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_add(hash << 6).wrapping_add(hash >> 2);
    (hash ^ mixed) as i64
}

fn hash_combine(call: &Call<'_>) -> Result<ColumnarValue> {
    let inputs = (0..call.args.len()).map(|position| Integers::of(call, position)).collect::<Result<Vec<_>>>()?;
    each(call, |row| {
        let mut hashes = inputs.iter().map(|input| input.get(row));
        let first = hashes.next().flatten()?;
        hashes.try_fold(first, |hash, other| Some(combine(hash, other?)))
    })
}

fn hash_many(call: &Call<'_>) -> Result<ColumnarValue> {
    let inputs = (0..call.args.len()).map(|position| Hashable::of(call, position)).collect::<Result<Vec<_>>>()?;
    each(call, |row| {
        // A null counts as 0: the other values still tell rows apart.
        let mut hashes = inputs.iter().map(|input| input.hash(row).unwrap_or(0));
        let first = hashes.next()?;
        Some(hashes.fold(first, combine))
    })
}

fn digest<D: Digest>(call: &Call<'_>) -> Result<ColumnarValue> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let source = Texts::of(call, 0)?;
    each_text(call, |row, out| {
        let text = source.text(row);
        if text.is_empty() {
            return;
        }
        for byte in D::digest(text.as_bytes()) {
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    })
}
