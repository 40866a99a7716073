//! The cases again, under settings of the engine that must not change an answer: threads, rows in a batch, the
//! optimizer, how rows are spread over extents.
//!
//! Normally a sample of the cases is run, the same in every run. `CASES_SETTINGS=all` runs all of them, and
//! `CASES_SEED=n` chooses another sample.

use tidewater_service::ServiceOptions;

use crate::cases::{Mode, run_files, runtime};
use crate::open_service_with;

/// One case of this many is run unless all are asked for.
const SAMPLE: u64 = 4;

fn run_under(number: u64, scattered: bool, options: ServiceOptions) {
    let all = std::env::var("CASES_SETTINGS").is_ok_and(|value| value == "all");
    let seed = std::env::var("CASES_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let one_of = if all { 1 } else { SAMPLE };
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let service = open_service_with(folder.path(), options);
        let seed = number.wrapping_add(u64::wrapping_mul(seed, 1_000_003));
        run_files(&service, &Mode { scattered, one_of, seed, updates: false, plans: false }).await;
    });
}

#[test]
fn answers_do_not_depend_on_eight_threads_with_a_row_per_batch_and_extent() {
    run_under(1, true, ServiceOptions { threads: 8, batch_rows: 1, ..ServiceOptions::default() });
}

#[test]
fn answers_do_not_depend_on_the_optimizer() {
    run_under(2, false, ServiceOptions { threads: 1, unoptimized: true, ..ServiceOptions::default() });
}

#[test]
fn answers_do_not_depend_on_the_optimizer_over_many_threads_and_small_batches() {
    run_under(3, true, ServiceOptions { threads: 8, batch_rows: 2, unoptimized: true, ..ServiceOptions::default() });
}

#[test]
fn answers_do_not_depend_on_a_single_thread() {
    run_under(4, false, ServiceOptions { threads: 1, batch_rows: 1, ..ServiceOptions::default() });
}
