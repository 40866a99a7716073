//! `sample`: rows drawn at random, each set of rows as likely as any other.

use arrow::array::Array;
use arrow::compute::interleave;
use arrow::datatypes::Field;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::stage::{Input, Output, Scope, Setting, Stage, StageRun};

/// Batches that may be held before the drawn rows are copied together.
const MAX_BATCHES: usize = 64;

/// The operator.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Rows to draw.
    pub count: u64,
    /// Start of the random numbers.
    pub seed: u64,
}

impl Stage for Sample {
    fn name(&self) -> &'static str {
        "Sample"
    }

    fn settings(&self) -> String {
        format!("{} rows from seed {}", self.count, self.seed)
    }

    fn outputs(&self) -> Vec<Field> {
        Vec::new()
    }

    fn scope(&self) -> Scope {
        Scope::Whole
    }

    fn start(&self, setting: Setting) -> Result<Box<dyn StageRun>> {
        Ok(Box::new(Run {
            count: usize::try_from(self.count).unwrap_or(usize::MAX),
            random: Random(self.seed),
            batches: Vec::new(),
            drawn: Vec::new(),
            seen: 0,
            columns: setting.schema.fields().len(),
            batch_rows: setting.batch_rows.max(1),
            memory: setting.memory,
            given: None,
        }))
    }
}

struct Run {
    count: usize,
    random: Random,
    batches: Vec<Input>,
    /// Batch and row of each drawn row.
    drawn: Vec<(usize, usize)>,
    seen: u64,
    columns: usize,
    batch_rows: usize,
    memory: MemoryReservation,
    /// Drawn rows that have been given out, once the input has ended.
    given: Option<usize>,
}

impl StageRun for Run {
    fn push(&mut self, input: Input) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let batch = self.batches.len();
        let mut is_used = false;
        for row in 0..input.rows {
            self.seen += 1;
            if self.drawn.len() < self.count {
                self.drawn.push((batch, row));
                is_used = true;
                continue;
            }
            let place = self.random.below(self.seen);
            if let Some(slot) = usize::try_from(place).ok().and_then(|place| self.drawn.get_mut(place)) {
                *slot = (batch, row);
                is_used = true;
            }
        }
        if is_used {
            self.batches.push(input);
            if self.batches.len() > MAX_BATCHES.max(2 * self.count / self.batch_rows) {
                self.pack()?;
            }
            let bytes = self.batches.iter().flat_map(|batch| &batch.kept).map(|column| column.get_array_memory_size());
            self.memory.try_resize(bytes.sum())?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.given = Some(0);
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Output>> {
        let Some(given) = self.given else { return Ok(None) };
        let end = (given + self.batch_rows).min(self.drawn.len());
        if given == end {
            return Ok(None);
        }
        self.given = Some(end);
        let columns = self.copy(given, end)?;
        Ok(Some(Output { columns, rows: end - given }))
    }
}

impl Run {
    fn copy(&self, from: usize, to: usize) -> Result<Vec<arrow::array::ArrayRef>> {
        (0..self.columns)
            .map(|position| {
                let arrays: Vec<&dyn Array> = self.batches.iter().map(|batch| batch.kept[position].as_ref()).collect();
                Ok(interleave(&arrays, &self.drawn[from..to])?)
            })
            .collect()
    }

    fn pack(&mut self) -> Result<()> {
        let rows = self.drawn.len();
        let kept = self.copy(0, rows)?;
        self.batches = vec![Input { kept, args: Vec::new(), rows }];
        self.drawn = (0..rows).map(|row| (0, row)).collect();
        Ok(())
    }
}

/// Random numbers by SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}
