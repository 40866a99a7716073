//! `geo_info_from_ip_address`: where an address is, by a database in MaxMind's form such as GeoLite2-City.
//!
//! The database is the operator's: the server hands its bytes over by `set_database` when a setting names a file.
//! Shape: a bag with `country`, `state`, `city`, `latitude`, `longitude`, those that are known, names in English.
//! Nulls: what is no address, and an address that the database does not know, give null. Errors: without a database the
//! function fails and names the setting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use datafusion_common::{DataFusionError, Result};
use datafusion_expr::ColumnarValue;
use maxminddb::geoip2::City;
use parking_lot::RwLock;
use tidewater_kql::value::json;

use super::write_number;
use crate::call::Call;
use crate::dynamic::BagWriter;
use crate::scalar::kernel::{Texts, each_dynamic};

/// The setting that names the database's file.
pub const SETTING: &str = "ip_database_file";

type Database = maxminddb::Reader<Vec<u8>>;

static DATABASE: RwLock<Option<Arc<Database>>> = RwLock::new(None);

/// Takes the bytes of a database of cities; what was there before goes.
pub fn set_database(bytes: Vec<u8>) -> Result<(), String> {
    let database = Database::from_source(bytes).map_err(|error| error.to_string())?;
    *DATABASE.write() = Some(Arc::new(database));
    Ok(())
}

/// `geo_info_from_ip_address`
pub fn info(call: &Call<'_>) -> Result<ColumnarValue> {
    let addresses = Texts::of(call, 0)?;
    let Some(database) = DATABASE.read().clone() else {
        let message = format!(
            "geo_info_from_ip_address() needs a database of addresses in MaxMind's form: setting '{SETTING}' names no file"
        );
        return Err(DataFusionError::Execution(message));
    };
    let mut known: HashMap<&str, Option<Vec<u8>>> = HashMap::new();
    each_dynamic(call, |row, out| {
        let text = addresses.text(row);
        match known.entry(text).or_insert_with(|| look(&database, text)) {
            Some(found) => out.extend_from_slice(found),
            None => return false,
        }
        true
    })
}

fn look(database: &Database, text: &str) -> Option<Vec<u8>> {
    let address: IpAddr = text.trim().parse().ok()?;
    let found: City<'_> = database.lookup(address).ok()?.decode().ok()??;
    let names = [
        ("country", found.country.names.english),
        ("state", found.subdivisions.first().and_then(|state| state.names.english)),
        ("city", found.city.names.english),
    ];
    let numbers = [("latitude", found.location.latitude), ("longitude", found.location.longitude)];
    let mut out = Vec::new();
    let mut bag = BagWriter::new(&mut out);
    for (name, value) in names {
        if let Some(value) = value {
            json::quote(value, bag.key(name));
        }
    }
    for (name, value) in numbers {
        if let Some(value) = value {
            write_number(value, bag.key(name));
        }
    }
    bag.close();
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A value of MaxMind's data section: kind and size in one byte, kinds above 7 in a second one.
    fn value(kind: u8, size: usize, bytes: &[u8]) -> Vec<u8> {
        let size = u8::try_from(size).unwrap();
        let mut out = if kind > 7 { vec![size, kind - 7] } else { vec![kind << 5 | size] };
        out.extend_from_slice(bytes);
        out
    }

    fn text(text: &str) -> Vec<u8> {
        value(2, text.len(), text.as_bytes())
    }

    fn number(number: u32) -> Vec<u8> {
        value(6, 4, &number.to_be_bytes())
    }

    fn double(number: f64) -> Vec<u8> {
        value(3, 8, &number.to_be_bytes())
    }

    fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let bytes: Vec<u8> = entries.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
        value(7, entries.len(), &bytes)
    }

    /// A database that knows the network 20.53.203.0/24.
    pub fn sample() -> Vec<u8> {
        let prefix = u32::from_be_bytes([20, 53, 203, 0]);
        let mut bytes = Vec::new();
        for bit in 0..24u32 {
            let onward = if bit == 23 { 24 + 16 } else { bit + 1 };
            let is_one = prefix >> (31 - bit) & 1 == 1;
            for side in [false, true] {
                let record = if side == is_one { onward } else { 24 };
                bytes.extend_from_slice(&record.to_be_bytes()[1..]);
            }
        }
        bytes.extend_from_slice(&[0; 16]);
        let named = |name: &str| map(&[("names", map(&[("en", text(name))]))]);
        bytes.extend(map(&[
            ("country", named("Australia")),
            ("subdivisions", value(11, 1, &named("New South Wales"))),
            ("city", named("Sydney")),
            ("location", map(&[("latitude", double(-33.8715)), ("longitude", double(151.2006))])),
        ]));
        bytes.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let short = |number: u16| value(5, 2, &number.to_be_bytes());
        bytes.extend(map(&[
            ("node_count", number(24)),
            ("record_size", short(24)),
            ("ip_version", short(4)),
            ("database_type", text("GeoLite2-City")),
            ("languages", value(11, 1, &text("en"))),
            ("binary_format_major_version", short(2)),
            ("binary_format_minor_version", short(0)),
            ("build_epoch", value(9, 8, &1_700_000_000u64.to_be_bytes())),
            ("description", map(&[("en", text("sample"))])),
        ]));
        bytes
    }

    #[test]
    fn an_address_is_looked_up_in_the_database() {
        let database = Database::from_source(sample()).unwrap();
        let found = |text: &str| look(&database, text).map(|found| String::from_utf8(found).unwrap());
        assert_eq!(
            found("20.53.203.50").unwrap(),
            r#"{"country":"Australia","state":"New South Wales","city":"Sydney","latitude":-33.8715,"longitude":151.2006}"#
        );
        for text in ["20.53.204.50", "", "x", "2a03:2880::1", "20.53.203.50/24"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_database_is_refused() {
        assert!(set_database(b"nothing".to_vec()).is_err());
    }
}
