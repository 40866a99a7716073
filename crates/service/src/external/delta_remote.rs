//! Delta tables in object stores: the files of the log that the newest version needs are copied here and read, and what they
//! name is read where it is.

use std::future::Future;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

use super::External;
use super::delta::{DeltaTable, Files, Log};
use super::objects::Place;
use crate::error::{Error, Fault, Result};

/// Bytes of a log, and of the deletion vectors beside it, that are copied for one query.
const MAX_BYTES: u64 = 1 << 30;

/// The key of a file of a table.
pub(super) fn below(place: &Place, path: &str) -> String {
    match place.key.trim_end_matches('/') {
        "" => path.to_string(),
        folder => format!("{folder}/{path}"),
    }
}

/// Waits for something where nothing can be awaited: the thread's other tasks go on elsewhere meanwhile.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| handle.block_on(work))
        }
        _ => Err(Error::not_served("a Delta table in a store, read on a runtime of one thread,")),
    }
}

/// A directory that goes with its owner.
struct Copies(PathBuf);

impl Drop for Copies {
    fn drop(&mut self) {
        // A restart sweeps what stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("no place for copies of a log: {error}"))
}

impl External {
    /// The table at a place, with paths below it.
    pub(super) async fn delta_at(self: &Arc<Self>, place: &Place) -> Result<DeltaTable> {
        let shown = place.shown(place.key.trim_end_matches('/'));
        let log = below(place, "_delta_log/");
        let found = self.store(&place.at(log.clone()))?.list().await?;
        let names: Vec<String> =
            found.iter().filter_map(|object| object.key.strip_prefix(&log)).map(str::to_string).collect();
        let (sidecars, names): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| name.contains('/'));
        let mut needed = Log::needed(names);
        if needed.is_empty() {
            let message = format!("'{shown}' is no Delta table: it has no folder _delta_log");
            return Err(Error::new(Fault::BadData, message));
        }
        needed.extend(sidecars.into_iter().filter(|name| name.starts_with("_sidecars/")));
        let copies = Copies(self.temporary().join(format!("delta-{}", Uuid::new_v4())));
        let mut left = MAX_BYTES;
        for name in needed {
            self.copy(place, &format!("_delta_log/{name}"), &copies.0, &mut left).await?;
        }
        let (root, label) = (copies.0.clone(), shown.clone());
        let log = blocking(move || Log::read(Files::Copies, &root, &label)).await?;
        for name in log.vectors() {
            self.copy(place, &name, &copies.0, &mut left).await?;
        }
        let root = copies.0.clone();
        blocking(move || {
            let mut table = log.table(Files::Copies, &root, &shown)?;
            for file in &mut table.files {
                let path = file.path.strip_prefix(&root).map_err(|_| {
                    Error::not_served(format!("a file of the Delta table '{shown}' that is not below it"))
                })?;
                file.path = path.to_path_buf();
            }
            Ok(table)
        })
        .await
    }

    /// Copies an object to the same path below a directory.
    async fn copy(&self, place: &Place, path: &str, root: &Path, left: &mut u64) -> Result<()> {
        if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Error::new(Fault::BadData, format!("'{path}' is no path below a Delta table")));
        }
        let target = root.join(path);
        if let Some(folder) = target.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        let mut reading = self.store(&place.at(below(place, path)))?.read().await?;
        let mut file = tokio::fs::File::create(&target).await.map_err(failed)?;
        while let Some(part) = reading.bytes.next().await {
            let part = part.map_err(|error| Error::new(Fault::Unreachable, error.to_string()))?;
            *left = left.checked_sub(part.len() as u64).ok_or_else(|| {
                let message = format!("the log of a Delta table has more than {MAX_BYTES} bytes");
                Error::bad_request(message)
            })?;
            file.write_all(&part).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::internal("reading the log of a Delta table failed"))?
}
