//! `geo_polygon_to_h3cells`: the cells of one resolution whose centres lie in a polygon.
//!
//! Shape: here the edges are straight lines of the map, as the page says. Cells come in the order of
//! their names; the reference engine's order is not documented. Errors: more than 61,680 cells give
//! null; a radius is refused.

use std::collections::BTreeSet;

use datafusion_common::{Result, not_impl_err};
use datafusion_expr::ColumnarValue;
use h3o::{CellIndex, LatLng, Resolution};

use super::cells::{h3_resolution, write_tokens};
use super::polygons;
use super::shape::{Degrees, Polygons};
use super::sphere::EARTH_RADIUS_METERS;
use crate::call::Call;
use crate::scalar::kernel::{each_dynamic, rows};
use crate::scalar::rows::Numbers;

/// Most cells. Source: geo_polygon_to_h3cells page.
const MOST_CELLS: usize = 61_680;
/// Most places at which borders are looked up.
const MOST_STEPS: f64 = 4e6;

/// `geo_polygon_to_h3cells`
pub fn of_polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    let shapes = polygons(call, 0)?;
    let levels = if call.args.len() > 1 { Some(Numbers::of(call, 1)?) } else { None };
    let radii = if call.args.len() > 2 { Some(Numbers::of(call, 2)?) } else { None };
    if let Some(radii) = &radii
        && (0..rows(call)).any(|row| radii.real(row).is_some_and(|radius| radius > 0.0))
    {
        return not_impl_err!("geo_polygon_to_h3cells() with a radius is not served");
    }
    each_dynamic(call, |row, out| {
        let is_valid = radii.as_ref().is_none_or(|radii| radii.real(row) == Some(0.0));
        let found = shapes.get(row).filter(|_| is_valid).zip(h3_resolution(&levels, row));
        let cells = found.and_then(|(shape, resolution)| cover(&shape, resolution));
        cells.map(|cells| write_tokens(cells.iter().map(|cell| cell.to_string()), out)).is_some()
    })
}

/// A polygon on the map: all rings, across the antimeridian with longitudes beyond 180.
struct Map {
    rings: Vec<Vec<Degrees>>,
    is_shifted: bool,
}

impl Map {
    fn of(rings: &[Vec<Degrees>]) -> Map {
        let is_shifted =
            rings.iter().flat_map(|ring| ring.windows(2)).any(|edge| (edge[0].0 - edge[1].0).abs() > 180.0);
        let mut map = Map { rings: rings.to_vec(), is_shifted };
        map.rings.iter_mut().flatten().for_each(|point| point.0 = shifted(point.0, is_shifted));
        map
    }

    fn edges(&self) -> impl Iterator<Item = (Degrees, Degrees)> {
        self.rings.iter().flat_map(|ring| ring.windows(2).map(|edge| (edge[0], edge[1])))
    }

    fn contains(&self, cell: CellIndex) -> bool {
        let center = LatLng::from(cell);
        let (x, y) = (shifted(center.lng(), self.is_shifted), center.lat());
        // Whether a ray to the east crosses an odd number of edges.
        let crosses =
            |(a, b): &(Degrees, Degrees)| (a.1 > y) != (b.1 > y) && x < a.0 + (y - a.1) / (b.1 - a.1) * (b.0 - a.0);
        self.edges().filter(crosses).count() % 2 == 1
    }
}

fn shifted(longitude: f64, is_shifted: bool) -> f64 {
    if is_shifted && longitude < 0.0 { longitude + 360.0 } else { longitude }
}

fn cover(shape: &Polygons, resolution: Resolution) -> Option<BTreeSet<CellIndex>> {
    // Far too many cells are not worth counting. Cells are half to twice the average size.
    let square_kilometers = shape.area() * (EARTH_RADIUS_METERS / 1000.0).powi(2);
    if square_kilometers / resolution.area_km2() > 4.0 * MOST_CELLS as f64 {
        return None;
    }
    let mut found = BTreeSet::new();
    for rings in &shape.degrees {
        let map = Map::of(rings);
        // Cells along the border, then everything inside that hangs together with them.
        let mut open: Vec<CellIndex> = Vec::new();
        let mut last = None;
        for (a, b) in map.edges() {
            let flattest = a.1.abs().min(b.1.abs()).to_radians().cos();
            let degrees = ((a.0 - b.0).abs() * flattest).max((a.1 - b.1).abs());
            const KILOMETERS_PER_DEGREE: f64 = 111.2;
            let steps = (degrees * KILOMETERS_PER_DEGREE * 3.0 / resolution.edge_length_km()).ceil().max(1.0);
            if steps > MOST_STEPS {
                return None;
            }
            for step in 0..steps as usize {
                let part = step as f64 / steps;
                let (longitude, latitude) = (a.0 + (b.0 - a.0) * part, a.1 + (b.1 - a.1) * part);
                let cell = LatLng::new(latitude, longitude).ok()?.to_cell(resolution);
                if last != Some(cell) {
                    last = Some(cell);
                    open.extend(cell.grid_disk::<Vec<CellIndex>>(1));
                    if open.len() > 16 * MOST_CELLS {
                        return None;
                    }
                }
            }
        }
        while let Some(cell) = open.pop() {
            if found.contains(&cell) || !map.contains(cell) {
                continue;
            }
            found.insert(cell);
            if found.len() > MOST_CELLS {
                return None;
            }
            open.extend(cell.grid_disk::<Vec<CellIndex>>(1));
        }
    }
    Some(found)
}
