//! A request ends at its cancellation or deadline while its plan is being made.

use std::time::{Duration, Instant};

use tidewater_service::{Context, ServiceOptions};

use crate::cases::runtime;
use crate::open_service_with;

/// Takes seconds to plan without optimization.
fn long_query() -> String {
    format!("range x from 1 to 10 step 1{} | count", " | where x > 0 | extend x = x + 1".repeat(150))
}

#[test]
fn cancellation_and_deadline_do_not_wait_for_the_end_of_planning() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let service = open_service_with(folder.path(), ServiceOptions::default());
        let query = long_query();

        let context = Context::new("NetDefaultDB");
        let cancel = context.cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            cancel.cancel();
        });
        let error = service.query(context, &query).await.err().unwrap();
        assert_eq!(error.code(), "QueryCancelled");

        let deadline = Instant::now() + Duration::from_millis(20);
        let mut context = Context::new("NetDefaultDB");
        context.deadline = deadline;
        let error = service.query(context, &query).await.err().unwrap();
        assert_eq!(error.code(), "Timeout");
    });
}
