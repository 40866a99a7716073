//! Conversions between units, and sizes in bytes.
//!
//! Names and factors are those of the .NET library UnitsNet 4.132 (MIT-0), whose units are exactly the
//! documented ones and whose factors give the documented results.

use std::f64::consts::PI;

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;

use super::kernel::{Integers, Reals, Texts, each, each_text};
use super::math::round_real;
use super::rows::{TO_REAL, TO_STRING, row};
use crate::call::Call;
use crate::registry::{NameRule, Scalar};
use crate::signature::{LONG, REAL, STRING, Signature, optional, required, sig};

const CONVERT: &[Signature] =
    &[sig(&[required("value", REAL), required("from", STRING), required("to", STRING)], TO_REAL)];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "convert_angle",
        CONVERT,
        |call| convert(call, convert_angle),
        "An angle in another unit; null for an unknown unit.",
        "convert-angle-function",
        examples: &[("print convert_angle(1.2, 'Degree', 'Arcminute')", "72.0")],
    ),
    row!(
        "convert_energy",
        CONVERT,
        |call| convert(call, |value, from, to| scale(ENERGY, value, from, to)),
        "An energy in another unit; null for an unknown unit.",
        "convert-energy-function",
    ),
    row!(
        "convert_force",
        CONVERT,
        |call| convert(call, |value, from, to| scale(FORCE, value, from, to)),
        "A force in another unit; null for an unknown unit.",
        "convert-force-function",
        examples: &[("print convert_force(1.2, 'Newton', 'Decanewton')", "0.12")],
    ),
    row!(
        "convert_length",
        CONVERT,
        |call| convert(call, |value, from, to| scale(LENGTH, value, from, to)),
        "A length in another unit; null for an unknown unit.",
        "convert-length-function",
    ),
    row!(
        "convert_mass",
        CONVERT,
        |call| convert(call, |value, from, to| scale(MASS, value, from, to)),
        "A mass in another unit; null for an unknown unit.",
        "convert-mass-function",
    ),
    row!(
        "convert_speed",
        CONVERT,
        |call| convert(call, |value, from, to| scale(SPEED, value, from, to)),
        "A speed in another unit; null for an unknown unit.",
        "convert-speed-function",
        examples: &[("print convert_speed(1.2, 'MeterPerSecond', 'CentimeterPerHour')", "432000.0")],
    ),
    row!(
        "convert_temperature",
        CONVERT,
        |call| convert(call, convert_temperature),
        "A temperature in another unit; null for an unknown unit.",
        "convert-temperature-function",
    ),
    row!(
        "convert_volume",
        CONVERT,
        |call| convert(call, |value, from, to| scale(VOLUME, value, from, to)),
        "A volume in another unit; null for an unknown unit.",
        "convert-volume-function",
    ),
    row!(
        "format_bytes",
        &[sig(&[required("size", REAL), optional("precision", LONG), optional("units", STRING)], TO_STRING)],
        format_bytes,
        "A number of bytes with its unit (Bytes, KB, MB, GB, TB, PB, EB), rounded to `precision` digits.",
        "format-bytes-function",
        name_rule: NameRule::PassThrough,
        examples: &[("print format_bytes(10332, 1)", "10.1 KB"), ("print format_bytes(20010332, 0, 'KB')", "19541 KB")],
    ),
];

const BYTE_UNITS: [&str; 7] = ["Bytes", "KB", "MB", "GB", "TB", "PB", "EB"];

/// Without a unit the largest one that leaves at least 1. Empty for null and for an unknown unit.
fn format_bytes(call: &Call<'_>) -> Result<ColumnarValue> {
    use std::fmt::Write as _;
    let size = Reals::of(call, 0)?;
    let precision = if call.args.len() > 1 { Some(Integers::of(call, 1)?) } else { None };
    let unit = if call.args.len() > 2 { Some(Texts::of(call, 2)?) } else { None };
    each_text(call, |row, out| {
        let Some(mut size) = size.get(row) else { return };
        let precision = precision.as_ref().and_then(|input| input.get(row)).unwrap_or(0);
        let wanted = unit.as_ref().map_or("", |input| input.text(row));
        let mut index = 0;
        if wanted.is_empty() {
            while size.abs() >= 1024.0 && index + 1 < BYTE_UNITS.len() {
                size /= 1024.0;
                index += 1;
            }
        } else {
            let Some(position) = BYTE_UNITS.iter().position(|name| *name == wanted) else { return };
            size /= 1024f64.powi(position as i32);
            index = position;
        }
        // Writing to a string cannot fail. Displaying a real gives no zeros after the last digit.
        let _ = write!(out, "{} {}", round_real(size, precision.clamp(0, 15)), BYTE_UNITS[index]);
    })
}

type Conversion = fn(f64, &str, &str) -> Option<f64>;

fn convert(call: &Call<'_>, f: Conversion) -> Result<ColumnarValue> {
    let (value, from, to) = (Reals::of(call, 0)?, Texts::of(call, 1)?, Texts::of(call, 2)?);
    each(call, |row| f(value.get(row)?, from.text(row), to.text(row)))
}

/// A unit is so many base units: its name, numerator, denominator. Kept apart, whole ratios stay exact.
type Unit = (&'static str, f64, f64);

fn scale(units: &[Unit], value: f64, from: &str, to: &str) -> Option<f64> {
    let find = |name: &str| units.iter().find(|unit| unit.0 == name);
    let ((_, from, over_from), (_, to, over_to)) = (find(from)?, find(to)?);
    Some(value * (from * over_to) / (over_from * to))
}

/// A tilt is the sine of an angle; all other units are multiples of a degree.
fn convert_angle(value: f64, from: &str, to: &str) -> Option<f64> {
    if from != "Tilt" && to != "Tilt" {
        return scale(ANGLE, value, from, to);
    }
    let degrees = if from == "Tilt" { value.asin() * 180.0 / PI } else { scale(ANGLE, value, from, "Degree")? };
    if to == "Tilt" { Some((degrees / 180.0 * PI).sin()) } else { scale(ANGLE, degrees, "Degree", to) }
}

fn convert_temperature(value: f64, from: &str, to: &str) -> Option<f64> {
    const ZERO: f64 = 273.15;
    let kelvin = match from {
        "Kelvin" => value,
        "DegreeCelsius" => value + ZERO,
        "DegreeDelisle" => value * -2.0 / 3.0 + 373.15,
        "DegreeFahrenheit" => value * 5.0 / 9.0 + 459.67 * 5.0 / 9.0,
        "DegreeNewton" => value * 100.0 / 33.0 + ZERO,
        "DegreeRankine" => value * 5.0 / 9.0,
        "DegreeReaumur" => value * 5.0 / 4.0 + ZERO,
        "DegreeRoemer" => value * 40.0 / 21.0 + ZERO - 7.5 * 40.0 / 21.0,
        "MillidegreeCelsius" => value / 1000.0 + ZERO,
        "SolarTemperature" => value * 5778.0,
        _ => return None,
    };
    Some(match to {
        "Kelvin" => kelvin,
        "DegreeCelsius" => kelvin - ZERO,
        "DegreeDelisle" => (kelvin - 373.15) * -3.0 / 2.0,
        "DegreeFahrenheit" => (kelvin - 459.67 * 5.0 / 9.0) * 9.0 / 5.0,
        "DegreeNewton" => (kelvin - ZERO) * 33.0 / 100.0,
        "DegreeRankine" => kelvin * 9.0 / 5.0,
        "DegreeReaumur" => (kelvin - ZERO) * 4.0 / 5.0,
        "DegreeRoemer" => (kelvin - (ZERO - 7.5 * 40.0 / 21.0)) * 21.0 / 40.0,
        "MillidegreeCelsius" => (kelvin - ZERO) * 1000.0,
        "SolarTemperature" => kelvin / 5778.0,
        _ => return None,
    })
}

const ANGLE: &[Unit] = &[
    ("Arcminute", 1.0, 60.0),
    ("Arcsecond", 1.0, 3600.0),
    ("Centiradian", 180.0, PI * 100.0),
    ("Deciradian", 180.0, PI * 10.0),
    ("Degree", 1.0, 1.0),
    ("Gradian", 0.9, 1.0),
    ("Microdegree", 1.0, 1000000.0),
    ("Microradian", 180.0, PI * 1000000.0),
    ("Millidegree", 1.0, 1000.0),
    ("Milliradian", 180.0, PI * 1000.0),
    ("Nanodegree", 1.0, 1000000000.0),
    ("Nanoradian", 180.0, PI * 1000000000.0),
    ("NatoMil", 9.0, 160.0),
    ("Radian", 180.0, PI),
    ("Revolution", 360.0, 1.0),
];

const ENERGY: &[Unit] = &[
    ("BritishThermalUnit", 1055.05585262, 1.0),
    ("Calorie", 4.184, 1.0),
    ("DecathermEc", 105505585.262 * 10.0, 1.0),
    ("DecathermImperial", 105505585.257348 * 10.0, 1.0),
    ("DecathermUs", 105480400.0 * 10.0, 1.0),
    ("ElectronVolt", 1.602176565e-19, 1.0),
    ("Erg", 1.0e-7, 1.0),
    ("FootPound", 1.355817948, 1.0),
    ("GigabritishThermalUnit", 1055.05585262 * 1000000000.0, 1.0),
    ("GigaelectronVolt", 1.602176565e-19 * 1000000000.0, 1.0),
    ("Gigajoule", 1000000000.0, 1.0),
    ("GigawattDay", 24.0 * 3600.0 * 1000000000.0, 1.0),
    ("GigawattHour", 3600.0 * 1000000000.0, 1.0),
    ("HorsepowerHour", 2684519.5377, 1.0),
    ("Joule", 1.0, 1.0),
    ("KilobritishThermalUnit", 1055.05585262 * 1000.0, 1.0),
    ("Kilocalorie", 4.184 * 1000.0, 1.0),
    ("KiloelectronVolt", 1.602176565e-19 * 1000.0, 1.0),
    ("Kilojoule", 1000.0, 1.0),
    ("KilowattDay", 24.0 * 3600.0 * 1000.0, 1.0),
    ("KilowattHour", 3600.0 * 1000.0, 1.0),
    ("MegabritishThermalUnit", 1055.05585262 * 1000000.0, 1.0),
    ("Megacalorie", 4.184 * 1000000.0, 1.0),
    ("MegaelectronVolt", 1.602176565e-19 * 1000000.0, 1.0),
    ("Megajoule", 1000000.0, 1.0),
    ("MegawattDay", 24.0 * 3600.0 * 1000000.0, 1.0),
    ("MegawattHour", 3600.0 * 1000000.0, 1.0),
    ("Millijoule", 1.0, 1000.0),
    ("TeraelectronVolt", 1.602176565e-19 * 1000000000000.0, 1.0),
    ("TerawattDay", 24.0 * 3600.0 * 1000000000000.0, 1.0),
    ("TerawattHour", 3600.0 * 1000000000000.0, 1.0),
    ("ThermEc", 105505585.262, 1.0),
    ("ThermImperial", 105505585.257348, 1.0),
    ("ThermUs", 105480400.0, 1.0),
    ("WattDay", 24.0 * 3600.0, 1.0),
    ("WattHour", 3600.0, 1.0),
];

const FORCE: &[Unit] = &[
    ("Decanewton", 10.0, 1.0),
    ("Dyn", 1.0, 100000.0),
    ("KiloPond", 9.80665002864, 1.0),
    ("KilogramForce", 9.80665002864, 1.0),
    ("Kilonewton", 1000.0, 1.0),
    ("KilopoundForce", 4.448221615260509 * 1000.0, 1.0),
    ("Meganewton", 1000000.0, 1.0),
    ("Micronewton", 1.0, 1000000.0),
    ("Millinewton", 1.0, 1000.0),
    ("Newton", 1.0, 1.0),
    ("OunceForce", 0.2780138509537812, 1.0),
    ("PoundForce", 4.448221615260509, 1.0),
    ("Poundal", 0.1382550279897304, 1.0),
    ("ShortTonForce", 8896.443230521, 1.0),
    ("TonneForce", 9806.65002864, 1.0),
];

const LENGTH: &[Unit] = &[
    ("Angstrom", 1.0e-10, 1.0),
    ("AstronomicalUnit", 149597870700.0, 1.0),
    ("Centimeter", 1.0, 100.0),
    ("Chain", 20.1168, 1.0),
    ("DataMile", 1828.8, 1.0),
    ("Decameter", 10.0, 1.0),
    ("Decimeter", 1.0, 10.0),
    ("DtpPica", 1.0, 236.220472441),
    ("DtpPoint", 0.0254, 72.0),
    ("Fathom", 1.8288, 1.0),
    ("Foot", 0.3048, 1.0),
    ("Hand", 0.1016, 1.0),
    ("Hectometer", 100.0, 1.0),
    ("Inch", 0.0254, 1.0),
    ("KilolightYear", 9460730472580000.0 * 1000.0, 1.0),
    ("Kilometer", 1000.0, 1.0),
    ("Kiloparsec", 3.08567758128e16 * 1000.0, 1.0),
    ("LightYear", 9460730472580000.0, 1.0),
    ("MegalightYear", 9460730472580000.0 * 1000000.0, 1.0),
    ("Megaparsec", 3.08567758128e16 * 1000000.0, 1.0),
    ("Meter", 1.0, 1.0),
    ("Microinch", 2.54e-8, 1.0),
    ("Micrometer", 1.0, 1000000.0),
    ("Mil", 2.54e-5, 1.0),
    ("Mile", 1609.34, 1.0),
    ("Millimeter", 1.0, 1000.0),
    ("Nanometer", 1.0, 1000000000.0),
    ("NauticalMile", 1852.0, 1.0),
    ("Parsec", 3.08567758128e16, 1.0),
    ("PrinterPica", 1.0, 237.106301584),
    ("PrinterPoint", 0.0254, 72.27),
    ("Shackle", 27.432, 1.0),
    ("SolarRadius", 695510000.0, 1.0),
    ("Twip", 1.0, 56692.913385826),
    ("UsSurveyFoot", 1200.0, 3937.0),
    ("Yard", 0.9144, 1.0),
];

const MASS: &[Unit] = &[
    ("Centigram", 1.0, 1000.0 * 100.0),
    ("Decagram", 10.0, 1000.0),
    ("Decigram", 1.0, 1000.0 * 10.0),
    ("EarthMass", 5.9722e24, 1.0),
    ("Grain", 1.0, 15432.358352941432),
    ("Gram", 1.0, 1000.0),
    ("Hectogram", 100.0, 1000.0),
    ("Kilogram", 1000.0, 1000.0),
    ("Kilopound", 0.45359237 * 1000.0, 1.0),
    ("Kilotonne", 1000.0 * 1000.0, 1.0),
    ("LongHundredweight", 1.0, 0.01968413055222121),
    ("LongTon", 1016.0469088, 1.0),
    ("Megapound", 0.45359237 * 1000000.0, 1.0),
    ("Megatonne", 1000.0 * 1000000.0, 1.0),
    ("Microgram", 1.0, 1000.0 * 1000000.0),
    ("Milligram", 1.0, 1000.0 * 1000.0),
    ("Nanogram", 1.0, 1000.0 * 1000000000.0),
    ("Ounce", 1.0, 35.2739619),
    ("Pound", 0.45359237, 1.0),
    ("ShortHundredweight", 1.0, 0.022046226218487758),
    ("ShortTon", 907.18474, 1.0),
    ("Slug", 1.0, 0.06852176556196105),
    ("SolarMass", 1.98947e30, 1.0),
    ("Stone", 1.0, 0.1574731728702698),
    ("Tonne", 1000.0, 1.0),
];

const SPEED: &[Unit] = &[
    ("CentimeterPerHour", 1.0, 3600.0 * 100.0),
    ("CentimeterPerMinute", 1.0, 60.0 * 100.0),
    ("CentimeterPerSecond", 1.0, 100.0),
    ("DecimeterPerMinute", 1.0, 60.0 * 10.0),
    ("DecimeterPerSecond", 1.0, 10.0),
    ("FootPerHour", 0.3048, 3600.0),
    ("FootPerMinute", 0.3048, 60.0),
    ("FootPerSecond", 0.3048, 1.0),
    ("InchPerHour", 0.0254, 3600.0),
    ("InchPerMinute", 0.0254, 60.0),
    ("InchPerSecond", 0.0254, 1.0),
    ("KilometerPerHour", 1000.0, 3600.0),
    ("KilometerPerMinute", 1000.0, 60.0),
    ("KilometerPerSecond", 1000.0, 1.0),
    ("Knot", 0.514444, 1.0),
    ("MeterPerHour", 1.0, 3600.0),
    ("MeterPerMinute", 1.0, 60.0),
    ("MeterPerSecond", 1.0, 1.0),
    ("MicrometerPerMinute", 1.0, 60.0 * 1000000.0),
    ("MicrometerPerSecond", 1.0, 1000000.0),
    ("MilePerHour", 0.44704, 1.0),
    ("MillimeterPerHour", 1.0, 3600.0 * 1000.0),
    ("MillimeterPerMinute", 1.0, 60.0 * 1000.0),
    ("MillimeterPerSecond", 1.0, 1000.0),
    ("NanometerPerMinute", 1.0, 60.0 * 1000000000.0),
    ("NanometerPerSecond", 1.0, 1000000000.0),
    ("UsSurveyFootPerHour", 1200.0, 3937.0 * 3600.0),
    ("UsSurveyFootPerMinute", 1200.0, 3937.0 * 60.0),
    ("UsSurveyFootPerSecond", 1200.0, 3937.0),
    ("YardPerHour", 0.9144, 3600.0),
    ("YardPerMinute", 0.9144, 60.0),
    ("YardPerSecond", 0.9144, 1.0),
];

const VOLUME: &[Unit] = &[
    ("AcreFoot", 1.0, 0.000810714),
    ("AuTablespoon", 2.0e-5, 1.0),
    ("BoardFoot", 0.0023597372158, 1.0),
    ("Centiliter", 1.0, 1000.0 * 100.0),
    ("CubicCentimeter", 1.0, 1000000.0),
    ("CubicDecimeter", 1.0, 1000.0),
    ("CubicFoot", 0.028316846592, 1.0),
    ("CubicHectometer", 1000000.0, 1.0),
    ("CubicInch", 1.6387 * 1.0e-5, 1.0),
    ("CubicKilometer", 1000000000.0, 1.0),
    ("CubicMeter", 1.0, 1.0),
    ("CubicMicrometer", 1.0, 1.0e18),
    ("CubicMile", 4168181825.44058, 1.0),
    ("CubicMillimeter", 1.0, 1000000000.0),
    ("CubicYard", 0.764554858, 1.0),
    ("Decaliter", 10.0, 1000.0),
    ("DecausGallon", 0.00378541 * 10.0, 1.0),
    ("Deciliter", 1.0, 1000.0 * 10.0),
    ("DeciusGallon", 0.00378541, 10.0),
    ("HectocubicFoot", 0.028316846592 * 100.0, 1.0),
    ("HectocubicMeter", 100.0, 1.0),
    ("Hectoliter", 100.0, 1000.0),
    ("HectousGallon", 0.00378541 * 100.0, 1.0),
    ("ImperialBeerBarrel", 0.16365924, 1.0),
    ("ImperialGallon", 0.0045460900000018145, 1.0),
    ("ImperialOunce", 2.84130624999629e-5, 1.0),
    ("ImperialPint", 0.00056826125, 1.0),
    ("KilocubicFoot", 0.028316846592 * 1000.0, 1.0),
    ("KilocubicMeter", 1000.0, 1.0),
    ("KiloimperialGallon", 0.0045460900000018145 * 1000.0, 1.0),
    ("Kiloliter", 1000.0, 1000.0),
    ("KilousGallon", 0.00378541 * 1000.0, 1.0),
    ("Liter", 1.0, 1000.0),
    ("MegacubicFoot", 0.028316846592 * 1000000.0, 1.0),
    ("MegaimperialGallon", 0.0045460900000018145 * 1000000.0, 1.0),
    ("Megaliter", 1000000.0, 1000.0),
    ("MegausGallon", 0.00378541 * 1000000.0, 1.0),
    ("MetricCup", 0.00025, 1.0),
    ("MetricTeaspoon", 5.0e-6, 1.0),
    ("Microliter", 1.0, 1000.0 * 1000000.0),
    ("Milliliter", 1.0, 1000.0 * 1000.0),
    ("OilBarrel", 0.158987294928, 1.0),
    ("UkTablespoon", 1.5e-5, 1.0),
    ("UsBeerBarrel", 0.1173477658, 1.0),
    ("UsCustomaryCup", 0.0002365882365, 1.0),
    ("UsGallon", 0.00378541, 1.0),
    ("UsLegalCup", 0.00024, 1.0),
    ("UsOunce", 2.9573529562537606e-5, 1.0),
    ("UsPint", 0.000473176473, 1.0),
    ("UsQuart", 0.000946352946, 1.0),
    ("UsTablespoon", 1.478676478125e-5, 1.0),
    ("UsTeaspoon", 4.92892159375e-6, 1.0),
];
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_conversions_come_out() {
        let close = |a: Option<f64>, b: f64| assert!(a.is_some_and(|a| (a - b).abs() <= 1e-12 * b.abs()), "{a:?} {b}");
        close(convert_angle(1.2, "Degree", "Arcminute"), 72.0);
        close(scale(ENERGY, 1.2, "Joule", "BritishThermalUnit"), 0.00113738054437598);
        close(scale(FORCE, 1.2, "Newton", "Decanewton"), 0.12);
        close(scale(LENGTH, 1.2, "Meter", "Foot"), 3.93700787401575);
        close(scale(MASS, 1.2, "Kilogram", "Pound"), 2.64554714621853);
        close(scale(SPEED, 1.2, "MeterPerSecond", "CentimeterPerHour"), 432000.0);
        close(convert_temperature(1.2, "Kelvin", "DegreeCelsius"), -271.95);
        close(scale(VOLUME, 1.2, "CubicMeter", "AcreFoot"), 0.0009728568);
        close(convert_angle(0.5, "Tilt", "Degree"), 30.0);
        assert_eq!(scale(LENGTH, 1.0, "Metre", "Foot"), None);
        assert_eq!(convert_temperature(1.0, "Kelvin", "kelvin"), None);
    }

    #[test]
    fn every_conversion_has_its_inverse() {
        for units in [ANGLE, ENERGY, FORCE, LENGTH, MASS, SPEED, VOLUME] {
            for (name, ..) in units {
                let there = scale(units, 3.7, units[0].0, name).unwrap();
                let back = scale(units, there, name, units[0].0).unwrap();
                assert!((back - 3.7).abs() < 1e-12, "{name}");
            }
        }
    }
}
