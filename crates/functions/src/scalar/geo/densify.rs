//! `geo_line_densify` and `geo_polygon_densify`: points added to edges that are straight on the map.
//!
//! Shape: an edge is halved in degrees until the great circle between its ends stays within the
//! tolerance of it. How far they part is estimated at two points of the edge, as the S2 library's
//! tessellator does, so that the same edges are halved. Errors: a tolerance outside 0.1 to 10,000
//! metres, or more than 10,485,760 points, gives null.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::shape::Degrees;
use super::sphere::{EARTH_RADIUS_METERS, Vector, interpolate};
use super::{Shapes, lines, polygons, write_positions, write_shape};
use crate::call::Call;
use crate::dynamic::ArrayWriter;
use crate::scalar::kernel::{Bools, each_dynamic};
use crate::scalar::rows::Numbers;

const DEFAULT_TOLERANCE_METERS: f64 = 10.0;
const MOST_POINTS: usize = 10_485_760;
/// Where the distance is taken, and what part of the tolerance it may be there.
const PART: f64 = 0.312_156_910_822_482_8;
const SCALE: f64 = 0.838_299_925_698_885_1;

struct Settings {
    tolerance: Option<Numbers>,
    crossing: Option<Bools>,
}

impl Settings {
    fn of(call: &Call<'_>) -> Result<Settings> {
        Ok(Settings {
            tolerance: if call.args.len() > 1 { Some(Numbers::of(call, 1)?) } else { None },
            crossing: if call.args.len() > 2 { Some(Bools::of(call, 2)?) } else { None },
        })
    }

    /// Largest distance in radians.
    fn reach(&self, row: usize) -> Option<f64> {
        let meters = match &self.tolerance {
            None => DEFAULT_TOLERANCE_METERS,
            Some(tolerance) => tolerance.real(row)?,
        };
        (0.1..=10_000.0).contains(&meters).then_some(meters / EARTH_RADIUS_METERS * SCALE)
    }

    fn keeps_crossing(&self, row: usize) -> bool {
        self.crossing.as_ref().and_then(|crossing| crossing.get(row)).unwrap_or(false)
    }
}

/// `geo_line_densify`
pub fn line(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, settings) = (lines(call, 0)?, Settings::of(call)?);
    run(call, &shapes, &settings, |shape, densify, out| {
        let lines = shape.degrees.iter().map(|line| densify(line)).collect::<Option<Vec<_>>>()?;
        if shape.is_multi {
            write_shape("MultiLineString", out, |out| write_chains(&lines, out));
        } else {
            write_shape("LineString", out, |out| write_positions(&lines[0], out));
        }
        Some(())
    })
}

/// `geo_polygon_densify`
pub fn polygon(call: &Call<'_>) -> Result<ColumnarValue> {
    let (shapes, settings) = (polygons(call, 0)?, Settings::of(call)?);
    run(call, &shapes, &settings, |shape, densify, out| {
        let densify_all =
            |rings: &Vec<Vec<Degrees>>| rings.iter().map(|ring| densify(ring)).collect::<Option<Vec<_>>>();
        let polygons = shape.degrees.iter().map(densify_all).collect::<Option<Vec<_>>>()?;
        if shape.is_multi {
            write_shape("MultiPolygon", out, |out| {
                let mut array = ArrayWriter::new(out);
                polygons.iter().for_each(|rings| write_chains(rings, array.next()));
                array.close();
            });
        } else {
            write_shape("Polygon", out, |out| write_chains(&polygons[0], out));
        }
        Some(())
    })
}

fn write_chains(chains: &[Vec<Degrees>], out: &mut Vec<u8>) {
    let mut array = ArrayWriter::new(out);
    chains.iter().for_each(|chain| write_positions(chain, array.next()));
    array.close();
}

type Densify<'a> = &'a dyn Fn(&[Degrees]) -> Option<Vec<Degrees>>;

fn run<T>(
    call: &Call<'_>,
    shapes: &Shapes<T>,
    settings: &Settings,
    write: impl Fn(&T, Densify<'_>, &mut Vec<u8>) -> Option<()>,
) -> Result<ColumnarValue> {
    each_dynamic(call, |row, out| {
        let (Some(shape), Some(reach)) = (shapes.get(row), settings.reach(row)) else { return false };
        let keeps_crossing = settings.keeps_crossing(row);
        write(&shape, &|chain| densify(chain, reach, keeps_crossing), out).is_some()
    })
}

fn densify(chain: &[Degrees], reach: f64, keeps_crossing: bool) -> Option<Vec<Degrees>> {
    let mut points = vec![*chain.first()?];
    for edge in chain.windows(2) {
        let mut end = edge[1];
        // Across the antimeridian the longitude goes on beyond 180 degrees.
        if keeps_crossing && (end.0 - edge[0].0).abs() > 180.0 {
            end.0 += if end.0 < edge[0].0 { 360.0 } else { -360.0 };
        }
        split(edge[0], end, reach, 0, &mut points)?;
        if let Some(last) = points.last_mut() {
            *last = edge[1];
        }
    }
    Some(points)
}

fn vector(degrees: Degrees) -> Vector {
    Vector::of_degrees(degrees.0, degrees.1)
}

fn on_map(a: Degrees, b: Degrees, part: f64) -> Degrees {
    (a.0 + (b.0 - a.0) * part, a.1 + (b.1 - a.1) * part)
}

fn split(a: Degrees, b: Degrees, reach: f64, depth: u32, points: &mut Vec<Degrees>) -> Option<()> {
    let (from, to) = (vector(a), vector(b));
    let apart = |part: f64| interpolate(from, to, part).angle(vector(on_map(a, b, part)));
    // Edges longer than a quarter of the globe are always halved.
    let is_close = from.dot(to) >= -1e-14 && apart(PART).max(apart(1.0 - PART)) <= reach;
    if is_close || depth >= 40 {
        let longitude = if b.0 > 180.0 {
            b.0 - 360.0
        } else if b.0 < -180.0 {
            b.0 + 360.0
        } else {
            b.0
        };
        points.push((longitude, b.1));
        return (points.len() <= MOST_POINTS).then_some(());
    }
    let middle = on_map(a, b, 0.5);
    split(a, middle, reach, depth + 1, points)?;
    split(middle, b, reach, depth + 1, points)
}
