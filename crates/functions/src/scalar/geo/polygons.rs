//! Functions of polygons. Several polygons count as their union.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::sphere::{EARTH_RADIUS_METERS, Vector, crossing};
use super::{Positions, lines, polygons, write_point};
use crate::call::Call;
use crate::scalar::kernel::{each, each_dynamic};

/// `geo_point_in_polygon`
pub fn contains(call: &Call<'_>) -> Result<ColumnarValue> {
    let (points, shapes) = (Positions::of(call, 0)?, polygons(call, 2)?);
    each(call, |row| Some(shapes.get(row)?.contains(points.point(row)?)))
}

/// `geo_polygon_area`
pub fn area(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = polygons(call, 0)?;
    each(call, |row| Some(shapes.get(row)?.area() * EARTH_RADIUS_METERS * EARTH_RADIUS_METERS))
}

/// `geo_polygon_perimeter`
pub fn perimeter(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = polygons(call, 0)?;
    each(call, |row| {
        let length: f64 = shapes.get(row)?.union_edges().iter().map(|(a, b)| a.angle(*b)).sum();
        Some(length * EARTH_RADIUS_METERS)
    })
}

/// `geo_polygon_centroid`
pub fn centroid(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = polygons(call, 0)?;
    each_dynamic(call, |row, out| {
        let centroid = shapes.get(row).map(|shape| shape.centroid()).filter(|point| *point != Vector::default());
        centroid.map(|point| write_point(point.to_degrees(), out)).is_some()
    })
}

/// `geo_closest_point_on_polygon`: a position inside is its own nearest point.
pub fn closest_point(call: &Call<'_>) -> Result<ColumnarValue> {
    let (points, shapes) = (Positions::of(call, 0)?, polygons(call, 2)?);
    each_dynamic(call, |row, out| {
        let (Some(degrees), Some(point), Some(shape)) = (points.degrees(row), points.point(row), shapes.get(row))
        else {
            return false;
        };
        let nearest = if shape.contains(point) { Some(degrees) } else { shape.nearest(point).map(|(_, at)| at) };
        nearest.map(|degrees| write_point(degrees, out)).is_some()
    })
}

/// `geo_distance_point_to_polygon`: 0 inside.
pub fn distance(call: &Call<'_>) -> Result<ColumnarValue> {
    let (points, shapes) = (Positions::of(call, 0)?, polygons(call, 2)?);
    each(call, |row| {
        let (point, shape) = (points.point(row)?, shapes.get(row)?);
        if shape.contains(point) {
            return Some(0.0);
        }
        let (nearest, _) = shape.nearest(point)?;
        Some(point.angle(nearest) * EARTH_RADIUS_METERS)
    })
}

fn any_crossing(first: impl Iterator<Item = (Vector, Vector)>, second: &[(Vector, Vector)]) -> bool {
    first.into_iter().any(|(a, b)| second.iter().any(|(c, d)| crossing(a, b, *c, *d) >= 0))
}

/// `geo_intersects_line_with_polygon`
pub fn intersects_line(call: &Call<'_>) -> Result<ColumnarValue> {
    let (lines, shapes) = (lines(call, 0)?, polygons(call, 1)?);
    each(call, |row| {
        let (line, shape) = (lines.get(row)?, shapes.get(row)?);
        let is_inside = line.lines.iter().any(|line| shape.contains(line[0]));
        Some(is_inside || any_crossing(line.edges(), &shape.edges().collect::<Vec<_>>()))
    })
}

/// `geo_intersects_2polygons`
pub fn intersects(call: &Call<'_>) -> Result<ColumnarValue> {
    let (first, second) = (polygons(call, 0)?, polygons(call, 1)?);
    each(call, |row| {
        let (first, second) = (first.get(row)?, second.get(row)?);
        let holds = |outer: &super::shape::Polygons, inner: &super::shape::Polygons| {
            inner.polygons.iter().any(|polygon| outer.contains(polygon[0].points[0]))
        };
        let crosses = || any_crossing(first.edges(), &second.edges().collect::<Vec<_>>());
        Some(holds(&first, &second) || holds(&second, &first) || crosses())
    })
}
