//! Union and intersection of polygons on the sphere.
//!
//! Input and output: loops of points with the inside to the left, shells counter-clockwise, holes clockwise. Where the
//! borders meet is decided by the exact predicates of `sphere` alone, so that the pieces always close; only the
//! positions of the meetings are rounded. The order of the answer's loops and points is S2's, which the examples of
//! the documentation show: a loop begins behind the piece of its last input edge.

use std::collections::HashMap;

use super::shape::{Bounds, Polygons};
use super::sphere::{Ring, Vector, crossing, intersection, ordered, ring_edges, sign, signed_area};

/// Loops with less area, in steradians, are rounding: half a square millimetre.
const LEAST_AREA: f64 = 1e-20;

/// A set of points on the sphere.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// Its borders, the inside to the left: each shell is followed by its holes.
    pub loops: Vec<Vec<Vector>>,
}

/// Which pieces of the borders are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Those outside the other region.
    Union,
    /// Those inside the other region.
    Intersection,
}

/// A directed edge of an answer and the number of the input edge that it is a part of.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Where it begins.
    pub from: Vector,
    /// Where it ends.
    pub to: Vector,
    /// Number of the input edge.
    pub id: usize,
}

/// A point as a key of maps.
pub type Key = [u64; 3];

/// The key of a point.
pub fn key(point: Vector) -> Key {
    // Both zeros are one place.
    [point.x, point.y, point.z].map(|part| (part + 0.0).to_bits())
}

impl Region {
    /// The polygons of a shape, each a region of its own.
    pub fn all_of(shape: &Polygons) -> Vec<Region> {
        let region = |polygon: &Vec<Ring>| {
            let hole = |ring: &Ring| ring.points.iter().rev().copied().collect();
            let loops = std::iter::once(polygon[0].points.clone()).chain(polygon[1..].iter().map(hole)).collect();
            Region { loops }
        };
        shape.polygons.iter().map(region).collect()
    }

    /// The shape as one region; polygons that overlap are united.
    pub fn of(shape: &Polygons) -> Option<Region> {
        union(Region::all_of(shape))
    }

    fn size(&self) -> usize {
        self.loops.iter().map(Vec::len).sum()
    }

    /// Loops as a region: shells in their order, each followed by its holes. `None` where a hole has no shell, which
    /// happens to regions of more than half the globe.
    pub fn nested(loops: Vec<Vec<Vector>>) -> Option<Region> {
        let mut shells: Vec<(f64, Ring, Vec<Vec<Vector>>)> = Vec::new();
        let mut holes = Vec::new();
        for points in loops {
            let area = signed_area(&points);
            if points.len() < 3 || area.abs() < LEAST_AREA {
                continue;
            }
            match area > 0.0 {
                true => shells.push((area, Ring::smaller_side(points.clone()), vec![points])),
                false => holes.push(points),
            }
        }
        for hole in holes {
            let around = |(_, shell, _): &&mut (f64, Ring, Vec<Vec<Vector>>)| match hole
                .iter()
                .find(|point| !shell.points.contains(point))
            {
                Some(point) => shell.contains(*point),
                None => shell.contains((hole[0] + hole[1]).unit()),
            };
            let home = shells.iter_mut().filter(around).min_by(|left, right| left.0.total_cmp(&right.0))?;
            home.2.push(hole);
        }
        Some(Region { loops: shells.into_iter().flat_map(|(_, _, loops)| loops).collect() })
    }
}

/// A region prepared for cutting.
pub struct Side {
    /// The borders' edges.
    pub edges: Vec<(Vector, Vector)>,
    /// Whether an edge is the first of its loop.
    begins: Vec<bool>,
    /// A box around each edge.
    pub bounds: Vec<Bounds>,
    rings: Vec<Ring>,
    /// Where a point is a corner: the ring, the corner before, the corner behind.
    pub corners: HashMap<Key, Vec<(usize, Vector, Vector)>>,
    places: HashMap<(Key, Key), usize>,
}

impl Side {
    /// Prepares a region.
    pub fn of(region: &Region) -> Side {
        let edges: Vec<(Vector, Vector)> = region.loops.iter().flat_map(|points| ring_edges(points)).collect();
        let begins = region.loops.iter().flat_map(|points| (0..points.len()).map(|place| place == 0)).collect();
        let bounds = edges.iter().map(|edge| Bounds::of(&[*edge])).collect();
        let rings: Vec<Ring> = region.loops.iter().map(|points| Ring::smaller_side(points.clone())).collect();
        let mut corners: HashMap<Key, Vec<(usize, Vector, Vector)>> = HashMap::new();
        for (number, ring) in rings.iter().enumerate() {
            let points = &ring.points;
            for (place, point) in points.iter().enumerate() {
                let before = points[(place + points.len() - 1) % points.len()];
                let behind = points[(place + 1) % points.len()];
                corners.entry(key(*point)).or_default().push((number, before, behind));
            }
        }
        let places = edges.iter().enumerate().map(|(place, (a, b))| ((key(*a), key(*b)), place)).collect();
        Side { edges, begins, bounds, rings, corners, places }
    }

    /// Whether an edge runs inside just behind its beginning. It is no edge of this side.
    pub fn has_start(&self, a: Vector, b: Vector) -> bool {
        let corners = self.corners.get(&key(a)).map_or(&[][..], Vec::as_slice);
        let is_inside = |(number, ring): (usize, &Ring)| match corners.iter().find(|corner| corner.0 == number) {
            Some((_, before, behind)) => ordered(*behind, b, *before, a),
            None => ring.contains(a),
        };
        self.rings.iter().enumerate().filter(|ring| is_inside(*ring)).count() % 2 == 1
    }

    /// Whether an edge is also one of this side: in the same direction or the other.
    pub fn shares(&self, (a, b): (Vector, Vector)) -> Option<bool> {
        let (a, b) = (key(a), key(b));
        if self.places.contains_key(&(a, b)) {
            return Some(true);
        }
        self.places.contains_key(&(b, a)).then_some(false)
    }
}

/// Where an edge meets the other side's border.
pub struct Cut {
    /// How far from the edge's beginning.
    pub part: f64,
    /// Where.
    pub place: Vector,
    /// Whether the edge goes inside there.
    pub enters: bool,
}

/// The pieces of an edge between its cuts, each with whether it is inside.
pub fn split((a, b): (Vector, Vector), starts_inside: bool, mut cuts: Vec<Cut>) -> Vec<(Vector, Vector, bool)> {
    cuts.sort_by(|left, right| left.part.total_cmp(&right.part));
    let mut pieces = Vec::with_capacity(cuts.len() + 1);
    let (mut from, mut is_inside) = (a, starts_inside);
    while !cuts.is_empty() {
        // Ways in and out alternate; rounding may have exchanged neighbours.
        let next = cuts.iter().position(|cut| cut.enters != is_inside).unwrap_or(0);
        let cut = cuts.remove(next);
        pieces.push((from, cut.place, is_inside));
        (from, is_inside) = (cut.place, cut.enters);
    }
    pieces.push((from, b, is_inside));
    pieces
}

/// Calls `meet` for each pair of edges, one of each side, whose boxes touch.
fn each_pair(first: &Side, second: &Side, mut meet: impl FnMut(usize, usize)) {
    let all = |side: usize, bounds: &[Bounds]| -> Vec<(f64, usize, usize)> {
        bounds.iter().enumerate().map(|(place, bounds)| (bounds.least[2], side, place)).collect()
    };
    let mut order = all(0, &first.bounds);
    order.extend(all(1, &second.bounds));
    order.sort_by(|left, right| left.0.total_cmp(&right.0));
    let sides = [&first.bounds, &second.bounds];
    let mut open: [Vec<usize>; 2] = Default::default();
    for (from, side, place) in order {
        let other = 1 - side;
        open[other].retain(|place| sides[other][*place].most[2] >= from);
        for candidate in &open[other] {
            if sides[side][place].touches(&sides[other][*candidate]) {
                if side == 0 { meet(place, *candidate) } else { meet(*candidate, place) }
            }
        }
        open[side].push(place);
    }
}

fn cuts(first: &Side, second: &Side) -> [Vec<Vec<Cut>>; 2] {
    let empty = |side: &Side| -> Vec<Vec<Cut>> { side.edges.iter().map(|_| Vec::new()).collect() };
    let mut cuts = [empty(first), empty(second)];
    each_pair(first, second, |own, other| {
        let ((a, b), (c, d)) = (first.edges[own], second.edges[other]);
        if crossing(a, b, c, d) != 1 {
            return;
        }
        let place = intersection(a, b, c, d);
        cuts[0][own].push(Cut { part: a.angle(place), place, enters: sign(c, d, b) > 0 });
        cuts[1][other].push(Cut { part: c.angle(place), place, enters: sign(a, b, d) > 0 });
    });
    cuts
}

/// The pieces of one side's border that the operation keeps.
fn keep(
    operation: Operation,
    side: &Side,
    other: &Side,
    cuts: Vec<Vec<Cut>>,
    first_id: usize,
    pieces: &mut Vec<Piece>,
) {
    let keeps_inside = operation == Operation::Intersection;
    // Whether the end of the edge before was inside, where that is the beginning of this one.
    let mut carried: Option<bool> = None;
    for (place, cuts) in cuts.into_iter().enumerate() {
        let ((a, b), id) = (side.edges[place], first_id + place);
        if let Some(is_same) = other.shares((a, b)) {
            // A common border stays once if both insides are on one side of it, else it goes.
            if is_same && first_id == 0 {
                pieces.push(Piece { from: a, to: b, id });
            }
            carried = None;
            continue;
        }
        let known = carried.filter(|_| !side.begins[place] && !other.corners.contains_key(&key(a)));
        let starts_inside = known.unwrap_or_else(|| other.has_start(a, b));
        let parts = split((a, b), starts_inside, cuts);
        carried = parts.last().map(|(.., is_inside)| *is_inside);
        let kept = parts.into_iter().filter(|(.., is_inside)| *is_inside == keeps_inside);
        pieces.extend(kept.map(|(from, to, _)| Piece { from, to, id }));
    }
}

/// What the operation makes of two regions; `None` where that is more than half the globe.
pub fn overlay(operation: Operation, first: &Region, second: &Region) -> Option<Region> {
    if first.loops.is_empty() || second.loops.is_empty() {
        let is_other = |region: &&Region| !region.loops.is_empty();
        return match operation {
            Operation::Union => Some([first, second].into_iter().find(is_other).cloned().unwrap_or_default()),
            Operation::Intersection => Some(Region::default()),
        };
    }
    let (first, second) = (Side::of(first), Side::of(second));
    let [own, others] = cuts(&first, &second);
    let mut pieces = Vec::new();
    keep(operation, &first, &second, own, 0, &mut pieces);
    keep(operation, &second, &first, others, first.edges.len(), &mut pieces);
    Region::nested(assemble(pieces)?)
}

/// The union of all regions. The two smallest are united first, as S2 does it: the order decides where loops begin.
pub fn union(regions: Vec<Region>) -> Option<Region> {
    let mut queue: Vec<(usize, Region)> = regions.into_iter().map(|region| (region.size(), region)).collect();
    // The smallest last; of equal ones the first last.
    queue.reverse();
    queue.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    while queue.len() > 1 {
        let ((first_size, first), (second_size, second)) = (queue.pop()?, queue.pop()?);
        let size = first_size + second_size;
        let united = overlay(Operation::Union, &first, &second)?;
        let place = queue.partition_point(|(other, _)| *other > size);
        queue.insert(place, (size, united));
    }
    queue.pop().map(|(_, region)| region)
}

/// Points and edges that two regions have in common, apart from what their insides have in common.
pub fn touches(first: &Region, second: &Region, common: &Region) -> (Vec<Vector>, Vec<(Vector, Vector)>) {
    let (first, second, common) = (Side::of(first), Side::of(second), Side::of(common));
    let is_shared = |edge: &&(Vector, Vector)| second.shares(**edge) == Some(false) && common.shares(**edge).is_none();
    let edges: Vec<(Vector, Vector)> = first.edges.iter().filter(is_shared).copied().collect();
    let is_touch = |point: &Vector| {
        let at = key(*point);
        second.corners.contains_key(&at)
            && !common.corners.contains_key(&at)
            && !edges.iter().any(|(a, b)| key(*a) == at || key(*b) == at)
    };
    let mut points: Vec<Vector> = Vec::new();
    for (point, _) in &first.edges {
        if is_touch(point) && !points.contains(point) {
            points.push(*point);
        }
    }
    (points, edges)
}

/// Joins pieces to simple loops, the leftmost way at each point. Pieces that run both ways cancel out.
pub fn assemble(pieces: Vec<Piece>) -> Option<Vec<Vec<Vector>>> {
    let mut places: HashMap<(Key, Key), usize> = HashMap::new();
    let mut live = vec![true; pieces.len()];
    for (place, piece) in pieces.iter().enumerate() {
        let (from, to) = (key(piece.from), key(piece.to));
        if from == to || places.contains_key(&(from, to)) {
            live[place] = false;
        } else if let Some(twin) = places.remove(&(to, from)) {
            (live[place], live[twin]) = (false, false);
        } else {
            places.insert((from, to), place);
        }
    }
    let mut ways: HashMap<Key, Vec<usize>> = HashMap::new();
    for place in (0..pieces.len()).filter(|place| live[*place]) {
        ways.entry(key(pieces[place].from)).or_default().push(place);
    }
    let next = |place: usize| -> Option<usize> {
        let piece = &pieces[place];
        let mut candidates = ways.get(&key(piece.to))?.iter().copied();
        let first = candidates.next()?;
        // Going round clockwise from where it came from, the first way out.
        Some(candidates.fold(first, |best, other| {
            match ordered(pieces[best].to, pieces[other].to, piece.from, piece.to) {
                true => other,
                false => best,
            }
        }))
    };
    let mut loops: Vec<Vec<usize>> = Vec::new();
    for start in 0..pieces.len() {
        let mut path: Vec<usize> = Vec::new();
        let mut seen: HashMap<Key, usize> = HashMap::new();
        let mut place = start;
        while live[place] {
            live[place] = false;
            seen.insert(key(pieces[place].from), path.len());
            path.push(place);
            if let Some(first) = seen.get(&key(pieces[place].to)).copied() {
                let closed = path.split_off(first);
                closed.iter().for_each(|place| {
                    seen.remove(&key(pieces[*place].from));
                });
                loops.push(closed);
            }
            place = next(place)?;
        }
        if !path.is_empty() {
            return None;
        }
    }
    let mut numbered: Vec<(usize, Vec<Vector>)> = loops
        .into_iter()
        .map(|mut places| {
            let begin = beginning(places.iter().map(|place| pieces[*place].id).collect());
            places.rotate_left(begin);
            (pieces[places[0]].id, places.iter().map(|place| pieces[*place].from).collect())
        })
        .collect();
    numbered.sort_by_key(|(id, _)| *id);
    Some(numbered.into_iter().map(|(_, points)| points).collect())
}

/// Where a loop begins: behind the last of the pieces with the highest number.
fn beginning(ids: Vec<usize>) -> usize {
    let (mut place, mut is_apart) = (0, false);
    for other in 1..ids.len() {
        if ids[other] < ids[place] {
            is_apart = true;
        } else if ids[other] > ids[place] || !is_apart {
            (place, is_apart) = (other, false);
        }
    }
    (place + 1) % ids.len().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(text: &str) -> Region {
        Region::of(&Polygons::read(text).unwrap()).unwrap()
    }

    fn square(x: f64, y: f64, size: f64) -> Region {
        let corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)];
        Region { loops: vec![corners.map(|(x, y)| Vector::of_degrees(x, y)).to_vec()] }
    }

    fn area(region: &Region) -> f64 {
        region.loops.iter().map(|points| signed_area(points)).sum()
    }

    #[test]
    fn areas_of_union_and_intersection_add_up() {
        let mut next = super::super::tests::random();
        for _ in 0..300 {
            let mut shape = || square(next() * 3.0, next() * 3.0, 0.2 + next() * 2.0);
            let (first, second) = (shape(), shape());
            let union = overlay(Operation::Union, &first, &second).unwrap();
            let common = overlay(Operation::Intersection, &first, &second).unwrap();
            let difference = area(&first) + area(&second) - area(&union) - area(&common);
            assert!(difference.abs() < 1e-12, "{difference} {first:?} {second:?}");
        }
    }

    #[test]
    fn a_grid_of_squares_with_common_sides_is_one_loop() {
        let squares: Vec<Region> =
            (0..16).map(|place| square(f64::from(place % 4), f64::from(place / 4), 1.0)).collect();
        let united = union(squares).unwrap();
        assert_eq!(united.loops.len(), 1);
        assert_eq!(united.loops[0].len(), 16);
        let around: Vec<Region> = (0..9)
            .filter(|place| *place != 4)
            .map(|place| square(f64::from(place % 3), f64::from(place / 3), 1.0))
            .collect();
        let ring = union(around).unwrap();
        assert_eq!(ring.loops.iter().map(Vec::len).collect::<Vec<_>>(), [12, 4]);
        assert!(signed_area(&ring.loops[1]) < 0.0);
    }

    #[test]
    fn what_lies_within_or_apart_stays_whole() {
        let (outer, inner, far) = (square(0.0, 0.0, 4.0), square(1.0, 1.0, 1.0), square(50.0, 0.0, 1.0));
        assert_eq!(overlay(Operation::Union, &outer, &inner).unwrap().loops, outer.loops);
        assert_eq!(overlay(Operation::Intersection, &outer, &inner).unwrap().loops, inner.loops);
        assert_eq!(overlay(Operation::Intersection, &outer, &far).unwrap().loops.len(), 0);
        assert_eq!(overlay(Operation::Union, &outer, &far).unwrap().loops.len(), 2);
        assert_eq!(overlay(Operation::Union, &outer, &outer).unwrap().loops, outer.loops);
        assert_eq!(overlay(Operation::Intersection, &outer, &outer).unwrap().loops, outer.loops);
        let holed = region(
            r#"{"type":"Polygon","coordinates":[[[0,0],[9,0],[9,9],[0,9],[0,0]],[[3,3],[3,6],[6,6],[6,3],[3,3]]]}"#,
        );
        assert_eq!(overlay(Operation::Intersection, &holed, &square(4.0, 4.0, 1.0)).unwrap().loops.len(), 0);
        assert_eq!(overlay(Operation::Union, &holed, &square(4.0, 4.0, 1.0)).unwrap().loops.len(), 3);
        assert_eq!(overlay(Operation::Union, &holed, &square(2.0, 2.0, 5.0)).unwrap().loops.len(), 1);
    }

    #[test]
    fn a_point_in_common_is_a_touch() {
        let (first, second) = (square(0.0, 0.0, 1.0), square(1.0, 1.0, 1.0));
        let common = overlay(Operation::Intersection, &first, &second).unwrap();
        assert!(common.loops.is_empty());
        assert_eq!(touches(&first, &second, &common), (vec![Vector::of_degrees(1.0, 1.0)], vec![]));
        let beside = square(1.0, 0.0, 1.0);
        let (points, edges) = touches(&first, &beside, &common);
        assert_eq!((points.len(), edges.len()), (0, 1));
    }
}
