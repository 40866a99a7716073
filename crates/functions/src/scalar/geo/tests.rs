//! The pages' samples, and every row for odd input.
#![allow(clippy::excessive_precision, reason = "figures as the pages print them")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, StringViewArray};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;

use super::ROWS;
use crate::call::Call;
use crate::registry::{Imp, Scalar};
use crate::signature::{Accepts, Returns};

/// Numbers from 0 to 1, the same ones in every run.
pub(super) fn random() -> impl FnMut() -> f64 {
    let mut state = 88_172_645_463_325_252u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Clone, Copy, Debug)]
enum Arg {
    Number(f64),
    Level(i64),
    Json(&'static str),
    Text(&'static str),
    Flag(bool),
    Null,
}
use Arg::{Flag, Json, Level, Null, Number, Text};

impl Arg {
    fn value(self) -> (KqlType, ScalarValue) {
        match self {
            Number(value) => (KqlType::Real, ScalarValue::Float64(Some(value))),
            Level(value) => (KqlType::Long, ScalarValue::Int64(Some(value))),
            Null => (KqlType::Int, ScalarValue::Int32(None)),
            Json(text) => (KqlType::Dynamic, ScalarValue::Utf8View(Some(text.into()))),
            Text(text) => (KqlType::String, ScalarValue::Utf8View(Some(text.into()))),
            Flag(value) => (KqlType::Bool, ScalarValue::Boolean(Some(value))),
        }
    }
}

fn call(row: &Scalar, args: &[ColumnarValue], types: &[KqlType], rows: usize) -> ColumnarValue {
    let Imp::Kernel(kernel) = row.imp else { panic!("{} has no kernel", row.name) };
    let Returns::Type(returns) = row.signatures[0].returns else { panic!() };
    kernel(&Call { args, types, returns, rows }).unwrap()
}

fn run(name: &str, args: &[Arg]) -> String {
    let row = ROWS.iter().find(|row| row.name == name).unwrap();
    let (types, args): (Vec<KqlType>, Vec<ScalarValue>) = args.iter().map(|arg| arg.value()).unzip();
    let constants: Vec<ColumnarValue> = args.iter().cloned().map(ColumnarValue::Scalar).collect();
    let ColumnarValue::Scalar(value) = call(row, &constants, &types, 2) else { panic!() };
    let columns: Vec<ColumnarValue> =
        args.iter().map(|arg| ColumnarValue::Array(arg.to_array_of_size(4).unwrap().slice(1, 2))).collect();
    let array = call(row, &columns, &types, 2).to_array(2).unwrap();
    for place in 0..2 {
        assert_eq!(ScalarValue::try_from_array(&array, place).unwrap().to_string(), value.to_string(), "{name}");
    }
    value.to_string()
}

/// Runs with numbers only.
fn real(name: &str, args: &[f64]) -> String {
    run(name, &args.iter().map(|value| Number(*value)).collect::<Vec<_>>())
}

#[track_caller]
fn close(found: &str, expected: f64) {
    let found: f64 = found.parse().unwrap();
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{found} is not {expected}");
}

/// Compares texts whose numbers are nearly the same.
#[track_caller]
fn close_text(found: &str, expected: &str) {
    let split = |text: &str| -> (String, Vec<f64>) {
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.');
        let frame = text.chars().filter(|c| !is_number(*c) && !c.is_whitespace()).collect();
        let numbers = text.split(|c| !is_number(c)).filter(|part| !part.is_empty()).map(|part| part.parse().unwrap());
        (frame, numbers.collect())
    };
    let ((frame, numbers), (expected_frame, expected_numbers)) = (split(found), split(expected));
    assert_eq!((frame, numbers.len()), (expected_frame, expected_numbers.len()), "{found}\n{expected}");
    for (found, expected) in numbers.iter().zip(&expected_numbers) {
        assert!((found - expected).abs() <= 1e-10 * expected.abs().max(1.0), "{found} is not {expected}");
    }
}

const PARK: &str = r#"{"type":"Polygon","coordinates":[[[-73.9495,40.7969],[-73.95807266235352,40.80068603561921],[-73.98201942443848,40.76825672305777],[-73.97317886352539,40.76455136505513],[-73.9495,40.7969]]]}"#;
const TWO: &str = r#"{"type":"MultiPolygon","coordinates":[[[[-73.9495,40.7969],[-73.95807266235352,40.80068603561921],[-73.98201942443848,40.76825672305777],[-73.97317886352539,40.76455136505513],[-73.9495,40.7969]]],[[[-73.94262313842773,40.775991804565585],[-73.98107528686523,40.791849155467695],[-73.99600982666016,40.77092185281977],[-73.96150588989258,40.75609977566361],[-73.94262313842773,40.775991804565585]]]]}"#;
const ROAD: &str = r#"{"type":"LineString","coordinates":[[-115.115385,36.229195],[-115.136995,36.200366],[-115.140252,36.192470],[-115.143558,36.188523],[-115.144076,36.181954],[-115.154662,36.174483],[-115.166431,36.176388],[-115.183289,36.175007],[-115.192612,36.176736],[-115.202485,36.173439],[-115.225355,36.174365]]}"#;
const STREET: &str = r#"{"type":"LineString","coordinates":[[-73.95796,40.80042],[-73.97317,40.764486]]}"#;
const TWISTED: &str = r#"{"type":"LineString","coordinates":[[-73.95807266235352,40.800426144169315],[-73.94966125488281,40.79691751000055],[-73.97317886352539,40.764486356930334],[-73.98210525512695,40.76786669510221],[-73.96004676818848,40.7980870753293]]}"#;
const BAD_POLYGON: &str = r#"{"type":"Polygon","coordinates":[[[0,0],[10,10],[10,10],[0,0]]]}"#;
const BAD_LINE: &str = r#"{"type":"LineString","coordinates":[[1,1]]}"#;

#[test]
fn positions_have_distances_and_directions() {
    close(&real("geo_distance_2points", &[-122.407628, 47.578557, -118.275287, 34.019056]), 1546754.35197381);
    assert_eq!(real("geo_distance_2points", &[300.0, 1.0, 1.0, 1.0]), "NULL");
    let spheroid = run("geo_distance_2points", &[Number(0.0), Number(0.0), Number(1.0), Number(0.0), Flag(true)]);
    close(&spheroid, 111319.49079327358);
    close(&real("geo_azimuth", &[5.0, 10.0, 10.0, -40.0]), 3.05459939796449);
    close(&real("geo_azimuth", &[0.0, 0.0, -1.0, 0.0]), 1.5 * std::f64::consts::PI);
    assert_eq!(real("geo_azimuth", &[5.0, 10.0, 5.0, 10.0]), "NULL");
    assert_eq!(real("geo_azimuth", &[0.0, 0.0, 180.0, 0.0]), "NULL");
    close(&real("geo_angle", &[0.0, 10.0, 0.0, 5.0, 3.0, -10.0]), 2.94493843406882);
    assert_eq!(real("geo_angle", &[0.0, 10.0, 0.0, 10.0, 3.0, -10.0]), "NULL");
    assert_eq!(real("geo_point_in_circle", &[-122.143564, 47.535677, -122.100896, 47.527351, 3500.0]), "true");
    assert_eq!(real("geo_point_in_circle", &[-122.137575, 47.630683, -122.100896, 47.527351, 3500.0]), "false");
    assert_eq!(real("geo_point_in_circle", &[1.0, 1.0, 1.0, 1.0, -1.0]), "NULL");
}

#[test]
fn lines_are_measured() {
    let length = |line| run("geo_line_length", &[Json(line)]);
    close(
        &length(
            r#"{"type":"LineString","coordinates":[[-73.95807266235352,40.800426144169315],[-73.94966125488281,40.79691751000055],[-73.97317886352539,40.764486356930334]]}"#,
        ),
        4922.48016992081,
    );
    close(
        &length(
            r#"{"type":"MultiLineString","coordinates":[[[-73.95798683166502,40.800556090021466],[-73.98193359375,40.76819171855746]],[[-73.94940376281738,40.79691751000055],[-73.97317886352539,40.76435634049001]]]}"#,
        ),
        8262.24339753741,
    );
    assert_eq!(length(BAD_LINE), "NULL");
    let centroid = run("geo_line_centroid", &[Json(STREET)]);
    close_text(&centroid, r#"{"type":"Point","coordinates":[-73.965567057230942,40.782453249627416]}"#);
    assert!(run("geo_line_centroid", &[Json(TWISTED)]).contains("-73.9660675626837"));
    let nearest = run("geo_closest_point_on_line", &[Number(-115.199625), Number(36.210419), Json(ROAD)]);
    assert_eq!(nearest, r#"{"type":"Point","coordinates":[-115.192612,36.176736]}"#);
    close(&run("geo_distance_point_to_line", &[Number(-115.199625), Number(36.210419), Json(ROAD)]), 3797.88887253334);
    assert_eq!(
        run("geo_distance_point_to_line", &[Number(1.0), Number(1.0), Json("{\"type\":\"LineString\"}")]),
        "NULL"
    );
    let at = |line, part| run("geo_line_interpolate_point", &[Json(line), Number(part)]);
    close_text(&at(STREET, 0.25), r#"{"type":"Point","coordinates":[-73.961764043218281,40.791436687257232]}"#);
    assert!(at(TWISTED, 0.9).contains("-73.96556545832799"), "{}", at(TWISTED, 0.9));
    assert_eq!(at(STREET, 1.0), r#"{"type":"Point","coordinates":[-73.97317,40.764486]}"#);
    assert_eq!(at(STREET, 1.5), "NULL");
    close(&run("geo_line_locate_point", &[Json(STREET), Number(-73.965), Number(40.792)]), 0.25560135100307552);
    let line = |text| {
        run(
            "geo_intersects_2lines",
            &[
                Json(r#"{"type":"LineString","coordinates":[[-73.978929,40.785155],[-73.980903,40.782621]]}"#),
                Json(text),
            ],
        )
    };
    assert_eq!(line(r#"{"type":"LineString","coordinates":[[-73.985195,40.788275],[-73.974552,40.779761]]}"#), "true");
    assert_eq!(line(r#"{"type":"LineString","coordinates":[[-73.985195,40.788275],[-73.98,41]]}"#), "false");
    assert_eq!(line(BAD_LINE), "NULL");
}

#[test]
fn polygons_are_measured_as_their_union() {
    close(&run("geo_polygon_area", &[Json(PARK)]), 3475207.28346606);
    close(&run("geo_polygon_area", &[Json(TWO)]), 10889971.5343487);
    assert_eq!(run("geo_polygon_area", &[Json(BAD_POLYGON)]), "NULL");
    close(&run("geo_polygon_perimeter", &[Json(PARK)]), 9930.30149604938);
    close(&run("geo_polygon_perimeter", &[Json(TWO)]), 15943.5384578745);
    let centroid = |polygon| run("geo_polygon_centroid", &[Json(polygon)]);
    close_text(&centroid(PARK), r#"{"type":"Point","coordinates":[-73.965735689907618,40.782550538057812]}"#);
    close_text(&centroid(TWO), r#"{"type":"Point","coordinates":[-73.968569587829577,40.776310752555119]}"#);
    // Neighbours with a common edge: it is no border of the union.
    let halves = r#"{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,1],[0,0]]],[[[1,0],[2,0],[2,1],[1,1],[1,0]]]]}"#;
    let left =
        run("geo_polygon_perimeter", &[Json(r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,1],[0,0]]]}"#)]);
    let edge = real("geo_distance_2points", &[1.0, 0.0, 1.0, 1.0]);
    let (left, edge): (f64, f64) = (left.parse().unwrap(), edge.parse().unwrap());
    close(&run("geo_polygon_perimeter", &[Json(halves)]), 2.0 * (left - edge));
    // A crossing border is not valid.
    assert_eq!(
        run("geo_polygon_area", &[Json(r#"{"type":"Polygon","coordinates":[[[0,0],[1,1],[1,0],[0,1],[0,0]]]}"#)]),
        "NULL"
    );
}

#[test]
fn polygons_contain_and_are_near() {
    let inside = |longitude, latitude, polygon| {
        run("geo_point_in_polygon", &[Number(longitude), Number(latitude), Json(polygon)])
    };
    assert_eq!(inside(-73.965, 40.782, PARK), "true");
    assert_eq!(inside(-73.95, 40.782, PARK), "false");
    assert_eq!(inside(1.0, 1.0, BAD_POLYGON), "NULL");
    assert_eq!(inside(200.0, 1.0, PARK), "NULL");
    let holed =
        r#"{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[0,10],[0,0]],[[4,4],[4,6],[6,6],[6,4],[4,4]]]}"#;
    assert_eq!(
        (inside(5.0, 5.0, holed), inside(2.0, 5.0, holed), inside(-2.0, 5.0, holed)),
        ("false".into(), "true".into(), "false".into())
    );
    close(&run("geo_distance_point_to_polygon", &[Number(-73.9839), Number(40.7705), Json(PARK)]), 259.940756070596);
    assert_eq!(run("geo_distance_point_to_polygon", &[Number(-73.965), Number(40.782), Json(PARK)]), "0");
    close_text(
        &run("geo_closest_point_on_polygon", &[Number(-73.9839), Number(40.7705), Json(PARK)]),
        r#"{"type":"Point","coordinates":[-73.981205580153926,40.769359452843211]}"#,
    );
    let triangle = r#"{"type":"Polygon","coordinates":[[[-73.9712905883789,40.78580561168767],[-73.98004531860352,40.775276834803655],[-73.97000312805176,40.77852663535664],[-73.9712905883789,40.78580561168767]]]}"#;
    let line = r#"{"type":"LineString","coordinates":[[-73.985195,40.788275],[-73.974552,40.779761]]}"#;
    assert_eq!(run("geo_intersects_line_with_polygon", &[Json(line), Json(triangle)]), "true");
    assert_eq!(run("geo_intersects_line_with_polygon", &[Json(ROAD), Json(triangle)]), "false");
    let touching = |a, b| run("geo_intersects_2polygons", &[Json(a), Json(b)]);
    assert_eq!(touching(PARK, triangle), "true");
    assert_eq!(
        touching(
            r#"{"type":"Polygon","coordinates":[[[2,45],[0,45],[1,44],[2,45]]]}"#,
            r#"{"type":"Polygon","coordinates":[[[3,44],[3,45],[2,43],[3,44]]]}"#
        ),
        "false"
    );
    assert_eq!(touching(PARK, "{\"type\":\"Polygon\"}"), "NULL");
}

#[test]
fn lines_meet_lines_and_polygons() {
    let first = r#"{"type":"LineString","coordinates":[[-73.978929,40.785155],[-73.980903,40.782621]]}"#;
    let second = r#"{"type":"LineString","coordinates":[[-73.985195,40.788275],[-73.974552,40.779761]]}"#;
    let meet = |a, b| run("geo_intersection_2lines", &[Json(a), Json(b)]);
    close_text(&meet(first, second), r#"{"type":"Point","coordinates":[-73.979837116670978,40.783989289772165]}"#);
    assert_eq!(meet(first, first), first);
    let nothing = r#"{"type":"GeometryCollection","geometries":[]}"#;
    assert_eq!(meet(first, STREET), nothing);
    assert_eq!(meet(first, BAD_LINE), "NULL");
    let clip = |a, b| run("geo_intersection_line_with_polygon", &[Json(a), Json(b)]);
    let triangle = r#"{"type":"Polygon","coordinates":[[[-73.9712905883789,40.78580561168767],[-73.98004531860352,40.775276834803655],[-73.97000312805176,40.77852663535664],[-73.9712905883789,40.78580561168767]]]}"#;
    close_text(
        &clip(second, triangle),
        r#"{"type":"LineString","coordinates":[[-73.975611956578192,40.78060906714618],[-73.974552,40.779761]]}"#,
    );
    close_text(
        &clip(
            r#"{"type":"LineString","coordinates":[[-110.522,39.198],[-91.428,40.880]]}"#,
            r#"{"type":"Polygon","coordinates":[[[-90.263,36.738],[-102.041,45.274],[-109.335,36.527],[-90.263,36.738]],[[-100.393,41.705],[-103.139,38.925],[-97.558,39.113],[-100.393,41.705]]]}"#,
        ),
        r#"{"type":"MultiLineString","coordinates":[[[-106.89353655881905,39.769226209776306],[-101.74448553679453,40.373506008712525]],[[-99.136499431328858,40.589336512699994],[-95.284527737311791,40.799060242246348]]]}"#,
    );
    assert_eq!(clip(ROAD, triangle), nothing);
}

#[test]
fn shapes_get_more_points() {
    let polygon = |text| run("geo_polygon_densify", &[Json(text)]);
    let park = r#"{"type":"Polygon","coordinates":[[[-73.958244,40.800719],[-73.949146,40.79695],[-73.973093,40.764226],[-73.982062,40.768159],[-73.958244,40.800719]]]}"#;
    assert_eq!(polygon(park), park);
    assert_eq!(
        polygon(r#"{"type":"Polygon","coordinates":[[[10,10],[11,10],[11,11],[10,11],[10,10]]]}"#),
        r#"{"type":"Polygon","coordinates":[[[10,10],[10.25,10],[10.5,10],[10.75,10],[11,10],[11,11],[10.75,11],[10.5,11],[10.25,11],[10,11],[10,10]]]}"#
    );
    let line = |rest: &[Arg]| {
        run("geo_line_densify", &[&[Json(r#"{"type":"LineString","coordinates":[[50,50],[51,51]]}"#)], rest].concat())
    };
    assert_eq!(
        line(&[]),
        r#"{"type":"LineString","coordinates":[[50,50],[50.125,50.125],[50.25,50.25],[50.375,50.375],[50.5,50.5],[50.625,50.625],[50.75,50.75],[50.875,50.875],[51,51]]}"#
    );
    assert_eq!(line(&[Number(0.0)]), "NULL");
}

#[test]
fn well_known_text_is_read() {
    let wkt = |text| run("geo_from_wkt", &[Text(text)]);
    assert_eq!(wkt("POINT (1 2)"), r#"{"type":"Point","coordinates":[1,2]}"#);
    assert_eq!(wkt("LINESTRING (1 2, 3 4)"), r#"{"type":"LineString","coordinates":[[1,2],[3,4]]}"#);
    assert_eq!(wkt("MULTIPOINT (1 1, (2 2), 3 3.5)"), r#"{"type":"MultiPoint","coordinates":[[1,1],[2,2],[3,3.5]]}"#);
    assert_eq!(
        wkt("MULTIPOLYGON (((0 0, 2 0, 2 2, 0 0)),((10 10, 12 10, 12 12, 10 10)))"),
        r#"{"type":"MultiPolygon","coordinates":[[[[0,0],[2,0],[2,2],[0,0]]],[[[10,10],[12,10],[12,12],[10,10]]]]}"#
    );
    assert_eq!(
        wkt("GEOMETRYCOLLECTION (POINT (1 1),LINESTRING (2 2, 3 3, 4 4))"),
        r#"{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,1]},{"type":"LineString","coordinates":[[2,2],[3,3],[4,4]]}]}"#
    );
    for text in ["LINESTRING", "", "POINT (1)", "POINT (1 2", "POINT (1 2) x", "CIRCLE (1 2)", "POINT Z (1 2 3)"] {
        assert_eq!(wkt(text), "NULL", "{text}");
    }
}

#[test]
fn geohashes_are_those_of_the_pages() {
    assert_eq!(run("geo_point_to_geohash", &[Number(-80.195829), Number(25.802215), Level(8)]), "dhwfz15h");
    assert_eq!(run("geo_point_to_geohash", &[Number(-122.303404), Number(47.570482)]), "c23n8");
    assert_eq!(run("geo_point_to_geohash", &[Number(1.0), Number(1.0), Null]), "");
    assert_eq!(run("geo_point_to_geohash", &[Number(200.0), Number(1.0), Level(8)]), "");
    assert_eq!(run("geo_point_to_geohash", &[Number(1.0), Number(1.0), Level(18)]).len(), 18);
    assert_eq!(
        run("geo_geohash_to_central_point", &[Text("sunny")]),
        r#"{"type":"Point","coordinates":[42.47314453125,23.70849609375]}"#
    );
    assert_eq!(run("geo_geohash_to_central_point", &[Text("a")]), "NULL");
    assert_eq!(
        run("geo_geohash_to_polygon", &[Text("dr5ru")]),
        r#"{"type":"Polygon","coordinates":[[[-74.00390625,40.7373046875],[-73.9599609375,40.7373046875],[-73.9599609375,40.78125],[-74.00390625,40.78125],[-74.00390625,40.7373046875]]]}"#
    );
    assert_eq!(
        run("geo_geohash_neighbors", &[Text("sunny")]),
        r#"["sunnt","sunpj","sunnx","sunpn","sunnv","sunpp","sunnz","sunnw"]"#
    );
}

#[test]
fn s2_cells_are_those_of_the_pages() {
    assert_eq!(run("geo_point_to_s2cell", &[Number(-80.195829), Number(25.802215), Level(8)]), "88d9b");
    assert_eq!(run("geo_point_to_s2cell", &[Number(10.1234), Number(53.0), Level(8)]), "47b1d");
    assert_eq!(run("geo_point_to_s2cell", &[Number(10.6842), Number(53.0), Level(8)]), "47ae3");
    for args in [
        [Number(300.0), Number(1.0), Level(8)],
        [Number(1.0), Number(1.0), Level(35)],
        [Number(1.0), Number(1.0), Null],
    ] {
        assert_eq!(run("geo_point_to_s2cell", &args), "");
    }
    close_text(
        &run("geo_s2cell_to_central_point", &[Text("1234567")]),
        r#"{"type":"Point","coordinates":[9.86830731850408,27.468392925827604]}"#,
    );
    close_text(
        &run("geo_s2cell_to_polygon", &[Text("89c259")]),
        r#"{"type":"Polygon","coordinates":[[[-74.030012249838478,40.8012684339439],[-74.030012249838478,40.7222262918358],[-73.935982114337421,40.708880489804564],[-73.935982114337421,40.787917134506841],[-74.030012249838478,40.8012684339439]]]}"#,
    );
    assert_eq!(
        run("geo_s2cell_neighbors", &[Text("89c259")]),
        r#"["89c25d","89c2f9","89c251","89c257","89c25f","89c25b","89c2f7","89c2f5"]"#
    );
    for token in ["a", "", "x", "+1", "12345678901234567"] {
        assert_eq!(run("geo_s2cell_neighbors", &[Text(token)]), "NULL", "{token}");
    }
    let wedge = r#"{"type":"Polygon","coordinates":[[[0,0],[0,50],[100,50],[0,0]]]}"#;
    let covering = run("geo_polygon_to_s2cells", &[Json(wedge), Level(5)]);
    assert_eq!(covering.matches(',').count() + 1, 286);
    assert_eq!(run("geo_polygon_to_s2cells", &[Json(wedge), Level(30)]), "NULL");
    let street = r#"{"type":"LineString","coordinates":[[-0.1399656708283601,51.50190802248855],[-0.14088438832752104,51.50012082761452]]}"#;
    let station = run("geo_point_to_s2cell", &[Number(-0.13451078568013486), Number(51.49919145858172), Level(14)]);
    let near = run("geo_line_to_s2cells", &[Json(street), Level(14), Number(500.0)]);
    assert!(near.contains(&station) && near.len() > run("geo_line_to_s2cells", &[Json(street), Level(14)]).len());
}

#[test]
fn h3_cells_are_those_of_the_pages() {
    assert_eq!(
        run("geo_point_to_h3cell", &[Number(-74.04450446039874), Number(40.689250859314974), Level(6)]),
        "862a1072fffffff"
    );
    assert_eq!(run("geo_point_to_h3cell", &[Number(1.0), Number(1.0), Level(16)]), "");
    assert_eq!(run("geo_point_to_h3cell", &[Number(1.0), Number(1.0), Null]), "");
    close_text(
        &run("geo_h3cell_to_central_point", &[Text("862a1072fffffff")]),
        r#"{"type":"Point","coordinates":[-74.016008479792447,40.7041679083504]}"#,
    );
    close_text(
        &run("geo_h3cell_to_polygon", &[Text("862a1072fffffff")]),
        r#"{"type":"Polygon","coordinates":[[[-74.0022744646159,40.735376026215022],[-74.046908029686236,40.727986222489115],[-74.060610712223664,40.696775140349033],[-74.029724408156682,40.672970047595463],[-73.985140983708192,40.680349049267583],[-73.971393761028622,40.71154393543933],[-74.0022744646159,40.735376026215022]]]}"#,
    );
    assert_eq!(
        run("geo_h3cell_neighbors", &[Text("862a1072fffffff")]),
        r#"["862a10727ffffff","862a10707ffffff","862a1070fffffff","862a10777ffffff","862a100dfffffff","862a100d7ffffff"]"#
    );
    assert_eq!(
        run("geo_h3cell_rings", &[Text("861f8894fffffff"), Level(2)]),
        r#"[["861f8894fffffff"],["861f88947ffffff","861f8895fffffff","861f88867ffffff","861f8d497ffffff","861f8d4b7ffffff","861f8896fffffff"],["861f88967ffffff","861f88977ffffff","861f88957ffffff","861f8882fffffff","861f88877ffffff","861f88847ffffff","861f8886fffffff","861f8d49fffffff","861f8d487ffffff","861f8d4a7ffffff","861f8d59fffffff","861f8d597ffffff"]]"#
    );
    assert_eq!(run("geo_h3cell_rings", &[Text("861f8894fffffff"), Level(150)]), "NULL");
    assert_eq!(run("geo_h3cell_parent", &[Text("862a1072fffffff")]), "852a1073fffffff");
    assert_eq!(run("geo_h3cell_parent", &[Text("862a1072fffffff"), Level(1)]), "812a3ffffffffff");
    for args in [[Text("862a1072fffffff"), Level(100)], [Text("862a1072fffffff"), Level(15)], [Text("123"), Level(1)]] {
        assert_eq!(run("geo_h3cell_parent", &args), "");
    }
    assert_eq!(
        run("geo_h3cell_children", &[Text("862a1072fffffff")]),
        r#"["872a10728ffffff","872a10729ffffff","872a1072affffff","872a1072bffffff","872a1072cffffff","872a1072dffffff","872a1072effffff"]"#
    );
    assert_eq!(run("geo_h3cell_children", &[Text("862a1072fffffff"), Level(12)]), "NULL");
    assert_eq!(run("geo_h3cell_level", &[Text("862a1072fffffff")]), "6");
    assert_eq!(run("geo_h3cell_level", &[Text("abc")]), "NULL");
}

#[test]
fn polygons_are_filled_with_h3_cells() {
    let madrid = r#"{"type":"Polygon","coordinates":[[[-3.659,40.553],[-3.913,40.409],[-3.729,40.273],[-3.524,40.440],[-3.659,40.553]]]}"#;
    let mut expected = [
        "86390cb57ffffff",
        "86390cb0fffffff",
        "86390ca27ffffff",
        "86390cb87ffffff",
        "86390cb07ffffff",
        "86390ca2fffffff",
        "86390ca37ffffff",
        "86390cb17ffffff",
        "86390cb1fffffff",
        "86390cb8fffffff",
        "86390cba7ffffff",
        "86390ca07ffffff",
        "86390cbafffffff",
    ];
    expected.sort_unstable();
    assert_eq!(run("geo_polygon_to_h3cells", &[Json(madrid)]), serde_json::to_string(&expected).unwrap());
    assert_eq!(run("geo_polygon_to_h3cells", &[Json(madrid), Level(15)]), "NULL");
    assert_eq!(run("geo_polygon_to_h3cells", &[Json(madrid), Level(16)]), "NULL");
    assert_eq!(run("geo_polygon_to_h3cells", &[Json(r#"{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}"#)]), "NULL");
    // Fiji: a polygon across the antimeridian.
    let fiji = r#"{"type":"Polygon","coordinates":[[[178,-18],[178,-16],[-178,-16],[-178,-18],[178,-18]]]}"#;
    let cells: Vec<String> = serde_json::from_str(&run("geo_polygon_to_h3cells", &[Json(fiji), Level(4)])).unwrap();
    assert!((30..80).contains(&cells.len()), "{}", cells.len());
}

/// Odd values for a parameter.
fn odd(accepts: Accepts, place: usize) -> (KqlType, ArrayRef) {
    let numbers = [0.0, 90.0, -90.0, 180.0, -180.0, f64::NAN, f64::INFINITY, 1e300, 45.5, 7.0];
    let texts = [
        "",
        "null",
        "[]",
        "{\"type\":\"Polygon\",\"coordinates\":[]}",
        "{\"type\":\"LineString\",\"coordinates\":[[0,0],[180,0]]}",
        "{\"type\":\"LineString\",\"coordinates\":[[0,0],[0,0]]}",
        "{\"type\":\"Polygon\",\"coordinates\":[[[0,90],[120,-90],[0,0],[0,90]]]}",
        "{\"type\":\"Polygon\",\"coordinates\":[[[-180,0],[0,0],[90,0],[-180,0]]]}",
        "89c25",
        "862a1072fffffff",
    ];
    match accepts {
        Accepts::Only(KqlType::Dynamic) | Accepts::Only(KqlType::String) => {
            let values = (0..10).map(|n| texts[(n * 3 + place) % 10]);
            let Accepts::Only(ty) = accepts else { panic!() };
            (ty, Arc::new(StringViewArray::from_iter_values(values)))
        }
        Accepts::Only(KqlType::Bool) => (KqlType::Bool, Arc::new(arrow::array::BooleanArray::from(vec![None; 10]))),
        Accepts::OneOf(_) => (
            KqlType::Long,
            Arc::new(arrow::array::Int64Array::from_iter((0..10).map(|n| (n < 9).then_some(n * 4 - 8)))),
        ),
        _ => (
            KqlType::Real,
            Arc::new(Float64Array::from_iter((0..10).map(|n| (n < 9).then(|| numbers[(n * 7 + place) % 10])))),
        ),
    }
}

#[test]
fn odd_input_gives_an_answer_or_null() {
    super::addresses::set_database(super::addresses::tests::sample()).unwrap();
    for row in ROWS.iter().filter(|row| matches!(row.imp, Imp::Kernel(_))) {
        let signature = row.signatures[0];
        if row.name.starts_with("geo_intersection") {
            continue;
        }
        // A radius is refused there.
        let params = if row.name == "geo_polygon_to_h3cells" { &signature.params[..2] } else { signature.params };
        for shift in 0..10 {
            let (types, columns): (Vec<KqlType>, Vec<ArrayRef>) =
                params.iter().enumerate().map(|(place, param)| odd(param.accepts, place + shift)).unzip();
            let args: Vec<ColumnarValue> =
                columns.iter().map(|column| ColumnarValue::Array(Arc::clone(column))).collect();
            let whole = call(row, &args, &types, 10).to_array(10).unwrap();
            assert_eq!(whole.len(), 10);
            for place in 0..10 {
                let value = ScalarValue::try_from_array(&whole, place).unwrap();
                if let (Returns::Type(KqlType::Dynamic), Some(Some(text))) = (signature.returns, value.try_as_str()) {
                    assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{}: {text}", row.name);
                }
            }
        }
    }
}
