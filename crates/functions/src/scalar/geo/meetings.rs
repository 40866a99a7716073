//! `geo_intersection_2lines` and `geo_intersection_line_with_polygon`.
//!
//! Shape: nothing in common is an empty collection; one common point is a Point; the parts of a line
//! inside a polygon are a LineString or MultiLineString in the line's order. Errors: what the
//! documentation does not show how to put together (several points, partly common edges, several
//! lines at once) is refused rather than guessed.

use datafusion_common::{DataFusionError, Result, not_impl_err};
use datafusion_expr::ColumnarValue;

use super::shape::{Degrees, Lines, Polygons};
use super::sphere::{Vector, crossing, intersection};
use super::{lines, polygons, write_point, write_positions, write_shape};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::scalar::kernel::each_dynamic;

const NOTHING: &[u8] = b"{\"type\":\"GeometryCollection\",\"geometries\":[]}";

/// One answer per row; the first refusal ends the batch.
fn each_meeting(call: &Call<'_>, mut answer: impl FnMut(usize, &mut Vec<u8>) -> Result<bool>) -> Result<ColumnarValue> {
    let mut refusal: Option<DataFusionError> = None;
    let values = each_dynamic(call, |row, out| {
        answer(row, out).unwrap_or_else(|error| {
            refusal.get_or_insert(error);
            false
        })
    })?;
    match refusal {
        Some(error) => Err(error),
        None => Ok(values),
    }
}

/// `geo_intersection_2lines`
pub fn two_lines(call: &Call<'_>) -> Result<ColumnarValue> {
    let (first, second) = (lines(call, 0)?, lines(call, 1)?);
    each_meeting(call, |row, out| {
        let (Some(first), Some(second)) = (first.get(row), second.get(row)) else { return Ok(false) };
        meet_lines(&first, &second, out)?;
        Ok(true)
    })
}

fn meet_lines(first: &Lines, second: &Lines, out: &mut Vec<u8>) -> Result<()> {
    if !first.is_multi && first.degrees == second.degrees {
        write_shape("LineString", out, |out| write_positions(&first.degrees[0], out));
        return Ok(());
    }
    let mut points: Vec<Vector> = Vec::new();
    let mut has_common_edge = false;
    for (a, b) in first.edges() {
        for (c, d) in second.edges() {
            has_common_edge |= a != b && (a == c && b == d || a == d && b == c);
            let meeting = match crossing(a, b, c, d) {
                1 => intersection(a, b, c, d),
                0 if a == c || a == d => a,
                0 => b,
                _ => continue,
            };
            if !points.contains(&meeting) {
                points.push(meeting);
            }
        }
    }
    match points.as_slice() {
        [] => out.extend_from_slice(NOTHING),
        [point] if !has_common_edge => write_point(point.to_degrees(), out),
        _ => return not_impl_err!("geo_intersection_2lines() of lines that meet in several places is not served"),
    }
    Ok(())
}

/// `geo_intersection_line_with_polygon`
pub fn line_with_polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    let (lines, shapes) = (lines(call, 0)?, polygons(call, 1)?);
    each_meeting(call, |row, out| {
        let (Some(line), Some(shape)) = (lines.get(row), shapes.get(row)) else { return Ok(false) };
        clip(&line, &shape, out)?;
        Ok(true)
    })
}

fn clip(line: &Lines, shape: &Polygons, out: &mut Vec<u8>) -> Result<()> {
    let [points] = line.lines.as_slice() else {
        return not_impl_err!("geo_intersection_line_with_polygon() of several lines is not served");
    };
    let border: Vec<(Vector, Vector)> = shape.edges().collect();
    let mut parts: Vec<Vec<Degrees>> = Vec::new();
    // Whether the last part ends where the next piece begins.
    let mut is_open = false;
    for (place, edge) in points.windows(2).enumerate() {
        let (a, b) = (edge[0], edge[1]);
        let mut cuts = vec![(0.0, line.degrees[0][place], a), (1.0, line.degrees[0][place + 1], b)];
        for (c, d) in &border {
            match crossing(a, b, *c, *d) {
                1 => {
                    let meeting = intersection(a, b, *c, *d);
                    cuts.push((a.angle(meeting) / a.angle(b), meeting.to_degrees(), meeting));
                }
                0 => return not_impl_err!("geo_intersection_line_with_polygon() with a common vertex is not served"),
                _ => {}
            }
        }
        cuts.sort_by(|left, right| left.0.total_cmp(&right.0));
        for piece in cuts.windows(2).filter(|piece| piece[0].2 != piece[1].2) {
            let is_inside = shape.contains((piece[0].2 + piece[1].2).unit());
            if is_inside && !is_open {
                parts.push(vec![piece[0].1]);
            }
            if is_inside && let Some(part) = parts.last_mut() {
                part.push(piece[1].1);
            }
            is_open = is_inside;
        }
    }
    match parts.as_slice() {
        [] => out.extend_from_slice(NOTHING),
        [part] => write_shape("LineString", out, |out| write_positions(part, out)),
        parts => write_shape("MultiLineString", out, |out| {
            let mut array = ArrayWriter::new(out);
            parts.iter().for_each(|part| write_positions(part, array.next()));
            array.close();
        }),
    }
    Ok(())
}
