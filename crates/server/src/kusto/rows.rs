//! The rows of a result table, from its stream into a sink: shared by both versions of the answer.

use futures::StreamExt;
use tidewater_service::{Context, Error, ResultTable, Usage};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::json::{Cells, integer};
use super::sink::{Gone, Sink};
use super::v2::Progressive;

/// What came of writing a table's rows.
#[derive(Debug, Default)]
pub struct Written {
    /// Rows written.
    pub rows: u64,
    /// What ended them before their end.
    pub error: Option<Error>,
}

/// How rows are framed.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// One array: `[..],[..]`; its brackets are the caller's.
    Plain,
    /// `TableFragment` frames, each at most about a chunk long.
    Fragments {
        /// The table's id.
        table_id: usize,
    },
}

/// Separates a frame from the one before: each stands on a line of its own, as streaming readers want.
pub fn separate_frame(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\n,");
}

/// The pace of a progressive answer: how long its fragments are, and when progress is told.
pub struct Pace {
    progressive: Progressive,
    table_id: usize,
    usage: Usage,
    ticks: Interval,
    /// What was told last, in hundredths of a percent: progress never goes back.
    told: u32,
}

/// The whole, in hundredths of a percent.
const WHOLE: u32 = 10_000;

impl Pace {
    /// The pace of a table of a request.
    pub fn new(progressive: Progressive, table_id: usize, context: &Context) -> Pace {
        let mut ticks = tokio::time::interval_at(Instant::now() + progressive.period, progressive.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pace { progressive, table_id, usage: context.usage.clone(), ticks, told: 0 }
    }

    /// Writes how far the query is, by the data that its scans have passed. The end is told only when all rows are out.
    fn write(&mut self, out: &mut Vec<u8>) {
        let now = (self.usage.progress() * f64::from(WHOLE)) as u32;
        self.told = self.told.max(now.min(WHOLE - 1));
        self.write_frame(out);
    }

    /// Writes that the table is whole.
    pub fn write_end(&mut self, out: &mut Vec<u8>) {
        self.told = WHOLE;
        self.write_frame(out);
    }

    fn write_frame(&self, out: &mut Vec<u8>) {
        separate_frame(out);
        out.extend_from_slice(b"{\"FrameType\":\"TableProgress\",\"TableId\":");
        integer(self.table_id as i64, out);
        out.extend_from_slice(b",\"TableProgress\":");
        out.extend_from_slice(format!("{:?}", f64::from(self.told) / 100.0).as_bytes());
        out.push(b'}');
    }
}

/// How many rows are written between looks at the buffer's size.
const ROWS_PER_LOOK: usize = 32;

/// Writes all rows of a table. A fault of the stream is returned, not written: the caller knows its place.
pub async fn write(table: &mut ResultTable, framing: Framing, sink: &mut Sink) -> Result<Written, Gone> {
    write_paced(table, framing, sink, None).await
}

/// The same, with figures of progress between the fragments.
pub async fn write_paced(
    table: &mut ResultTable,
    framing: Framing,
    sink: &mut Sink,
    mut pace: Option<&mut Pace>,
) -> Result<Written, Gone> {
    let mut written = Written::default();
    let mut open = false;
    let mut in_fragment = 0;
    loop {
        // Whatever waits in the buffer goes out before a long wait only when it is large; small answers stay whole.
        let next = match &mut pace {
            None => table.rows.next().await,
            Some(pace) => loop {
                tokio::select! {
                    next = table.rows.next() => break next,
                    _ = pace.ticks.tick() => {
                        if open {
                            sink.buffer.extend_from_slice(b"]}");
                            open = false;
                        }
                        pace.write(&mut sink.buffer);
                        sink.flush().await?;
                    }
                }
            },
        };
        let batch = match next {
            None => break,
            Some(Ok(batch)) => batch,
            Some(Err(error)) => {
                written.error = Some(error);
                break;
            }
        };
        let columns = batch.columns().iter().zip(&table.schema.columns);
        let cells: Result<Vec<Cells>, String> = columns.map(|(array, column)| Cells::new(column.ty, array)).collect();
        let cells = match cells {
            Ok(cells) if cells.len() == table.schema.columns.len() => cells,
            Ok(_) => {
                written.error = Some(Error::internal("a batch has another number of columns than its table"));
                break;
            }
            Err(message) => {
                written.error = Some(Error::internal(message));
                break;
            }
        };
        let mut row = 0;
        while row < batch.num_rows() {
            let end = (row + ROWS_PER_LOOK).min(batch.num_rows());
            for row in row..end {
                let out = &mut sink.buffer;
                match (framing, open) {
                    (_, true) => out.push(b','),
                    (Framing::Plain, false) if written.rows > 0 => out.push(b','),
                    (Framing::Plain, false) => {}
                    (Framing::Fragments { table_id }, false) => {
                        separate_frame(out);
                        out.extend_from_slice(
                            b"{\"FrameType\":\"TableFragment\",\"TableFragmentType\":\"DataAppend\",\"TableId\":",
                        );
                        integer(table_id as i64, out);
                        out.extend_from_slice(b",\"Rows\":[");
                    }
                }
                in_fragment = if open { in_fragment + 1 } else { 1 };
                open = true;
                write_row(&cells, row, out);
                written.rows += 1;
                if pace.as_ref().is_some_and(|pace| in_fragment >= pace.progressive.rows) {
                    out.extend_from_slice(b"]}");
                    open = false;
                }
            }
            row = end;
            if sink.is_full() {
                if open && matches!(framing, Framing::Fragments { .. }) {
                    sink.buffer.extend_from_slice(b"]}");
                    open = false;
                }
                sink.flush().await?;
            }
        }
        // Encoding a fast stream must not starve the other tasks of its thread.
        tokio::task::consume_budget().await;
    }
    if open && matches!(framing, Framing::Fragments { .. }) {
        sink.buffer.extend_from_slice(b"]}");
    }
    Ok(written)
}

fn write_row(cells: &[Cells], row: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, cells) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        cells.write(row, out);
    }
    out.push(b']');
}
