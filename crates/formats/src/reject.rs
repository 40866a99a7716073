//! Values that did not fit their column: the row is kept, the value is null, the case is counted.

/// One value that did not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Number of the record, from 1.
    pub record: u64,
    /// The column.
    pub column: String,
    /// What was found and what was expected.
    pub message: String,
}

/// All of them: a count, and the first few in full.
#[derive(Clone, Debug, Default)]
pub struct Rejects {
    /// How many values became null because they did not fit.
    pub count: u64,
    /// The first ones.
    pub samples: Vec<Reject>,
}

const SAMPLES: usize = 20;

impl Rejects {
    pub(crate) fn add(&mut self, record: u64, column: &str, found: &str, expected: tidewater_kql::KqlType) {
        self.count += 1;
        if self.samples.len() < SAMPLES {
            let found: String = found.chars().take(60).collect();
            let message = format!("found '{found}', expected a value of type {expected}");
            self.samples.push(Reject { record, column: column.to_string(), message });
        }
    }
}
