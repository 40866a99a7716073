//! `parse_user_agent`: browser, operating system and device by the rules of uap-core.
//!
//! The rules are part of the program (`data/user_agents.json`); each of the three sets is compiled when it is first
//! needed. Shape: a bag with a member for each thing looked for; what no rule recognizes is of the family "Other" and
//! has empty versions, as uap-core prescribes. Nulls: no known thing looked for gives null.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion_common::Result;
use datafusion_expr::ColumnarValue;
use tidewater_kql::KqlType;
use tidewater_kql::value::json;
use ua_parser::{Regexes, device, os, user_agent};

use super::kernel::{Texts, each_dynamic};
use super::rows::{TO_DYNAMIC, row};
use crate::call::Call;
use crate::dynamic::{BagWriter, Dynamic, Json};
use crate::registry::Scalar;
use crate::signature::{Accepts, STRING, required, sig};

/// The rows of this family.
pub const ROWS: &[Scalar] = &[row!(
    "parse_user_agent",
    &[sig(
        &[
            required("user-agent-string", STRING),
            required("look-for", Accepts::OneOf(&[KqlType::String, KqlType::Dynamic]))
        ],
        TO_DYNAMIC
    )],
    parse_user_agent,
    "Browser, operating system and device that a user agent's text tells.",
    "parse-user-agent-function",
    examples: &[(
        "print parse_user_agent('curl/8.5.0', 'browser').Browser.Family",
        "curl"
    )],
)];

fn rules() -> Regexes<'static> {
    serde_json::from_str(include_str!("../../data/user_agents.json")).expect("the rules are tested")
}

static BROWSERS: LazyLock<user_agent::Extractor<'static>> = LazyLock::new(|| {
    let rules = user_agent::Builder::new().push_all(rules().user_agent_parsers).expect("the rules are tested");
    rules.build().expect("the rules are tested")
});

static SYSTEMS: LazyLock<os::Extractor<'static>> = LazyLock::new(|| {
    let rules = os::Builder::new().push_all(rules().os_parsers).expect("the rules are tested");
    rules.build().expect("the rules are tested")
});

static DEVICES: LazyLock<device::Extractor<'static>> = LazyLock::new(|| {
    let rules = device::Builder::new().push_all(rules().device_parsers).expect("the rules are tested");
    rules.build().expect("the rules are tested")
});

/// What is looked for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Wanted {
    browser: bool,
    system: bool,
    device: bool,
}

impl Wanted {
    fn add(&mut self, name: &str) {
        match name {
            "browser" => self.browser = true,
            "os" => self.system = true,
            "device" => self.device = true,
            _ => {}
        }
    }

    fn read(text: &str, ty: KqlType) -> Wanted {
        let mut wanted = Wanted::default();
        if ty != KqlType::Dynamic {
            wanted.add(text);
            return wanted;
        }
        let value = Json::new(Some(text));
        match value.string() {
            Some(name) => wanted.add(&name),
            None => value.elements().for_each(|name| wanted.add(&name.string().unwrap_or_default())),
        }
        wanted
    }
}

fn parse_user_agent(call: &Call<'_>) -> Result<ColumnarValue> {
    let (agents, names) = (Texts::of(call, 0)?, Texts::of(call, 1)?);
    // Logs repeat the same agents again and again, and a look costs as much as a thousand copies.
    let mut known: HashMap<(&str, Wanted), Vec<u8>> = HashMap::new();
    let mut last: (&str, Wanted) = ("", Wanted::default());
    each_dynamic(call, |row, out| {
        let text = names.text(row);
        if text != last.0 {
            last = (text, Wanted::read(text, call.types[1]));
        }
        if last.1 == Wanted::default() {
            return false;
        }
        let key = (agents.text(row), last.1);
        let answer = known.entry(key).or_insert_with(|| look(key.0, key.1));
        out.extend_from_slice(answer);
        true
    })
}

fn look(agent: &str, wanted: Wanted) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bag = BagWriter::new(&mut out);
    if wanted.browser {
        let found = BROWSERS.extract(agent);
        let part = |part: fn(&user_agent::ValueRef<'_>) -> Option<String>| found.as_ref().and_then(part);
        let parts = [
            ("Family", part(|found| Some(found.family.to_string())).or(Some("Other".into()))),
            ("MajorVersion", part(|found| found.major.map(String::from))),
            ("MinorVersion", part(|found| found.minor.map(String::from))),
            ("Patch", part(|found| found.patch.map(String::from))),
        ];
        write(&parts, bag.key("Browser"));
    }
    if wanted.system {
        let found = SYSTEMS.extract(agent);
        let part = |part: fn(&os::ValueRef<'_>) -> Option<String>| found.as_ref().and_then(part);
        let parts = [
            ("Family", part(|found| Some(found.os.to_string())).or(Some("Other".into()))),
            ("MajorVersion", part(|found| found.major.as_deref().map(String::from))),
            ("MinorVersion", part(|found| found.minor.as_deref().map(String::from))),
            ("Patch", part(|found| found.patch.as_deref().map(String::from))),
            ("PatchMinor", part(|found| found.patch_minor.as_deref().map(String::from))),
        ];
        write(&parts, bag.key("OperatingSystem"));
    }
    if wanted.device {
        let found = DEVICES.extract(agent);
        let part = |part: fn(&device::ValueRef<'_>) -> Option<String>| found.as_ref().and_then(part);
        let parts = [
            ("Family", part(|found| Some(found.device.to_string())).or(Some("Other".into()))),
            ("Brand", part(|found| found.brand.as_deref().map(String::from))),
            ("Model", part(|found| found.model.as_deref().map(String::from))),
        ];
        write(&parts, bag.key("Device"));
    }
    bag.close();
    out
}

fn write(parts: &[(&str, Option<String>)], out: &mut Vec<u8>) {
    let mut bag = BagWriter::new(out);
    for (name, value) in parts {
        json::quote(value.as_deref().unwrap_or(""), bag.key(name));
    }
    bag.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wanted = Wanted { browser: true, system: true, device: true };

    fn found(agent: &str, wanted: Wanted) -> String {
        String::from_utf8(look(agent, wanted)).unwrap()
    }

    #[test]
    fn the_examples_of_the_page_come_out() {
        let air = "Mozilla/5.0 (Windows; U; en-US) AppleWebKit/531.9 (KHTML, like Gecko) AdobeAIR/2.5.1";
        assert_eq!(
            found(air, Wanted { browser: true, ..Wanted::default() }),
            r#"{"Browser":{"Family":"AdobeAIR","MajorVersion":"2","MinorVersion":"5","Patch":"1"}}"#
        );
        let nokia = "Mozilla/5.0 (SymbianOS/9.2; U; Series60/3.1 NokiaN81-3/10.0.032 Profile/MIDP-2.0 \
            Configuration/CLDC-1.1 ) AppleWebKit/413 (KHTML, like Gecko) Safari/4";
        assert_eq!(
            found(nokia, ALL),
            concat!(
                r#"{"Browser":{"Family":"Nokia OSS Browser","MajorVersion":"3","MinorVersion":"1","Patch":""},"#,
                r#""OperatingSystem":{"Family":"Symbian OS","MajorVersion":"9","MinorVersion":"2","Patch":"","PatchMinor":""},"#,
                r#""Device":{"Family":"Nokia N81","Brand":"Nokia","Model":"N81-3"}}"#
            )
        );
    }

    #[test]
    fn what_no_rule_knows_is_other() {
        assert_eq!(
            found("", Wanted { device: true, ..Wanted::default() }),
            r#"{"Device":{"Family":"Other","Brand":"","Model":""}}"#
        );
    }

    #[test]
    fn what_is_looked_for_is_read_from_a_text_or_an_array() {
        assert!(Wanted::read("os", KqlType::String) == Wanted { system: true, ..Wanted::default() });
        assert!(Wanted::read("\"os\"", KqlType::Dynamic) == Wanted { system: true, ..Wanted::default() });
        assert!(Wanted::read("[\"browser\",\"os\",\"device\",1,\"x\"]", KqlType::Dynamic) == ALL);
        assert!(Wanted::read("what", KqlType::String) == Wanted::default());
    }
}
