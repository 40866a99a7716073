//! Functions of lines.

use datafusion_common::{Result, not_impl_err};
use datafusion_expr::ColumnarValue;

use super::sphere::{EARTH_RADIUS_METERS, Vector, crossing, edge_centroid, interpolate, nearest_on_edge};
use super::{Positions, lines, write_point};
use crate::call::Call;
use crate::scalar::kernel::{Bools, each, each_dynamic};
use crate::scalar::rows::Numbers;

fn length_of(edges: &[(Vector, Vector)]) -> f64 {
    edges.iter().map(|(a, b)| a.angle(*b)).sum()
}

/// `geo_line_length`
pub fn length(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = lines(call, 0)?;
    each(call, |row| Some(length_of(&shapes.get(row)?.union_edges()) * EARTH_RADIUS_METERS))
}

/// `geo_line_centroid`
pub fn centroid(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = lines(call, 0)?;
    each_dynamic(call, |row, out| {
        let Some(shape) = shapes.get(row) else { return false };
        let sum = shape.union_edges().iter().fold(Vector::default(), |sum, (a, b)| sum + edge_centroid(*a, *b));
        if sum == Vector::default() {
            return false;
        }
        write_point(sum.to_degrees(), out);
        true
    })
}

/// `geo_closest_point_on_line`
pub fn closest_point(call: &Call<'_>) -> Result<ColumnarValue> {
    let (points, shapes) = (Positions::of(call, 0)?, lines(call, 2)?);
    each_dynamic(call, |row, out| {
        let nearest = points.point(row).zip(shapes.get(row)).and_then(|(point, shape)| shape.nearest(point));
        nearest.map(|(_, degrees)| write_point(degrees, out)).is_some()
    })
}

/// `geo_distance_point_to_line`
pub fn distance(call: &Call<'_>) -> Result<ColumnarValue> {
    let (points, shapes) = (Positions::of(call, 0)?, lines(call, 2)?);
    each(call, |row| {
        let point = points.point(row)?;
        let (nearest, _) = shapes.get(row)?.nearest(point)?;
        Some(point.angle(nearest) * EARTH_RADIUS_METERS)
    })
}

/// `geo_line_interpolate_point`: one line only.
pub fn interpolate_point(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, parts) = (lines(call, 0)?, Numbers::of(call, 1)?);
    each_dynamic(call, |row, out| {
        let (Some(shape), Some(part)) = (shapes.get(row), parts.real(row)) else { return false };
        if shape.is_multi || !(0.0..=1.0).contains(&part) {
            return false;
        }
        let edges: Vec<(Vector, Vector)> = shape.edges().collect();
        let mut rest = length_of(&edges) * part;
        let degrees = &shape.degrees[0];
        for (place, (a, b)) in edges.iter().enumerate() {
            let length = a.angle(*b);
            if rest < length {
                let point = if rest == 0.0 { degrees[place] } else { interpolate(*a, *b, rest / length).to_degrees() };
                write_point(point, out);
                return true;
            }
            rest -= length;
        }
        write_point(degrees[degrees.len() - 1], out);
        true
    })
}

/// `geo_line_locate_point`: one line only, on the sphere.
pub fn locate_point(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, points) = (lines(call, 0)?, Positions::of(call, 1)?);
    if call.args.len() > 3 {
        let on_spheroid = Bools::of(call, 3)?;
        if on_spheroid.array().iter().flatten().any(|on_spheroid| on_spheroid) {
            return not_impl_err!("geo_line_locate_point() on a spheroid is not served");
        }
    }
    each(call, |row| {
        let (shape, point) = (shapes.get(row).filter(|shape| !shape.is_multi)?, points.point(row)?);
        let (mut least, mut found, mut before) = (f64::INFINITY, 0.0, 0.0);
        for (a, b) in shape.edges() {
            let (nearest, _) = nearest_on_edge(point, a, b);
            let distance = point.angle(nearest);
            if distance < least {
                (least, found) = (distance, before + a.angle(nearest));
            }
            before += a.angle(b);
        }
        (before > 0.0).then(|| (found / before).clamp(0.0, 1.0))
    })
}

/// `geo_intersects_2lines`: a common end is a common point.
pub fn intersects(call: &Call<'_>) -> Result<ColumnarValue> {
    let (first, second) = (lines(call, 0)?, lines(call, 1)?);
    each(call, |row| {
        let (first, second) = (first.get(row)?, second.get(row)?);
        let second: Vec<(Vector, Vector)> = second.edges().collect();
        Some(first.edges().any(|(a, b)| second.iter().any(|(c, d)| crossing(a, b, *c, *d) >= 0)))
    })
}
