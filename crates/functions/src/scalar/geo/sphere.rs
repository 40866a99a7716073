//! Geometry on the unit sphere, with predicates that never waver.
//!
//! Points are unit vectors, edges the shorter great-circle arcs between them. `sign` is exact: it is
//! computed in floating point where that is certain, else with exact sums, and where three points
//! lie on one great circle it decides as if they had been moved by infinitely little, always the
//! same way. This is the scheme of the S2 library, which the reference engine uses: a point on a
//! common border belongs to exactly one of the polygons.

use std::cmp::Ordering;
use std::f64::consts::{PI, TAU};
use std::ops::{Add, Mul, Neg, Sub};

/// Metres per radian: the sphere that the documentation's figures come from.
pub const EARTH_RADIUS_METERS: f64 = 6_371_010.0;

/// A vector; a point of the sphere when its length is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vector {
    /// Towards longitude 0 on the equator.
    pub x: f64,
    /// Towards longitude 90 on the equator.
    pub y: f64,
    /// Towards the north pole.
    pub z: f64,
}

impl Add for Vector {
    type Output = Vector;
    fn add(self, other: Vector) -> Vector {
        Vector { x: self.x + other.x, y: self.y + other.y, z: self.z + other.z }
    }
}

impl Sub for Vector {
    type Output = Vector;
    fn sub(self, other: Vector) -> Vector {
        Vector { x: self.x - other.x, y: self.y - other.y, z: self.z - other.z }
    }
}

impl Neg for Vector {
    type Output = Vector;
    fn neg(self) -> Vector {
        Vector { x: -self.x, y: -self.y, z: -self.z }
    }
}

impl Mul<f64> for Vector {
    type Output = Vector;
    fn mul(self, scale: f64) -> Vector {
        Vector { x: self.x * scale, y: self.y * scale, z: self.z * scale }
    }
}

impl Vector {
    /// The point at this longitude and latitude in degrees.
    pub fn of_degrees(longitude: f64, latitude: f64) -> Vector {
        let (theta, phi) = (longitude.to_radians(), latitude.to_radians());
        Vector { x: theta.cos() * phi.cos(), y: theta.sin() * phi.cos(), z: phi.sin() }
    }

    /// Longitude and latitude in degrees.
    pub fn to_degrees(self) -> (f64, f64) {
        (self.y.atan2(self.x).to_degrees(), self.z.atan2(self.x.hypot(self.y)).to_degrees())
    }

    /// Scalar product.
    pub fn dot(self, other: Vector) -> f64 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    /// Vector product.
    pub fn cross(self, other: Vector) -> Vector {
        Vector {
            x: self.y * other.z - self.z * other.y,
            y: self.z * other.x - self.x * other.z,
            z: self.x * other.y - self.y * other.x,
        }
    }

    /// Length.
    pub fn norm(self) -> f64 {
        self.dot(self).sqrt()
    }

    /// The unit vector of the same direction; the null vector stays.
    pub fn unit(self) -> Vector {
        let norm = self.norm();
        if norm > 0.0 { self * (1.0 / norm) } else { self }
    }

    /// Angle to another vector in radians, precise for small and large ones.
    pub fn angle(self, other: Vector) -> f64 {
        self.cross(other).norm().atan2(self.dot(other))
    }

    /// A unit vector at right angles to this one, the same as in S2.
    fn ortho(self) -> Vector {
        let (x, y, z) = (self.x.abs(), self.y.abs(), self.z.abs());
        let mut other = Vector { x: 0.012, y: 0.0053, z: 0.00457 };
        // One before the largest component.
        if x > y && x > z {
            other.z = 1.0;
        } else if y > z {
            other.x = 1.0;
        } else {
            other.y = 1.0;
        }
        self.cross(other).unit()
    }

    fn parts(self) -> [f64; 3] {
        [self.x, self.y, self.z]
    }
}

/// The point from which containment is counted: no point that anyone would write down.
const ORIGIN: Vector = Vector { x: -0.009_999_466_435_025_02, y: 0.002_592_454_260_932_412, z: 0.999_946_643_502_502 };

/// Whether three points are in counter-clockwise order (1), clockwise (-1), or not all different (0).
pub fn sign(a: Vector, b: Vector, c: Vector) -> i32 {
    let determinant = a.cross(b).dot(c);
    // Largest error of the line above for unit vectors.
    const ERROR: f64 = 1.8274 * f64::EPSILON;
    if determinant > ERROR {
        return 1;
    }
    if determinant < -ERROR {
        return -1;
    }
    if a == b || b == c || c == a {
        return 0;
    }
    exact_sign(a, b, c)
}

fn exact_sign(a: Vector, b: Vector, c: Vector) -> i32 {
    // Sorted, so that every permutation of the same points is decided alike.
    let mut points = [a, b, c];
    let mut parity = 1;
    for (left, right) in [(0, 1), (1, 2), (0, 1)] {
        if order(points[left], points[right]) == Ordering::Greater {
            points.swap(left, right);
            parity = -parity;
        }
    }
    let [a, b, c] = points;
    let sum = |terms: &[(f64, f64, f64)]| exact_sum_sign(terms);
    let determinant =
        sum(&[(a.x, b.y, c.z), (-a.x, b.z, c.y), (a.y, b.z, c.x), (-a.y, b.x, c.z), (a.z, b.x, c.y), (-a.z, b.y, c.x)]);
    if determinant != 0 {
        return parity * determinant;
    }
    // The signs of the coefficients of ever smaller perturbations; the last one cannot vanish.
    let sign_of = |value: f64| {
        if value > 0.0 {
            1
        } else if value < 0.0 {
            -1
        } else {
            0
        }
    };
    let perturbed = [
        sum(&[(1.0, b.x, c.y), (-1.0, b.y, c.x)]),
        sum(&[(1.0, b.z, c.x), (-1.0, b.x, c.z)]),
        sum(&[(1.0, b.y, c.z), (-1.0, b.z, c.y)]),
        sum(&[(1.0, c.x, a.y), (-1.0, c.y, a.x)]),
        sign_of(c.x),
        -sign_of(c.y),
        sum(&[(1.0, c.z, a.x), (-1.0, c.x, a.z)]),
        sign_of(c.z),
        sum(&[(1.0, a.x, b.y), (-1.0, a.y, b.x)]),
        -sign_of(b.x),
        sign_of(b.y),
        sign_of(a.x),
    ];
    parity * perturbed.into_iter().find(|sign| *sign != 0).unwrap_or(1)
}

fn order(a: Vector, b: Vector) -> Ordering {
    let (a, b) = (a.parts(), b.parts());
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

/// Exact sign of a sum of up to six products of three numbers.
fn exact_sum_sign(terms: &[(f64, f64, f64)]) -> i32 {
    // A sum of numbers that do not overlap, the smallest first (Shewchuk's expansions).
    let mut expansion = [0.0; 24];
    let mut len = 0;
    for (a, b, c) in terms {
        let (high, low) = two_product(*a, *b);
        for part in [low, high] {
            let (high, low) = two_product(part, *c);
            for value in [low, high].into_iter().filter(|value| *value != 0.0) {
                let mut carry = value;
                for part in &mut expansion[..len] {
                    (carry, *part) = two_sum(carry, *part);
                }
                expansion[len] = carry;
                len += 1;
            }
        }
    }
    match expansion[..len].iter().rev().find(|part| **part != 0.0) {
        Some(part) if *part > 0.0 => 1,
        Some(_) => -1,
        None => 0,
    }
}

fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    (sum, (a - (sum - from_b)) + (b - from_b))
}

/// Whether `b` lies in the angle from `a` counter-clockwise to `c` as seen from `o`, ends included.
pub fn ordered(a: Vector, b: Vector, c: Vector, o: Vector) -> bool {
    let count = u8::from(sign(b, o, a) >= 0) + u8::from(sign(c, o, b) >= 0) + u8::from(sign(a, o, c) > 0);
    count >= 2
}

/// Whether two edges cross (1), share an end (0) or do neither (-1).
pub fn crossing(a: Vector, b: Vector, c: Vector, d: Vector) -> i32 {
    if a == c || a == d || b == c || b == d {
        return 0;
    }
    let acb = -sign(a, b, c);
    let sides = [sign(a, b, d), -sign(c, d, b), sign(c, d, a)];
    if acb != 0 && sides.iter().all(|side| *side == acb) { 1 } else { -1 }
}

/// Whether two edges that share an end count as crossing, so that every path around a vertex crosses
/// the edges there an even number of times.
fn vertex_crossing(a: Vector, b: Vector, c: Vector, d: Vector) -> bool {
    if a == b || c == d {
        false
    } else if a == c {
        b == d || ordered(a.ortho(), d, b, a)
    } else if b == d {
        ordered(b.ortho(), c, a, b)
    } else if a == d {
        b == c || ordered(a.ortho(), c, b, a)
    } else if b == c {
        ordered(b.ortho(), d, a, b)
    } else {
        false
    }
}

fn crosses(a: Vector, b: Vector, c: Vector, d: Vector) -> bool {
    match crossing(a, b, c, d) {
        0 => vertex_crossing(a, b, c, d),
        sign => sign > 0,
    }
}

/// The edges of a closed ring given without its repeated last point.
pub fn ring_edges(ring: &[Vector]) -> impl Iterator<Item = (Vector, Vector)> {
    (0..ring.len()).map(move |place| (ring[place], ring[(place + 1) % ring.len()]))
}

/// A closed ring whose inside lies to its left, and whether that contains the origin of counting.
#[derive(Clone, Debug)]
pub struct Ring {
    /// The points, without the repeated last one.
    pub points: Vec<Vector>,
    has_origin: bool,
}

impl Ring {
    /// A ring of three points at least; its inside is the smaller side, whatever its direction.
    pub fn smaller_side(mut points: Vec<Vector>) -> Ring {
        let area = signed_area(&points);
        if area < 0.0 && area > -TAU || area > TAU {
            points.reverse();
        }
        let mut ring = Ring { points, has_origin: false };
        // Just beside a vertex the inside is known: it settles the parity.
        let (before, vertex, after) = (ring.points[0], ring.points[1], ring.points[2]);
        let is_inside = ordered(vertex.ortho(), before, after, vertex);
        ring.has_origin = is_inside != ring.contains(vertex);
        ring
    }

    /// Whether the inside contains a point. Points on the border belong to one of its two sides.
    pub fn contains(&self, point: Vector) -> bool {
        let crossings = ring_edges(&self.points).filter(|(a, b)| crosses(ORIGIN, point, *a, *b)).count();
        self.has_origin != (crossings % 2 == 1)
    }
}

/// Area of a triangle on the sphere in steradians, positive when counter-clockwise.
pub fn triangle_area(a: Vector, b: Vector, c: Vector) -> f64 {
    // From the sides' differences, so that small triangles keep their digits.
    let volume = (b - a).cross(c - a).dot(a);
    2.0 * volume.atan2(1.0 + a.dot(b) + b.dot(c) + c.dot(a))
}

/// The area to the left of a ring; negative when the ring is clockwise.
pub fn signed_area(ring: &[Vector]) -> f64 {
    // Around a point in the middle the triangles stay small.
    let middle = ring.iter().fold(Vector::default(), |sum, point| sum + *point).unit();
    if middle == Vector::default() {
        return 0.0;
    }
    ring_edges(ring).map(|(a, b)| triangle_area(middle, a, b)).sum()
}

/// The point of an edge that is nearest to `point`, and whether it is one of the edge's ends.
pub fn nearest_on_edge(point: Vector, a: Vector, b: Vector) -> (Vector, Option<bool>) {
    let normal = (a - b).cross(a + b);
    if normal.norm() > 0.0 {
        let normal = normal.unit();
        let foot = (point - normal * point.dot(normal)).unit();
        // (a - b) x (a + b) is twice a x b, computed with less loss for short edges.
        if foot != Vector::default() && normal.cross(a).dot(foot) >= 0.0 && b.cross(normal).dot(foot) >= 0.0 {
            return (foot, None);
        }
    }
    if point.angle(a) <= point.angle(b) { (a, Some(false)) } else { (b, Some(true)) }
}

/// The point on an edge at a share of its length.
pub fn interpolate(a: Vector, b: Vector, part: f64) -> Vector {
    let whole = a.angle(b);
    let tangent = (a.cross(b)).cross(a).unit();
    (a * (whole * part).cos() + tangent * (whole * part).sin()).unit()
}

/// Where two edges that cross meet.
pub fn intersection(a: Vector, b: Vector, c: Vector, d: Vector) -> Vector {
    let (first, second) = ((a - b).cross(a + b), (c - d).cross(c + d));
    let point = first.cross(second).unit();
    // The great circles meet twice; the meeting on the edges is on their side of the sphere.
    if point.dot(a + b + c + d) < 0.0 { -point } else { point }
}

/// Centroid of an edge times its length.
pub fn edge_centroid(a: Vector, b: Vector) -> Vector {
    let (sum, difference) = (a + b, a - b);
    let cosine = sum.dot(sum);
    if cosine == 0.0 { Vector::default() } else { sum * (difference.dot(difference) / cosine).sqrt() }
}

/// Centroid of a triangle times its signed area.
pub fn triangle_centroid(a: Vector, b: Vector, c: Vector) -> Vector {
    let ratio = |angle: f64| if angle == 0.0 { 1.0 } else { angle / angle.sin() };
    let (ra, rb, rc) = (ratio(b.angle(c)), ratio(c.angle(a)), ratio(a.angle(b)));
    let x = Vector { x: a.x, y: b.x - a.x, z: c.x - a.x };
    let y = Vector { x: a.y, y: b.y - a.y, z: c.y - a.y };
    let z = Vector { x: a.z, y: b.z - a.z, z: c.z - a.z };
    let r = Vector { x: ra, y: rb - ra, z: rc - ra };
    Vector { x: y.cross(z).dot(r), y: z.cross(x).dot(r), z: x.cross(y).dot(r) } * 0.5
}

/// The direction from `a` to `b`, clockwise from north, from 0 to 2 pi; `None` for equal and opposite points.
pub fn azimuth(a: Vector, b: Vector) -> Option<f64> {
    let east = Vector { x: -a.y, y: a.x, z: 0.0 };
    // At a pole every direction is south or north: longitude 0 counts as in S2's conversions.
    let east = if east.norm() > 0.0 { east.unit() } else { Vector { x: 0.0, y: 1.0, z: 0.0 } };
    let north = a.cross(east);
    if a.angle(b) == 0.0 || (a + b).norm() < 1e-15 {
        return None;
    }
    let azimuth = b.dot(east).atan2(b.dot(north));
    Some(if azimuth < 0.0 { azimuth + 2.0 * PI } else { azimuth })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(longitude: f64, latitude: f64) -> Vector {
        Vector::of_degrees(longitude, latitude)
    }

    #[test]
    fn signs_agree_for_every_permutation_even_on_one_great_circle() {
        let equator: Vec<Vector> = [0.0, 10.0, 20.0, 45.0, 90.0, 135.0].iter().map(|l| point(*l, 0.0)).collect();
        let meridian: Vec<Vector> = [-50.0, 0.0, 10.0, 30.0, 90.0].iter().map(|l| point(0.0, *l)).collect();
        let corners = [point(0.0, 90.0), point(1.0, 1.0), point(1.0, 2.0), point(-170.0, -3.5)];
        for set in [equator, meridian, corners.to_vec()] {
            for a in &set {
                for b in &set {
                    for c in &set {
                        let found = sign(*a, *b, *c);
                        assert_eq!(found == 0, a == b || b == c || a == c);
                        assert_eq!([sign(*b, *c, *a), sign(*c, *a, *b)], [found, found]);
                        assert_eq!([sign(*b, *a, *c), sign(*a, *c, *b)], [-found, -found]);
                    }
                }
            }
        }
    }

    #[test]
    fn exact_sums_see_the_last_bit() {
        let tiny = f64::EPSILON;
        assert_eq!(exact_sum_sign(&[(1.0, 1.0 + tiny, 1.0 - tiny), (-1.0, 1.0, 1.0)]), -1);
        assert_eq!(exact_sum_sign(&[(3.0, 5.0, 7.0), (-15.0, 1.0, 7.0)]), 0);
    }

    #[test]
    fn every_point_belongs_to_exactly_one_part_of_a_subdivision() {
        // Eight octants.
        let octants: Vec<Ring> = (0..8)
            .map(|octant| {
                let (longitude, latitude) = (90.0 * f64::from(octant % 4), if octant < 4 { 90.0 } else { -90.0 });
                let next = (longitude + 90.0) % 360.0;
                Ring::smaller_side(vec![point(longitude, 0.0), point(next, 0.0), point(0.0, latitude)])
            })
            .collect();
        for longitude in -18..=18 {
            for latitude in -9..=9 {
                let point = point(f64::from(longitude) * 10.0, f64::from(latitude) * 10.0);
                assert_eq!(octants.iter().filter(|ring| ring.contains(point)).count(), 1, "{longitude} {latitude}");
            }
        }
    }

    #[test]
    fn areas_add_up_and_small_ones_keep_their_digits() {
        let octant = [point(0.0, 0.0), point(90.0, 0.0), point(0.0, 90.0)];
        assert!((signed_area(&octant) - PI / 2.0).abs() < 1e-14);
        assert!((triangle_area(octant[0], octant[2], octant[1]) + PI / 2.0).abs() < 1e-14);
        let small = 1e-7;
        let square = [point(10.0, 0.0), point(10.0 + small, 0.0), point(10.0 + small, small), point(10.0, small)];
        let expected = small.to_radians() * small.to_radians();
        assert!((signed_area(&square) / expected - 1.0).abs() < 1e-6, "{}", signed_area(&square) / expected);
    }
}
