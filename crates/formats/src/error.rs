//! What can be wrong with an input.

/// A fault of the bytes or of what was said about them. Positions count from 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A format, compression or mapping feature that this server does not serve yet.
    #[error("{0} is not served yet")]
    NotServed(String),
    /// A record that the format does not allow.
    #[error("record {record} (byte {byte}): {message}")]
    Record {
        /// Number of the record.
        record: u64,
        /// Offset of its first byte in the decompressed input.
        byte: u64,
        /// What was found and what was expected.
        message: String,
    },
    /// An input that is damaged as a whole: truncated compression, a broken Parquet file.
    #[error("{0}")]
    Input(String),
    /// A mapping that does not suit the table or the format.
    #[error("ingestion mapping: {0}")]
    Mapping(String),
    /// A fault inside the server.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// Whether the caller can mend it, as opposed to a fault of the server.
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Error::Internal(_))
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::Internal(error.to_string())
    }
}
