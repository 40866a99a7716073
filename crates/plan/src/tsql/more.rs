//! More functions of T-SQL: texts, dates from their parts, JSON, and those that are refused by their names.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Function, FunctionArguments, Value};
use datafusion::sql::sqlparser::tokenizer;
use tidewater_kql::KqlType;
use tidewater_kql::diagnostic::{GENERAL, NOT_CONSTANT};

use super::expr::{BOOL, Level, Literal, Names, Typed, pattern_regex};
use super::functions::number;
use super::{Result, Translator, quoted};

/// Functions of T-SQL that have no meaning in KQL, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("BINARY_CHECKSUM", "its bits are SQL Server's own"),
    ("CHECKSUM", "its bits are SQL Server's own"),
    ("COMPRESS", "binary values"),
    ("CURSOR_STATUS", "there are no cursors"),
    ("DECOMPRESS", "binary values"),
    ("DIFFERENCE", "sounds of texts"),
    ("FORMATMESSAGE", "messages of sys.messages"),
    ("HASHBYTES", "binary values; CONVERT(VARCHAR(64), HASHBYTES(...), 2) is served"),
    ("IDENT_CURRENT", "there are no identity columns"),
    ("JSON_ARRAY", "write pack_array(...)"),
    ("JSON_ARRAYAGG", "write make_list(...)"),
    ("JSON_MODIFY", "write bag_set_key(...)"),
    ("JSON_OBJECT", "write bag_pack(...)"),
    ("JSON_OBJECTAGG", "write make_bag(...)"),
    ("JSON_PATH_EXISTS", "a null at the path cannot be told from none"),
    ("OBJECT_ID", "objects have no numbers"),
    ("OPENJSON", "it stands in FROM and behind APPLY"),
    ("PARSE", "cultures"),
    ("PARSENAME", "quoted names"),
    ("PERCENTILE_CONT", "WITHIN GROUP"),
    ("PERCENTILE_DISC", "WITHIN GROUP"),
    ("SCOPE_IDENTITY", "there are no identity columns"),
    ("SOUNDEX", "sounds of texts"),
    ("STRING_ESCAPE", "rules of escaping"),
    ("STRING_SPLIT", "it stands in FROM and behind APPLY"),
    ("SWITCHOFFSET", "datetimes have no offset"),
    ("TODATETIMEOFFSET", "datetimes have no offset"),
    ("TRY_PARSE", "cultures"),
];

/// Why a function is refused.
pub(super) fn refused(upper: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(name, _)| *name == upper).map(|(_, reason)| *reason)
}

impl Translator<'_> {
    /// A function with this many arguments; `None` when there is none here.
    pub(super) fn more(&mut self, what: &str, values: &[Typed], span: tokenizer::Span) -> Result<Option<Typed>> {
        use KqlType::{DateTime, Int, Long, String, TimeSpan};
        let plain = |text: std::string::String, ty: KqlType| Ok(Some(Typed::atom(text, ty)));
        match (what, values) {
            ("PATINDEX", [pattern, text]) => {
                let Literal::Text(pattern) = &pattern.literal else {
                    return Err(self.not_served("PATINDEX with a pattern that is not a constant"));
                };
                let regex = quoted(&pattern_regex(pattern));
                plain(format!("(indexof_regex({}, {regex}) + 1)", self.text(text)?), Long)
            }
            ("QUOTENAME", [text]) => plain(quoted_name(&self.text(text)?, "[", "]"), String),
            ("QUOTENAME", [text, quote]) => {
                let (open, close) = match &quote.literal {
                    Literal::Text(quote) => match quote.as_str() {
                        "[" | "]" => ("[", "]"),
                        "'" => ("'", "'"),
                        "\"" => ("\"", "\""),
                        "(" | ")" => ("(", ")"),
                        "<" | ">" => ("<", ">"),
                        "{" | "}" => ("{", "}"),
                        "`" => ("`", "`"),
                        // Source: QUOTENAME: another character gives NULL.
                        _ => return Ok(Some(super::expr::null_of(String))),
                    },
                    _ => return Err(self.mistake(NOT_CONSTANT, span, "QUOTENAME needs a constant quote")),
                };
                plain(quoted_name(&self.text(text)?, open, close), String)
            }
            ("STR", [value]) => plain(right_aligned(value, 10), String),
            ("STR", [value, length, rest @ ..]) if rest.len() <= 1 => {
                let length = number(length).filter(|length| (1..=8000).contains(length));
                let Some(length) = length else {
                    return Err(self.mistake(NOT_CONSTANT, span, "STR needs a constant length from 1 to 8000"));
                };
                match rest.first().map(number) {
                    None | Some(Some(0)) => plain(right_aligned(value, length), String),
                    Some(_) => Err(self.not_served("STR with decimal places")),
                }
            }
            ("DATALENGTH", [value]) => match value.ty {
                Some(String) => plain(format!("string_size({})", value.text), Long),
                Some(Int) => plain(format!("iff(isnull({0}), int(null), int(4))", value.text), Int),
                Some(Long | KqlType::Real | DateTime) => {
                    plain(format!("iff(isnull({0}), int(null), int(8))", value.text), Int)
                }
                Some(KqlType::Guid) => plain(format!("iff(isnull({0}), int(null), int(16))", value.text), Int),
                _ => Err(self.not_served("DATALENGTH of other than texts, whole numbers, floats, datetimes and guids")),
            },
            ("ISJSON", [text]) => {
                let text = self.text(text)?;
                plain(format!("toint(gettype(parse_json({text})) in (\"array\", \"dictionary\"))"), Int)
            }
            ("LTRIM" | "RTRIM" | "TRIM", [text, characters]) => {
                let Literal::Text(characters) = &characters.literal else {
                    return Err(self.not_served(format!("{what} with characters that are not constant")));
                };
                let mut class = std::string::String::from("[");
                for character in characters.chars() {
                    if !character.is_alphanumeric() && !character.is_whitespace() && character.is_ascii() {
                        class.push('\\');
                    }
                    class.push(character);
                }
                class.push_str("]+");
                let call = match what {
                    "LTRIM" => "trim_start",
                    "RTRIM" => "trim_end",
                    _ => "trim",
                };
                match characters.is_empty() {
                    true => plain(self.text(text)?, String),
                    false => plain(format!("{call}({}, {})", quoted(&class), self.text(text)?), String),
                }
            }
            ("SMALLDATETIMEFROMPARTS", [year, month, day, hour, minute]) => plain(
                format!("make_datetime({}, {}, {}, {}, {})", year.text, month.text, day.text, hour.text, minute.text),
                DateTime,
            ),
            ("DATETIME2FROMPARTS", [year, month, day, hour, minute, second, fractions, precision]) => {
                let ticks = self.fraction_ticks(what, precision, span)?;
                plain(
                    format!(
                        "(make_datetime({}, {}, {}, {}, {}, {}) + {} * {ticks}tick)",
                        year.text,
                        month.text,
                        day.text,
                        hour.text,
                        minute.text,
                        second.text,
                        fractions.at(Level::Atom)
                    ),
                    DateTime,
                )
            }
            ("TIMEFROMPARTS", [hour, minute, second, fractions, precision]) => {
                let ticks = self.fraction_ticks(what, precision, span)?;
                plain(
                    format!(
                        "(make_timespan({}, {}, {}) + {} * {ticks}tick)",
                        hour.text,
                        minute.text,
                        second.text,
                        fractions.at(Level::Atom)
                    ),
                    TimeSpan,
                )
            }
            _ => Ok(None),
        }
    }

    /// The ticks of one unit of the last place.
    fn fraction_ticks(&self, what: &str, precision: &Typed, span: tokenizer::Span) -> Result<i64> {
        let precision = number(precision).filter(|precision| (0..=7).contains(precision));
        let precision = precision.and_then(|precision| u32::try_from(precision).ok());
        match precision {
            Some(precision) => Ok(10i64.pow(7 - precision)),
            None => Err(self.mistake(NOT_CONSTANT, span, format!("{what} needs a constant precision from 0 to 7"))),
        }
    }

    /// DATE_BUCKET: the beginning of the bucket, counted from 1900 or another origin.
    pub(super) fn bucket(
        &mut self,
        part: &'static str,
        count: &Typed,
        date: &Typed,
        origin: Option<&Typed>,
        span: tokenizer::Span,
    ) -> Result<Typed> {
        let Some(count) = number(count).filter(|count| (1..=i64::from(i32::MAX)).contains(count)) else {
            return Err(self.mistake(GENERAL, span, "DATE_BUCKET needs a constant number above zero"));
        };
        let date = self.date(date)?.text;
        let months = match part {
            "year" => Some(12),
            "quarter" => Some(3),
            "month" => Some(1),
            _ => None,
        };
        if let Some(months) = months {
            if origin.is_some() {
                return Err(self.not_served("DATE_BUCKET of months with an origin"));
            }
            let size = months * count;
            let passed = format!("(getyear({date}) - 1900) * 12 + monthofyear({date}) - 1");
            let text = format!("datetime_add('month', tolong(bin({passed}, {size})), datetime(1900-01-01))");
            return Ok(Typed::atom(text, KqlType::DateTime));
        }
        let unit = match part {
            "week" => format!("{}d", 7 * count),
            "day" | "dayofyear" => format!("{count}d"),
            "hour" => format!("{count}h"),
            "minute" => format!("{count}m"),
            "second" => format!("{count}s"),
            "millisecond" => format!("{count}ms"),
            part => return Err(self.not_served(format!("DATE_BUCKET({part}, ...)"))),
        };
        let origin = match origin {
            Some(origin) => self.date(origin)?.text,
            None => "datetime(1900-01-01)".to_string(),
        };
        Ok(Typed::atom(format!("bin_at({date}, {unit}, {origin})"), KqlType::DateTime))
    }

    /// `IS [NOT] DISTINCT FROM`, which takes nulls for equal and is never unknown.
    pub(super) fn distinct(
        &mut self,
        left: &Expr,
        right: &Expr,
        is_distinct: bool,
        names: &mut Names<'_, '_>,
    ) -> Result<Typed> {
        use datafusion::sql::sqlparser::ast::BinaryOperator;
        let (left, right) = (self.expr(left, names)?, self.expr(right, names)?);
        let (left, right) = self.comparable(left, right)?;
        let null = |value: &Typed| format!("isnull({})", value.text);
        let (left_null, right_null) = (null(&left), null(&right));
        let equal = self.comparison(left, &BinaryOperator::Eq, right)?.text;
        let same = format!("({left_null} and {right_null}) or (not({left_null}) and not({right_null}) and {equal})");
        Ok(match is_distinct {
            true => Typed::atom(format!("not({same})"), KqlType::Bool),
            false => Typed::new(same, BOOL, Level::Or),
        })
    }

    /// `CONVERT(VARCHAR(n), HASHBYTES(algorithm, text), 1 or 2)`: the only text that a digest becomes here.
    pub(super) fn digest_as_text(
        &mut self,
        inner: &Expr,
        ty: &DataType,
        styles: &[Expr],
        names: &mut Names<'_, '_>,
    ) -> Result<Option<Typed>> {
        let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = inner else { return Ok(None) };
        if !name.to_string().eq_ignore_ascii_case("HASHBYTES") {
            return Ok(None);
        }
        let written = ty.to_string().to_ascii_uppercase();
        let length = match written.split_once('(') {
            Some(("VARCHAR" | "NVARCHAR" | "CHAR" | "NCHAR", length)) => {
                length.trim_end_matches(')').trim().to_string()
            }
            None if written.contains("CHAR") => "30".to_string(),
            _ => return Err(self.not_served(format!("HASHBYTES as {written}"))),
        };
        let style = match styles {
            [Expr::Value(value)] => match &value.value {
                Value::Number(text, _) => text.as_str(),
                _ => "",
            },
            _ => "",
        };
        let prefix = match style {
            "1" => "0x",
            "2" => "",
            _ => return Err(self.not_served("HASHBYTES as a text in other styles than 1 and 2")),
        };
        let exprs = self.arguments("HASHBYTES", &list.args)?;
        let [algorithm, text] = exprs.as_slice() else {
            return Err(self.syntax("HASHBYTES needs an algorithm and a text"));
        };
        let (algorithm, text) = (self.expr(algorithm, names)?, self.expr(text, names)?);
        let Literal::Text(algorithm) = &algorithm.literal else {
            return Err(self.not_served("HASHBYTES with an algorithm that is not a constant"));
        };
        // KQL has no digest of the empty text.
        let (call, digits, of_nothing) = match algorithm.to_ascii_uppercase().as_str() {
            "MD5" => ("hash_md5", 32, "D41D8CD98F00B204E9800998ECF8427E"),
            "SHA" | "SHA1" => ("hash_sha1", 40, "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"),
            "SHA2_256" => ("hash_sha256", 64, "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"),
            other => return Err(self.not_served(format!("HASHBYTES('{other}', ...)"))),
        };
        if !matches!(text.ty, Some(KqlType::String) | None) {
            return Err(self.not_served("HASHBYTES of other than texts"));
        }
        let digest = format!("iff(isempty({0}), \"{of_nothing}\", toupper({call}({0})))", text.text);
        let digest = match prefix {
            "" => digest,
            prefix => format!("strcat(\"{prefix}\", {digest})"),
        };
        let fits = length == "MAX" || length.parse::<usize>().is_ok_and(|length| length >= digits + prefix.len());
        match fits {
            true => Ok(Some(Typed::atom(digest, KqlType::String))),
            false => Err(self.not_served(format!("HASHBYTES as {written}, which is too short for it"))),
        }
    }
}

/// The name between its quotes, the closing one doubled; NULL, here the empty text, above 128 characters.
fn quoted_name(text: &str, open: &str, close: &str) -> String {
    let inner = format!("replace_string({text}, {}, {})", quoted(close), quoted(&close.repeat(2)));
    format!("iff(strlen({text}) > 128, \"\", strcat({}, {inner}, {}))", quoted(open), quoted(close))
}

/// A number as a whole one at the right end of so many places; asterisks where it does not fit.
fn right_aligned(value: &Typed, length: i64) -> String {
    let whole = format!("tostring(tolong(round(todouble({}), 0)))", value.text);
    format!(
        "iff(isnull({}), \"\", iff(strlen({whole}) > {length}, strrep(\"*\", {length}), \
         strcat(strrep(\" \", {length} - strlen({whole})), {whole})))",
        value.text
    )
}
