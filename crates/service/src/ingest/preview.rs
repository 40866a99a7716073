//! What a file looks like before it is loaded: its columns, and the first rows under them.

use std::sync::Arc;

use arrow::array::Array;
use tidewater_formats::{Compression, DecodeOptions, decode, infer_schema};
use tidewater_kql::{Column, TableSchema};

use super::load::{Source, at};
use super::{Header, Packing, Payload, format_of, off_thread};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::export::cell_text;
use crate::rights::Access;
use crate::service::Service;

/// Rows that are shown.
const ROWS: usize = 5;
/// Characters of a value that are shown.
const MAX_CHARACTERS: usize = 200;

/// Data that is to be looked at.
#[derive(Debug)]
pub struct PreviewRequest {
    /// The format's name in any case; CSV when absent.
    pub format: Option<String>,
    /// Whether the first record is names.
    pub header: Header,
    /// The compression around the data.
    pub packing: Packing,
    /// The data, or as much of its beginning as can be read by itself.
    pub payload: Payload,
}

/// What data looks like.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// The columns with the types that their values suggest.
    pub schema: TableSchema,
    /// Whether delimited text begins with a line of names.
    pub has_header: bool,
    /// The first rows as texts; none for null.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Service {
    /// Looks at data that the caller means to load into the context's database.
    ///
    /// *Errors*: a caller who may neither create nor ingest there; data that cannot be read.
    pub async fn preview(&self, context: &Context, request: PreviewRequest) -> Result<Preview> {
        let snapshot = self.store().snapshot();
        let database = snapshot.database(&context.database);
        let database = database.ok_or_else(|| Error::database_not_found(&context.database))?;
        let access = Access::of(&self.inner().options.rights, context, Arc::clone(&snapshot));
        if !access.may_create(database) && !access.may_ingest_anywhere(database) {
            return Err(access.refused(&format!("load data into database '{}'", database.name())));
        }
        let _permit = self.inner().admission.enter(context).await?;
        off_thread(move || look(request)).await
    }
}

fn look(request: PreviewRequest) -> Result<Preview> {
    let format = format_of(request.format.as_deref())?;
    let compression = match request.packing {
        Packing::Gzip => Compression::Gzip,
        Packing::None | Packing::Deflate => Compression::None,
    };
    let source = Source {
        name: "the file".to_string(),
        payload: request.payload,
        format,
        compression,
        deflate: request.packing == Packing::Deflate,
    };
    let mut options = DecodeOptions::new(format);
    options.compression = compression;
    options.ignore_first_record = request.header == Header::Yes;
    let inferred = infer_schema(source.input()?, &options).map_err(|error| at(&source.name, error))?;
    let is_text = format.delimiter().is_some();
    let has_header = inferred.has_header && request.header != Header::No;
    let schema = match is_text && inferred.has_header && !has_header {
        // The first line is data after all, and gives no names.
        true => TableSchema::new(
            inferred
                .schema
                .columns
                .iter()
                .enumerate()
                .map(|(at, column)| Column::new(format!("Column{}", at + 1), column.ty))
                .collect(),
        ),
        false => inferred.schema,
    };
    options.ignore_first_record = has_header;
    options.batch_rows = ROWS;
    let mut decoder = decode(source.input()?, &schema, options).map_err(|error| at(&source.name, error))?;
    let mut rows = Vec::new();
    if let Some(batch) = decoder.next() {
        let batch = batch.map_err(|error| at(&source.name, error))?;
        for row in 0..batch.num_rows().min(ROWS) {
            let cells = schema.columns.iter().zip(batch.columns()).map(|(column, array)| {
                let text = (!array.is_null(row)).then(|| cell_text(column.ty, array.as_ref(), row));
                text.map(|text| text.chars().take(MAX_CHARACTERS).collect())
            });
            rows.push(cells.collect());
        }
    }
    Ok(Preview { schema, has_header, rows })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidewater_kql::KqlType;

    use super::*;

    fn preview(format: &str, header: Header, text: &'static str) -> Preview {
        let payload = Payload::Bytes(Bytes::from_static(text.as_bytes()));
        look(PreviewRequest { format: Some(format.into()), header, packing: Packing::None, payload }).unwrap()
    }

    #[test]
    fn columns_come_with_types_and_first_rows() {
        let found = preview("csv", Header::Auto, "when,n\n2024-01-02,1\n,2\n");
        assert!(found.has_header);
        let columns: Vec<_> = found.schema.columns.iter().map(|column| (column.name.as_str(), column.ty)).collect();
        assert_eq!(columns, [("when", KqlType::DateTime), ("n", KqlType::Long)]);
        assert_eq!(found.rows[0], [Some("2024-01-02T00:00:00.0000000Z".to_string()), Some("1".to_string())]);
        assert_eq!(found.rows[1], [None, Some("2".to_string())]);
    }

    #[test]
    fn a_first_line_that_is_data_gives_no_names() {
        let found = preview("csv", Header::No, "when,what\na,b\n");
        assert!(!found.has_header);
        assert_eq!(found.schema.columns[0].name, "Column1");
        assert_eq!((found.rows.len(), found.rows[0][0].as_deref()), (2, Some("when")));
    }

    #[test]
    fn members_of_json_are_columns() {
        let found = preview("json", Header::Auto, "{\"a\": 1, \"b\": {\"c\": 2}}\n{\"a\": 2.5}\n");
        assert_eq!(found.schema.columns[0].ty, KqlType::Real);
        assert_eq!(found.rows[0][1].as_deref(), Some("{\"c\":2}"));
    }
}
