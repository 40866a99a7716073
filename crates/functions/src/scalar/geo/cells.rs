//! Cells of the S2 and H3 grids.

use std::collections::BTreeMap;

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use h3o::{CellIndex, LatLng, Resolution};
use s2::cell::Cell;
use s2::cellid::CellID;
use s2::point::Point;
use s2::r3::vector::Vector as S2Vector;

use super::sphere::Vector;
use super::{Positions, write_point, write_positions, write_shape};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::scalar::kernel::{Texts, each, each_dynamic, each_written};
use crate::scalar::rows::Numbers;

const DEFAULT_S2_LEVEL: i64 = 11;
const MOST_S2_LEVELS: u64 = 30;
const DEFAULT_H3_RESOLUTION: i64 = 6;
const MOST_RINGS: i64 = 142;
/// Most levels between a cell and its children. Source: geo_h3cell_children page.
const MOST_CHILD_LEVELS: i64 = 5;

/// The vector of an S2 point.
pub(super) fn vector(point: &Point) -> Vector {
    Vector { x: point.0.x, y: point.0.y, z: point.0.z }
}

/// The level of an argument that may be absent; `None` for null and what is out of range.
pub(super) fn level(levels: &Option<Numbers>, row: usize) -> Option<u64> {
    let level = levels.as_ref().map_or(Some(DEFAULT_S2_LEVEL), |levels| levels.long(row))?;
    u64::try_from(level).ok().filter(|level| *level <= MOST_S2_LEVELS)
}

fn optional(call: &Call<'_>, position: usize) -> Result<Option<Numbers>> {
    if position < call.args.len() { Ok(Some(Numbers::of(call, position)?)) } else { Ok(None) }
}

pub(super) fn write_tokens(tokens: impl Iterator<Item = String>, out: &mut Vec<u8>) {
    let mut array = ArrayWriter::new(out);
    tokens.for_each(|token| array.string(&token));
    array.close();
}

fn write_ring(mut ring: Vec<(f64, f64)>, out: &mut Vec<u8>) {
    ring.extend(ring.first().copied());
    write_shape("Polygon", out, |out| {
        out.push(b'[');
        write_positions(&ring, out);
        out.push(b']');
    });
}

fn s2_cell(text: &str) -> Option<CellID> {
    let is_token = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(CellID::from_token(text)).filter(|cell| is_token && cell.is_valid())
}

/// `geo_point_to_s2cell`
pub fn s2_of_point(call: &Call<'_>) -> Result<ColumnarValue> {
    let (points, levels) = (Positions::of(call, 0)?, optional(call, 2)?);
    each_written(call, |row, out| {
        if let Some((point, level)) = points.point(row).zip(level(&levels, row)) {
            let leaf = CellID::from(Point(S2Vector { x: point.x, y: point.y, z: point.z }));
            out.extend_from_slice(leaf.parent(level).to_token().as_bytes());
        }
    })
}

fn each_s2(call: &Call<'_>, write: impl Fn(CellID, &mut Vec<u8>)) -> Result<ColumnarValue> {
    let texts = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| s2_cell(texts.text(row)).map(|cell| write(cell, out)).is_some())
}

/// `geo_s2cell_to_central_point`
pub fn s2_center(call: &Call<'_>) -> Result<ColumnarValue> {
    each_s2(call, |cell, out| write_point(vector(&Cell::from(cell).center()).to_degrees(), out))
}

/// `geo_s2cell_to_polygon`
pub fn s2_polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    each_s2(call, |cell, out| {
        write_ring(Cell::from(cell).vertices().iter().map(|vertex| vector(vertex).to_degrees()).collect(), out);
    })
}

/// `geo_s2cell_neighbors`: eight, seven at a corner of the cube.
pub fn s2_neighbors(call: &Call<'_>) -> Result<ColumnarValue> {
    each_s2(call, |cell, out| {
        let around = cell.all_neighbors(cell.level());
        let mut cells: Vec<CellID> = Vec::with_capacity(around.len());
        for other in S2_ORDER.iter().filter_map(|place| around.get(*place)) {
            if !cells.contains(other) {
                cells.push(*other);
            }
        }
        write_tokens(cells.iter().map(CellID::to_token), out);
    })
}

/// The order of the page's sample, as places in the library's list: upper right, lower left, lower
/// right, down, up, right, left, upper left.
const S2_ORDER: [usize; 8] = [7, 0, 1, 2, 3, 5, 4, 6];

fn h3_cell(text: &str) -> Option<CellIndex> {
    text.parse().ok()
}

/// The resolution of an argument that may be absent; `None` for null and what is out of range.
pub(super) fn h3_resolution(levels: &Option<Numbers>, row: usize) -> Option<Resolution> {
    levels.as_ref().map_or(Some(DEFAULT_H3_RESOLUTION), |levels| levels.long(row)).and_then(resolution)
}

fn resolution(level: i64) -> Option<Resolution> {
    u8::try_from(level).ok().and_then(|level| Resolution::try_from(level).ok())
}

fn degrees(point: LatLng) -> (f64, f64) {
    (point.lng(), point.lat())
}

/// `geo_point_to_h3cell`
pub fn h3_of_point(call: &Call<'_>) -> Result<ColumnarValue> {
    let (points, levels) = (Positions::of(call, 0)?, optional(call, 2)?);
    each_written(call, |row, out| {
        let cell =
            points.degrees(row).zip(h3_resolution(&levels, row)).and_then(|((longitude, latitude), resolution)| {
                Some(LatLng::new(latitude, longitude).ok()?.to_cell(resolution))
            });
        if let Some(cell) = cell {
            out.extend_from_slice(cell.to_string().as_bytes());
        }
    })
}

fn each_h3(call: &Call<'_>, write: impl Fn(CellIndex, usize, &mut Vec<u8>) -> Option<()>) -> Result<ColumnarValue> {
    let texts = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| h3_cell(texts.text(row)).and_then(|cell| write(cell, row, out)).is_some())
}

/// `geo_h3cell_to_central_point`
pub fn h3_center(call: &Call<'_>) -> Result<ColumnarValue> {
    each_h3(call, |cell, _, out| {
        write_point(degrees(LatLng::from(cell)), out);
        Some(())
    })
}

/// `geo_h3cell_to_polygon`
pub fn h3_polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    each_h3(call, |cell, _, out| {
        write_ring(cell.boundary().iter().map(|vertex| degrees(*vertex)).collect(), out);
        Some(())
    })
}

/// Cells by their distance, from 0 on.
fn rings(cell: CellIndex, distance: u32) -> Vec<Vec<CellIndex>> {
    let mut rings: BTreeMap<u32, Vec<CellIndex>> = BTreeMap::new();
    let cells: Vec<(CellIndex, u32)> = cell.grid_disk_distances(distance);
    cells.into_iter().for_each(|(cell, distance)| rings.entry(distance).or_default().push(cell));
    rings.into_values().collect()
}

/// `geo_h3cell_neighbors`
pub fn h3_neighbors(call: &Call<'_>) -> Result<ColumnarValue> {
    each_h3(call, |cell, _, out| {
        write_tokens(rings(cell, 1).into_iter().skip(1).flatten().map(|cell| cell.to_string()), out);
        Some(())
    })
}

/// `geo_h3cell_rings`
pub fn h3_rings(call: &Call<'_>) -> Result<ColumnarValue> {
    let distances = Numbers::of(call, 1)?;
    each_h3(call, |cell, row, out| {
        let distance = distances.long(row).filter(|distance| (0..=MOST_RINGS).contains(distance))?;
        let mut array = ArrayWriter::new(out);
        for ring in rings(cell, distance as u32) {
            write_tokens(ring.iter().map(|cell| cell.to_string()), array.next());
        }
        array.close();
        Some(())
    })
}

/// `geo_h3cell_parent`
pub fn h3_parent(call: &Call<'_>) -> Result<ColumnarValue> {
    let (texts, levels) = (Texts::of(call, 0)?, optional(call, 1)?);
    each_written(call, |row, out| {
        let parent = h3_cell(texts.text(row)).and_then(|cell| {
            let level = match &levels {
                None => i64::from(u8::from(cell.resolution())) - 1,
                Some(levels) => levels.long(row)?,
            };
            cell.parent(resolution(level)?)
        });
        if let Some(parent) = parent {
            out.extend_from_slice(parent.to_string().as_bytes());
        }
    })
}

/// `geo_h3cell_children`
pub fn h3_children(call: &Call<'_>) -> Result<ColumnarValue> {
    let levels = optional(call, 1)?;
    each_h3(call, |cell, row, out| {
        let own = i64::from(u8::from(cell.resolution()));
        let level = match &levels {
            None => own + 1,
            Some(levels) => levels.long(row)?,
        };
        let resolution = resolution(level).filter(|_| (own..=own + MOST_CHILD_LEVELS).contains(&level))?;
        write_tokens(cell.children(resolution).map(|cell| cell.to_string()), out);
        Some(())
    })
}

/// `geo_h3cell_level`
pub fn h3_level(call: &Call<'_>) -> Result<ColumnarValue> {
    let texts = Texts::of(call, 0)?;
    each(call, |row| h3_cell(texts.text(row)).map(|cell| i32::from(u8::from(cell.resolution()))))
}
