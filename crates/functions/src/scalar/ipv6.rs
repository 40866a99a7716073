//! IPv6 addresses; IPv4 ones are taken as mapped into `::ffff:0:0/96`.

use std::net::{Ipv4Addr, Ipv6Addr};

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;

use super::ipv4::Many;
use super::kernel::{Integers, Texts, each, each_text};
use super::rows::{TO_BOOL, TO_LONG, TO_STRING, refused, row};
use crate::call::Call;
use crate::registry::Scalar;
use crate::signature::{Accepts, LONG, Param, STRING, optional, repeated, required, sig};

const COMPARED: &[Param] = &[required("ip1", STRING), required("ip2", STRING), optional("prefix", LONG)];

/// The rows of this family.
pub const ROWS: &[Scalar] = &[
    row!(
        "parse_ipv6",
        &[sig(&[required("ip", STRING)], TO_STRING)],
        |call| canonical(call, None),
        "An IPv6 or IPv4 address, masked by its prefix, as eight groups of four digits; empty when it is not one.",
        "parse-ipv6-function",
        examples: &[("print parse_ipv6('192.168.255.255/24')", "0000:0000:0000:0000:0000:ffff:c0a8:ff00")],
    ),
    row!(
        "parse_ipv6_mask",
        &[sig(&[required("ip", STRING), required("prefix", LONG)], TO_STRING)],
        |call| canonical(call, Some(Integers::of(call, 1)?)),
        "An IPv6 or IPv4 address, masked by the shorter of its own prefix and `prefix`, as eight groups of four digits.",
        "parse-ipv6-mask-function",
        examples: &[("print parse_ipv6_mask('fe80::85d:e82c:9446:7994/120', 124)", "fe80:0000:0000:0000:085d:e82c:9446:7900")],
    ),
    row!(
        "ipv6_compare",
        &[sig(COMPARED, TO_LONG)],
        |call| compared(call, |a, b| a.cmp(&b) as i64),
        "-1, 0 or 1 by the order of two IPv6 or IPv4 addresses under the shortest of their prefixes.",
        "ipv6-compare-function",
        examples: &[("print ipv6_compare('192.168.1.1/24', '::ffff:c0a8:01ff')", "0")],
    ),
    row!(
        "ipv6_is_match",
        &[sig(COMPARED, TO_BOOL)],
        |call| compared(call, |a, b| a == b),
        "Whether two IPv6 or IPv4 addresses are the same under the shortest of their prefixes.",
        "ipv6-is-match-function",
        examples: &[("print ipv6_is_match('192.168.1.1', '::ffff:c0a8:0101')", "true")],
    ),
    row!(
        "ipv6_is_in_range",
        &[sig(&[required("ip", STRING), required("ip_range", STRING)], TO_BOOL)],
        is_in_range,
        "Whether an IPv6 address lies in a range such as `fe80::/10`.",
        "ipv6-is-in-range-function",
        examples: &[("print ipv6_is_in_range('a5e::abcd', 'a5e::/16')", "true")],
    ),
    row!(
        "ipv6_is_in_any_range",
        &[
            sig(&[required("ip", STRING), required("ranges", Accepts::OneOf(&[KqlType::Dynamic]))], TO_BOOL),
            sig(&[required("ip", STRING), required("range", STRING), repeated("range", STRING)], TO_BOOL),
        ],
        is_in_any_range,
        "Whether an IPv6 address lies in one of several ranges.",
        "ipv6-is-in-any-range-function",
        examples: &[("print ipv6_is_in_any_range('a5e::abcd', 'fe80::/10', 'a5e::/16')", "true")],
    ),
    refused!(
        "__ipv6_lookup_ranges",
        "internal to the service, not documented",
        "Ranges that hold an IPv6 address.",
        ""
    ),
];

/// An address under a prefix of 128 bits; bits beyond it are zero.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Network {
    address: u128,
    prefix: u8,
    /// Written as an IPv4 address.
    is_v4: bool,
}

fn mask(prefix: u8) -> u128 {
    if prefix == 0 { 0 } else { u128::MAX << (128 - prefix.min(128)) }
}

/// Bits of the address before an IPv4 one.
const V4_OFFSET: u8 = 96;

impl Network {
    fn new(address: u128, prefix: u8, is_v4: bool) -> Network {
        Network { address: address & mask(prefix), prefix, is_v4 }
    }

    /// A prefix counts from the address as written: in `1.2.3.4/24` and `::1.2.3.4/24` it is IPv4's.
    fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let prefix = match prefix {
            Some(digits) if (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse::<u8>().ok().filter(|prefix| *prefix <= 128)?)
            }
            Some(_) => return None,
            None => None,
        };
        if !address.contains(':') {
            let bits = address.parse::<Ipv4Addr>().ok()?.to_ipv6_mapped().to_bits();
            let prefix = prefix.unwrap_or(32);
            return if prefix > 32 { None } else { Some(Network::new(bits, V4_OFFSET + prefix, true)) };
        }
        let mut bits = address.parse::<Ipv6Addr>().ok()?.to_bits();
        let mut prefix = prefix.unwrap_or(128);
        if address.contains('.') {
            if bits >> 32 == 0 {
                bits |= 0xFFFF << 32;
            }
            if prefix <= 32 {
                prefix += V4_OFFSET;
            }
        }
        Some(Network::new(bits, prefix, false))
    }

    fn under(self, prefix: i64) -> Option<Network> {
        let prefix = u8::try_from(prefix).ok().filter(|prefix| *prefix <= 128)?;
        Some(Network::new(self.address, self.prefix.min(prefix), self.is_v4))
    }

    fn holds(self, address: u128) -> bool {
        address & mask(self.prefix) == self.address
    }
}

/// The address and the length of the prefix of an address or network in text; bits beyond the prefix are zero. IPv4
/// addresses are mapped ones.
pub fn network(text: &str) -> Option<(u128, u8)> {
    Network::parse(text).map(|network| (network.address, network.prefix))
}

fn canonical(call: &Call<'_>, prefix: Option<Integers>) -> Result<ColumnarValue> {
    let source = Texts::of(call, 0)?;
    each_text(call, |row, out| {
        let given = match &prefix {
            Some(prefix) => prefix.get(row),
            None => Some(128),
        };
        let network = given.and_then(|given| Network::parse(source.text(row))?.under(given));
        let Some(network) = network else { return };
        for (position, digit) in (0..32).rev().enumerate() {
            if position > 0 && position % 4 == 0 {
                out.push(':');
            }
            out.extend(char::from_digit((network.address >> (digit * 4)) as u32 & 15, 16));
        }
    })
}

fn compared<O>(call: &Call<'_>, f: fn(u128, u128) -> O) -> Result<ColumnarValue>
where
    Option<O>: super::kernel::Output,
{
    let (left, right) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    let prefix = if call.args.len() > 2 { Some(Integers::of(call, 2)?) } else { None };
    each(call, |row| {
        let (left, right) = (Network::parse(left.text(row))?, Network::parse(right.text(row))?);
        let mut given = match &prefix {
            Some(prefix) => prefix.get(row)?,
            None => 128,
        };
        // Between two IPv4 addresses the prefix is IPv4's. Source: ipv6_is_match() page, second example.
        if left.is_v4 && right.is_v4 && (0..=32).contains(&given) {
            given += i64::from(V4_OFFSET);
        }
        let shortest = given.min(i64::from(left.prefix.min(right.prefix)));
        Some(f(left.under(shortest)?.address, right.under(shortest)?.address))
    })
}

fn is_in_range(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, ranges) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    each(call, |row| {
        let address = Network::parse(source.text(row))?.address;
        Some(Network::parse(ranges.text(row))?.holds(address))
    })
}

fn is_in_any_range(call: &Call<'_>) -> Result<ColumnarValue> {
    let (source, ranges) = (Texts::of(call, 0)?, Many::of(call, 1, Network::parse)?);
    each(call, |row| {
        let address = Network::parse(source.text(row))?.address;
        Some(ranges.any(row, |range| range.holds(address)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_count_from_the_address_as_written() {
        for (text, prefix) in [
            ("1.2.3.4", 128),
            ("1.2.3.4/24", 120),
            ("::1.2.3.4/24", 120),
            ("::ffff:102:304", 128),
            ("fe80::1/64", 64),
            ("::1.2.3.4/120", 120),
        ] {
            assert_eq!(Network::parse(text).map(|network| network.prefix), Some(prefix), "{text}");
        }
        assert_eq!(Network::parse("::1.2.3.4").map(|n| n.address), Network::parse("1.2.3.4").map(|n| n.address));
        for text in ["", "fe80", "fe80::1/129", "1.2.3.4/33", "fe80::1%eth0", "::1/", "::1/-1", "1:2:3:4:5:6:7:8:9"] {
            assert_eq!(Network::parse(text), None, "{text:?}");
        }
    }
}
