//! What text cases cannot say of statements: values that change from run to run, compared across results.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use tidewater_service::{Context, Service};

/// The results of a query as texts.
fn results(text: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let service: Service = super::open_service(folder.path());
        let answer = service.query(Context::new("NetDefaultDB"), text).await.unwrap();
        let mut printed = Vec::new();
        for result in answer.results {
            let schema = result.schema.arrow();
            let batches: Vec<RecordBatch> = result.collect().await.unwrap();
            printed.push(format!("{:?}", concat_batches(&schema, &batches).unwrap().columns()));
        }
        printed
    })
}

#[test]
fn a_materialized_let_has_the_same_rows_in_every_result() {
    let text = "let m = materialize(range x from 1 to 3 step 1 | extend r = new_guid()); \
                m | sort by x asc; m | where x > 0 | sort by x asc | as second";
    let found = results(text);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_let_that_is_not_materialized_is_worked_out_for_each_result() {
    let found = results("let m = range x from 1 to 3 step 1 | extend r = new_guid(); m; m");
    assert_eq!(found.len(), 2);
    assert_ne!(found[0], found[1]);
}

#[test]
fn rows_named_by_a_materialized_as_are_the_same_in_a_later_result() {
    let found = results("range x from 1 to 3 step 1 | extend r = new_guid() | as hint.materialized=true M; M");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_toscalar_has_one_value_in_every_result() {
    let found = results("let g = toscalar(print new_guid()); print v = g; range x from 1 to 1 step 1 | project v = g");
    assert_eq!(found[0], found[1]);
}
