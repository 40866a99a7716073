//! Lines and polygons in GeoJSON, read and checked.
//!
//! Errors: a text that is no valid line or polygon gives `None`, which is KQL's null. Source: the
//! "definition and constraints" sections of the geo pages.

use serde_json::Value;

use super::sphere::{
    Ring, Vector, crossing, intersection, nearest_on_edge, ring_edges, signed_area, triangle_area, triangle_centroid,
};

/// Most points of a line or polygon: as many as the densify pages allow.
const MOST_POINTS: usize = 10_485_760;

/// A position as it was written, in degrees.
pub type Degrees = (f64, f64);

/// Whether longitude and latitude are on the globe.
pub fn is_position(longitude: f64, latitude: f64) -> bool {
    (-180.0..=180.0).contains(&longitude) && (-90.0..=90.0).contains(&latitude)
}

/// A LineString or MultiLineString.
#[derive(Clone, Debug)]
pub struct Lines {
    /// The lines as written.
    pub degrees: Vec<Vec<Degrees>>,
    /// The lines as points.
    pub lines: Vec<Vec<Vector>>,
    /// Whether it was a MultiLineString.
    pub is_multi: bool,
}

/// A Polygon or MultiPolygon.
#[derive(Clone, Debug)]
pub struct Polygons {
    /// Rings of each polygon as written, the closing points included.
    pub degrees: Vec<Vec<Vec<Degrees>>>,
    /// The polygons: first the shell, then the holes.
    pub polygons: Vec<Vec<Ring>>,
    /// Whether it was a MultiPolygon.
    pub is_multi: bool,
}

fn position(value: &Value) -> Option<Degrees> {
    let parts = value.as_array()?;
    let (longitude, latitude) = (parts.first()?.as_f64()?, parts.get(1)?.as_f64()?);
    is_position(longitude, latitude).then_some((longitude, latitude))
}

fn positions(value: &Value) -> Option<Vec<Degrees>> {
    let list = value.as_array()?;
    if list.len() > MOST_POINTS {
        return None;
    }
    list.iter().map(position).collect()
}

fn vectors(positions: &[Degrees]) -> Vec<Vector> {
    positions.iter().map(|(longitude, latitude)| Vector::of_degrees(*longitude, *latitude)).collect()
}

/// Edges must be shorter than half the globe.
fn is_short(a: Vector, b: Vector) -> bool {
    (a + b).norm() > 1e-15
}

impl Lines {
    /// Reads GeoJSON text.
    pub fn read(text: &str) -> Option<Lines> {
        Lines::of(&serde_json::from_str(text).ok()?)
    }

    /// Reads GeoJSON texts in an array; `None` unless all are lines.
    pub fn read_all(text: &str) -> Option<Vec<Lines>> {
        let values: Vec<Value> = serde_json::from_str(text).ok()?;
        values.iter().map(Lines::of).collect()
    }

    fn of(value: &Value) -> Option<Lines> {
        let coordinates = value.get("coordinates")?;
        let (degrees, is_multi) = match value.get("type")?.as_str()? {
            "LineString" => (vec![positions(coordinates)?], false),
            "MultiLineString" => (coordinates.as_array()?.iter().map(positions).collect::<Option<Vec<_>>>()?, true),
            _ => return None,
        };
        let lines: Vec<Vec<Vector>> = degrees.iter().map(|line| vectors(line)).collect();
        let is_line = |line: &Vec<Vector>| line.len() >= 2 && line.windows(2).all(|edge| is_short(edge[0], edge[1]));
        (!lines.is_empty() && lines.iter().all(is_line)).then_some(Lines { degrees, lines, is_multi })
    }

    /// All edges.
    pub fn edges(&self) -> impl Iterator<Item = (Vector, Vector)> {
        self.lines.iter().flat_map(|line| line.windows(2).map(|edge| (edge[0], edge[1])))
    }

    /// The edges of the union: an edge that several lines have counts once, whatever its direction.
    pub fn union_edges(&self) -> Vec<(Vector, Vector)> {
        let mut edges: Vec<(Vector, Vector)> = self.edges().collect();
        if self.lines.len() > 1 {
            let key = |point: &Vector| (point.x.to_bits(), point.y.to_bits(), point.z.to_bits());
            let mut known = std::collections::HashSet::new();
            edges.retain(|(a, b)| {
                let (a, b) = (key(a), key(b));
                known.insert(if a <= b { (a, b) } else { (b, a) })
            });
        }
        edges
    }

    /// The nearest point of the lines: the vertex as written, or a point between two of them.
    pub fn nearest(&self, point: Vector) -> Option<(Vector, Degrees)> {
        let chains = self.lines.iter().zip(&self.degrees);
        nearest(chains.map(|(line, degrees)| (line.as_slice(), degrees.as_slice())), point)
    }
}

/// The nearest point of chains of edges, whose positions are also known as written.
fn nearest<'a>(
    chains: impl Iterator<Item = (&'a [Vector], &'a [Degrees])>,
    point: Vector,
) -> Option<(Vector, Degrees)> {
    let mut best: Option<(f64, Vector, Option<Degrees>)> = None;
    for (line, degrees) in chains {
        for (place, edge) in line.windows(2).enumerate() {
            let (foot, end) = nearest_on_edge(point, edge[0], edge[1]);
            let distance = point.angle(foot);
            if best.as_ref().is_none_or(|(least, ..)| distance < *least) {
                best = Some((distance, foot, end.map(|is_second| degrees[place + usize::from(is_second)])));
            }
        }
    }
    best.map(|(_, foot, degrees)| (foot, degrees.unwrap_or_else(|| foot.to_degrees())))
}

impl Polygons {
    /// Reads GeoJSON text.
    pub fn read(text: &str) -> Option<Polygons> {
        Polygons::of(&serde_json::from_str(text).ok()?)
    }

    /// Reads GeoJSON texts in an array; `None` unless all are polygons.
    pub fn read_all(text: &str) -> Option<Vec<Polygons>> {
        let values: Vec<Value> = serde_json::from_str(text).ok()?;
        values.iter().map(Polygons::of).collect()
    }

    fn of(value: &Value) -> Option<Polygons> {
        let coordinates = value.get("coordinates")?;
        let rings = |value: &Value| value.as_array()?.iter().map(positions).collect::<Option<Vec<_>>>();
        let (degrees, is_multi) = match value.get("type")?.as_str()? {
            "Polygon" => (vec![rings(coordinates)?], false),
            "MultiPolygon" => (coordinates.as_array()?.iter().map(rings).collect::<Option<Vec<_>>>()?, true),
            _ => return None,
        };
        let polygons: Vec<Vec<Ring>> = degrees.iter().map(|rings| polygon(rings)).collect::<Option<_>>()?;
        (!polygons.is_empty()).then_some(Polygons { degrees, polygons, is_multi })
    }

    /// Whether one of the polygons contains a point.
    pub fn contains(&self, point: Vector) -> bool {
        self.polygons.iter().any(|polygon| contains(polygon, point))
    }

    /// All edges of all rings.
    pub fn edges(&self) -> impl Iterator<Item = (Vector, Vector)> {
        self.polygons.iter().flatten().flat_map(|ring| ring_edges(&ring.points))
    }

    /// The nearest point of the borders.
    pub fn nearest(&self, point: Vector) -> Option<(Vector, Degrees)> {
        let chains: Vec<(Vec<Vector>, &[Degrees])> =
            self.degrees.iter().flatten().map(|ring| (vectors(ring), ring.as_slice())).collect();
        nearest(chains.iter().map(|(line, degrees)| (line.as_slice(), *degrees)), point)
    }

    /// The border of the union of all polygons as directed edges, its inside to the left: the parts
    /// of each polygon's border that no other polygon covers.
    pub fn union_edges(&self) -> Vec<(Vector, Vector)> {
        let borders: Vec<Vec<(Vector, Vector)>> = self.polygons.iter().map(|polygon| border(polygon)).collect();
        if borders.len() == 1 {
            return borders.into_iter().flatten().collect();
        }
        let boxes: Vec<Bounds> = borders.iter().map(|border| Bounds::of(border)).collect();
        let mut union = Vec::new();
        for (place, own) in borders.iter().enumerate() {
            let near: Vec<usize> =
                (0..borders.len()).filter(|other| *other != place && boxes[*other].touches(&boxes[place])).collect();
            for (a, b) in own {
                let bounds = Bounds::of(&[(*a, *b)]);
                let mut cuts = vec![(0.0, *a), (1.0, *b)];
                let mut is_covered = false;
                for other in near.iter().filter(|other| boxes[**other].touches(&bounds)) {
                    for (c, d) in &borders[*other] {
                        // A shared edge stays once if both insides are on one side of it, else it goes.
                        is_covered |= (c, d) == (b, a) || (c, d) == (a, b) && *other < place;
                        if crossing(*a, *b, *c, *d) > 0 {
                            let meeting = intersection(*a, *b, *c, *d);
                            cuts.push((a.angle(meeting) / a.angle(*b), meeting));
                        }
                    }
                }
                if is_covered {
                    continue;
                }
                cuts.sort_by(|left, right| left.0.total_cmp(&right.0));
                for piece in cuts.windows(2).filter(|piece| piece[0].1 != piece[1].1) {
                    let middle = (piece[0].1 + piece[1].1).unit();
                    let is_inside = |other: &&usize| {
                        let shared = borders[**other].iter().any(|edge| *edge == (*a, *b) || *edge == (*b, *a));
                        !shared && contains(&self.polygons[**other], middle)
                    };
                    if near.iter().find(is_inside).is_none() {
                        union.push((piece[0].1, piece[1].1));
                    }
                }
            }
        }
        union
    }

    /// Area of the union in steradians.
    pub fn area(&self) -> f64 {
        let edges = self.union_edges();
        let middle = middle(&edges);
        let area: f64 = edges.iter().map(|(a, b)| triangle_area(middle, *a, *b)).sum();
        if area < 0.0 { area + 4.0 * std::f64::consts::PI } else { area }
    }

    /// Centroid of the union.
    pub fn centroid(&self) -> Vector {
        let edges = self.union_edges();
        let middle = middle(&edges);
        edges.iter().fold(Vector::default(), |sum, (a, b)| sum + triangle_centroid(middle, *a, *b)).unit()
    }
}

fn middle(edges: &[(Vector, Vector)]) -> Vector {
    let sum = edges.iter().fold(Vector::default(), |sum, (a, _)| sum + *a).unit();
    if sum == Vector::default() { Vector { x: 0.0, y: 0.0, z: 1.0 } } else { sum }
}

fn contains(polygon: &[Ring], point: Vector) -> bool {
    polygon[0].contains(point) && !polygon[1..].iter().any(|hole| hole.contains(point))
}

/// Directed edges with the inside to the left: those of holes run backwards.
fn border(polygon: &[Ring]) -> Vec<(Vector, Vector)> {
    let shell = ring_edges(&polygon[0].points);
    let holes = polygon[1..].iter().flat_map(|hole| ring_edges(&hole.points).map(|(a, b)| (b, a)));
    shell.chain(holes).collect()
}

/// A box in space around edges: arcs bulge out of the box of their ends by little, which is added.
pub struct Bounds {
    /// The lowest coordinates.
    pub least: [f64; 3],
    /// The highest coordinates.
    pub most: [f64; 3],
}

impl Bounds {
    /// A box around edges.
    pub fn of(edges: &[(Vector, Vector)]) -> Bounds {
        let mut bounds = Bounds { least: [f64::INFINITY; 3], most: [f64::NEG_INFINITY; 3] };
        for (a, b) in edges {
            // No point of an arc is farther from its ends than half its chord.
            let reach = (*a - *b).norm() / 2.0 + 1e-12;
            for point in [a, b] {
                for (place, value) in [point.x, point.y, point.z].into_iter().enumerate() {
                    bounds.least[place] = bounds.least[place].min(value - reach);
                    bounds.most[place] = bounds.most[place].max(value + reach);
                }
            }
        }
        bounds
    }

    /// Whether two boxes have a point in common.
    pub fn touches(&self, other: &Bounds) -> bool {
        (0..3).all(|place| self.least[place] <= other.most[place] && other.least[place] <= self.most[place])
    }
}

/// Rings of one polygon; `None` unless it keeps the rules.
fn polygon(rings: &[Vec<Degrees>]) -> Option<Vec<Ring>> {
    let mut polygon = Vec::with_capacity(rings.len());
    for ring in rings {
        let mut points = vectors(ring);
        // Closed, with three different corners at least.
        if points.len() < 4 || points.first() != points.last() {
            return None;
        }
        points.pop();
        let mut sorted: Vec<[u64; 3]> =
            points.iter().map(|point| [point.x.to_bits(), point.y.to_bits(), point.z.to_bits()]).collect();
        sorted.sort_unstable();
        let is_distinct = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        if !is_distinct || !ring_edges(&points).all(|(a, b)| is_short(a, b)) || signed_area(&points) == 0.0 {
            return None;
        }
        polygon.push(Ring::smaller_side(points));
    }
    if polygon.is_empty() || has_crossing(&polygon) {
        return None;
    }
    Some(polygon)
}

/// Whether two edges of the rings cross. Edges are swept from south to north.
pub fn has_crossing(rings: &[Ring]) -> bool {
    let mut edges: Vec<(Bounds, Vector, Vector)> =
        rings.iter().flat_map(|ring| ring_edges(&ring.points)).map(|(a, b)| (Bounds::of(&[(a, b)]), a, b)).collect();
    edges.sort_by(|left, right| left.0.least[2].total_cmp(&right.0.least[2]));
    let mut open: Vec<usize> = Vec::new();
    for place in 0..edges.len() {
        let (bounds, a, b) = &edges[place];
        open.retain(|other| edges[*other].0.most[2] >= bounds.least[2]);
        let crosses = |other: &usize| {
            let (other_bounds, c, d) = &edges[*other];
            other_bounds.touches(bounds) && crossing(*a, *b, *c, *d) > 0
        };
        if open.iter().any(crosses) {
            return true;
        }
        open.push(place);
    }
    false
}
