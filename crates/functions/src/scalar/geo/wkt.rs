//! `geo_from_wkt`: well-known text to GeoJSON.
//!
//! Shape: points, lines, polygons, their multiples and collections, with two coordinates. Errors:
//! other text, third coordinates and empty shapes give null.

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::{write_number, write_shape};
use crate::call::Call;
use crate::scalar::kernel::{Texts, each_dynamic};

/// Collections may be nested this deep.
const MAX_DEPTH: usize = 64;

/// `geo_from_wkt`
pub fn from_wkt(call: &Call<'_>) -> Result<ColumnarValue> {
    let texts = Texts::of(call, 0)?;
    each_dynamic(call, |row, out| {
        let mut reader = Reader { rest: texts.text(row) };
        reader.shape(0, out).filter(|()| reader.skip().is_empty()).is_some()
    })
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip(&mut self) -> &'a str {
        self.rest = self.rest.trim_ascii_start();
        self.rest
    }

    fn eat(&mut self, character: char) -> bool {
        match self.skip().strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, character: char) -> Option<()> {
        self.eat(character).then_some(())
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.skip();
        let end = rest.find(|character| !belongs(character)).unwrap_or(rest.len());
        let (taken, rest) = rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let text =
            self.take(|character| character.is_ascii_digit() || matches!(character, '+' | '-' | '.' | 'e' | 'E'));
        let value: f64 = text.parse().ok()?;
        value.is_finite().then(|| write_number(value, out))
    }

    fn position(&mut self, out: &mut Vec<u8>) -> Option<()> {
        out.push(b'[');
        self.number(out)?;
        out.push(b',');
        self.number(out)?;
        out.push(b']');
        Some(())
    }

    /// Items in parentheses, separated by commas, as an array.
    fn list(&mut self, out: &mut Vec<u8>, item: fn(&mut Self, &mut Vec<u8>) -> Option<()>) -> Option<()> {
        self.expect('(')?;
        out.push(b'[');
        loop {
            item(self, out)?;
            if !self.eat(',') {
                break;
            }
            out.push(b',');
        }
        self.expect(')')?;
        out.push(b']');
        Some(())
    }

    fn point(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.expect('(')?;
        self.position(out)?;
        self.expect(')')
    }

    /// A point of a multipoint, whose parentheses may be left out.
    fn loose_point(&mut self, out: &mut Vec<u8>) -> Option<()> {
        if self.skip().starts_with('(') { self.point(out) } else { self.position(out) }
    }

    fn line(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.list(out, Self::position)
    }

    fn polygon(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.list(out, Self::line)
    }

    fn shape(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        let word = self.take(|character| character.is_ascii_alphabetic()).to_ascii_uppercase();
        let mut outcome = Some(());
        match word.as_str() {
            "POINT" => write_shape("Point", out, |out| outcome = self.point(out)),
            "LINESTRING" => write_shape("LineString", out, |out| outcome = self.line(out)),
            "POLYGON" => write_shape("Polygon", out, |out| outcome = self.polygon(out)),
            "MULTIPOINT" => write_shape("MultiPoint", out, |out| outcome = self.list(out, Self::loose_point)),
            "MULTILINESTRING" => write_shape("MultiLineString", out, |out| outcome = self.list(out, Self::line)),
            "MULTIPOLYGON" => write_shape("MultiPolygon", out, |out| outcome = self.list(out, Self::polygon)),
            "GEOMETRYCOLLECTION" if depth < MAX_DEPTH => {
                out.extend_from_slice(b"{\"type\":\"GeometryCollection\",\"geometries\":[");
                self.expect('(')?;
                loop {
                    self.shape(depth + 1, out)?;
                    if !self.eat(',') {
                        break;
                    }
                    out.push(b',');
                }
                self.expect(')')?;
                out.extend_from_slice(b"]}");
            }
            _ => return None,
        }
        outcome
    }
}
