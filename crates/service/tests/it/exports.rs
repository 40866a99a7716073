//! Exports to files and continuous exports, over a service of their own with a directory to write to.

use std::path::Path;
use std::time::Duration;

use tidewater_service::{CommandAnswer, Context, Service, ServiceOptions};

use crate::cases::runtime;

async fn command(service: &Service, text: &str) -> usize {
    match service.command(Context::new("NetDefaultDB"), text).await.unwrap_or_else(|error| panic!("{text}: {error}")) {
        CommandAnswer::Table(table) => table.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum(),
        CommandAnswer::Query(mut answer) => {
            let table = answer.results.remove(0);
            table.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum()
        }
    }
}

fn texts(directory: &Path, ending: &str) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.to_str().unwrap().ends_with(ending));
    files.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

fn service(root: &Path) -> Service {
    let out = root.join("out");
    std::fs::create_dir_all(&out).unwrap();
    let options = ServiceOptions {
        export_directories: vec![out.clone()],
        external_directories: vec![out],
        ..ServiceOptions::default()
    };
    Service::open(&root.join("data"), options).unwrap()
}

#[test]
fn rows_are_exported_in_every_format() {
    runtime().block_on(async {
        let root = tempfile::tempdir().unwrap();
        let service = service(root.path());
        let out = root.path().join("out");
        command(&service, ".create table T (a: long, s: string, t: datetime, d: dynamic)").await;
        let rows = ".ingest inline into table T <|\n1,\"x, y\",2020-01-01,\"{\"\"k\"\":1}\"\n2,,,\n";
        command(&service, rows).await;
        for format in ["csv", "tsv", "json", "parquet"] {
            let text = format!(
                ".export to {format} ('{}/{format}') with (includeHeaders=all, namePrefix='e') <| T | sort by a asc",
                out.display()
            );
            assert_eq!(command(&service, &text).await, 1, "{format}");
        }
        let csv = texts(&out.join("csv"), ".csv");
        let first = "1,\"x, y\",2020-01-01T00:00:00.0000000Z,\"{\"\"k\"\":1}\"";
        assert_eq!(csv, [format!("a,s,t,d\r\n{first}\r\n2,,,\r\n")]);
        let lines = "{\"a\":1,\"s\":\"x, y\",\"t\":\"2020-01-01T00:00:00.0000000Z\",\"d\":{\"k\":1}}\n\
                     {\"a\":2,\"s\":\"\",\"t\":null,\"d\":null}\n";
        assert_eq!(texts(&out.join("json"), ".json"), [lines]);
        let read = format!(
            ".show tables | take 1 | extend n = toscalar(externaldata(a: long, s: string, t: datetime) ['{}'] with (format=parquet) | count)",
            std::fs::read_dir(out.join("parquet")).unwrap().next().unwrap().unwrap().path().display()
        );
        assert_eq!(command(&service, &read).await, 1);
        let refused = format!(".export to csv ('{}') <| T", root.path().join("elsewhere").display());
        let error = service.command(Context::new("NetDefaultDB"), &refused).await.unwrap_err();
        assert_eq!(error.code(), "Forbidden", "{error}");
        let failing = format!(".export to csv ('{}/none') <| T | extend x = toint(assert(a < 2, 'no'))", out.display());
        assert!(service.command(Context::new("NetDefaultDB"), &failing).await.is_err());
        assert!(texts(&out.join("none"), ".csv").is_empty(), "nothing is left of an export that failed");
    });
}

#[test]
fn a_continuous_export_writes_each_record_once() {
    runtime().block_on(async {
        let root = tempfile::tempdir().unwrap();
        let service = service(root.path());
        let out = root.path().join("out/table");
        command(&service, ".create table T (a: long)").await;
        command(&service, ".ingest inline into table T <| 1").await;
        let table = format!(".create external table E (a: long) kind=storage dataformat=csv ('{}')", out.display());
        std::fs::create_dir_all(&out).unwrap();
        command(&service, &table).await;
        command(&service, ".export to table E <| T").await;
        assert_eq!(texts(&out, ".csv"), ["1\r\n"]);
        command(
            &service,
            ".create-or-alter continuous-export X over (T) to table E with (intervalBetweenRuns=1m) <| T",
        )
        .await;
        command(&service, ".ingest inline into table T <| 2").await;
        // The first run is due at once, and looks every few seconds.
        for _ in 0..60 {
            if command(&service, ".show continuous-export X exported-artifacts").await > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(command(&service, ".show continuous-export X exported-artifacts").await, 1);
        let mut all = texts(&out, ".csv");
        all.sort();
        assert_eq!(all, ["1\r\n", "2\r\n"], "what was there before is not exported again");
        assert_eq!(command(&service, ".disable continuous-export X").await, 1);
        assert_eq!(command(&service, ".show continuous-exports | where IsDisabled").await, 1);
        assert_eq!(command(&service, ".show continuous-export X failures").await, 0);
        command(&service, ".drop continuous-export X").await;
        assert_eq!(command(&service, ".show continuous-exports").await, 0);
    });
}
