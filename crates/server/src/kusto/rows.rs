//! The rows of a result table, from its stream into a sink: shared by both versions of the answer.

use futures::StreamExt;
use tidewater_service::{Error, ResultTable};

use super::json::{Cells, integer};
use super::sink::{Gone, Sink};

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

/// How many rows are written between looks at the buffer's size.
const ROWS_PER_LOOK: usize = 32;

/// Writes all rows of a table. A fault of the stream is returned, not written: the caller knows its place.
pub async fn write(table: &mut ResultTable, framing: Framing, sink: &mut Sink) -> Result<Written, Gone> {
    let mut written = Written::default();
    let mut open = false;
    loop {
        // Whatever waits in the buffer goes out before a long wait only when it is large; small answers stay whole.
        let batch = match table.rows.next().await {
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
                open = true;
                write_row(&cells, row, out);
                written.rows += 1;
            }
            row = end;
            if sink.is_full() {
                if matches!(framing, Framing::Fragments { .. }) {
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
