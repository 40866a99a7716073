//! The one error of this crate and the kinds that decide what a caller does with it.

use std::io;
use std::path::{Path, PathBuf};

use datafusion::error::DataFusionError;

/// `Result` of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means to the person who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be right, however often it is repeated.
    BadRequest,
    /// A named object does not exist.
    NotFound,
    /// A named object exists already.
    Exists,
    /// Storage is full or a named limit is reached.
    Limit,
    /// Another process holds the data, or the operating system refuses for now.
    Unavailable,
    /// Ours to repair.
    Internal,
}

/// The nouns of the catalog, as messages print them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    /// A database.
    Database,
    /// A table.
    Table,
    /// A column.
    Column,
    /// A stored function.
    Function,
    /// An extent.
    Extent,
    /// A mapping, policy or other named property.
    Property,
    /// A job record.
    Job,
    /// A result file.
    Result,
}

impl Entity {
    fn name(self) -> &'static str {
        match self {
            Entity::Database => "database",
            Entity::Table => "table",
            Entity::Column => "column",
            Entity::Function => "function",
            Entity::Extent => "extent",
            Entity::Property => "property",
            Entity::Job => "job",
            Entity::Result => "result",
        }
    }
}

impl std::fmt::Display for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything that can go wrong in storage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A named object does not exist.
    #[error("{entity} '{name}' does not exist")]
    NotFound {
        /// What was looked for.
        entity: Entity,
        /// Its name or id.
        name: String,
    },
    /// A named object exists already.
    #[error("{entity} '{name}' already exists")]
    Exists {
        /// What is there.
        entity: Entity,
        /// Its name.
        name: String,
    },
    /// The request contradicts what is stored.
    #[error("{0}")]
    Invalid(String),
    /// Another process works on the same data directory.
    #[error("data directory '{}' is in use by another process{}", .path.display(), .holder)]
    Locked {
        /// The directory.
        path: PathBuf,
        /// ` (process 123)` when the lock file tells.
        holder: String,
    },
    /// A newer version has written the data directory.
    #[error(
        "data directory '{}' has format {format} of tidewater {version}; this version reads formats up to {supported}:          use a newer version", .path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: u64,
        /// The newest that this version reads.
        supported: u64,
        /// The version that wrote it.
        version: String,
    },
    /// The operating system refused.
    #[error("cannot {action} '{}': {source}", .path.display())]
    Io {
        /// What was tried: "write", "sync".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// The files of a database lie where nobody answers, or where no setting knows the way.
    #[error("{}{root}' cannot be reached: {message}", crate::roots::guard::UNREACHABLE)]
    Unreachable {
        /// The root's address.
        root: String,
        /// Why.
        message: String,
    },
    /// A disk has little room left.
    #[error(
        "the disk of '{}' has {free} bytes free, and {least} are to stay so (setting 'min_free_disk_bytes'): \
         nothing more is taken in; free some, or drop data", .path.display()
    )]
    Full {
        /// A path on it.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that stay free.
        least: u64,
    },
    /// The catalog refused.
    #[error("catalog: {0}")]
    Catalog(#[from] rusqlite::Error),
    /// The catalog or a file holds what this version cannot read.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    /// Writing or reading Parquet failed.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// An array operation failed.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The engine failed while data was merged.
    #[error("{0}")]
    Engine(#[from] DataFusionError),
    /// A write thread ended before its work was done.
    #[error("storage is shutting down")]
    Stopped,
}

impl Error {
    /// The object does not exist.
    pub fn not_found(entity: Entity, name: impl std::fmt::Display) -> Self {
        Error::NotFound { entity, name: name.to_string() }
    }

    /// The object exists already.
    pub fn exists(entity: Entity, name: impl std::fmt::Display) -> Self {
        Error::Exists { entity, name: name.to_string() }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// The same error for another of the requests that shared a transaction.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Error::NotFound { entity, name } => Error::NotFound { entity: *entity, name: name.clone() },
            Error::Exists { entity, name } => Error::Exists { entity: *entity, name: name.clone() },
            Error::Invalid(text) => Error::Invalid(text.clone()),
            Error::Io { action, path, source } => {
                let source = match source.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(source.kind(), source.to_string()),
                };
                Error::Io { action, path: path.clone(), source }
            }
            Error::Catalog(rusqlite::Error::SqliteFailure(code, text)) => {
                Error::Catalog(rusqlite::Error::SqliteFailure(*code, text.clone()))
            }
            Error::Unreachable { root, message } => Error::Unreachable { root: root.clone(), message: message.clone() },
            Error::Full { path, free, least } => Error::Full { path: path.clone(), free: *free, least: *least },
            Error::Stopped => Error::Stopped,
            other => Error::Corrupt(other.to_string()),
        }
    }

    /// What the error means to the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::Exists { .. } => ErrorKind::Exists,
            Error::Invalid(_) | Error::Newer { .. } => ErrorKind::BadRequest,
            Error::Locked { .. } | Error::Stopped | Error::Unreachable { .. } => ErrorKind::Unavailable,
            Error::Full { .. } => ErrorKind::Limit,
            Error::Io { source, .. } => kind_of_io(source),
            Error::Catalog(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::Limit,
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            Error::Parquet(parquet::errors::ParquetError::External(source)) => {
                source.downcast_ref::<io::Error>().map_or(ErrorKind::Internal, kind_of_io)
            }
            Error::Corrupt(_) | Error::Parquet(_) | Error::Arrow(_) | Error::Engine(_) => ErrorKind::Internal,
        }
    }

    /// True when a disk has no room, or too little.
    pub fn is_disk_full(&self) -> bool {
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        match self {
            Error::Full { .. } => true,
            Error::Io { source, .. } => is_full(source),
            Error::Catalog(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Error::Parquet(parquet::errors::ParquetError::External(source)) => {
                source.downcast_ref::<io::Error>().is_some_and(is_full)
            }
            _ => false,
        }
    }

    /// True when the same request can never succeed.
    pub fn is_permanent(&self) -> bool {
        matches!(self.kind(), ErrorKind::BadRequest | ErrorKind::NotFound | ErrorKind::Exists)
    }
}

fn kind_of_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => ErrorKind::Limit,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied | io::ErrorKind::TimedOut => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Internal,
    }
}
