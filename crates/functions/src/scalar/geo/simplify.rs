//! `geo_line_simplify`, `geo_polygon_simplify`, `geo_simplify_polygons_array`: shapes with fewer points.
//!
//! Follows S2's builder, whose largest snapping radius is the largest tolerance of the pages: points nearer to each
//! other than the tolerance become one, taken in the order of their S2 cells; edges are led through the points that
//! they pass; chains of edges become one where it stays within the tolerance of the points that it replaces and on the
//! same side of the others. Where borders would cross afterwards, the shape stays as it is.
//! Nulls: shapes and tolerances that are not valid, and shapes of which nothing is left.

use std::collections::{HashMap, HashSet};
use std::f64::consts::{FRAC_PI_2, PI, TAU};

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use s2::cellid::CellID;
use s2::point::Point;
use s2::r3::vector::Vector as S2Vector;

use super::combine::{paths, write_lines, write_region};
use super::overlay::{Piece, Region, assemble, union};
use super::shape::{Polygons, has_crossing};
use super::sphere::{EARTH_RADIUS_METERS, Ring, Vector, nearest_on_edge, ordered, sign};
use super::{Shapes, lines, polygons};
use crate::call::Call;
use crate::scalar::kernel::each_dynamic;
use crate::scalar::rows::Numbers;

const DEFAULT_TOLERANCE_METERS: f64 = 10.0;
/// The largest tolerance: 70 degrees.
const MOST_RADIANS: f64 = 70.0 * PI / 180.0;

struct Tolerance(Option<Numbers>);

impl Tolerance {
    fn of(call: &Call<'_>) -> Result<Tolerance> {
        Ok(Tolerance(if call.args.len() > 1 { Some(Numbers::of(call, 1)?) } else { None }))
    }

    fn radians(&self, row: usize) -> Option<f64> {
        let meters = match &self.0 {
            None => DEFAULT_TOLERANCE_METERS,
            Some(tolerance) => tolerance.real(row)?,
        };
        let radians = meters / EARTH_RADIUS_METERS;
        (0.0..=MOST_RADIANS).contains(&radians).then_some(radians)
    }
}

/// `geo_line_simplify`
pub fn line(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, tolerance) = (lines(call, 0)?, Tolerance::of(call)?);
    each_dynamic(call, |row, out| {
        let Some((shape, tolerance)) = shapes.get(row).zip(tolerance.radians(row)) else { return false };
        let chains = if shape.lines.len() > 1 { paths(shape.edges()) } else { shape.lines.clone() };
        write_lines(&simplify_lines(chains, tolerance), out)
    })
}

/// `geo_polygon_simplify`
pub fn polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, tolerance) = (polygons(call, 0)?, Tolerance::of(call)?);
    each_dynamic(call, |row, out| {
        let Some((shape, tolerance)) = shapes.get(row).zip(tolerance.radians(row)) else { return false };
        let region = Region::of(&shape).and_then(|region| simplify_region(region, tolerance));
        region.is_some_and(|region| write_region(&region, out))
    })
}

/// `geo_simplify_polygons_array`
pub fn all_polygons(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, tolerance) = (Shapes::new(call, 0, Polygons::read_all)?, Tolerance::of(call)?);
    each_dynamic(call, |row, out| {
        let Some((shapes, tolerance)) = shapes.get(row).zip(tolerance.radians(row)) else { return false };
        let region = union(shapes.iter().flat_map(Region::all_of).collect());
        let region = region.and_then(|region| simplify_region(region, tolerance));
        region.is_some_and(|region| write_region(&region, out))
    })
}

fn simplify_lines(chains: Vec<Vec<Vector>>, tolerance: f64) -> Vec<Vec<Vector>> {
    let net = Net::new(chains, tolerance, Ends::Open);
    let lines = net.walks.iter().map(|walk| net.simplify(walk));
    let points = |walk: Vec<(usize, usize)>| -> Vec<Vector> { walk.iter().map(|(site, _)| net.sites[*site]).collect() };
    lines.map(points).filter(|line| line.len() > 1).collect()
}

fn simplify_region(region: Region, tolerance: f64) -> Option<Region> {
    let net = Net::new(region.loops.clone(), tolerance, Ends::Joined);
    let mut pieces = Vec::new();
    for walk in &net.walks {
        let walk = net.simplify(walk);
        let piece =
            |pair: &[(usize, usize)]| Piece { from: net.sites[pair[0].0], to: net.sites[pair[1].0], id: pair[1].1 };
        pieces.extend(walk.windows(2).map(piece));
    }
    let simplified = assemble(pieces).and_then(Region::nested);
    let is_sound = |region: &Region| {
        !has_crossing(&region.loops.iter().map(|points| Ring::smaller_side(points.clone())).collect::<Vec<_>>())
    };
    Some(simplified.filter(is_sound).unwrap_or(region))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Open,
    Joined,
}

/// Points on a grid of cubes, to find those within a distance.
struct Grid {
    side: f64,
    cubes: HashMap<[i64; 3], Vec<usize>>,
}

impl Grid {
    fn cube(&self, point: Vector) -> [i64; 3] {
        [point.x, point.y, point.z].map(|part| (part / self.side).floor() as i64)
    }

    fn add(&mut self, point: Vector, number: usize) {
        let cube = self.cube(point);
        self.cubes.entry(cube).or_default().push(number);
    }

    /// Numbers of the points that may be within the side's length.
    fn near(&self, point: Vector) -> impl Iterator<Item = usize> {
        let [x, y, z] = self.cube(point);
        (0..27)
            .filter_map(move |place| self.cubes.get(&[x + place % 3 - 1, y + place / 3 % 3 - 1, z + place / 9 - 1]))
            .flatten()
            .copied()
    }
}

/// One of a point's coordinates.
fn part(point: Vector, axis: usize) -> f64 {
    [point.x, point.y, point.z][axis]
}

/// A walk over sites: each with the number of the input edge that led there.
type Walk = Vec<(usize, usize)>;

/// Input points brought to sites that are apart from each other.
struct Net {
    tolerance: f64,
    sites: Vec<Vector>,
    /// The input points that each site stands for.
    members: Vec<Vec<Vector>>,
    edges: Vec<(Vector, Vector)>,
    /// The coordinate in which the sites are farthest apart, and the sites by it.
    axis: usize,
    by_axis: Vec<(f64, usize)>,
    walks: Vec<Walk>,
    /// Sites with one way in and one out.
    is_inner: Vec<bool>,
    is_joined: bool,
}

impl Net {
    fn new(chains: Vec<Vec<Vector>>, tolerance: f64, ends: Ends) -> Net {
        let mut points: Vec<Vector> = chains.iter().flatten().copied().collect();
        // The chord of the angle; a little more, since cubes are compared in floating point.
        let side = (2.0 * (tolerance / 2.0).sin()).max(1e-12) * 1.000_001;
        points.sort_by_cached_key(|point| CellID::from(Point(S2Vector { x: point.x, y: point.y, z: point.z })).0);
        let mut net = Net {
            tolerance,
            sites: Vec::new(),
            members: Vec::new(),
            edges: Vec::new(),
            axis: 0,
            by_axis: Vec::new(),
            walks: Vec::new(),
            is_inner: Vec::new(),
            is_joined: ends == Ends::Joined,
        };
        let mut grid = Grid { side, cubes: HashMap::new() };
        for point in &points {
            let is_near = |site: usize| net.sites[site] == *point || net.sites[site].angle(*point) <= tolerance;
            if !grid.near(*point).any(is_near) {
                grid.add(*point, net.sites.len());
                net.sites.push(*point);
            }
        }
        net.members = vec![Vec::new(); net.sites.len()];
        let spread = |axis: usize| {
            let parts = net.sites.iter().map(|point| part(*point, axis));
            let (low, high) =
                parts.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), part| (low.min(part), high.max(part)));
            high - low
        };
        net.axis = (0..3).max_by(|one, other| spread(*one).total_cmp(&spread(*other))).unwrap_or(0);
        net.by_axis = net.sites.iter().enumerate().map(|(site, point)| (part(*point, net.axis), site)).collect();
        net.by_axis.sort_by(|left, right| left.0.total_cmp(&right.0));
        let nearest = |point: Vector| -> usize {
            let distance = |site: &usize| (net.sites[*site] - point).norm();
            grid.near(point).min_by(|left, right| distance(left).total_cmp(&distance(right))).unwrap_or(0)
        };
        let homes: Vec<Vec<usize>> =
            chains.iter().map(|chain| chain.iter().map(|point| nearest(*point)).collect()).collect();
        for (chain, homes) in chains.iter().zip(homes) {
            for (point, home) in chain.iter().zip(&homes) {
                net.members[*home].push(*point);
            }
            let mut walk: Walk = vec![(homes[0], net.edges.len())];
            let count = if net.is_joined { chain.len() } else { chain.len() - 1 };
            for place in 0..count {
                let other = (place + 1) % chain.len();
                let edge = (chain[place], chain[other]);
                for site in net.passed(edge, homes[place], homes[other]) {
                    if walk.last().is_none_or(|(last, _)| *last != site) {
                        walk.push((site, net.edges.len()));
                    }
                }
                net.edges.push(edge);
            }
            net.walks.push(walk);
        }
        let mut ways: Vec<HashSet<(usize, bool)>> = vec![HashSet::new(); net.sites.len()];
        for pair in net.walks.iter().flat_map(|walk| walk.windows(2)) {
            ways[pair[0].0].insert((pair[1].0, true));
            ways[pair[1].0].insert((pair[0].0, false));
        }
        let is_inner = |ways: &HashSet<(usize, bool)>| ways.len() == 2 && ways.iter().filter(|way| way.1).count() == 1;
        net.is_inner = ways.iter().map(is_inner).collect();
        net
    }

    /// Sites within a distance of an edge, apart from sites that are much farther.
    fn near_edge(&self, (a, b): (Vector, Vector), reach: f64) -> Vec<usize> {
        // An arc bulges out of the range of its ends by no more than half its chord.
        let room = (a - b).norm() / 2.0 + reach;
        let ends = [part(a, self.axis), part(b, self.axis)];
        let (least, most) = (ends[0].min(ends[1]) - room, ends[0].max(ends[1]) + room);
        let first = self.by_axis.partition_point(|(place, _)| *place < least);
        let range = self.by_axis[first..].iter().take_while(|(place, _)| *place <= most);
        let is_near = |site: &usize| {
            let point = self.sites[*site];
            point.angle(nearest_on_edge(point, a, b).0) <= reach
        };
        range.map(|(_, site)| *site).filter(is_near).collect()
    }

    /// The sites that an edge is nearest to, in order. Both ends are among them.
    fn passed(&self, edge: (Vector, Vector), from: usize, to: usize) -> Vec<usize> {
        let (a, b) = edge;
        let length = a.angle(b);
        let mut near = self.near_edge(edge, self.tolerance);
        near.retain(|site| *site != from && *site != to);
        if near.is_empty() || length == 0.0 {
            return vec![from, to];
        }
        near.push(to);
        let ahead = a.cross(b).cross(a).unit();
        // How near a site is at an angle from `a`: a cosine curve of the angle. The nearest is the highest curve.
        let curve = |site: usize| (self.sites[site].dot(a), self.sites[site].dot(ahead));
        let mut passed = vec![from];
        let (mut current, mut angle) = (from, 0.0f64);
        while current != to && !near.is_empty() {
            let (cosine, sine) = curve(current);
            let overtakes = |site: &usize| -> Option<(f64, usize)> {
                let other = curve(*site);
                let (cosine, sine) = (other.0 - cosine, other.1 - sine);
                // Higher behind the zero if the difference grows there.
                let zero = (-cosine).atan2(sine);
                let zero = if cosine * angle.cos() + sine * angle.sin() > 0.0 { angle } else { zero };
                (zero >= angle && zero <= length && sine * zero.cos() - cosine * zero.sin() >= 0.0)
                    .then_some((zero, *site))
            };
            let next = near.iter().filter_map(overtakes).min_by(|left, right| left.0.total_cmp(&right.0));
            let Some((at, site)) = next else { break };
            (angle, current) = (at, site);
            near.retain(|other| *other != site);
            passed.push(site);
        }
        if passed.last() != Some(&to) {
            passed.push(to);
        }
        passed
    }

    /// A walk with fewer sites.
    fn simplify(&self, walk: &[(usize, usize)]) -> Walk {
        let mut walk = walk.to_vec();
        if let Some(last) = walk.pop_if(|_| self.is_joined)
            && !walk.is_empty()
        {
            // The last site is the first one again; the walk begins at a site that must stay, else at the first of all.
            walk[0] = last;
            let place = (0..walk.len()).min_by_key(|place| (self.is_inner[walk[*place].0], walk[*place].0));
            walk.rotate_left(place.unwrap_or(0));
            walk.push(walk[0]);
        }
        let Some(first) = walk.first().copied() else { return walk };
        let mut answer = vec![first];
        let mut start = 0;
        while start + 1 < walk.len() {
            let stop = (start + 1..walk.len()).find(|place| !self.is_inner[walk[*place].0]).unwrap_or(walk.len() - 1);
            self.run(&walk[start..=stop], &mut answer);
            start = stop;
        }
        answer
    }

    /// Simplifies a part of a walk between two sites that stay.
    fn run(&self, walk: &[(usize, usize)], answer: &mut Walk) {
        let mut start = 0;
        while start + 1 < walk.len() {
            let mut simplifier = Simplifier::new(self.sites[walk[start].0]);
            let mut used: HashSet<usize> = HashSet::from([walk[start].0]);
            let mut at = start + 1;
            let is_clear = self.avoids(walk, [start, start, at], &mut used, &mut simplifier);
            loop {
                used.insert(walk[at].0);
                let next = at + 1;
                let extends = is_clear
                    && next < walk.len()
                    && self.members[walk[at].0].iter().all(|point| simplifier.target(*point, self.tolerance))
                    && self.avoids(walk, [start, at, next], &mut used, &mut simplifier)
                    && simplifier.extend(self.sites[walk[next].0]);
                if !extends {
                    break;
                }
                at = next;
            }
            // A merged edge counts as the first of those that it was made of.
            let edge = walk[start + 1..=at].iter().map(|(_, edge)| *edge).min().unwrap_or(0);
            answer.push((walk[at].0, edge));
            start = at;
        }
    }

    /// Whether the chain goes on away from its beginning, and can keep the sites beside the edge on their side.
    fn avoids(
        &self,
        walk: &[(usize, usize)],
        places: [usize; 3],
        used: &mut HashSet<usize>,
        simplifier: &mut Simplifier,
    ) -> bool {
        let sites = places.map(|place| walk[place].0);
        let [p0, p1, p2] = sites.map(|site| self.sites[site]);
        if (p2 - p0).norm() < (p1 - p0).norm() {
            return false;
        }
        for site in self.near_edge(self.edges[walk[places[2]].1], 1.6 * self.tolerance) {
            let point = self.sites[site];
            // Those behind the edge were passed before, those ahead of it are not beside it yet.
            let is_beside = (p1 - p0).norm() < (point - p0).norm() && (point - p0).norm() < (p2 - p0).norm();
            if !is_beside || sites.contains(&site) || !used.insert(site) {
                continue;
            }
            let is_left = if places[0] == places[1] { sign(p1, p2, point) > 0 } else { ordered(p0, p2, point, p1) };
            if !simplifier.avoid(point, self.tolerance / 2.0, is_left) {
                return false;
            }
        }
        true
    }
}

/// The directions that an edge from one point may take, as S2's simplifier of polylines keeps them.
struct Simplifier {
    from: Vector,
    ahead: Vector,
    left: Vector,
    /// Lowest and highest angle; all angles at first.
    window: Option<(f64, f64)>,
    /// Ranges to avoid that came before the window was known.
    waiting: Vec<(f64, f64, bool)>,
}

impl Simplifier {
    fn new(from: Vector) -> Simplifier {
        let other =
            if from.x.abs() < 0.6 { Vector { x: 1.0, y: 0.0, z: 0.0 } } else { Vector { x: 0.0, y: 1.0, z: 0.0 } };
        let ahead = from.cross(other).unit();
        Simplifier { from, ahead, left: from.cross(ahead), window: None, waiting: Vec::new() }
    }

    /// The direction of a point, within half a turn of the window's middle.
    fn direction(&self, point: Vector) -> f64 {
        let angle = point.dot(self.left).atan2(point.dot(self.ahead));
        self.window.map_or(angle, |(low, high)| {
            let middle = (low + high) / 2.0;
            angle - ((angle - middle) / TAU).round() * TAU
        })
    }

    /// Half the angle under which a disc is seen; `None` from within.
    fn half_width(&self, point: Vector, radius: f64) -> Option<f64> {
        let distance = self.from.angle(point);
        (radius < distance && distance < PI - radius).then(|| (radius.sin() / distance.sin()).min(1.0).asin())
    }

    fn is_open(&self) -> bool {
        self.window.is_none_or(|(low, high)| low <= high)
    }

    /// The edge must pass through a disc.
    fn target(&mut self, point: Vector, radius: f64) -> bool {
        let Some(half) = self.half_width(point, radius) else { return true };
        let center = self.direction(point);
        let (low, high) = (center - half, center + half);
        let window = self.window.unwrap_or((low, high));
        self.window = Some((window.0.max(low), window.1.min(high)));
        for (center, half, is_left) in std::mem::take(&mut self.waiting) {
            self.avoid_range(center, half, is_left);
        }
        self.is_open()
    }

    /// The edge must leave a disc to one side.
    fn avoid(&mut self, point: Vector, radius: f64, is_left: bool) -> bool {
        let Some(half) = self.half_width(point, radius) else {
            self.window = Some((1.0, 0.0));
            return false;
        };
        let center = self.direction(point);
        match self.window {
            None => self.waiting.push((center, half, is_left)),
            Some(_) => self.avoid_range(center, half, is_left),
        }
        self.is_open()
    }

    fn avoid_range(&mut self, center: f64, half: f64, is_left: bool) {
        let Some((low, high)) = self.window else { return };
        let middle = (low + high) / 2.0;
        let center = center - ((center - middle) / TAU).round() * TAU;
        let (first, last) = (center - half, center + half);
        if last < low || first > high {
            return;
        }
        let keeps_low = if first >= low && last <= high { is_left } else { first > low };
        self.window = Some(match keeps_low {
            true => (low, high.min(first)),
            false => (low.max(last), high),
        });
    }

    /// Whether the edge may end here.
    fn extend(&mut self, point: Vector) -> bool {
        if self.from.angle(point) > FRAC_PI_2 {
            return false;
        }
        let direction = self.direction(point);
        let is_within = self.window.is_none_or(|(low, high)| (low..=high).contains(&direction));
        let meets = |(center, half, _): &(f64, f64, bool)| {
            let apart = direction - center;
            (apart - (apart / TAU).round() * TAU).abs() <= *half
        };
        let is_clear = !self.waiting.iter().any(meets);
        self.waiting.clear();
        is_within && is_clear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(degrees: &[(f64, f64)]) -> Vec<Vector> {
        degrees.iter().map(|(x, y)| Vector::of_degrees(*x, *y)).collect()
    }

    #[test]
    fn straight_chains_become_one_edge_and_corners_stay() {
        let line: Vec<(f64, f64)> = (0..=10)
            .map(|place| (f64::from(place) * 0.001, 0.0))
            .chain((1..=10).map(|place| (0.01, f64::from(place) * 0.001)))
            .collect();
        let simplified = simplify_lines(vec![points(&line)], 10.0 / EARTH_RADIUS_METERS);
        assert_eq!(simplified, [points(&[(0.0, 0.0), (0.01, 0.0), (0.01, 0.01)])]);
        assert_eq!(simplify_lines(vec![points(&line)], 0.0).len(), 1);
        assert!(simplify_lines(vec![points(&line)], 0.1).is_empty());
    }

    #[test]
    fn no_two_points_stay_nearer_than_the_tolerance_and_none_was_farther_from_the_line() {
        let mut next = super::super::tests::random();
        for _ in 0..50 {
            let (mut x, mut y) = (10.0, 50.0);
            let line: Vec<(f64, f64)> = (0..200)
                .map(|_| {
                    (x, y) = (x + next() * 0.001, y + (next() - 0.5) * 0.0005);
                    (x, y)
                })
                .collect();
            let tolerance = (5.0 + 95.0 * next()) / EARTH_RADIUS_METERS;
            let input = points(&line);
            let [simplified] = &simplify_lines(vec![input.clone()], tolerance)[..] else { panic!() };
            assert!(simplified.len() < 150, "{}", simplified.len());
            for (place, point) in simplified.iter().enumerate() {
                // A line may come back to a point.
                assert!(simplified[place + 1..].iter().all(|other| other == point || other.angle(*point) > tolerance));
            }
            for point in &input {
                let distance = |edge: &[Vector]| point.angle(nearest_on_edge(*point, edge[0], edge[1]).0);
                let least = simplified.windows(2).map(distance).fold(f64::INFINITY, f64::min);
                assert!(
                    least <= 1.11 * tolerance,
                    "{} {}",
                    least * EARTH_RADIUS_METERS,
                    tolerance * EARTH_RADIUS_METERS
                );
            }
        }
    }
}
