//! `geo_point_buffer`, `geo_line_buffer`, `geo_polygon_buffer`: everything within a distance of a shape.
//!
//! Units: metres. Shape: round around points, along both sides of edges. A circle becomes a polygon whose sides touch
//! it: the answer holds every point within the radius, and none beyond radius plus tolerance. Nulls: a radius or
//! tolerance that is not positive, a tolerance below a millionth of the radius, and what covers half the globe or more.
//! Source: the functions' pages; which points the service chooses on the border is not documented.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::combine::write_region;
use super::overlay::{Region, union};
use super::sphere::{EARTH_RADIUS_METERS, Vector, interpolate, ring_edges};
use super::{Positions, lines, polygons};
use crate::call::Call;
use crate::scalar::kernel::each_dynamic;
use crate::scalar::rows::Numbers;

const DEFAULT_TOLERANCE_METERS: f64 = 10.0;
/// The least tolerance as a part of the radius.
const LEAST_TOLERANCE: f64 = 1e-6;
/// Most points of all edges' buffers together.
const MOST_POINTS: usize = 10_485_760;

struct Settings {
    radius: Numbers,
    tolerance: Option<Numbers>,
}

impl Settings {
    fn of(call: &Call<'_>, position: usize) -> Result<Settings> {
        let tolerance = if call.args.len() > position + 1 { Some(Numbers::of(call, position + 1)?) } else { None };
        Ok(Settings { radius: Numbers::of(call, position)?, tolerance })
    }

    fn brush(&self, row: usize) -> Option<Brush> {
        let radius = self.radius.real(row)?;
        let tolerance = match &self.tolerance {
            None => DEFAULT_TOLERANCE_METERS,
            Some(tolerance) => tolerance.real(row)?,
        };
        Brush::new(radius, tolerance)
    }
}

/// How far the border is, and how finely it is drawn. Angles are in radians.
struct Brush {
    /// Distance of the corners: their sides touch the circle.
    corner: f64,
    /// Corners of a whole circle, an even number.
    corners: usize,
    /// Longest piece of a border along an edge.
    longest: f64,
}

impl Brush {
    fn new(radius: f64, tolerance: f64) -> Option<Brush> {
        if !(radius > 0.0 && tolerance > 0.0 && tolerance >= radius * LEAST_TOLERANCE) {
            return None;
        }
        // Rounding needs some room on the least ones.
        let radius_angle = radius / EARTH_RADIUS_METERS;
        let room = tolerance.min(radius * 0.999) / EARTH_RADIUS_METERS;
        if radius_angle < 1e-13 || radius_angle + room >= FRAC_PI_2 {
            return None;
        }
        // Half of the room for the corners, half for edges that bend outwards. The tangents' quotient is the cosine of
        // half the angle between two corners.
        let half_step = (radius_angle.tan() / (radius_angle + room / 2.0).tan()).acos();
        let corners = 2 * ((PI / half_step / 2.0).ceil() as usize).clamp(2, MOST_POINTS);
        let corner = (radius_angle.tan() / (PI / corners as f64).cos()).atan();
        let longest = 2.0 * (corner.tan() / (radius_angle + room).tan()).min(1.0).acos();
        Some(Brush { corner, corners, longest })
    }

    /// The point at a distance from another in a direction, counted counter-clockwise from `ahead`.
    fn place(&self, from: Vector, ahead: Vector, left: Vector, direction: f64) -> Vector {
        let towards = ahead * direction.cos() + left * direction.sin();
        (from * self.corner.cos() + towards * self.corner.sin()).unit()
    }

    fn around_point(&self, point: Vector) -> Region {
        let east = Vector { x: -point.y, y: point.x, z: 0.0 };
        let east = if east.norm() > 0.0 { east.unit() } else { Vector { x: 0.0, y: 1.0, z: 0.0 } };
        let north = point.cross(east);
        let step = TAU / self.corners as f64;
        let corner = |number: usize| self.place(point, east, north, step * number as f64);
        Region { loops: vec![(0..self.corners).map(corner).collect()] }
    }

    /// `None` where it would cover half the globe.
    fn around_edge(&self, a: Vector, b: Vector) -> Option<Region> {
        let length = a.angle(b);
        if length < 1e-15 {
            return Some(self.around_point(a));
        }
        if TAU * (1.0 - self.corner.cos()) + 2.0 * length * self.corner.sin() > 0.999 * TAU {
            return None;
        }
        let left = (a - b).cross(a + b).unit();
        let pieces = (length / self.longest).ceil().max(1.0);
        let between = |number: usize| interpolate(a, b, number as f64 / pieces);
        let turn = self.corners / 2;
        let step = PI / turn as f64;
        let mut points = Vec::with_capacity(self.corners + 2 * pieces as usize + 2);
        // Round the end, back along the left side, round the beginning, forth along the right side.
        for number in 0..=turn {
            points.push(self.place(b, left.cross(b), left, step * number as f64 - FRAC_PI_2));
        }
        for number in (1..pieces as usize).rev() {
            points.push(self.place(between(number), Vector::default(), left, FRAC_PI_2));
        }
        for number in 0..=turn {
            points.push(self.place(a, left.cross(a), left, step * number as f64 + FRAC_PI_2));
        }
        for number in 1..pieces as usize {
            points.push(self.place(between(number), Vector::default(), left, -FRAC_PI_2));
        }
        points.dedup();
        Some(Region { loops: vec![points] })
    }

    /// The regions around edges.
    fn around_edges(&self, edges: impl Iterator<Item = (Vector, Vector)>) -> Option<Vec<Region>> {
        let mut left = MOST_POINTS;
        let mut regions = Vec::new();
        for (a, b) in edges {
            let points = self.corners as f64 + 2.0 * a.angle(b) / self.longest;
            left = left.checked_sub(points as usize)?;
            regions.push(self.around_edge(a, b)?);
        }
        Some(regions)
    }
}

/// `geo_point_buffer`
pub fn of_point(call: &Call<'_>) -> Result<ColumnarValue> {
    let (positions, settings) = (Positions::of(call, 0)?, Settings::of(call, 2)?);
    each_dynamic(call, |row, out| {
        let Some((point, brush)) = positions.point(row).zip(settings.brush(row)) else { return false };
        write_region(&brush.around_point(point), out)
    })
}

/// `geo_line_buffer`
pub fn of_line(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, settings) = (lines(call, 0)?, Settings::of(call, 1)?);
    each_dynamic(call, |row, out| {
        let Some((shape, brush)) = shapes.get(row).zip(settings.brush(row)) else { return false };
        let region = brush.around_edges(shape.union_edges().into_iter()).and_then(union);
        region.is_some_and(|region| write_region(&region, out))
    })
}

/// `geo_polygon_buffer`
pub fn of_polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, settings) = (polygons(call, 0)?, Settings::of(call, 1)?);
    each_dynamic(call, |row, out| {
        let Some((shape, brush)) = shapes.get(row).zip(settings.brush(row)) else { return false };
        let Some(inside) = Region::of(&shape) else { return false };
        let border = inside.loops.iter().flat_map(|points| ring_edges(points));
        let Some(mut regions) = brush.around_edges(border) else { return false };
        regions.push(inside);
        union(regions).is_some_and(|region| write_region(&region, out))
    })
}

#[cfg(test)]
mod tests {
    use super::super::sphere::{Ring, nearest_on_edge};
    use super::*;

    /// Largest and least distance of the border from edges, in metres.
    fn reach(region: &Region, edges: &[(Vector, Vector)]) -> (f64, f64) {
        let mut range = (f64::INFINITY, 0.0f64);
        for (a, b) in region.loops.iter().flat_map(|points| ring_edges(points)) {
            for part in 0..5 {
                let point = interpolate(a, b, f64::from(part) / 4.0);
                let distance = |(c, d): &(Vector, Vector)| point.angle(nearest_on_edge(point, *c, *d).0);
                let distance = edges.iter().map(distance).fold(f64::INFINITY, f64::min) * EARTH_RADIUS_METERS;
                range = (range.0.min(distance), range.1.max(distance));
            }
        }
        range
    }

    #[test]
    fn borders_are_between_the_radius_and_the_tolerance_beyond() {
        let line = [(-80.0, 24.0), (-79.0, 24.5), (-79.5, 25.5), (-60.0, 40.0), (-61.0, 45.0)]
            .map(|(x, y)| Vector::of_degrees(x, y));
        let edges: Vec<(Vector, Vector)> = line.windows(2).map(|edge| (edge[0], edge[1])).collect();
        for (radius, tolerance) in [(4.0, 0.1), (20_000.0, 10.0), (5_000.0, 4_000.0), (1_000_000.0, 100.0), (1.0, 10.0)]
        {
            let brush = Brush::new(radius, tolerance).unwrap();
            let region = union(brush.around_edges(edges.iter().copied()).unwrap()).unwrap();
            let (least, most) = reach(&region, &edges);
            let slack = radius * 1e-7 + 1e-6;
            assert!(least >= radius - slack, "{radius} {tolerance}: {least}");
            assert!(most <= radius + tolerance.min(radius) + slack, "{radius} {tolerance}: {most}");
            let ring = Ring::smaller_side(region.loops[0].clone());
            assert!(line.iter().all(|point| ring.contains(*point)));
            let circle = brush.around_point(line[0]);
            let (least, most) = reach(&circle, &[(line[0], line[0])]);
            assert!(least >= radius - slack && most <= radius + tolerance.min(radius) + slack, "{least} {most}");
        }
    }

    #[test]
    fn what_is_no_radius_has_no_buffer() {
        for (radius, tolerance) in
            [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (1e9, 10.0), (1e6, 0.5), (1.0, f64::NAN)]
        {
            assert!(Brush::new(radius, tolerance).is_none(), "{radius} {tolerance}");
        }
        assert!(Brush::new(f64::INFINITY, f64::INFINITY).is_none());
    }
}
