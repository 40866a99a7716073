//! Many polygons or lines, found by a position.
//!
//! Each polygon, and each edge that a radius can be measured to, lies in a cap of the sphere; the caps' boxes in space
//! are in an R-tree. What the tree finds is then tested exactly, as `geo_point_in_polygon()` and the `geo_distance_...`
//! functions do. Source: geo_polygon_lookup and geo_line_lookup pages.

use std::f64::consts::FRAC_PI_2;

use rstar::{AABB, RTree, RTreeObject};

use super::shape::{Lines, Polygons, is_position};
use super::sphere::{EARTH_RADIUS_METERS, Vector, nearest_on_edge};

/// What an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeKind {
    /// Polygons and multipolygons.
    Polygon,
    /// Lines and multilines.
    Line,
}

/// Added to every cap, in radians: more than rounding can amount to.
const SLACK: f64 = 1e-9;

/// What is tested: the inside of a polygon, or the distance to an edge.
#[derive(Clone, Debug)]
enum Part {
    Inside { shape: u32 },
    Edge { row: u32, a: Vector, b: Vector },
}

#[derive(Clone, Debug)]
struct Boxed {
    bounds: AABB<[f64; 3]>,
    part: Part,
}

impl RTreeObject for Boxed {
    type Envelope = AABB<[f64; 3]>;

    fn envelope(&self) -> Self::Envelope {
        self.bounds
    }
}

/// The index. Shapes that are not valid match nothing.
pub struct ShapeIndex {
    kind: ShapeKind,
    radius_metres: Option<f64>,
    parts: Vec<Boxed>,
    tree: RTree<Boxed>,
    polygons: Vec<(u32, Polygons)>,
    /// Points of the polygons.
    points: usize,
}

impl ShapeIndex {
    /// An empty index. Lines need a radius.
    pub fn new(kind: ShapeKind, radius_metres: Option<f64>) -> ShapeIndex {
        ShapeIndex { kind, radius_metres, parts: Vec::new(), tree: RTree::new(), polygons: Vec::new(), points: 0 }
    }

    /// Takes in the shape of a row.
    pub fn add(&mut self, text: &str, row: u32) {
        match self.kind {
            ShapeKind::Line => {
                if let Some(lines) = Lines::read(text) {
                    self.add_edges(lines.edges(), row);
                }
            }
            ShapeKind::Polygon => {
                let Some(polygons) = Polygons::read(text) else { return };
                let shape = self.polygons.len() as u32;
                for polygon in &polygons.polygons {
                    // Holes lie within the shell.
                    let shell = polygon.first().map(|ring| ring.points.as_slice()).unwrap_or_default();
                    self.parts.push(Boxed { bounds: bounds(shell, 0.0), part: Part::Inside { shape } });
                }
                self.add_edges(polygons.edges(), row);
                self.points += polygons.degrees.iter().flatten().map(Vec::len).sum::<usize>();
                self.polygons.push((row, polygons));
            }
        }
    }

    fn add_edges(&mut self, edges: impl Iterator<Item = (Vector, Vector)>, row: u32) {
        let Some(radius) = self.radius_metres else { return };
        for (a, b) in edges {
            let bounds = bounds(&[a, b], radius / EARTH_RADIUS_METERS);
            self.parts.push(Boxed { bounds, part: Part::Edge { row, a, b } });
        }
    }

    /// Makes the index ready to be asked.
    pub fn finish(&mut self) {
        self.tree = RTree::bulk_load(std::mem::take(&mut self.parts));
    }

    /// The rows whose shapes a position matches, each once.
    pub fn find(&self, longitude: f64, latitude: f64, found: &mut Vec<u32>) {
        if !is_position(longitude, latitude) {
            return;
        }
        let point = Vector::of_degrees(longitude, latitude);
        let place = AABB::from_point([point.x, point.y, point.z]);
        for boxed in self.tree.locate_in_envelope_intersecting(&place) {
            match &boxed.part {
                Part::Inside { shape } => {
                    let (row, polygons) = &self.polygons[*shape as usize];
                    if polygons.contains(point) {
                        found.push(*row);
                    }
                }
                Part::Edge { row, a, b } => {
                    let (nearest, _) = nearest_on_edge(point, *a, *b);
                    let distance = point.angle(nearest) * EARTH_RADIUS_METERS;
                    if self.radius_metres.is_some_and(|radius| distance <= radius) {
                        found.push(*row);
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        // Leaves of the tree are full to some two thirds; a point of a polygon is kept in degrees and as a vector.
        (self.parts.len() + self.tree.size()) * size_of::<Boxed>() * 2 + self.points * 48 + self.polygons.len() * 128
    }
}

/// A box around everything that lies within `radius` (radians) of the points and what they enclose.
fn bounds(points: &[Vector], radius: f64) -> AABB<[f64; 3]> {
    let everything = AABB::from_corners([-1.0; 3], [1.0; 3]);
    let sum = points.iter().fold(Vector::default(), |sum, point| sum + *point);
    if points.is_empty() || sum.norm() < 1e-6 {
        return everything;
    }
    let middle = sum.unit();
    let reach = points.iter().map(|point| middle.angle(*point)).fold(0.0, f64::max);
    // A cap of less than half the sphere holds every edge between two of its points, and what edges enclose.
    if reach.is_nan() || reach >= FRAC_PI_2 - 0.01 {
        return everything;
    }
    let reach = reach + radius.max(0.0) + SLACK;
    if reach.is_nan() || reach >= FRAC_PI_2 * 2.0 {
        return everything;
    }
    let half = 2.0 * (reach / 2.0).sin();
    AABB::from_corners(
        [middle.x - half, middle.y - half, middle.z - half],
        [middle.x + half, middle.y + half, middle.z + half],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_finds_what_an_exact_test_of_every_shape_finds() {
        let mut polygons = ShapeIndex::new(ShapeKind::Polygon, Some(50_000.0));
        let mut lines = ShapeIndex::new(ShapeKind::Line, Some(50_000.0));
        let mut texts = Vec::new();
        for step in 0..60u32 {
            let (x, y) = (f64::from(step * 37 % 350) - 175.0, f64::from(step * 53 % 170) - 85.0);
            let (right, top) = ((x + 3.0).min(180.0), (y + 4.0).min(89.0));
            texts.push((
                format!(r#"{{"type":"Polygon","coordinates":[[[{x},{y}],[{right},{y}],[{x},{top}],[{x},{y}]]]}}"#),
                format!(r#"{{"type":"LineString","coordinates":[[{x},{y}],[{right},{top}]]}}"#),
            ));
        }
        for (row, (polygon, line)) in texts.iter().enumerate() {
            polygons.add(polygon, row as u32);
            lines.add(line, row as u32);
        }
        polygons.add("{}", 1_000);
        polygons.finish();
        lines.finish();
        for step in 0..2_000u32 {
            let (x, y) =
                (f64::from(step * 7_919 % 3_600) / 10.0 - 180.0, f64::from(step * 104_729 % 1_800) / 10.0 - 90.0);
            let point = Vector::of_degrees(x, y);
            let near = |nearest: Option<(Vector, (f64, f64))>| {
                nearest.is_some_and(|(foot, _)| point.angle(foot) * EARTH_RADIUS_METERS <= 50_000.0)
            };
            let (mut in_polygons, mut on_lines) = (Vec::new(), Vec::new());
            polygons.find(x, y, &mut in_polygons);
            lines.find(x, y, &mut on_lines);
            let expected = |test: &dyn Fn(&(String, String)) -> bool| -> Vec<u32> {
                texts.iter().enumerate().filter(|(_, text)| test(text)).map(|(row, _)| row as u32).collect()
            };
            let exact = expected(&|(polygon, _)| {
                let polygon = Polygons::read(polygon).expect("a valid polygon");
                polygon.contains(point) || near(polygon.nearest(point))
            });
            assert_eq!(in_polygons, exact, "{x} {y}");
            let exact = expected(&|(_, line)| near(Lines::read(line).expect("a valid line").nearest(point)));
            assert_eq!(on_lines, exact, "{x} {y}");
        }
    }
}
