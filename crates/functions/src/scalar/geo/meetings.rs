//! `geo_intersection_2lines` and `geo_intersection_line_with_polygon`.
//!
//! Shape: nothing in common is an empty collection, one common point a Point, several a MultiPoint; common edges and
//! the parts of a line inside a polygon are a LineString or MultiLineString in the line's order. What is of both kinds
//! is a collection, points first. Edges that several lines have count once.

use std::collections::{HashMap, HashSet};

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::combine::{paths, write_collection, write_common_points, written};
use super::overlay::{Cut, Key, Region, Side, key, split};
use super::shape::{Bounds, Degrees, Lines, Polygons};
use super::sphere::{Vector, crossing, intersection, sign};
use super::{lines, polygons, write_positions, write_shape};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::scalar::kernel::each_dynamic;

/// Points as they were written, where they are a line's.
struct Written(HashMap<Key, Degrees>);

impl Written {
    fn of(lines: &Lines) -> Written {
        let points = lines.lines.iter().flatten().map(|point| key(*point));
        Written(points.zip(lines.degrees.iter().flatten().copied()).collect())
    }

    fn degrees(&self, point: Vector) -> Degrees {
        self.0.get(&key(point)).copied().unwrap_or_else(|| point.to_degrees())
    }

    fn all(&self, points: &[Vector]) -> Vec<Degrees> {
        points.iter().map(|point| self.degrees(*point)).collect()
    }

    /// Appends what is in common.
    fn write(&self, points: &[Vector], parts: &[Vec<Vector>], out: &mut Vec<u8>) {
        let points = written(|out| write_common_points(&self.all(points), out));
        let parts: Vec<Vec<Degrees>> = parts.iter().map(|part| self.all(part)).collect();
        let lines = written(|out| {
            match parts.as_slice() {
                [] => return false,
                [part] => write_shape("LineString", out, |out| write_positions(part, out)),
                parts => write_shape("MultiLineString", out, |out| {
                    let mut array = ArrayWriter::new(out);
                    parts.iter().for_each(|part| write_positions(part, array.next()));
                    array.close();
                }),
            }
            true
        });
        write_collection(vec![points, lines], out);
    }
}

/// `geo_intersection_2lines`
pub fn two_lines(call: &Call<'_>) -> Result<ColumnarValue> {
    let (first, second) = (lines(call, 0)?, lines(call, 1)?);
    each_dynamic(call, |row, out| {
        let (Some(first), Some(second)) = (first.get(row), second.get(row)) else { return false };
        meet_lines(&first, &second, out);
        true
    })
}

fn meet_lines(first: &Lines, second: &Lines, out: &mut Vec<u8>) {
    let others = second.union_edges();
    let shared: HashSet<(Key, Key)> =
        others.iter().flat_map(|(c, d)| [(key(*c), key(*d)), (key(*d), key(*c))]).collect();
    let bounds: Vec<Bounds> = others.iter().map(|edge| Bounds::of(&[*edge])).collect();
    let (mut points, mut common): (Vec<Vector>, Vec<(Vector, Vector)>) = Default::default();
    for (a, b) in first.union_edges() {
        if a != b && shared.contains(&(key(a), key(b))) {
            common.push((a, b));
            continue;
        }
        let own = Bounds::of(&[(a, b)]);
        let mut met: Vec<(f64, Vector)> = Vec::new();
        for ((c, d), _) in others.iter().zip(&bounds).filter(|(_, bounds)| bounds.touches(&own)) {
            let place = match crossing(a, b, *c, *d) {
                1 => intersection(a, b, *c, *d),
                0 if a == *c || a == *d => a,
                0 => b,
                _ => continue,
            };
            met.push((a.angle(place), place));
        }
        met.sort_by(|left, right| left.0.total_cmp(&right.0));
        points.extend(met.into_iter().map(|(_, place)| place));
    }
    let mut known: HashSet<Key> = common.iter().flat_map(|(a, b)| [key(*a), key(*b)]).collect();
    points.retain(|point| known.insert(key(*point)));
    Written::of(first).write(&points, &paths(common.into_iter()), out);
}

/// `geo_intersection_line_with_polygon`
pub fn line_with_polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    let (lines, shapes) = (lines(call, 0)?, polygons(call, 1)?);
    each_dynamic(call, |row, out| {
        let (Some(line), Some(shape)) = (lines.get(row), shapes.get(row)) else { return false };
        clip(&line, &shape, out).is_some()
    })
}

fn clip(line: &Lines, shape: &Polygons, out: &mut Vec<u8>) -> Option<()> {
    let side = Side::of(&Region::of(shape)?);
    let chains = if line.lines.len() > 1 { paths(line.edges()) } else { line.lines.clone() };
    let (mut parts, mut touched): (Vec<Vec<Vector>>, Vec<Vector>) = Default::default();
    for chain in &chains {
        let mut is_open = false;
        for edge in chain.windows(2).map(|edge| (edge[0], edge[1])).filter(|(a, b)| a != b) {
            let pieces = match side.shares(edge) {
                // The border belongs to the polygon.
                Some(_) => vec![(edge.0, edge.1, true)],
                None => split(edge, side.has_start(edge.0, edge.1), cuts(edge, &side)),
            };
            for (from, to, is_inside) in pieces.into_iter().filter(|(from, to, _)| from != to) {
                if is_inside && !is_open {
                    parts.push(vec![from]);
                }
                if is_inside && let Some(part) = parts.last_mut() {
                    part.push(to);
                }
                is_open = is_inside;
            }
        }
        touched.extend(chain.iter().filter(|point| side.corners.contains_key(&key(**point))));
    }
    let mut known: HashSet<Key> = parts.iter().flatten().map(|point| key(*point)).collect();
    touched.retain(|point| known.insert(key(*point)));
    Written::of(line).write(&touched, &parts, out);
    Some(())
}

/// Where an edge crosses a polygon's border.
fn cuts((a, b): (Vector, Vector), side: &Side) -> Vec<Cut> {
    let own = Bounds::of(&[(a, b)]);
    let near = side.edges.iter().zip(&side.bounds).filter(|(_, bounds)| bounds.touches(&own));
    near.filter(|((c, d), _)| crossing(a, b, *c, *d) == 1)
        .map(|((c, d), _)| {
            let place = intersection(a, b, *c, *d);
            Cut { part: a.angle(place), place, enters: sign(*c, *d, b) > 0 }
        })
        .collect()
}
