//! What the tests share: a store in a temporary directory, rows, and what a table holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::concat_batches;
use datafusion::prelude::SessionContext;
use tempfile::TempDir;
use tidewater_kql::{Column, KqlType, TableSchema};
use tidewater_store::{Commit, CreateMode, DatabaseId, Store, StoreOptions, Table, TableSpec, WriteOptions};

/// Options whose files have several row groups and pages after few rows.
pub fn small() -> StoreOptions {
    let write = WriteOptions { row_group_rows: 1000, page_rows: 100, ..WriteOptions::default() };
    StoreOptions { write, delta_mirror: false, ..StoreOptions::default() }
}

pub fn open(directory: &TempDir) -> Store {
    Store::open(directory.path(), small()).unwrap()
}

pub fn schema(columns: &[(&str, KqlType)]) -> TableSchema {
    TableSchema::new(columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect())
}

/// `n: long, s: string`.
pub fn numbers_schema() -> TableSchema {
    schema(&[("n", KqlType::Long), ("s", KqlType::String)])
}

pub fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let texts: Vec<String> = range.clone().map(|n| format!("row number {n}")).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(StringViewArray::from_iter_values(texts))];
    RecordBatch::try_new(numbers_schema().arrow(), columns).unwrap()
}

pub async fn database(store: &Store) -> DatabaseId {
    store.create_database("db", CreateMode::IfNotExists).await.unwrap().id()
}

pub async fn table(store: &Store, name: &str, schema: TableSchema) -> Arc<Table> {
    let database = database(store).await;
    store.create_table(database, TableSpec::new(name, schema), CreateMode::IfNotExists).await.unwrap()
}

/// Appends batches to a table as one commit.
pub async fn append(store: &Store, table: &str, batches: Vec<RecordBatch>) {
    append_tagged(store, table, batches, &[]).await;
}

pub async fn append_tagged(store: &Store, table: &str, batches: Vec<RecordBatch>, tags: &[&str]) {
    let target = store.snapshot().table("db", table).unwrap().target();
    let mut writer = store.writer_task(&target);
    for batch in batches {
        writer.write(batch).await.unwrap();
    }
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    store.commit(Commit::new().add_all(writer.finish().await.unwrap(), &tags)).await.unwrap();
}

/// All rows of a table as one batch, as the engine reads them.
pub async fn rows(store: &Store, table: &Table) -> RecordBatch {
    let provider = store.provider(table);
    let schema = provider.schema();
    let batches = SessionContext::new().read_table(provider).unwrap().collect().await.unwrap();
    concat_batches(&schema, &batches).unwrap()
}

/// The first column of a table of longs, sorted.
pub async fn longs(store: &Store, table: &str) -> Vec<i64> {
    let snapshot = store.snapshot();
    let table = snapshot.table("db", table).unwrap();
    let batch = rows(store, table).await;
    let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
    let mut values: Vec<i64> = column.values().to_vec();
    values.sort_unstable();
    values
}

/// Data files below a directory.
pub fn data_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut queue = vec![directory.to_path_buf()];
    while let Some(directory) = queue.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                // Checkpoints of the mirror are no data.
                true if path.ends_with("_delta_log") => {}
                true => queue.push(path),
                false if path.extension().is_some_and(|extension| extension == "parquet") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// A small generator with a fixed seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
