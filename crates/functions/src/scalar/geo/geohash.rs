//! Geohashes of up to 18 characters.
//!
//! Written here because known libraries stop at 12 characters, and KQL goes to 18.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::{Positions, write_point, write_positions, write_shape};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::scalar::kernel::{Texts, each_dynamic, each_written};
use crate::scalar::rows::Numbers;

const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
const DEFAULT_ACCURACY: i64 = 5;
const MOST_CHARACTERS: usize = 18;

/// A cell: numbers of its column and row, counted from the south-west corner, and how many bits they have.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    column: u64,
    row: u64,
    characters: usize,
}

impl Cell {
    fn column_bits(self) -> u32 {
        (self.characters * 5).div_ceil(2) as u32
    }

    fn row_bits(self) -> u32 {
        (self.characters * 5 / 2) as u32
    }

    fn of(longitude: f64, latitude: f64, characters: usize) -> Cell {
        let cell = Cell { column: 0, row: 0, characters };
        // Cells hold their lower edges; the last one also its upper.
        let place = |value: f64, least: f64, width: f64, bits: u32| {
            let cells = (1u64 << bits) as f64;
            (((value - least) / width * cells).floor() as u64).min((1 << bits) - 1)
        };
        Cell {
            column: place(longitude, -180.0, 360.0, cell.column_bits()),
            row: place(latitude, -90.0, 180.0, cell.row_bits()),
            ..cell
        }
    }

    fn read(text: &str) -> Option<Cell> {
        if text.is_empty() || text.len() > MOST_CHARACTERS {
            return None;
        }
        let mut cell = Cell { column: 0, row: 0, characters: text.len() };
        let mut is_column = true;
        for byte in text.bytes() {
            let value = ALPHABET.iter().position(|letter| *letter == byte.to_ascii_lowercase())?;
            for bit in (0..5).rev() {
                let bit = (value >> bit & 1) as u64;
                if is_column {
                    cell.column = cell.column << 1 | bit;
                } else {
                    cell.row = cell.row << 1 | bit;
                }
                is_column = !is_column;
            }
        }
        Some(cell)
    }

    fn write(self, out: &mut Vec<u8>) {
        let (mut columns, mut rows) = (self.column_bits(), self.row_bits());
        let mut is_column = true;
        for _ in 0..self.characters {
            let mut value = 0;
            for _ in 0..5 {
                let bit = if is_column {
                    columns -= 1;
                    self.column >> columns & 1
                } else {
                    rows -= 1;
                    self.row >> rows & 1
                };
                value = value << 1 | bit as usize;
                is_column = !is_column;
            }
            out.push(ALPHABET[value]);
        }
    }

    /// Longitudes and latitudes of the edges: west, south, east, north.
    fn edges(self) -> (f64, f64, f64, f64) {
        let at = |place: u64, least: f64, width: f64, bits: u32| least + width * place as f64 / (1u64 << bits) as f64;
        let longitude = |column| at(column, -180.0, 360.0, self.column_bits());
        let latitude = |row| at(row, -90.0, 180.0, self.row_bits());
        (longitude(self.column), latitude(self.row), longitude(self.column + 1), latitude(self.row + 1))
    }

    /// The cell beside: around the globe in longitude, none beyond the poles.
    fn beside(self, columns: i64, rows: i64) -> Option<Cell> {
        let column = (self.column as i64 + columns).rem_euclid(1 << self.column_bits()) as u64;
        let row = u64::try_from(self.row as i64 + rows).ok().filter(|row| *row < 1 << self.row_bits())?;
        Some(Cell { column, row, ..self })
    }
}

/// `geo_point_to_geohash`
pub fn of_point(call: &Call<'_>) -> Result<ColumnarValue> {
    let points = Positions::of(call, 0)?;
    let accuracy = if call.args.len() > 2 { Some(Numbers::of(call, 2)?) } else { None };
    each_written(call, |row, out| {
        let accuracy = accuracy.as_ref().map_or(Some(DEFAULT_ACCURACY), |accuracy| accuracy.long(row));
        let characters = accuracy.and_then(|accuracy| usize::try_from(accuracy).ok());
        let characters = characters.filter(|characters| (1..=MOST_CHARACTERS).contains(characters));
        if let Some(((longitude, latitude), characters)) = points.degrees(row).zip(characters) {
            Cell::of(longitude, latitude, characters).write(out);
        }
    })
}

fn each_cell(call: &Call<'_>, write: impl Fn(Cell, &mut Vec<u8>)) -> Result<ColumnarValue> {
    let texts = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| Cell::read(texts.text(row)).map(|cell| write(cell, out)).is_some())
}

/// `geo_geohash_to_central_point`
pub fn center(call: &Call<'_>) -> Result<ColumnarValue> {
    each_cell(call, |cell, out| {
        let (west, south, east, north) = cell.edges();
        write_point(((west + east) / 2.0, (south + north) / 2.0), out);
    })
}

/// `geo_geohash_to_polygon`
pub fn polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    each_cell(call, |cell, out| {
        let (west, south, east, north) = cell.edges();
        let ring = [(west, south), (east, south), (east, north), (west, north), (west, south)];
        write_shape("Polygon", out, |out| {
            out.push(b'[');
            write_positions(&ring, out);
            out.push(b']');
        });
    })
}

/// `geo_geohash_neighbors`
pub fn neighbors(call: &Call<'_>) -> Result<ColumnarValue> {
    each_cell(call, |cell, out| {
        let mut array = ArrayWriter::new(out);
        for (columns, rows) in NEIGHBORS {
            if let Some(beside) = cell.beside(columns, rows) {
                let place = array.next();
                place.push(b'"');
                beside.write(place);
                place.push(b'"');
            }
        }
        array.close();
    })
}

/// The order of the neighbours page's sample.
const NEIGHBORS: [(i64, i64); 8] = [(-1, -1), (-1, 1), (1, -1), (0, 1), (-1, 0), (1, 1), (1, 0), (0, -1)];
