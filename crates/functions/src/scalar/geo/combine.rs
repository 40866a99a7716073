//! `geo_union_polygons_array`, `geo_union_lines_array`, `geo_intersection_2polygons`: shapes put together.
//!
//! Shape: one polygon is a Polygon, several a MultiPolygon; lines likewise. What two polygons have in common is a
//! collection where it is of several kinds, points first; nothing is an empty collection. Nulls: an argument that is no
//! array of valid shapes, an array without any, and a region of more than half the globe. Source: the functions' pages.

use std::collections::{HashMap, HashSet};

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::overlay::{Key, Operation, Region, key, overlay, touches, union};
use super::shape::{Lines, Polygons};
use super::sphere::{Vector, signed_area};
use super::{Shapes, polygons, write_point, write_positions, write_shape};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::scalar::kernel::each_dynamic;

/// Appends a list of points, in degrees.
pub fn write_points(points: &[Vector], out: &mut Vec<u8>) {
    let degrees: Vec<(f64, f64)> = points.iter().map(|point| point.to_degrees()).collect();
    write_positions(&degrees, out);
}

fn write_ring(points: &[Vector], out: &mut Vec<u8>) {
    let closed: Vec<Vector> = points.iter().chain(points.first()).copied().collect();
    write_points(&closed, out);
}

fn write_polygon(rings: &[&Vec<Vector>], out: &mut Vec<u8>) {
    let mut array = ArrayWriter::new(out);
    rings.iter().for_each(|ring| write_ring(ring, array.next()));
    array.close();
}

/// Appends a Polygon or MultiPolygon; `false` for an empty region.
pub fn write_region(region: &Region, out: &mut Vec<u8>) -> bool {
    let mut polygons: Vec<Vec<&Vec<Vector>>> = Vec::new();
    for points in &region.loops {
        match polygons.last_mut() {
            Some(polygon) if signed_area(points) < 0.0 => polygon.push(points),
            _ => polygons.push(vec![points]),
        }
    }
    match polygons.as_slice() {
        [] => return false,
        [polygon] => write_shape("Polygon", out, |out| write_polygon(polygon, out)),
        polygons => write_shape("MultiPolygon", out, |out| {
            let mut array = ArrayWriter::new(out);
            polygons.iter().for_each(|polygon| write_polygon(polygon, array.next()));
            array.close();
        }),
    }
    true
}

/// Appends a LineString or MultiLineString; `false` without lines.
pub fn write_lines(lines: &[Vec<Vector>], out: &mut Vec<u8>) -> bool {
    match lines {
        [] => return false,
        [line] => write_shape("LineString", out, |out| write_points(line, out)),
        lines => write_shape("MultiLineString", out, |out| {
            let mut array = ArrayWriter::new(out);
            lines.iter().for_each(|line| write_points(line, array.next()));
            array.close();
        }),
    }
    true
}

/// `geo_union_polygons_array`
pub fn union_polygons(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = Shapes::new(call, 0, Polygons::read_all)?;
    each_dynamic(call, |row, out| {
        let Some(shapes) = shapes.get(row) else { return false };
        union(shapes.iter().flat_map(Region::all_of).collect()).is_some_and(|region| write_region(&region, out))
    })
}

/// `geo_union_lines_array`
pub fn union_lines(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = Shapes::new(call, 0, Lines::read_all)?;
    each_dynamic(call, |row, out| {
        let Some(shapes) = shapes.get(row) else { return false };
        write_lines(&paths(shapes.iter().flat_map(Lines::edges)), out)
    })
}

/// Edges, each counted once, joined to the longest paths whose inner points have one way in and one out. Paths begin
/// in the order of their first edges.
pub fn paths(edges: impl Iterator<Item = (Vector, Vector)>) -> Vec<Vec<Vector>> {
    let mut known: HashSet<(Key, Key)> = HashSet::new();
    let is_new = |(a, b): &(Vector, Vector)| {
        let (a, b) = (key(*a), key(*b));
        a != b && !known.contains(&(b, a)) && known.insert((a, b))
    };
    let edges: Vec<(Vector, Vector)> = edges.filter(is_new).collect();
    let mut ways_out: HashMap<Key, Vec<usize>> = HashMap::new();
    let mut ways_in: HashMap<Key, usize> = HashMap::new();
    for (place, (a, b)) in edges.iter().enumerate() {
        ways_out.entry(key(*a)).or_default().push(place);
        *ways_in.entry(key(*b)).or_default() += 1;
    }
    let is_inner = |at: &Key| ways_in.get(at) == Some(&1) && ways_out.get(at).is_some_and(|ways| ways.len() == 1);
    let mut is_used = vec![false; edges.len()];
    let mut paths = Vec::new();
    // Rings without an end begin at their first edge.
    for starts_inside in [false, true] {
        for start in 0..edges.len() {
            if is_used[start] || !starts_inside && is_inner(&key(edges[start].0)) {
                continue;
            }
            let mut path = vec![edges[start].0];
            let mut place = start;
            loop {
                is_used[place] = true;
                path.push(edges[place].1);
                let at = key(edges[place].1);
                match ways_out.get(&at).and_then(|ways| ways.first()) {
                    Some(next) if is_inner(&at) && !is_used[*next] => place = *next,
                    _ => break,
                }
            }
            paths.push((start, path));
        }
    }
    paths.sort_by_key(|(start, _)| *start);
    paths.into_iter().map(|(_, path)| path).collect()
}

/// `geo_intersection_2polygons`
pub fn intersect_polygons(call: &Call<'_>) -> Result<ColumnarValue> {
    let (first, second) = (polygons(call, 0)?, polygons(call, 1)?);
    each_dynamic(call, |row, out| {
        let (Some(first), Some(second)) = (first.get(row), second.get(row)) else { return false };
        meet(&first, &second, out).is_some()
    })
}

fn meet(first: &Polygons, second: &Polygons, out: &mut Vec<u8>) -> Option<()> {
    let (first, second) = (Region::of(first)?, Region::of(second)?);
    let common = overlay(Operation::Intersection, &first, &second)?;
    let (points, edges) = touches(&first, &second, &common);
    let points: Vec<(f64, f64)> = points.iter().map(|point| point.to_degrees()).collect();
    let mut shapes = vec![written(|out| write_common_points(&points, out))];
    shapes.push(written(|out| write_lines(&paths(edges.into_iter()), out)));
    shapes.push(written(|out| write_region(&common, out)));
    write_collection(shapes, out);
    Some(())
}

/// What a writer appends to an empty text.
pub fn written(write: impl FnOnce(&mut Vec<u8>) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// Appends a Point or MultiPoint; `false` without points.
pub fn write_common_points(points: &[(f64, f64)], out: &mut Vec<u8>) -> bool {
    match points {
        [] => return false,
        [point] => write_point(*point, out),
        points => write_shape("MultiPoint", out, |out| write_positions(points, out)),
    }
    true
}

/// Appends the one shape that is not empty, or a collection of all of them.
pub fn write_collection(mut shapes: Vec<Vec<u8>>, out: &mut Vec<u8>) {
    shapes.retain(|shape| !shape.is_empty());
    if let [shape] = shapes.as_slice() {
        return out.extend_from_slice(shape);
    }
    out.extend_from_slice(b"{\"type\":\"GeometryCollection\",\"geometries\":");
    let mut array = ArrayWriter::new(out);
    shapes.iter().for_each(|shape| array.next().extend_from_slice(shape));
    array.close();
    out.push(b'}');
}
