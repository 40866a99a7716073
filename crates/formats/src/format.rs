//! The formats' and compressions' names.

use std::path::Path;

/// An ingestion format. Source: ingestion-supported-formats page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the documentation's format of that name")]
pub enum Format {
    Csv,
    Tsv,
    Tsve,
    Psv,
    Scsv,
    Sohsv,
    Txt,
    Raw,
    Json,
    MultiJson,
    Parquet,
    Avro,
    ApacheAvro,
    Orc,
    W3cLogFile,
}

const NAMES: [(&str, Format); 17] = [
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("tsve", Format::Tsve),
    ("psv", Format::Psv),
    ("scsv", Format::Scsv),
    ("sohsv", Format::Sohsv),
    ("txt", Format::Txt),
    ("raw", Format::Raw),
    ("json", Format::Json),
    ("singlejson", Format::MultiJson),
    ("multijson", Format::MultiJson),
    ("parquet", Format::Parquet),
    ("avro", Format::Avro),
    ("apacheavro", Format::ApacheAvro),
    ("orc", Format::Orc),
    ("w3clogfile", Format::W3cLogFile),
    ("jsonl", Format::Json),
];

impl Format {
    /// Reads a name in any case; `None` when it names no format.
    pub fn parse(name: &str) -> Option<Format> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, format)| *format)
    }

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// By the extension of a path, a compression's extension left out (`x.csv.gz` is CSV).
    pub fn of_path(path: &str) -> Option<Format> {
        let path = Path::new(path);
        let stem = match Compression::of_path(&path.to_string_lossy()) {
            Compression::None => path.to_path_buf(),
            _ => path.with_extension(""),
        };
        match stem.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "log" => Some(Format::Txt),
            "ndjson" => Some(Format::Json),
            extension => Format::parse(extension),
        }
    }

    /// The separator of delimited text; `None` for other formats.
    pub fn delimiter(self) -> Option<u8> {
        Some(match self {
            Format::Csv => b',',
            Format::Tsv | Format::Tsve => b'\t',
            Format::Psv => b'|',
            Format::Scsv => b';',
            Format::Sohsv => 1,
            _ => return None,
        })
    }
}

/// The compression around the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip, also several members one after another.
    Gzip,
    /// A zip archive with one file.
    Zip,
    /// Zstandard, also several frames one after another.
    Zstd,
}

impl Compression {
    /// Whether an input must be a file or in memory, because it is read from its end.
    pub fn needs_seek(self) -> bool {
        self == Compression::Zip
    }

    /// By the extension of a path: `.gz`, `.zip`, `.zst`.
    pub fn of_path(path: &str) -> Compression {
        match Path::new(path).extension().and_then(|extension| extension.to_str()) {
            Some("gz" | "gzip") => Compression::Gzip,
            Some("zip") => Compression::Zip,
            Some("zst" | "zstd") => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!(Format::parse("MultiJSON"), Some(Format::MultiJson));
        assert_eq!(Format::parse("nope"), None);
    }

    #[test]
    fn a_path_tells_format_and_compression() {
        assert_eq!(Format::of_path("a/b.csv.gz"), Some(Format::Csv));
        assert_eq!(Compression::of_path("a/b.csv.gz"), Compression::Gzip);
        assert_eq!(Format::of_path("x.parquet"), Some(Format::Parquet));
        assert_eq!(Format::of_path("x"), None);
    }
}
