//! Deletion vectors of Delta tables: which rows of a file are gone. Source: Delta transaction log protocol, "Deletion
//! Vectors"; the Roaring format specification, "64-bit" portable form.

use std::path::Path;

use serde_json::Value;

use super::delta::Files;

/// What marks the array of bitmaps.
const MAGIC: u32 = 1_681_511_377;
/// Rows of one file that can be gone.
const MAX_ROWS: usize = 200_000_000;

/// The rows that a vector names, in order.
///
/// *Errors*: what is wrong with it, in words.
pub(crate) fn rows(files: Files<'_>, root: &Path, vector: &Value) -> Result<Vec<u64>, String> {
    let text = vector.get("pathOrInlineDv").and_then(Value::as_str).ok_or("it has no place")?;
    let size = vector.get("sizeInBytes").and_then(Value::as_u64).ok_or("it has no size")?;
    match vector.get("storageType").and_then(Value::as_str) {
        Some("i") => {
            let mut bytes = z85(text)?;
            bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
            parse(&bytes)
        }
        Some("u") => read(files, &root.join(relative(text)?), vector, size),
        Some("p") if matches!(files, Files::Copies) => Err("it lies outside of the table".to_string()),
        Some("p") => {
            let path = text.strip_prefix("file://").unwrap_or(text);
            if path.contains("://") {
                return Err("it lies at an address".to_string());
            }
            read(files, Path::new(path), vector, size)
        }
        other => Err(format!("its storage type is {other:?}")),
    }
}

/// The file of a vector, below the folder of its table: the last 20 characters are a uuid, what stands before is a folder.
fn relative(text: &str) -> Result<String, String> {
    let at = text.len().checked_sub(20).filter(|at| text.is_char_boundary(*at)).ok_or("its name is too short")?;
    let id: [u8; 16] = z85(&text[at..])?.try_into().map_err(|_| "its name is no uuid")?;
    let name = format!("deletion_vector_{}.bin", uuid::Uuid::from_bytes(id));
    Ok(if at == 0 { name } else { format!("{}/{name}", &text[..at]) })
}

/// The file of a vector that lies in one below the folder of its table.
pub(crate) fn file_of(vector: &Value) -> Option<String> {
    let is_file = vector.get("storageType").and_then(Value::as_str) == Some("u");
    let text = vector.get("pathOrInlineDv").and_then(Value::as_str).filter(|_| is_file)?;
    relative(text).ok()
}

fn read(files: Files<'_>, path: &Path, vector: &Value, size: u64) -> Result<Vec<u64>, String> {
    use std::os::unix::fs::FileExt;
    let offset = vector.get("offset").and_then(Value::as_u64).unwrap_or(1);
    let file = files.open(path).map_err(|error| error.message().to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if offset.checked_add(size).and_then(|end| end.checked_add(8)).is_none_or(|end| end > length) {
        return Err("its file is too short".to_string());
    }
    let mut head = [0; 4];
    file.read_exact_at(&mut head, offset).map_err(|error| error.to_string())?;
    if u64::from(u32::from_be_bytes(head)) != size {
        return Err("its file tells another size".to_string());
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|error| error.to_string())?];
    file.read_exact_at(&mut bytes, offset + 4).map_err(|error| error.to_string())?;
    let mut sum = [0; 4];
    file.read_exact_at(&mut sum, offset + 4 + size).map_err(|error| error.to_string())?;
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    if crc.sum() != u32::from_be_bytes(sum) {
        return Err("its checksum is wrong".to_string());
    }
    parse(&bytes)
}

/// Takes little-endian numbers off the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(count).ok_or("its bitmap is cut short")?;
        self.0 = rest;
        Ok(head)
    }

    fn u16(&mut self) -> Result<u16, String> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from(self.u16()?) | u32::from(self.u16()?) << 16)
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let mut bytes = Bytes(bytes);
    if bytes.u32()? != MAGIC {
        return Err("its bitmap has an unknown form".to_string());
    }
    let count = bytes.u64()?;
    let mut rows = Vec::new();
    for _ in 0..count {
        let high = u64::from(bytes.u32()?) << 32;
        bitmap(&mut bytes, high, &mut rows)?;
    }
    rows.sort_unstable();
    rows.dedup();
    Ok(rows)
}

/// One Roaring bitmap of 32-bit numbers.
fn bitmap(bytes: &mut Bytes<'_>, high: u64, rows: &mut Vec<u64>) -> Result<(), String> {
    const WITHOUT_RUNS: u32 = 12_346;
    const WITH_RUNS: u32 = 12_347;
    const NO_OFFSETS: usize = 4;
    let cookie = bytes.u32()?;
    let (count, runs) = match cookie & 0xffff {
        WITH_RUNS => {
            let count = (cookie >> 16) as usize + 1;
            (count, Some(bytes.take(count.div_ceil(8))?.to_vec()))
        }
        WITHOUT_RUNS if cookie == WITHOUT_RUNS => (bytes.u32()? as usize, None),
        _ => return Err("its bitmap has an unknown form".to_string()),
    };
    if count > 1 << 16 {
        return Err("its bitmap has too many parts".to_string());
    }
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        parts.push((bytes.u16()?, u32::from(bytes.u16()?) + 1));
    }
    if runs.is_none() || count >= NO_OFFSETS {
        bytes.take(count * 4)?;
    }
    for (at, (key, cardinality)) in parts.into_iter().enumerate() {
        let base = high | u64::from(key) << 16;
        let is_run = runs.as_ref().is_some_and(|runs| runs[at / 8] & (1 << (at % 8)) != 0);
        if is_run {
            for _ in 0..bytes.u16()? {
                let (first, more) = (u64::from(bytes.u16()?), u64::from(bytes.u16()?));
                rows.extend((first..=first + more).map(|low| base | low));
            }
        } else if cardinality <= 4096 {
            for _ in 0..cardinality {
                rows.push(base | u64::from(bytes.u16()?));
            }
        } else {
            for (word, eight) in bytes.take(8192)?.iter().enumerate() {
                let set = (0..8).filter(|bit| eight & (1 << bit) != 0);
                rows.extend(set.map(|bit| base | (word * 8 + bit) as u64));
            }
        }
        if rows.len() > MAX_ROWS {
            return Err(format!("it names more than {MAX_ROWS} rows"));
        }
    }
    Ok(())
}

/// Base85 as ZeroMQ has it.
fn z85(text: &str) -> Result<Vec<u8>, String> {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let wrong = || "its text is no base85".to_string();
    if !text.len().is_multiple_of(5) {
        return Err(wrong());
    }
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4);
    for five in text.as_bytes().chunks(5) {
        let mut value = 0u64;
        for digit in five {
            let at = DIGITS.iter().position(|known| known == digit).ok_or_else(wrong)?;
            value = value * 85 + at as u64;
        }
        bytes.extend(u32::try_from(value).map_err(|_| wrong())?.to_be_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(parts: &[(u16, &[u16])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(12_346u32.to_le_bytes());
        bytes.extend((parts.len() as u32).to_le_bytes());
        for (key, values) in parts {
            bytes.extend(key.to_le_bytes());
            bytes.extend((values.len() as u16 - 1).to_le_bytes());
        }
        bytes.extend(vec![0; parts.len() * 4]);
        parts.iter().for_each(|(_, values)| values.iter().for_each(|value| bytes.extend(value.to_le_bytes())));
        bytes
    }

    #[test]
    fn a_bitmap_names_rows() {
        assert_eq!(parse(&vector(&[(0, &[1, 7]), (2, &[3])])), Ok(vec![1, 7, 2 << 16 | 3]));
        assert!(parse(b"nothing").is_err());
        let whole = vector(&[(0, &[1, 7])]);
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn the_example_of_the_protocol_is_a_uuid() {
        let id: [u8; 16] = z85("^-aqEH.-t@S}K{vb[*k^").unwrap().try_into().unwrap();
        assert_eq!(uuid::Uuid::from_bytes(id).to_string(), "d2c639aa-8816-431a-aaf6-d3fe2512ff61");
        assert!(z85("abc").is_err() && z85("\"\"\"\"\"").is_err());
    }
}
