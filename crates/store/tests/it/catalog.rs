//! Databases, tables, functions and properties: what may happen to them, and that a restart shows the same.

use tempfile::tempdir;
use tidewater_kql::KqlType::{DateTime, Long, String as Text};
use tidewater_store::{
    Alteration, Commit, CreateMode, Error, ErrorKind, FunctionSpec, PropertyKey, PropertyOwner, Snapshot, Store,
    TableSpec,
};

use crate::common::{append, data_files, longs, numbers, numbers_schema, open, rows, schema, small, table};

/// Everything a snapshot shows, as text.
fn picture(snapshot: &Snapshot) -> String {
    let mut text = format!("#{}\n", snapshot.sequence());
    for database in snapshot.databases() {
        text += &format!("{} {} {:?}\n", database.id(), database.name(), database.pretty_name());
        for function in database.functions() {
            text += &format!("  {function:?}\n");
        }
        for table in database.tables() {
            text += &format!("  {} {} {:?} {:?}\n", table.id(), table.name(), table.folder(), table.docstring());
            text += &format!("    {:?}\n", table.columns());
            for extent in table.extents() {
                text += &format!("    {} {} {} {:?}", extent.id(), extent.rows(), extent.bytes(), extent.tags());
                for column in table.columns() {
                    text += &format!(" {:?}", extent.column(column.at_rest()));
                }
                text.push('\n');
            }
            for (name, value) in snapshot.properties(PropertyOwner::Table(table.id()), "policy") {
                text += &format!("    policy {name} {value}\n");
            }
        }
    }
    text
}

#[tokio::test]
async fn a_restart_shows_what_was_there_before() {
    let directory = tempdir().unwrap();
    let before = {
        let store = open(&directory);
        let db = store.create_database("Telemetry", CreateMode::New).await.unwrap();
        store.set_pretty_name(db.id(), Some("All telemetry".into())).await.unwrap();
        let spec = TableSpec { folder: Some("f".into()), ..TableSpec::new("Logs and more", numbers_schema()) };
        let logs = store.create_table(db.id(), spec, CreateMode::New).await.unwrap();
        let mut writer = store.writer(&logs.target());
        writer.write(numbers(0..2500)).unwrap();
        let commit = Commit::new().add_all(writer.finish().unwrap(), &["ingest-by:a".into(), "drop-by:b".into()]);
        store.commit(commit).await.unwrap();
        let steps = vec![
            Alteration::MergeColumns(schema(&[("t", DateTime)])),
            Alteration::RenameColumns(vec![("n".into(), "s".into()), ("s".into(), "n".into())]),
            Alteration::Docstring(Some("rows".into())),
            Alteration::ColumnDocstrings(vec![("t".into(), Some("when".into()))]),
        ];
        store.alter_table(logs.id(), steps).await.unwrap();
        let function =
            FunctionSpec { name: "F".into(), parameters: "()".into(), body: "{ 1 }".into(), ..Default::default() };
        store.put_function(db.id(), function, CreateMode::New).await.unwrap();
        let key =
            PropertyKey { owner: PropertyOwner::Table(logs.id()), kind: "policy".into(), name: "retention".into() };
        store.put_property(key, Some(serde_json::json!({"SoftDelete": "1.00:00:00"}))).await.unwrap();
        picture(&store.snapshot())
    };
    let store = open(&directory);
    assert_eq!(picture(&store.snapshot()), before);
    // Swapped names carry their data with them.
    let snapshot = store.snapshot();
    let batch = rows(&store, snapshot.table("telemetry", "Logs and more").unwrap()).await;
    assert_eq!(batch.num_rows(), 2500);
    assert_eq!(batch.schema().field(0).name(), "s");
    assert_eq!(batch.schema().field(0).data_type(), &arrow::datatypes::DataType::Int64);
    assert_eq!(batch.column(2).null_count(), 2500);
}

#[tokio::test]
async fn database_names_ignore_case_and_table_names_do_not() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let db = store.create_database("NetDefaultDB", CreateMode::New).await.unwrap();
    assert!(store.snapshot().database("netdefaultdb").is_some());
    let again = store.create_database("NETDEFAULTDB", CreateMode::New).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Exists);
    for name in ["T", "t", "with space", "dots.and-dashes", "'quotes\"", "é 漢字", "../../etc"] {
        store.create_table(db.id(), TableSpec::new(name, numbers_schema()), CreateMode::New).await.unwrap();
    }
    let snapshot = store.snapshot();
    let names: Vec<&str> = snapshot.database("NetDefaultDB").unwrap().tables().map(|table| table.name()).collect();
    assert_eq!(names, ["T", "t", "with space", "dots.and-dashes", "'quotes\"", "é 漢字", "../../etc"]);
    let error = store.create_table(db.id(), TableSpec::new("", numbers_schema()), CreateMode::New).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
}

#[tokio::test]
async fn tables_swap_names_in_one_step_and_keep_their_rows() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    table(&store, "A", numbers_schema()).await;
    table(&store, "B", numbers_schema()).await;
    append(&store, "A", vec![numbers(0..3)]).await;
    append(&store, "B", vec![numbers(10..12)]).await;
    let db = store.snapshot().database("db").unwrap().id();
    let swap = vec![("A".to_string(), "B".to_string()), ("B".to_string(), "A".to_string())];
    store.rename_tables(db, swap).await.unwrap();
    assert_eq!(longs(&store, "A").await, [10, 11]);
    assert_eq!(longs(&store, "B").await, [0, 1, 2]);
    let taken = store.rename_tables(db, vec![("A".into(), "B".into())]).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Exists);
    drop(store);
    assert_eq!(longs(&open(&directory), "A").await, [10, 11]);
}

#[tokio::test]
async fn a_column_that_comes_back_under_its_old_name_is_empty() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let id = table(&store, "T", numbers_schema()).await.id();
    append(&store, "T", vec![numbers(0..3)]).await;
    store.alter_table(id, vec![Alteration::Columns(schema(&[("n", Long)]))]).await.unwrap();
    let altered = store.alter_table(id, vec![Alteration::MergeColumns(schema(&[("s", Long)]))]).await.unwrap();
    append(&store, "T", vec![arrow::array::RecordBatch::new_empty(altered.arrow_schema().clone())]).await;
    let batch = rows(&store, &altered).await;
    assert_eq!((batch.num_rows(), batch.column(1).null_count()), (3, 3));
    let error = store.alter_table(id, vec![Alteration::Columns(schema(&[("n", Text)]))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    // Retyping keeps the column's place and loses its data.
    let altered = store.alter_table(id, vec![Alteration::RetypeColumn("n".into(), Text)]).await.unwrap();
    let batch = rows(&store, &altered).await;
    let texts = batch.column(0).as_any().downcast_ref::<arrow::array::StringViewArray>().unwrap();
    assert_eq!(texts.iter().collect::<Vec<_>>(), [Some(""), Some(""), Some("")]);
}

#[tokio::test]
async fn a_commit_spans_tables_or_does_nothing() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let a = table(&store, "A", numbers_schema()).await;
    let b = table(&store, "B", numbers_schema()).await;
    let write = |target, range| {
        let mut writer = store.writer(&target);
        writer.write(numbers(range)).unwrap();
        writer.finish().unwrap()
    };
    let commit = Commit::new().add_all(write(a.target(), 0..2), &[]).add_all(write(b.target(), 5..7), &[]);
    let sequence = store.commit(commit).await.unwrap().snapshot.sequence();
    assert_eq!((longs(&store, "A").await, longs(&store, "B").await), (vec![0, 1], vec![5, 6]));

    let (to_a, to_b) = (write(a.target(), 2..3), write(b.target(), 7..8));
    store.drop_table(b.id()).await.unwrap();
    let error = store.commit(Commit::new().add_all(to_a, &[]).add_all(to_b, &[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(longs(&store, "A").await, [0, 1]);
    assert_eq!(store.snapshot().sequence(), sequence + 1);
    drop((a, b));
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 1, "only the first extent of A is left");
}

#[tokio::test]
async fn set_or_replace_and_create_with_rows_are_one_step() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let db = crate::common::database(&store).await;
    let new = store.new_table(db, &TableSpec::new("New", numbers_schema())).unwrap();
    let mut writer = store.writer(&new.target());
    writer.write(numbers(0..10)).unwrap();
    let extents = writer.finish().unwrap();
    assert!(store.snapshot().table("db", "New").is_none(), "not there before the commit");
    let committed = store.commit(Commit::new().create(new).add_all(extents, &[])).await.unwrap();
    let created = committed.snapshot.table("db", "New").unwrap();
    assert_eq!(created.row_count(), 10);

    let old = store.snapshot();
    let mut writer = store.writer(&created.target());
    writer.write(numbers(100..103)).unwrap();
    let commit = Commit::new().replace(created.id()).add_all(writer.finish().unwrap(), &[]);
    store.commit(commit).await.unwrap();
    assert_eq!(longs(&store, "New").await, [100, 101, 102]);
    assert_eq!(rows(&store, old.table("db", "New").unwrap()).await.num_rows(), 10, "an older snapshot reads on");

    // The loser of a race for a name leaves nothing.
    let late = store.new_table(db, &TableSpec::new("New", numbers_schema())).unwrap();
    let mut writer = store.writer(&late.target());
    writer.write(numbers(0..1)).unwrap();
    let extents = writer.finish().unwrap();
    let error = store.commit(Commit::new().create(late).add_all(extents, &[])).await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }));
    drop((old, committed));
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 1);
}

#[tokio::test]
async fn an_ingestion_that_is_sent_twice_is_done_once() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let t = table(&store, "T", numbers_schema()).await;
    for attempt in 0..2 {
        let mut writer = store.writer(&t.target());
        writer.write(numbers(0..5)).unwrap();
        let tag = vec!["ingest-by:file 1".to_string()];
        let commit = Commit::new().unless_tagged(t.id(), tag.clone()).add_all(writer.finish().unwrap(), &tag);
        assert_eq!(store.commit(commit).await.unwrap().skipped, attempt == 1);
    }
    assert_eq!(longs(&store, "T").await.len(), 5);
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 1);
}

#[tokio::test]
async fn many_threads_commit_at_once_and_every_row_is_there_once() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let t = table(&store, "T", numbers_schema()).await;
    let tasks: Vec<_> = (0..8)
        .map(|thread: i64| {
            let (store, target) = (store.clone(), t.target());
            tokio::task::spawn_blocking(move || {
                for part in 0..10 {
                    let start = (thread * 10 + part) * 10;
                    let mut writer = store.writer(&target);
                    writer.write(numbers(start..start + 10)).unwrap();
                    store.commit_blocking(Commit::new().add_all(writer.finish().unwrap(), &[])).unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(longs(&store, "T").await, (0..800).collect::<Vec<_>>());
    drop(store);
    assert_eq!(longs(&open(&directory), "T").await, (0..800).collect::<Vec<_>>());
}

#[tokio::test]
async fn small_appends_that_arrive_together_share_files() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let id = table(&store, "T", numbers_schema()).await.id();
    let wrong = arrow::array::RecordBatch::new_empty(schema(&[("x", Long)]).arrow());
    let appends = (0..200).map(|n: i64| {
        let store = store.clone();
        let rows = if n % 50 == 7 { wrong.clone() } else { numbers(n..n + 1) };
        tokio::spawn(async move { store.append(id, rows).await.map(|committed| (n, committed)) })
    });
    let mut refused = 0;
    for append in appends.collect::<Vec<_>>() {
        match append.await.unwrap() {
            // Who is answered finds the rows in the snapshot of the answer.
            Ok((_, committed)) => assert!(committed.snapshot.table_by_id(id).unwrap().row_count() > 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::BadRequest);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 4);
    assert_eq!(longs(&store, "T").await, (0..200).filter(|n| n % 50 != 7).collect::<Vec<_>>());
    let extents = store.snapshot().table_by_id(id).unwrap().extents().len();
    assert!(extents < 196, "{extents} extents");
    let gone = tidewater_store::TableId::random();
    assert_eq!(store.append(gone, numbers(0..1)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_directory() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let error = Store::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
    drop(store);
    Store::open(directory.path(), small()).unwrap();
}

#[tokio::test]
async fn functions_are_stored_replaced_and_dropped() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let db = crate::common::database(&store).await;
    let spec = |body: &str| FunctionSpec {
        name: "F".into(),
        parameters: "()".into(),
        body: body.into(),
        ..Default::default()
    };
    store.put_function(db, spec("{1}"), CreateMode::New).await.unwrap();
    assert_eq!(store.put_function(db, spec("{2}"), CreateMode::New).await.unwrap_err().kind(), ErrorKind::Exists);
    store.put_function(db, spec("{2}"), CreateMode::IfNotExists).await.unwrap();
    store.put_function(db, spec("{3}"), CreateMode::Merge).await.unwrap();
    assert_eq!(store.snapshot().database("db").unwrap().function("F").unwrap().body, "{3}");
    store.drop_function(db, "F").await.unwrap();
    assert_eq!(store.drop_function(db, "F").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_dropped_database_takes_everything_with_it() {
    let directory = tempdir().unwrap();
    let store = open(&directory);
    let t = table(&store, "T", numbers_schema()).await;
    append(&store, "T", vec![numbers(0..5)]).await;
    store.drop_database(t.database_id()).await.unwrap();
    assert!(store.snapshot().database("db").is_none());
    drop(t);
    store.flush_drops().await.unwrap();
    store.flush_drops().await.unwrap();
    assert_eq!(data_files(directory.path()).len(), 0);
    assert_eq!(std::fs::read_dir(directory.path().join("databases")).unwrap().count(), 0, "empty directories go too");
    drop(store);
    assert!(open(&directory).snapshot().database("db").is_none());
}

/// Random changes; after each restart the catalog must be what it was.
#[tokio::test]
async fn whatever_is_done_a_restart_shows_the_same() {
    let directory = tempdir().unwrap();
    let mut random = crate::common::Random::new(11);
    let mut store = open(&directory);
    let name = |random: &mut crate::common::Random| format!("t{}", random.below(6));
    for step in 0..300 {
        let db = crate::common::database(&store).await;
        let one = name(&mut random);
        let other = name(&mut random);
        let id = store.snapshot().table("db", &one).map(|table| table.id());
        // Refusals are part of the game.
        match (random.below(8), id) {
            (0 | 1, _) => drop(store.create_table(db, TableSpec::new(one, numbers_schema()), CreateMode::New).await),
            (2, Some(id)) => drop(store.drop_table(id).await),
            (3, _) => drop(store.rename_tables(db, vec![(one.clone(), other.clone()), (other, one)]).await),
            (4, _) => drop(store.rename_tables(db, vec![(one, other)]).await),
            (5, Some(id)) => {
                let column = format!("c{}", random.below(4));
                let step = match random.below(3) {
                    0 => Alteration::MergeColumns(schema(&[(&column, Long)])),
                    1 => Alteration::DropColumns(vec![column]),
                    _ => Alteration::RenameColumns(vec![(column, format!("c{}", random.below(4)))]),
                };
                drop(store.alter_table(id, vec![step]).await);
            }
            (6, Some(id)) => drop(store.clear_table(id).await),
            (7, Some(_)) if store.snapshot().table("db", &one).unwrap().columns().len() == 2 => {
                append(&store, &one, vec![numbers(0..3)]).await;
            }
            _ => {}
        }
        if step % 50 == 49 {
            let before = picture(&store.snapshot());
            drop(store);
            store = open(&directory);
            assert_eq!(picture(&store.snapshot()), before);
            let named: usize =
                store.snapshot().databases().flat_map(|db| db.tables()).map(|table| table.extents().len()).sum();
            assert_eq!(data_files(directory.path()).len(), named);
        }
    }
}
