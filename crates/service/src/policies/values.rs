//! Times and spans of time as policies write them.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidewater_kql::value::{datetime, timespan};

/// A timespan in ticks; `10.00:00:00` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Period(pub i64);

impl Period {
    /// Whole days.
    pub(crate) const fn days(days: i64) -> Period {
        Period(days * timespan::TICKS_PER_DAY)
    }

    /// Its ticks.
    pub(crate) const fn ticks(self) -> i64 {
        self.0
    }

    /// Whole seconds.
    pub(crate) const fn seconds(seconds: i64) -> Period {
        Period(seconds * timespan::TICKS_PER_SECOND)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timespan::to_text(self.0))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a timespan such as \"10.00:00:00\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                let ticks = timespan::parse_constructor(text);
                ticks.map(Period).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A datetime in ticks; `2023-06-01T00:00:00Z` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub i64);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::with_capacity(28);
        datetime::write(self.0, &mut text);
        serializer.serialize_str(&String::from_utf8_lossy(&text))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a datetime such as \"2023-06-01\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
                datetime::parse(text).map(Moment).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
