//! `geo_line_to_s2cells` and `geo_polygon_to_s2cells`: the cells of one level that a shape touches.
//!
//! Shape: cells are divided as long as the shape's border runs through them; a cell without border
//! is inside or outside as a whole. With a radius, cells within that distance count too. Errors:
//! more than 65,536 cells give null.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use s2::cell::Cell;
use s2::cellid::CellID;

use super::cells::{level, vector};
use super::sphere::{EARTH_RADIUS_METERS, Vector, crossing, nearest_on_edge, sign};
use super::{lines, polygons};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::scalar::kernel::each_dynamic;
use crate::scalar::rows::Numbers;

/// Most cells of a covering. Source: geo_polygon_to_s2cells page.
const MOST_CELLS: usize = 65_536;

/// Length of the longest diagonal of a cell of level 0, in radians; it halves with each level.
const LARGEST_DIAGONAL: f64 = 2.438_654_594_434_021;

type Edge = (Vector, Vector);

/// `geo_line_to_s2cells`
pub fn of_line(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = lines(call, 0)?;
    run(call, |row| {
        let shape = shapes.get(row)?;
        Some((shape.edges().collect(), Box::new(|_| false)))
    })
}

/// `geo_polygon_to_s2cells`
pub fn of_polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = polygons(call, 0)?;
    run(call, |row| {
        let shape = shapes.get(row)?;
        Some((shape.edges().collect(), Box::new(move |point| shape.contains(point))))
    })
}

type Contains = Box<dyn Fn(Vector) -> bool>;

fn run(call: &Call<'_>, shape: impl Fn(usize) -> Option<(Vec<Edge>, Contains)>) -> Result<ColumnarValue> {
    let levels = if call.args.len() > 1 { Some(Numbers::of(call, 1)?) } else { None };
    let radii = if call.args.len() > 2 { Some(Numbers::of(call, 2)?) } else { None };
    each_dynamic(call, |row, out| {
        let radius = radii.as_ref().map_or(Some(0.0), |radii| radii.real(row)).filter(|radius| *radius >= 0.0);
        let (Some((edges, contains)), Some(level), Some(radius)) = (shape(row), level(&levels, row), radius) else {
            return false;
        };
        let reach = radius / EARTH_RADIUS_METERS;
        // Far too many cells are not worth counting: the border alone touches as many as fit into its length.
        let length: f64 = edges.iter().map(|(a, b)| a.angle(*b)).sum();
        if length * (1u64 << level) as f64 / LARGEST_DIAGONAL > MOST_CELLS as f64 {
            return false;
        }
        let covering = Covering { edges: &edges, contains: &*contains, level, reach };
        let all: Vec<usize> = (0..edges.len()).collect();
        let mut found = Vec::new();
        if (0..6).any(|face| covering.add(CellID::from_face(face), &all, &mut found).is_none()) {
            return false;
        }
        let mut array = ArrayWriter::new(out);
        found.iter().for_each(|cell| array.string(&cell.to_token()));
        array.close();
        true
    })
}

struct Covering<'a> {
    edges: &'a [Edge],
    contains: &'a dyn Fn(Vector) -> bool,
    level: u64,
    reach: f64,
}

impl Covering<'_> {
    /// Adds what of a cell is covered; `None` when there are too many cells.
    fn add(&self, cell: CellID, edges: &[usize], found: &mut Vec<CellID>) -> Option<()> {
        let corners = Cell::from(cell).vertices().map(|corner| vector(&corner));
        let center = vector(&Cell::from(cell).center());
        let radius = corners.iter().fold(0.0f64, |radius, corner| radius.max(center.angle(*corner)));
        let is_near = |(a, b): Edge| center.angle(nearest_on_edge(center, a, b).0) <= radius + self.reach + 1e-14;
        let touches = |edge: &usize| is_near(self.edges[*edge]) && self.touches(&corners, self.edges[*edge]);
        let near: Vec<usize> = edges.iter().copied().filter(touches).collect();
        if near.is_empty() {
            if (self.contains)(center) {
                return fill(cell, self.level, found);
            }
            return Some(());
        }
        if cell.level() == self.level {
            found.push(cell);
            return (found.len() <= MOST_CELLS).then_some(());
        }
        cell.children().into_iter().try_for_each(|child| self.add(child, &near, found))
    }

    /// Whether an edge runs through a cell, along its border, or within the radius of it.
    fn touches(&self, corners: &[Vector; 4], (a, b): Edge) -> bool {
        let side = |place: usize| (corners[place], corners[(place + 1) % 4]);
        let is_inside = |point: Vector| (0..4).all(|place| sign(side(place).0, side(place).1, point) >= 0);
        if is_inside(a) || is_inside(b) || (0..4).any(|place| crossing(a, b, side(place).0, side(place).1) >= 0) {
            return true;
        }
        // Rounding must not lose a cell that an edge only touches.
        let reach = self.reach.max(1e-15);
        let distance = |point: Vector, (a, b): Edge| point.angle(nearest_on_edge(point, a, b).0);
        (0..4).any(|place| {
            let side = side(place);
            distance(a, side) <= reach || distance(b, side) <= reach || distance(side.0, (a, b)) <= reach
        })
    }
}

/// Adds all cells of a level within a cell.
fn fill(cell: CellID, level: u64, found: &mut Vec<CellID>) -> Option<()> {
    if cell.level() == level {
        found.push(cell);
        return (found.len() <= MOST_CELLS).then_some(());
    }
    cell.children().into_iter().try_for_each(|child| fill(child, level, found))
}
