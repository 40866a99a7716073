//! `geo_polygon_lookup`, `geo_line_lookup`: the areas and lines that a position is in or near.
//!
//! Argument of the table: GeoJSON; arguments of the source: longitude and latitude.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Float64Type;
use tidewater_functions::scalar::geo::{ShapeIndex, ShapeKind};

use super::lookup::{LookupIndex, LookupKind};

/// What matches.
#[derive(Clone, Copy, Debug)]
pub struct Shapes {
    /// Polygons or lines.
    pub kind: ShapeKind,
    /// Metres within which a position matches; without it, only inside.
    pub radius_metres: Option<f64>,
}

impl LookupKind for Shapes {
    fn name(&self) -> &'static str {
        match self.kind {
            ShapeKind::Polygon => "GeoPolygonLookup",
            ShapeKind::Line => "GeoLineLookup",
        }
    }

    fn settings(&self) -> String {
        self.radius_metres.map(|radius| format!("within {radius} metres")).unwrap_or_default()
    }

    fn index(&self) -> Box<dyn LookupIndex> {
        Box::new(Index(ShapeIndex::new(self.kind, self.radius_metres)))
    }
}

struct Index(ShapeIndex);

impl LookupIndex for Index {
    fn add(&mut self, keys: &[ArrayRef], at: usize, row: u32) {
        let texts = keys[0].as_string_view();
        if texts.is_valid(at) {
            self.0.add(texts.value(at), row);
        }
    }

    fn finish(&mut self) {
        self.0.finish();
    }

    fn find(&self, keys: &[ArrayRef], at: usize, found: &mut Vec<u32>) {
        let (longitudes, latitudes) = (keys[0].as_primitive::<Float64Type>(), keys[1].as_primitive::<Float64Type>());
        if longitudes.is_valid(at) && latitudes.is_valid(at) {
            self.0.find(longitudes.value(at), latitudes.value(at), found);
        }
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
