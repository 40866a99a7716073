//! The sample tables of a fresh server: Parquet files of one directory into the database `Samples`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewater_store::CreateMode;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::ingest::{IngestRequest, Payload, SpooledFile};
use crate::service::Service;

/// The database that the samples go to.
pub const SAMPLES_DATABASE: &str = "Samples";

impl Service {
    /// Loads every `<Table>.parquet` of the directory whose table is not there yet; tells which it loaded.
    ///
    /// *Errors*: a directory that cannot be read, a file that is no Parquet. Tables loaded before it stay.
    pub async fn load_samples(&self, directory: &Path) -> Result<Vec<String>> {
        let wrong = |error: std::io::Error| {
            Error::bad_request(format!("the samples directory {} cannot be read: {error}", directory.display()))
        };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if path.extension().is_some_and(|extension| extension == "parquet") {
                files.push(path);
            }
        }
        files.sort();
        self.store().create_database(SAMPLES_DATABASE, CreateMode::IfNotExists).await?;
        let mut loaded = Vec::new();
        for path in files {
            let Some(table) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            if self.store().snapshot().table(SAMPLES_DATABASE, table).is_some() {
                continue;
            }
            let file = std::fs::File::open(&path).map_err(wrong)?;
            let mut context = Context::new(SAMPLES_DATABASE);
            context.sign_in(Arc::new(Identity::server()));
            let request = IngestRequest {
                format: Some("parquet".to_string()),
                create_table: true,
                payload: Payload::File(SpooledFile::kept(file)),
                ..IngestRequest::new(table)
            };
            self.ingest(context, request).await?;
            loaded.push(table.to_string());
        }
        Ok(loaded)
    }
}
