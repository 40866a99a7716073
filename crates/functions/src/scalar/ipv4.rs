//! IPv4 addresses: reading, comparing, ranges, finding them in text.

use std::net::Ipv4Addr;

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::json;

use super::kernel::{Integers, Texts, each, each_dynamic, each_text};
use super::rows::{INTEGER, TO_BOOL, TO_DYNAMIC, TO_LONG, TO_STRING, row};
use crate::call::Call;
use crate::dynamic::{Dynamic, Json};
use crate::registry::Scalar;
use crate::signature::{Accepts, LONG, STRING, Signature, optional, repeated, required, sig};

const COMPARED: &[crate::signature::Param] =
    &[required("ip1", STRING), required("ip2", STRING), optional("prefix", LONG)];
const IN_RANGES: &[Signature] = &[
    sig(&[required("ip", STRING), required("ranges", Accepts::OneOf(&[KqlType::Dynamic]))], TO_BOOL),
    sig(&[required("ip", STRING), required("range", STRING), repeated("range", STRING)], TO_BOOL),
];
const HAS: &[Signature] = &[sig(&[required("source", STRING), required("ip", STRING)], TO_BOOL)];
const HAS_ANY: &[Signature] = &[
    sig(&[required("source", STRING), required("ips", Accepts::OneOf(&[KqlType::Dynamic]))], TO_BOOL),
    sig(&[required("source", STRING), required("ip", STRING), repeated("ip", STRING)], TO_BOOL),
];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "parse_ipv4",
        &[sig(&[required("ip", STRING)], TO_LONG)],
        |call| of_network(call, |network| i64::from(network.address)),
        "An IPv4 address, masked by its prefix, as a long; null when it is not one.",
        "parse-ipv4-function",
        examples: &[("print parse_ipv4('192.168.1.1/24')", "3232235776")],
    ),
    row!(
        "parse_ipv4_mask",
        &[sig(&[required("ip", STRING), required("prefix", LONG)], TO_LONG)],
        parse_ipv4_mask,
        "An IPv4 address, masked by the shorter of its own prefix and `prefix`, as a long.",
        "parse-ipv4-mask-function",
        examples: &[("print parse_ipv4_mask('127.0.0.1', 24)", "2130706432")],
    ),
    row!(
        "ipv4_compare",
        &[sig(COMPARED, TO_LONG)],
        |call| compared(call, |a, b| a.cmp(&b) as i64),
        "-1, 0 or 1 by the order of two IPv4 addresses under the shortest of their prefixes.",
        "ipv4-compare-function",
        examples: &[("print ipv4_compare('192.168.1.1/24', '192.168.1.255')", "0")],
    ),
    row!(
        "ipv4_is_match",
        &[sig(COMPARED, TO_BOOL)],
        |call| compared(call, |a, b| a == b),
        "Whether two IPv4 addresses are the same under the shortest of their prefixes.",
        "ipv4-is-match-function",
        examples: &[("print ipv4_is_match('192.168.1.1/24', '192.168.1.255')", "true")],
    ),
    row!(
        "ipv4_is_in_range",
        &[sig(&[required("ip", STRING), required("ip_range", STRING)], TO_BOOL)],
        is_in_range,
        "Whether an IPv4 address lies in a range such as `10.0.0.0/8`.",
        "ipv4-is-in-range-function",
        examples: &[("print ipv4_is_in_range('192.168.1.6', '192.168.1.1/24')", "true")],
    ),
    row!(
        "ipv4_is_in_any_range",
        IN_RANGES,
        is_in_any_range,
        "Whether an IPv4 address lies in one of several ranges.",
        "ipv4-is-in-any-range-function",
        examples: &[("print ipv4_is_in_any_range('10.1.2.3', '192.168.1.1/24', '10.0.0.1/8')", "true")],
    ),
    row!(
        "ipv4_is_private",
        &[sig(&[required("ip", STRING)], TO_BOOL)],
        |call| of_network(call, |network| PRIVATE.iter().any(|range| range.holds(network.address))),
        "Whether an IPv4 address belongs to one of the private networks.",
        "ipv4-is-private-function",
        examples: &[("print ipv4_is_private('192.168.1.1/24')", "true")],
    ),
    row!(
        "ipv4_netmask_suffix",
        &[sig(&[required("ip", STRING)], TO_LONG)],
        |call| of_network(call, |network| i64::from(network.prefix)),
        "The prefix of an IPv4 address; 32 when it has none.",
        "ipv4-netmask-suffix-function",
        examples: &[("print ipv4_netmask_suffix('10.1.2.3/24')", "24")],
    ),
    row!(
        "format_ipv4",
        &[
            sig(&[required("ip", INTEGER), optional("prefix", LONG)], TO_STRING),
            sig(&[required("ip", STRING), optional("prefix", LONG)], TO_STRING),
        ],
        |call| formatted(call, |network, out| push_address(network.address, out)),
        "An IPv4 address, given as text or number, masked and written with dots.",
        "format-ipv4-function",
        examples: &[("print format_ipv4('192.168.1.1', 24)", "192.168.1.0")],
    ),
    row!(
        "format_ipv4_mask",
        &[
            sig(&[required("ip", INTEGER), optional("prefix", LONG)], TO_STRING),
            sig(&[required("ip", STRING), optional("prefix", LONG)], TO_STRING),
        ],
        |call| formatted(call, push_network),
        "An IPv4 address, given as text or number, masked and written with dots and its prefix.",
        "format-ipv4-mask-function",
        examples: &[("print format_ipv4_mask('192.168.1.1', 24)", "192.168.1.0/24")],
    ),
    row!(
        "ipv4_range_to_cidr_list",
        &[sig(&[required("start_ip", STRING), required("end_ip", STRING)], TO_DYNAMIC)],
        range_to_cidr_list,
        "The fewest networks that make up the range from one IPv4 address to another.",
        "ipv4-range-to-cidr-list-function",
        examples: &[(
            "print ipv4_range_to_cidr_list('1.1.128.0', '1.1.140.255')",
            "[\"1.1.128.0/21\",\"1.1.136.0/22\",\"1.1.140.0/24\"]",
        )],
    ),
    row!(
        "has_ipv4",
        HAS,
        |call| has_any(call, Needle::whole),
        "Whether an IPv4 address occurs in a text, set off by anything but letters and digits.",
        "has-ipv4-function",
        examples: &[("print has_ipv4('05:04:54 127.0.0.1 GET /favicon.ico 404', '127.0.0.1')", "true")],
    ),
    row!(
        "has_ipv4_prefix",
        HAS,
        |call| has_any(call, Needle::prefix),
        "Whether an IPv4 address that begins so (`127.0.`) occurs in a text.",
        "has-ipv4-prefix-function",
        examples: &[("print has_ipv4_prefix('05:04:54 127.0.0.1 GET /favicon.ico 404', '127.0.')", "true")],
    ),
    row!(
        "has_any_ipv4",
        HAS_ANY,
        |call| has_any(call, Needle::whole),
        "Whether one of several IPv4 addresses occurs in a text.",
        "has-any-ipv4-function",
        examples: &[("print has_any_ipv4('05:04:54 127.0.0.1 GET', dynamic(['127.0.0.1', '127.0.0.2']))", "true")],
    ),
    row!(
        "has_any_ipv4_prefix",
        HAS_ANY,
        |call| has_any(call, Needle::prefix),
        "Whether an IPv4 address that begins in one of several ways occurs in a text.",
        "has-any-ipv4-prefix-function",
        examples: &[("print has_any_ipv4_prefix('05:04:54 127.0.0.1 GET', '127.0.', '192.168.')", "true")],
    ),
];

/// An address under a prefix; bits beyond the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Network {
    address: u32,
    prefix: u8,
}

const PRIVATE: [Network; 3] = [
    Network { address: 0x0A00_0000, prefix: 8 },
    Network { address: 0xAC10_0000, prefix: 12 },
    Network { address: 0xC0A8_0000, prefix: 16 },
];

fn mask(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix.min(32)) }
}

impl Network {
    fn new(address: u32, prefix: u8) -> Network {
        Network { address: address & mask(prefix), prefix }
    }

    /// Four numbers without leading zeros, and a prefix of 0 to 32 after a slash.
    fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address = address.parse::<Ipv4Addr>().ok()?;
        if prefix.is_empty() || prefix.len() > 2 || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let prefix = prefix.parse::<u8>().ok().filter(|prefix| *prefix <= 32)?;
        Some(Network::new(address.to_bits(), prefix))
    }

    /// The same under a prefix that is no longer than this; `None` for a prefix that does not exist.
    fn under(self, prefix: i64) -> Option<Network> {
        let prefix = u8::try_from(prefix).ok().filter(|prefix| *prefix <= 32)?;
        Some(Network::new(self.address, self.prefix.min(prefix)))
    }

    fn holds(self, address: u32) -> bool {
        address & mask(self.prefix) == self.address
    }
}

/// The address and the length of the prefix of an address or network in text; bits beyond the prefix are zero.
pub fn network(text: &str) -> Option<(u32, u8)> {
    Network::parse(text).map(|network| (network.address, network.prefix))
}

fn of_network<O>(call: &Call<'_>, f: fn(Network) -> O) -> Result<ColumnarValue>
where
    Option<O>: super::kernel::Output,
{
    let source = Texts::of(call, 0)?;
    each(call, |row| Network::parse(source.text(row)).map(f))
}

fn parse_ipv4_mask(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, prefix) = (Texts::of(call, 0)?, Integers::of(call, 1)?);
    each(call, |row| {
        let network = Network::parse(source.text(row))?.under(prefix.get(row)?)?;
        Some(i64::from(network.address))
    })
}

fn compared<O>(call: &Call<'_>, f: fn(u32, u32) -> O) -> Result<ColumnarValue>
where
    Option<O>: super::kernel::Output,
{
    let (left, right) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let prefix = if call.args.len() > 2 { Some(Integers::of(call, 2)?) } else { None };
    each(call, |row| {
        let (left, right) = (Network::parse(left.text(row))?, Network::parse(right.text(row))?);
        let given = match &prefix {
            Some(prefix) => prefix.get(row)?,
            None => 32,
        };
        let shortest = given.min(i64::from(left.prefix.min(right.prefix)));
        Some(f(left.under(shortest)?.address, right.under(shortest)?.address))
    })
}

fn is_in_range(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, ranges) = (Texts::of(call, 0)?, Many::of(call, 1, Network::parse)?);
    each(call, |row| {
        let address = Network::parse(source.text(row))?.address;
        let mut holds = None;
        ranges.any(row, |range| {
            holds = Some(range.holds(address));
            true
        });
        holds
    })
}

fn is_in_any_range(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, ranges) = (Texts::of(call, 0)?, Many::of(call, 1, Network::parse)?);
    each(call, |row| {
        let address = Network::parse(source.text(row))?.address;
        Some(ranges.any(row, |range| range.holds(address)))
    })
}

/// The number or text as a network.
fn formatted(call: &Call<'_>, write: fn(Network, &mut String)) -> Result<ColumnarValue> {
    let prefix = if call.args.len() > 1 { Some(Integers::of(call, 1)?) } else { None };
    let under = |row: usize, network: Option<Network>| {
        let given = match &prefix {
            Some(prefix) => prefix.get(row)?,
            None => 32,
        };
        network?.under(given)
    };
    if call.types.first() == Some(&KqlType::String) {
        let source = Texts::of(call, 0)?;
        return each_text(call, |row, out| {
            if let Some(network) = under(row, Network::parse(source.text(row))) {
                write(network, out);
            }
        });
    }
    let source = Integers::of(call, 0)?;
    each_text(call, |row, out| {
        let network = source.get(row).and_then(|value| Some(Network::new(u32::try_from(value).ok()?, 32)));
        if let Some(network) = under(row, network) {
            write(network, out);
        }
    })
}

fn push_address(address: u32, out: &mut String) {
    use std::fmt::Write as _;
    // Writing to a string cannot fail.
    let _ = write!(out, "{}", Ipv4Addr::from_bits(address));
}

fn push_network(network: Network, out: &mut String) {
    push_address(network.address, out);
    out.push('/');
    out.push_str(itoa::Buffer::new().format(network.prefix));
}

fn range_to_cidr_list(call: &Call<'_>) -> Result<ColumnarValue> {
    let (first, last) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    each_dynamic(call, |row, out| {
        let parse = |text: &str| text.parse::<Ipv4Addr>().ok().map(Ipv4Addr::to_bits);
        let (Some(first), Some(last)) = (parse(first.text(row)), parse(last.text(row))) else { return false };
        if first > last {
            return false;
        }
        out.push(b'[');
        // In 64 bits, since the address after the last one may not exist. At most 62 steps.
        let (mut at, end) = (u64::from(first), u64::from(last) + 1);
        while at < end {
            let aligned = at.trailing_zeros().min(32);
            let fitting = 63 - (end - at).leading_zeros();
            let bits = aligned.min(fitting);
            if at > u64::from(first) {
                out.push(b',');
            }
            let mut text = String::new();
            push_network(Network { address: at as u32, prefix: (32 - bits) as u8 }, &mut text);
            json::quote(&text, out);
            at += 1 << bits;
        }
        out.push(b']');
        true
    })
}

/// The values of one or more string arguments, or of the strings in a dynamic array; those that cannot
/// be read are left out. Constants are read once.
pub(crate) struct Many<T> {
    constant: Option<Vec<T>>,
    columns: Vec<(Texts, bool)>,
    read: fn(&str) -> Option<T>,
}

impl<T> Many<T> {
    /// The arguments from position `first` on.
    pub(crate) fn of(call: &Call<'_>, first: usize, read: fn(&str) -> Option<T>) -> Result<Self> {
        let columns = (first..call.args.len())
            .map(|position| Ok((Texts::of(call, position)?, call.types.get(position) == Some(&KqlType::Dynamic))))
            .collect::<Result<Vec<_>>>()?;
        let mut many = Many { constant: None, columns, read };
        if many.columns.iter().all(|(texts, _)| texts.is_constant()) {
            many.constant = Some(many.values(0));
        }
        Ok(many)
    }

    fn values(&self, row: usize) -> Vec<T> {
        let mut values = Vec::new();
        for (texts, is_array) in &self.columns {
            let text = texts.text(row);
            if !is_array {
                values.extend((self.read)(text));
                continue;
            }
            values.extend(Json::new(Some(text)).elements().filter_map(|element| (self.read)(&element.string()?)));
        }
        values
    }

    /// Whether one of the values satisfies `f`.
    pub(crate) fn any(&self, row: usize, f: impl FnMut(&T) -> bool) -> bool {
        match &self.constant {
            Some(values) => values.iter().any(f),
            None => self.values(row).iter().any(f),
        }
    }
}

/// What `has_ipv4` and its like look for.
struct Needle {
    text: String,
    is_whole: bool,
}

impl Needle {
    /// An address.
    fn whole(text: &str) -> Option<Needle> {
        text.parse::<Ipv4Addr>().ok()?;
        Some(Needle { text: text.to_string(), is_whole: true })
    }

    /// An address, or one to three of its numbers, each with its full stop.
    fn prefix(text: &str) -> Option<Needle> {
        let Some(numbers) = text.strip_suffix('.') else { return Needle::whole(text) };
        let count = numbers.split('.').count();
        if count > 3 {
            return None;
        }
        let whole = [numbers, &".0".repeat(4 - count)].concat();
        whole.parse::<Ipv4Addr>().ok()?;
        Some(Needle { text: text.to_string(), is_whole: false })
    }

    fn is_in(&self, source: &str) -> bool {
        let bytes = source.as_bytes();
        memchr::memmem::find_iter(bytes, self.text.as_bytes()).any(|start| {
            let before = source[..start].chars().next_back();
            if before.is_some_and(char::is_alphanumeric) {
                return false;
            }
            let mut end = start + self.text.len();
            if !self.is_whole {
                let rest = bytes[end..].iter().take(16);
                end += rest.take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
                // A full stop after the address belongs to the sentence.
                let address = source[start..end].trim_end_matches('.');
                end = start + address.len();
                if address.parse::<Ipv4Addr>().is_err() {
                    return false;
                }
            }
            !source[end..].chars().next().is_some_and(char::is_alphanumeric)
        })
    }
}

fn has_any(call: &Call<'_>, read: fn(&str) -> Option<Needle>) -> Result<ColumnarValue> {
    let (source, needles) = (Texts::of(call, 0)?, Many::of(call, 1, read)?);
    each(call, |row| {
        let text = source.text(row);
        needles.any(row, |needle| needle.is_in(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        assert_eq!(Network::parse("1.2.3.4/24"), Some(Network { address: 0x0102_0300, prefix: 24 }));
        assert_eq!(Network::parse("0.0.0.0/0"), Some(Network { address: 0, prefix: 0 }));
        for text in [
            "",
            "1.2.3",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/+1",
            "1.2.3.4/024",
            " 1.2.3.4",
            "a",
        ] {
            assert_eq!(Network::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn needles_are_found_by_the_documented_rules() {
        let log = "05:04:54 127.0.0.1 GET /favicon.ico 404";
        let whole = |source: &str, ip| Needle::whole(ip).is_some_and(|needle| needle.is_in(source));
        let prefix = |source: &str, ip| Needle::prefix(ip).is_some_and(|needle| needle.is_in(source));
        assert!(whole(log, "127.0.0.1") && whole("127.0.0.1", "127.0.0.1") && whole("at 127.0.0.1.", "127.0.0.1"));
        assert!(!whole("05:04:54 127.0.0.256 GET", "127.0.0.256") && !whole("05:04:54127.0.0.1 GET", "127.0.0.1"));
        assert!(!whole("127.0.0.10", "127.0.0.1") && !whole("é127.0.0.1", "127.0.0.1"));
        assert!(prefix(log, "127.0.") && prefix(log, "127.0.0.1") && prefix("to 127.0.0.1.", "127."));
        assert!(!prefix(log, "127.0") && !prefix("05:04:54 127.0.0.256 GET", "127.0.") && !prefix("127.0.0.", "127."));
        assert!(
            !prefix("05:04:54127.0.0.1 GET", "127.0.")
                && !prefix(log, "")
                && !prefix(log, ".")
                && !prefix("1.2.3.4é", "1.")
        );
    }
}
