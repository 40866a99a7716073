//! Functions of positions alone.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use geo::{Distance, Geodesic, Point};

use super::Positions;
use super::sphere::{EARTH_RADIUS_METERS, azimuth as azimuth_of};
use crate::call::Call;
use crate::scalar::kernel::{Bools, each};
use crate::scalar::rows::Numbers;

/// `geo_distance_2points`: on the sphere, or on the WGS-84 spheroid where asked for.
pub fn distance(call: &Call<'_>) -> Result<ColumnarValue> {
    let (a, b) = (Positions::of(call, 0)?, Positions::of(call, 2)?);
    let on_spheroid = if call.args.len() > 4 { Some(Bools::of(call, 4)?) } else { None };
    each(call, |row| {
        let ends = (a.degrees(row)?, b.degrees(row)?);
        if on_spheroid.as_ref().and_then(|on_spheroid| on_spheroid.get(row)).unwrap_or(false) {
            return Some(Geodesic.distance(Point::from(ends.0), Point::from(ends.1)));
        }
        Some(a.point(row)?.angle(b.point(row)?) * EARTH_RADIUS_METERS)
    })
}

/// `geo_azimuth`
pub fn azimuth(call: &Call<'_>) -> Result<ColumnarValue> {
    let (a, b) = (Positions::of(call, 0)?, Positions::of(call, 2)?);
    each(call, |row| azimuth_of(a.point(row)?, b.point(row)?))
}

/// `geo_angle`
pub fn angle(call: &Call<'_>) -> Result<ColumnarValue> {
    let (a, b, c) = (Positions::of(call, 0)?, Positions::of(call, 2)?, Positions::of(call, 4)?);
    each(call, |row| {
        let (a, b, c) = (a.point(row)?, b.point(row)?, c.point(row)?);
        let angle = azimuth_of(b, c)? - azimuth_of(b, a)?;
        Some(if angle < 0.0 { angle + std::f64::consts::TAU } else { angle })
    })
}

/// `geo_point_in_circle`
pub fn in_circle(call: &Call<'_>) -> Result<ColumnarValue> {
    let (point, center, radius) = (Positions::of(call, 0)?, Positions::of(call, 2)?, Numbers::of(call, 4)?);
    each(call, |row| {
        let (point, center) = (point.point(row)?, center.point(row)?);
        let radius = radius.real(row).filter(|radius| *radius >= 0.0)?;
        Some(point.angle(center) * EARTH_RADIUS_METERS <= radius)
    })
}
