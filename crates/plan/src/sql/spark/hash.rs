//! `hash`: Spark's 32-bit hash of any number of values, Murmur3 with the seed 42.
//!
//! Each value's hash is the seed of the next; a null leaves it as it is. Numbers up to four bytes are hashed as four, whole numbers
//! and times of eight as eight, texts as their UTF-8 bytes: the bytes behind the last full four each as a number of their own,
//! which is Spark's way and not Murmur3's. Source: Spark's function reference (`hash('Spark', array(123), 2)` is -1321691492).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::udf::{Row, int};

pub(super) const ROWS: &[Row] = &[Row { name: "hash", arity: (1, 255), returns: int, kernel: hash }];

/// How deep values may be.
const MAX_DEPTH: usize = 32;

fn mix_key(key: u32) -> u32 {
    key.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

fn mix(hash: u32, key: u32) -> u32 {
    (hash ^ mix_key(key)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

fn finish(mut hash: u32, length: u32) -> u32 {
    hash ^= length;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn of_int(value: i32, seed: u32) -> u32 {
    finish(mix(seed, value.cast_unsigned()), 4)
}

fn of_long(value: i64, seed: u32) -> u32 {
    let bits = value.cast_unsigned();
    finish(mix(mix(seed, (bits & 0xffff_ffff) as u32), (bits >> 32) as u32), 8)
}

fn of_bytes(bytes: &[u8], seed: u32) -> u32 {
    let mut chunks = bytes.chunks_exact(4);
    let mut hash = seed;
    for chunk in chunks.by_ref() {
        hash = mix(hash, u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
    }
    for byte in chunks.remainder() {
        // A byte has a sign there.
        hash = mix(hash, i32::from(byte.cast_signed()).cast_unsigned());
    }
    finish(hash, bytes.len() as u32)
}

fn hash(arrays: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    let rows = arrays.first().map_or(0, |array| array.len());
    let mut seeds = vec![42u32; rows];
    for array in arrays {
        add(array, &mut seeds, 0)?;
    }
    Ok(Arc::new(seeds.into_iter().map(|seed| Some(seed.cast_signed())).collect::<Int32Array>()))
}

/// Hashes an array's values on top of the seeds.
fn add(array: &ArrayRef, seeds: &mut [u32], depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return exec_err!("hash: a value is nested too deeply");
    }
    let mut each = |of: &dyn Fn(usize, u32) -> u32| {
        for (row, seed) in seeds.iter_mut().enumerate() {
            if array.is_valid(row) {
                *seed = of(row, *seed);
            }
        }
    };
    match array.data_type() {
        DataType::Null => {}
        DataType::Boolean => {
            let values = array.as_boolean();
            each(&|row, seed| of_int(i32::from(values.value(row)), seed));
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Date32 => {
            let values = cast(array, &DataType::Int32)?;
            let values = values.as_primitive::<Int32Type>();
            each(&|row, seed| of_int(values.value(row), seed));
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>();
            each(&|row, seed| of_long(values.value(row), seed));
        }
        DataType::Timestamp(_, _) => {
            let values = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let values = values.as_primitive::<TimestampMicrosecondType>();
            each(&|row, seed| of_long(values.value(row), seed));
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            // The two zeros are one value.
            each(&|row, seed| of_int((values.value(row) + 0.0).to_bits().cast_signed(), seed));
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            each(&|row, seed| of_long((values.value(row) + 0.0).to_bits().cast_signed(), seed));
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let values = cast(array, &DataType::Utf8)?;
            let values = values.as_string::<i32>();
            each(&|row, seed| of_bytes(values.value(row).as_bytes(), seed));
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let values = cast(array, &DataType::Binary)?;
            let values = values.as_binary::<i32>();
            each(&|row, seed| of_bytes(values.value(row), seed));
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            for (row, seed) in seeds.iter_mut().enumerate() {
                if lists.is_null(row) {
                    continue;
                }
                let elements = lists.value(row);
                for at in 0..elements.len() {
                    let mut one = [*seed];
                    add(&elements.slice(at, 1), &mut one, depth + 1)?;
                    *seed = one[0];
                }
            }
        }
        DataType::Struct(_) => {
            let members = array.as_struct();
            for (row, seed) in seeds.iter_mut().enumerate() {
                if members.is_null(row) {
                    continue;
                }
                for column in members.columns() {
                    let mut one = [*seed];
                    add(&column.slice(row, 1), &mut one, depth + 1)?;
                    *seed = one[0];
                }
            }
        }
        other => return exec_err!("hash of values of type {other} is not served"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sparks() {
        // Spark's function reference: hash('Spark', array(123), 2).
        let spark = of_bytes(b"Spark", 42);
        assert_eq!(of_int(2, of_int(123, spark)).cast_signed(), -1_321_691_492);
    }
}
