//! Rows of jobs in an object store: written here first, then moved there under the same name; read by bringing them back.
//!
//! The setting `job_results_url` says where, as a connection string with what signs in. A file that has been brought is
//! unlinked at once: it lives as long as somebody reads it. Source: query-service-api section 23.

use std::io::Write;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use tidewater_store::ResultRows;
use tokio_util::io::ReaderStream;

use super::now_micros;
use super::results::KeptRows;
use crate::error::{Error, Fault, Result};
use crate::external::location::Location;
use crate::external::objects::{Opened, Place};
use crate::service::Service;

/// Bytes that are read at once for an upload.
const PART_BYTES: usize = 1 << 20;
/// The longest time between two looks for what has expired.
const SWEEP_MICROS: i64 = 60_000_000;

impl Service {
    /// Where rows go; `None` keeps them on disk.
    fn away(&self) -> Result<Option<(Place, Opened)>> {
        let text = self.inner().options.job_results_url.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let Location::Object(place) = Location::parse(text)?.into_place() else {
            return Err(Error::bad_request("setting 'job_results_url' names no place of an object store"));
        };
        let opened = self.inner().external.own_store(&place)?;
        Ok(Some((*place, opened)))
    }

    /// Refuses a setting that cannot be right.
    pub fn check_job_results(&self) -> Result<()> {
        self.away().map(drop)
    }

    /// Moves finished rows to the object store, if that is where they are kept.
    pub(super) async fn send_rows_away(&self, kept: &mut KeptRows) -> Result<()> {
        let Some((place, store)) = self.away()? else { return Ok(()) };
        let results = self.store().results();
        let path = results.path(kept.name())?;
        let moved = async {
            let file = tokio::fs::File::open(&path).await;
            let file = file.map_err(|error| Error::internal(format!("a result cannot be read: {error}")))?;
            store.write(&key(&place, kept.name()), ReaderStream::with_capacity(file, PART_BYTES).boxed()).await
        };
        let outcome = moved.await;
        // Whether it arrived or not, it does not stay.
        if let Err(error) = results.remove(kept.name()) {
            tracing::warn!(%error, "the rows of a statement could not be deleted");
        }
        outcome?;
        kept.is_away = true;
        Ok(())
    }

    /// The rows of a job, wherever they are kept.
    pub(super) async fn kept_rows(&self, kept: &KeptRows) -> Result<ResultRows> {
        let results = self.store().results().clone();
        let name = match kept.is_away {
            true => self.bring_rows(kept).await?,
            false => kept.name().to_string(),
        };
        let is_away = kept.is_away;
        let read = tokio::task::spawn_blocking(move || {
            let rows = results.read_rows(&name);
            if is_away {
                results.remove(&name)?;
            }
            rows
        });
        Ok(read.await.map_err(|_| Error::internal("reading a result panicked"))??)
    }

    /// Brings rows here under a name of their own, which expires with them.
    async fn bring_rows(&self, kept: &KeptRows) -> Result<String> {
        let missing = || Error::new(Fault::Unreachable, "the object store of results is not set any more");
        let (place, _) = self.away()?.ok_or_else(missing)?;
        let place = place.at(key(&place, kept.name()));
        let gone = || Error::new(Fault::EntityNotFound, "the rows are not in the object store any more");
        let mut reading = self.inner().external.own_store(&place)?.read_if_there().await?.ok_or_else(gone)?;
        let copy = KeptRows::new(&uuid::Uuid::new_v4().to_string(), kept.until);
        let results = self.store().results().clone();
        let name = copy.name().to_string();
        let panicked = |_| Error::internal("writing a result panicked");
        let mut writer = results.create(&name)?;
        while let Some(part) = reading.bytes.next().await {
            let part = part.map_err(|error| Error::new(Fault::Unreachable, error.to_string()))?;
            let written = tokio::task::spawn_blocking(move || writer.write_all(&part).map(|()| writer)).await;
            writer = written
                .map_err(panicked)?
                .map_err(|error| Error::internal(format!("a result cannot be written: {error}")))?;
        }
        tokio::task::spawn_blocking(move || writer.finish()).await.map_err(panicked)??;
        Ok(name)
    }

    /// Deletes rows before their time.
    pub(super) fn forget_rows(&self, kept: &KeptRows) {
        let outcome = match kept.is_away {
            false => self.store().results().remove(kept.name()).map_err(Error::from),
            true => {
                let (service, name) = (self.clone(), kept.name().to_string());
                self.spawn(async move { service.remove_away(&name).await });
                Ok(())
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "the rows of a statement could not be deleted");
        }
    }

    async fn remove_away(&self, name: &str) {
        let outcome = match self.away() {
            Ok(Some((place, store))) => store.remove(&key(&place, name)).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, name, "a result in the object store could not be deleted");
        }
    }

    /// Deletes what has expired in the object store; looks there once in a while.
    pub(super) async fn sweep_away(&self) {
        let last = &self.inner().jobs.swept_away;
        let now = now_micros();
        let life = self.rows_until() - now;
        if now - last.load(Ordering::Relaxed) < SWEEP_MICROS.min(life) {
            return;
        }
        last.store(now, Ordering::Relaxed);
        let found = match self.away() {
            Ok(None) => return,
            Ok(Some((place, store))) => {
                let folder = place.key.trim_end_matches('/').to_string();
                store.beneath(&folder).await
            }
            Err(error) => Err(error),
        };
        let names = match found {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(%error, "the results in the object store could not be listed");
                return;
            }
        };
        for object in names {
            let name = object.key.rsplit('/').next().unwrap_or_default();
            if KeptRows::expiry(name).is_some_and(|until| now >= until) {
                self.remove_away(name).await;
            }
        }
    }
}

/// The key of a result.
fn key(place: &Place, name: &str) -> String {
    match place.key.trim_end_matches('/') {
        "" => name.to_string(),
        folder => format!("{folder}/{name}"),
    }
}
