//! `geo_*`: positions, lines, polygons and grid cells on the globe.
//!
//! Input: longitudes and latitudes in degrees, GeoJSON in dynamic values, cell names. The globe is a
//! sphere of 6,371,010 metres radius, edges are great circles. Output: metres, radians, GeoJSON.
//! Nulls: a position or shape that is not valid gives null (`""` for a cell's name).

pub mod addresses;
mod buffer;
mod cells;
mod combine;
mod covering;
mod densify;
mod geohash;
mod h3_covering;
mod index;
mod lines;
mod meetings;
mod overlay;
mod points;
mod polygons;
mod shape;
mod simplify;
mod sphere;
mod wkt;

use datafusion_common::Result;
use tidewater_kql::KqlType;
use tidewater_kql::value::real;

use crate::call::Call;
use crate::dynamic::{ArrayWriter, write_long};
use crate::registry::Scalar;
use crate::scalar::kernel::Texts;
use crate::scalar::rows::{Numbers, TO_BOOL, TO_DYNAMIC, TO_INT, TO_REAL, TO_STRING, row};
use crate::signature::{Accepts, BOOL, DYNAMIC, Param, STRING, Signature, optional, required, sig};

pub use index::{ShapeIndex, ShapeKind};
use shape::{Lines, Polygons, is_position};
use sphere::Vector;

const NUMBER: Accepts = Accepts::Number;
const WHOLE: Accepts = Accepts::OneOf(&[KqlType::Int, KqlType::Long]);
const LONGITUDE: Param = required("longitude", NUMBER);
const LATITUDE: Param = required("latitude", NUMBER);
const LINE: Param = required("lineString", DYNAMIC);
const POLYGON: Param = required("polygon", DYNAMIC);
const TOLERANCE: Param = optional("tolerance", NUMBER);
const SPHEROID: Param = optional("use_spheroid", BOOL);
const LEVEL: Param = optional("level", WHOLE);
const RADIUS: Param = optional("radius", NUMBER);

const TWO_POINTS: [Param; 4] = [
    required("p1_longitude", NUMBER),
    required("p1_latitude", NUMBER),
    required("p2_longitude", NUMBER),
    required("p2_latitude", NUMBER),
];
const DISTANCE: &[Signature] = &[sig(&[TWO_POINTS[0], TWO_POINTS[1], TWO_POINTS[2], TWO_POINTS[3], SPHEROID], TO_REAL)];
const AZIMUTH: &[Signature] = &[sig(&TWO_POINTS, TO_REAL)];
const ANGLE: &[Signature] = &[sig(
    &[
        TWO_POINTS[0],
        TWO_POINTS[1],
        TWO_POINTS[2],
        TWO_POINTS[3],
        required("p3_longitude", NUMBER),
        required("p3_latitude", NUMBER),
    ],
    TO_REAL,
)];
const CIRCLE: &[Signature] = &[sig(
    &[
        required("p_longitude", NUMBER),
        required("p_latitude", NUMBER),
        required("pc_longitude", NUMBER),
        required("pc_latitude", NUMBER),
        required("c_radius", NUMBER),
    ],
    TO_BOOL,
)];
const CELL_TO_DYNAMIC: &[Signature] = &[sig(&[required("cell", STRING)], TO_DYNAMIC)];
const POINT_TO_CELL: &[Signature] = &[sig(&[LONGITUDE, LATITUDE, LEVEL], TO_STRING)];
const LINE_TO_REAL: &[Signature] = &[sig(&[LINE], TO_REAL)];
const LINE_TO_DYNAMIC: &[Signature] = &[sig(&[LINE], TO_DYNAMIC)];
const POLYGON_TO_REAL: &[Signature] = &[sig(&[POLYGON], TO_REAL)];
const POLYGON_TO_DYNAMIC: &[Signature] = &[sig(&[POLYGON], TO_DYNAMIC)];
const POINT_AND_LINE: [Param; 3] = [LONGITUDE, LATITUDE, LINE];
const POINT_AND_POLYGON: [Param; 3] = [LONGITUDE, LATITUDE, POLYGON];
const TWO_LINES: &[Signature] = &[sig(&[required("lineString1", DYNAMIC), required("lineString2", DYNAMIC)], TO_BOOL)];
const LINE_AND_POLYGON: &[Signature] = &[sig(&[LINE, POLYGON], TO_BOOL)];
const TWO_POLYGONS: &[Signature] = &[sig(&[required("polygon1", DYNAMIC), required("polygon2", DYNAMIC)], TO_BOOL)];

/// The rows.
#[rustfmt::skip]
pub const ROWS: &[Scalar] = &[
    row!("geo_distance_2points", DISTANCE, points::distance,
        "Shortest distance in metres between two positions.", "geo-distance-2points-function"),
    row!("geo_azimuth", AZIMUTH, points::azimuth,
        "Direction from one position to another, clockwise from north, in radians.", "geo-azimuth-function"),
    row!("geo_angle", ANGLE, points::angle,
        "Angle at the second of three positions, clockwise from the first to the third, in radians.", "geo-angle-function"),
    row!("geo_point_in_circle", CIRCLE, points::in_circle,
        "Whether a position is within a distance of another.", "geo-point-in-circle-function"),
    row!("geo_point_in_polygon", &[sig(&POINT_AND_POLYGON, TO_BOOL)], polygons::contains,
        "Whether a polygon contains a position.", "geo-point-in-polygon-function"),
    row!("geo_from_wkt", &[sig(&[required("wkt", STRING)], TO_DYNAMIC)], wkt::from_wkt,
        "GeoJSON of a shape in well-known text.", "geo-from-wkt-function"),

    row!("geo_line_length", LINE_TO_REAL, lines::length, "Length of a line in metres.", "geo-line-length-function"),
    row!("geo_line_centroid", LINE_TO_DYNAMIC, lines::centroid, "Centroid of a line.", "geo-line-centroid-function"),
    row!("geo_line_densify", &[sig(&[LINE, TOLERANCE, optional("preserve_crossing", BOOL)], TO_DYNAMIC)], densify::line,
        "A line with points added so that its great circles follow the straight lines of the map.",
        "geo-line-densify-function"),
    row!("geo_line_interpolate_point", &[sig(&[LINE, required("fraction", NUMBER)], TO_DYNAMIC)], lines::interpolate_point,
        "The point at a share of a line's length.", "geo-line-interpolate-point-function"),
    row!("geo_line_locate_point", &[sig(&[LINE, LONGITUDE, LATITUDE, SPHEROID], TO_REAL)], lines::locate_point,
        "The share of a line's length at the point nearest to a position.", "geo-line-locate-point-function"),
    row!("geo_closest_point_on_line", &[sig(&POINT_AND_LINE, TO_DYNAMIC)], lines::closest_point,
        "The point of a line that is nearest to a position.", "geo-closest-point-on-line-function"),
    row!("geo_distance_point_to_line", &[sig(&POINT_AND_LINE, TO_REAL)], lines::distance,
        "Shortest distance in metres from a position to a line.", "geo-distance-point-to-line-function"),
    row!("geo_intersects_2lines", TWO_LINES, lines::intersects,
        "Whether two lines have a point in common.", "geo-intersects-2lines-function"),
    row!("geo_intersects_line_with_polygon", LINE_AND_POLYGON, polygons::intersects_line,
        "Whether a line and a polygon have a point in common.", "geo-intersects-line-with-polygon-function"),
    row!("geo_intersection_2lines",
        &[sig(&[required("lineString1", DYNAMIC), required("lineString2", DYNAMIC)], TO_DYNAMIC)], meetings::two_lines,
        "What two lines have in common.", "geo-intersection-2lines-function"),
    row!("geo_intersection_line_with_polygon", &[sig(&[LINE, POLYGON], TO_DYNAMIC)], meetings::line_with_polygon,
        "The parts of a line within a polygon.", "geo-intersection-line-with-polygon-function"),
    row!("geo_line_to_s2cells", &[sig(&[LINE, LEVEL, RADIUS], TO_DYNAMIC)], covering::of_line,
        "S2 cells of one level that cover a line.", "geo-line-to-s2cells-function"),

    row!("geo_polygon_area", POLYGON_TO_REAL, polygons::area,
        "Area of a polygon in square metres.", "geo-polygon-area-function"),
    row!("geo_polygon_perimeter", POLYGON_TO_REAL, polygons::perimeter,
        "Length of a polygon's border in metres.", "geo-polygon-perimeter-function"),
    row!("geo_polygon_centroid", POLYGON_TO_DYNAMIC, polygons::centroid,
        "Centroid of a polygon.", "geo-polygon-centroid-function"),
    row!("geo_polygon_densify", &[sig(&[POLYGON, TOLERANCE, optional("preserve_crossing", BOOL)], TO_DYNAMIC)], densify::polygon,
        "A polygon with points added so that its great circles follow the straight lines of the map.",
        "geo-polygon-densify-function"),
    row!("geo_closest_point_on_polygon", &[sig(&POINT_AND_POLYGON, TO_DYNAMIC)], polygons::closest_point,
        "The point of a polygon that is nearest to a position.", "geo-closest-point-on-polygon-function"),
    row!("geo_distance_point_to_polygon", &[sig(&POINT_AND_POLYGON, TO_REAL)], polygons::distance,
        "Shortest distance in metres from a position to a polygon.", "geo-distance-point-to-polygon-function"),
    row!("geo_intersects_2polygons", TWO_POLYGONS, polygons::intersects,
        "Whether two polygons have a point in common.", "geo-intersects-2polygons-function"),
    row!("geo_polygon_to_s2cells", &[sig(&[POLYGON, LEVEL, RADIUS], TO_DYNAMIC)], covering::of_polygon,
        "S2 cells of one level that cover a polygon.", "geo-polygon-to-s2cells-function"),

    row!("geo_polygon_to_h3cells", &[sig(&[POLYGON, optional("resolution", WHOLE), RADIUS], TO_DYNAMIC)], h3_covering::of_polygon,
        "H3 cells of one resolution whose centres are in a polygon.", "geo-polygon-to-h3cells-function"),

    row!("geo_point_to_geohash", &[sig(&[LONGITUDE, LATITUDE, optional("accuracy", WHOLE)], TO_STRING)], geohash::of_point,
        "Geohash of a position.", "geo-point-to-geohash-function"),
    row!("geo_geohash_to_central_point", CELL_TO_DYNAMIC, geohash::center,
        "Centre of a geohash.", "geo-geohash-to-central-point-function"),
    row!("geo_geohash_to_polygon", CELL_TO_DYNAMIC, geohash::polygon,
        "Rectangle of a geohash.", "geo-geohash-to-polygon-function"),
    row!("geo_geohash_neighbors", CELL_TO_DYNAMIC, geohash::neighbors,
        "The eight geohashes around one.", "geo-geohash-neighbors-function"),

    row!("geo_point_to_s2cell", POINT_TO_CELL, cells::s2_of_point,
        "S2 cell of a position.", "geo-point-to-s2cell-function"),
    row!("geo_s2cell_to_central_point", CELL_TO_DYNAMIC, cells::s2_center,
        "Centre of an S2 cell.", "geo-s2cell-to-central-point-function"),
    row!("geo_s2cell_to_polygon", CELL_TO_DYNAMIC, cells::s2_polygon,
        "Corners of an S2 cell.", "geo-s2cell-to-polygon-function"),
    row!("geo_s2cell_neighbors", CELL_TO_DYNAMIC, cells::s2_neighbors,
        "The S2 cells around one.", "geo-s2cell-neighbors-function"),

    row!("geo_point_to_h3cell", POINT_TO_CELL, cells::h3_of_point,
        "H3 cell of a position.", "geo-point-to-h3cell-function"),
    row!("geo_h3cell_to_central_point", CELL_TO_DYNAMIC, cells::h3_center,
        "Centre of an H3 cell.", "geo-h3cell-to-central-point-function"),
    row!("geo_h3cell_to_polygon", CELL_TO_DYNAMIC, cells::h3_polygon,
        "Corners of an H3 cell.", "geo-h3cell-to-polygon-function"),
    row!("geo_h3cell_neighbors", CELL_TO_DYNAMIC, cells::h3_neighbors,
        "The H3 cells around one.", "geo-h3cell-neighbors-function"),
    row!("geo_h3cell_rings", &[sig(&[required("h3cell", STRING), required("distance", WHOLE)], TO_DYNAMIC)], cells::h3_rings,
        "Rings of H3 cells around one.", "geo-h3cell-rings-function"),
    row!("geo_h3cell_parent", &[sig(&[required("h3cell", STRING), optional("resolution", WHOLE)], TO_STRING)], cells::h3_parent,
        "The H3 cell of a coarser resolution that holds one.", "geo-h3cell-parent-function"),
    row!("geo_h3cell_children", &[sig(&[required("h3cell", STRING), optional("resolution", WHOLE)], TO_DYNAMIC)], cells::h3_children,
        "The H3 cells of a finer resolution within one.", "geo-h3cell-children-function"),
    row!("geo_h3cell_level", &[sig(&[required("h3cell", STRING)], TO_INT)], cells::h3_level,
        "Resolution of an H3 cell.", "geo-h3cell-level-function"),

    row!("geo_intersection_2polygons",
        &[sig(&[required("polygon1", DYNAMIC), required("polygon2", DYNAMIC)], TO_DYNAMIC)], combine::intersect_polygons,
        "What two polygons have in common.", "geo-intersection-2polygons-function"),
    row!("geo_union_polygons_array", &[sig(&[required("polygons", DYNAMIC)], TO_DYNAMIC)], combine::union_polygons,
        "Union of polygons.", "geo-union-polygons-array-function"),
    row!("geo_union_lines_array", &[sig(&[required("lineStrings", DYNAMIC)], TO_DYNAMIC)], combine::union_lines,
        "Union of lines.", "geo-union-lines-array-function"),
    row!("geo_simplify_polygons_array", &[sig(&[required("polygons", DYNAMIC), TOLERANCE], TO_DYNAMIC)], simplify::all_polygons,
        "Union of polygons with fewer points.", "geo-simplify-polygons-array-function"),
    row!("geo_line_simplify", &[sig(&[LINE, TOLERANCE], TO_DYNAMIC)], simplify::line,
        "A line with fewer points.", "geo-line-simplify-function"),
    row!("geo_polygon_simplify", &[sig(&[POLYGON, TOLERANCE], TO_DYNAMIC)], simplify::polygon,
        "A polygon with fewer points.", "geo-polygon-simplify-function"),
    row!("geo_point_buffer", &[sig(&[LONGITUDE, LATITUDE, required("radius", NUMBER), TOLERANCE], TO_DYNAMIC)], buffer::of_point,
        "Polygon around a position.", "geo-point-buffer-function"),
    row!("geo_line_buffer", &[sig(&[LINE, required("radius", NUMBER), TOLERANCE], TO_DYNAMIC)], buffer::of_line,
        "Polygon around a line.", "geo-line-buffer-function"),
    row!("geo_polygon_buffer", &[sig(&[POLYGON, required("radius", NUMBER), TOLERANCE], TO_DYNAMIC)], buffer::of_polygon,
        "Polygon around a polygon.", "geo-polygon-buffer-function"),
    row!("geo_info_from_ip_address", &[sig(&[required("IpAddress", STRING)], TO_DYNAMIC)], addresses::info,
        "Country, city and position of an address, by a database that the server's settings name.",
        "geo-info-from-ip-address-function"),
];

/// A position from two arguments.
struct Positions {
    longitudes: Numbers,
    latitudes: Numbers,
}

impl Positions {
    /// Longitude at this argument, latitude at the next.
    fn of(call: &Call<'_>, position: usize) -> Result<Positions> {
        Ok(Positions { longitudes: Numbers::of(call, position)?, latitudes: Numbers::of(call, position + 1)? })
    }

    /// Degrees; `None` beyond the globe.
    fn degrees(&self, row: usize) -> Option<(f64, f64)> {
        let (longitude, latitude) = (self.longitudes.real(row)?, self.latitudes.real(row)?);
        is_position(longitude, latitude).then_some((longitude, latitude))
    }

    fn point(&self, row: usize) -> Option<Vector> {
        self.degrees(row).map(|(longitude, latitude)| Vector::of_degrees(longitude, latitude))
    }
}

/// An argument that is read from text: the last reading is kept, so that a constant is read once.
struct Shapes<T> {
    texts: Texts,
    read: fn(&str) -> Option<T>,
    last: std::cell::RefCell<(Option<String>, Option<std::rc::Rc<T>>)>,
}

type LineArgument = Shapes<Lines>;
type PolygonArgument = Shapes<Polygons>;

impl<T> Shapes<T> {
    fn new(call: &Call<'_>, position: usize, read: fn(&str) -> Option<T>) -> Result<Shapes<T>> {
        Ok(Shapes { texts: Texts::of(call, position)?, read, last: Default::default() })
    }

    /// The shape in a row; `None` for null and what is not valid.
    fn get(&self, row: usize) -> Option<std::rc::Rc<T>> {
        let text = self.texts.get(row)?;
        let mut last = self.last.borrow_mut();
        if last.0.as_deref() != Some(text) {
            *last = (Some(text.to_string()), (self.read)(text).map(std::rc::Rc::new));
        }
        last.1.clone()
    }
}

fn lines(call: &Call<'_>, position: usize) -> Result<LineArgument> {
    Shapes::new(call, position, Lines::read)
}

fn polygons(call: &Call<'_>, position: usize) -> Result<PolygonArgument> {
    Shapes::new(call, position, Polygons::read)
}

/// Coordinates are written as GeoJSON usually is: whole numbers without a fraction.
fn write_number(value: f64, out: &mut Vec<u8>) {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        write_long(value as i64, out);
    } else {
        real::write_json(value, out);
    }
}

fn write_position((longitude, latitude): (f64, f64), out: &mut Vec<u8>) {
    out.push(b'[');
    write_number(longitude, out);
    out.push(b',');
    write_number(latitude, out);
    out.push(b']');
}

fn write_positions(positions: &[(f64, f64)], out: &mut Vec<u8>) {
    let mut array = ArrayWriter::new(out);
    positions.iter().for_each(|position| write_position(*position, array.next()));
    array.close();
}

/// Appends a GeoJSON object; the closure writes its coordinates.
fn write_shape(kind: &str, out: &mut Vec<u8>, coordinates: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"coordinates\":").as_bytes());
    coordinates(out);
    out.push(b'}');
}

fn write_point(position: (f64, f64), out: &mut Vec<u8>) {
    write_shape("Point", out, |out| write_position(position, out));
}

#[cfg(test)]
mod tests;
