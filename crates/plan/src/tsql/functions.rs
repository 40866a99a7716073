//! Functions and conversions of T-SQL in KQL's words. What T-SQL does not have is looked for among KQL's own functions
//! and the stored ones.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Function};
use datafusion::sql::sqlparser::tokenizer;
use tidewater_functions::registry::{find_aggregate, find_scalar};
use tidewater_kql::KqlType;
use tidewater_kql::diagnostic::{ARGUMENT_COUNT, GENERAL, NOT_CONSTANT, UNKNOWN_FUNCTION, nearest};

use super::expr::{Level, Literal, Names, Typed, null_of};
use super::{Result, Translator, name, place_of, quoted};

/// What `@@VERSION` says.
pub(super) const VERSION: &str = concat!("Tidewater ", env!("CARGO_PKG_VERSION"), " (T-SQL over KQL)");

const AGGREGATES: &[&str] = &[
    "COUNT",
    "COUNT_BIG",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "STDEV",
    "STDEVP",
    "VAR",
    "VARP",
    "STRING_AGG",
    "APPROX_COUNT_DISTINCT",
];

/// T-SQL's functions, for hints.
const SCALARS: &[&str] = &[
    "LEN",
    "UPPER",
    "LOWER",
    "LTRIM",
    "RTRIM",
    "TRIM",
    "SUBSTRING",
    "LEFT",
    "RIGHT",
    "REPLACE",
    "CHARINDEX",
    "CONCAT",
    "CONCAT_WS",
    "REVERSE",
    "REPLICATE",
    "SPACE",
    "STUFF",
    "ISNULL",
    "COALESCE",
    "NULLIF",
    "IIF",
    "CHOOSE",
    "GETDATE",
    "GETUTCDATE",
    "SYSDATETIME",
    "SYSUTCDATETIME",
    "DATEADD",
    "DATEDIFF",
    "DATEPART",
    "DATENAME",
    "DATETRUNC",
    "YEAR",
    "MONTH",
    "DAY",
    "EOMONTH",
    "DATEFROMPARTS",
    "FORMAT",
    "ABS",
    "CEILING",
    "FLOOR",
    "ROUND",
    "POWER",
    "SQRT",
    "EXP",
    "LOG",
    "LOG10",
    "SIGN",
    "SQUARE",
    "RAND",
    "NEWID",
    "GREATEST",
    "LEAST",
    "DB_NAME",
    "SUSER_SNAME",
    "JSON_VALUE",
    "JSON_QUERY",
    "PATINDEX",
    "QUOTENAME",
    "STR",
    "DATALENGTH",
    "DATE_BUCKET",
    "ISJSON",
    "DATETIME2FROMPARTS",
    "SMALLDATETIMEFROMPARTS",
    "TIMEFROMPARTS",
    "GROUPING",
    "GROUPING_ID",
];

/// Whether a call is an aggregate: T-SQL's, or one of KQL's that no scalar function is called like.
pub(super) fn is_aggregate(call: &Function) -> bool {
    let name = call.name.to_string();
    let upper = name.to_ascii_uppercase();
    AGGREGATES.contains(&upper.as_str())
        || (!SCALARS.contains(&upper.as_str()) && find_aggregate(&name).is_some() && find_scalar(&name).is_none())
}

/// A part of a date by all its names.
fn date_part(text: &str) -> Option<&'static str> {
    Some(match text.to_ascii_lowercase().as_str() {
        "year" | "yy" | "yyyy" => "year",
        "quarter" | "qq" | "q" => "quarter",
        "month" | "mm" | "m" => "month",
        "dayofyear" | "dy" | "y" => "dayofyear",
        "day" | "dd" | "d" => "day",
        "week" | "wk" | "ww" => "week",
        "iso_week" | "isowk" | "isoww" => "iso_week",
        "weekday" | "dw" | "w" => "weekday",
        "hour" | "hh" => "hour",
        "minute" | "mi" | "n" => "minute",
        "second" | "ss" | "s" => "second",
        "millisecond" | "ms" => "millisecond",
        "microsecond" | "mcs" => "microsecond",
        "nanosecond" | "ns" => "nanosecond",
        _ => return None,
    })
}

const MONTHS: &str = "dynamic([\"January\",\"February\",\"March\",\"April\",\"May\",\"June\",\"July\",\"August\",\
    \"September\",\"October\",\"November\",\"December\"])";
const WEEKDAYS: &str =
    "dynamic([\"Sunday\",\"Monday\",\"Tuesday\",\"Wednesday\",\"Thursday\",\"Friday\",\"Saturday\"])";

impl Translator<'_> {
    /// A call of T-SQL's or KQL's.
    pub(super) fn called(
        &mut self,
        own: &str,
        exprs: &[&Expr],
        names: &mut Names<'_, '_>,
        span: tokenizer::Span,
    ) -> Result<Typed> {
        let upper = own.to_ascii_uppercase();
        if let (
            "DATEADD" | "DATEDIFF" | "DATEDIFF_BIG" | "DATEPART" | "DATENAME" | "DATETRUNC" | "DATE_BUCKET",
            [part, rest @ ..],
        ) = (upper.as_str(), exprs)
        {
            let part = match part {
                Expr::Identifier(ident) => date_part(&ident.value),
                _ => None,
            };
            let Some(part) = part else {
                return Err(self.mistake(
                    GENERAL,
                    span,
                    format!("{upper} needs a part of a date as its first argument"),
                ));
            };
            let mut values = Vec::new();
            for expr in rest {
                values.push(self.expr(expr, names)?);
            }
            return self.date_call(&upper, part, values, span);
        }
        let mut values = Vec::new();
        for expr in exprs {
            values.push(self.expr(expr, names)?);
        }
        if let Some(value) = self.scalar(&upper, &values, span)? {
            return Ok(value);
        }
        if let Some(reason) = super::more::refused(&upper) {
            return Err(self.not_served(format!("the function {upper} ({reason})")));
        }
        if SCALARS.contains(&upper.as_str()) {
            let message = format!("{upper}: found {} arguments, which is not how it is called", values.len());
            return Err(self.mistake(ARGUMENT_COUNT, span, message));
        }
        self.kql_call(own, exprs, names, span)
    }

    /// A function of KQL or a stored one.
    pub(super) fn kql_call(
        &mut self,
        own: &str,
        exprs: &[&Expr],
        names: &mut Names<'_, '_>,
        span: tokenizer::Span,
    ) -> Result<Typed> {
        let database = self.view.current_database().to_string();
        let stored = self.view.function_names(&database);
        let exact = stored.iter().find(|known| *known == own);
        let stored = exact.or_else(|| stored.iter().find(|known| known.eq_ignore_ascii_case(own)));
        let lower = own.to_ascii_lowercase();
        let called = match (stored, find_scalar(own), find_scalar(&lower)) {
            (Some(stored), ..) => name(stored),
            (None, Some(_), _) => own.to_string(),
            (None, None, Some(_)) => lower,
            _ => {
                let mut message = format!("the function '{own}' is not known");
                if let Some(near) = nearest(&own.to_ascii_uppercase(), SCALARS.iter().copied()) {
                    message.push_str(&format!("; did you mean '{near}'?"));
                }
                return Err(self.mistake(UNKNOWN_FUNCTION, span, message));
            }
        };
        let mut texts = Vec::new();
        for expr in exprs {
            texts.push(self.expr(expr, names)?.text);
        }
        Ok(Typed::new(format!("{called}({})", texts.join(", ")), None, Level::Atom))
    }

    /// The aggregate of KQL that one of T-SQL means. NULL counts for none.
    pub(super) fn aggregate_of(
        &mut self,
        what: &str,
        values: Vec<Typed>,
        is_distinct: bool,
    ) -> Result<(String, Option<KqlType>)> {
        use KqlType::*;
        let ty = values.first().and_then(|value| value.ty);
        let text = values.first().map(|value| value.text.clone()).unwrap_or_default();
        let summed = match ty {
            Some(Int) => Some(Long),
            other => other,
        };
        if is_distinct {
            return match (what, values.len()) {
                ("COUNT" | "COUNT_BIG", 1) => Ok((format!("count_distinct({text})"), Some(Long))),
                ("MIN" | "MAX", 1) => self.aggregate_of(what, values, false),
                ("SUM", 1) if summed != Some(Decimal) => {
                    let sum = format!("array_sum(make_set({text}))");
                    Ok((format!("{}({sum})", super::expr::conversion(summed.unwrap_or(Real))), summed))
                }
                _ => Err(self.not_served(format!("{what}(DISTINCT ...)"))),
            };
        }
        let call = match (what, values.len()) {
            ("COUNT" | "COUNT_BIG", 1) => return Ok((format!("countif(isnotnull({text}))"), Some(Long))),
            ("SUM", 1) => (format!("sum({text})"), summed),
            ("AVG", 1) => {
                let ty = match ty {
                    Some(Decimal | DateTime | TimeSpan) => ty,
                    _ => Some(Real),
                };
                (format!("avg({text})"), ty)
            }
            ("MIN", 1) => (format!("min({text})"), ty),
            ("MAX", 1) => (format!("max({text})"), ty),
            ("STDEV", 1) => (format!("stdev({text})"), Some(Real)),
            ("STDEVP", 1) => (format!("stdevp({text})"), Some(Real)),
            ("VAR", 1) => (format!("variance({text})"), Some(Real)),
            ("VARP", 1) => (format!("variancep({text})"), Some(Real)),
            ("APPROX_COUNT_DISTINCT", 1) => (format!("dcount({text})"), Some(Long)),
            ("STRING_AGG", 2) => (format!("strcat_array(make_list({text}), {})", values[1].text), Some(String)),
            _ if AGGREGATES.contains(&what) => {
                return Err(self.not_served(format!("{what} with {} arguments", values.len())));
            }
            _ => {
                let texts: Vec<&str> = values.iter().map(|value| value.text.as_str()).collect();
                (format!("{}({})", what.to_ascii_lowercase(), texts.join(", ")), None)
            }
        };
        Ok(call)
    }

    pub(super) fn date(&self, value: &Typed) -> Result<Typed> {
        match value.ty {
            None | Some(KqlType::DateTime) => Ok(value.clone()),
            Some(_) => self.coerced(value.clone(), KqlType::DateTime),
        }
    }

    fn date_call(
        &mut self,
        what: &str,
        part: &'static str,
        values: Vec<Typed>,
        span: tokenizer::Span,
    ) -> Result<Typed> {
        use KqlType::*;
        let period = match part {
            "dayofyear" | "weekday" => "day",
            "iso_week" => "week",
            part => part,
        };
        match (what, values.as_slice()) {
            ("DATEADD", [number, date]) => {
                let (number, date) = (self.whole(number)?, self.date(date)?);
                Ok(Typed::atom(format!("datetime_add('{period}', {number}, {})", date.text), DateTime))
            }
            ("DATEDIFF" | "DATEDIFF_BIG", [from, to]) => {
                let (from, to) = (self.date(from)?, self.date(to)?);
                Ok(Typed::atom(format!("datetime_diff('{period}', {}, {})", to.text, from.text), Long))
            }
            ("DATE_BUCKET", [number, date]) => self.bucket(part, number, date, None, span),
            ("DATE_BUCKET", [number, date, origin]) => self.bucket(part, number, date, Some(origin), span),
            ("DATEPART", [date]) => Ok(part_of(part, &self.date(date)?.text)),
            ("DATENAME", [date]) => {
                let date = self.date(date)?.text;
                Ok(match part {
                    "month" => Typed::atom(format!("tostring({MONTHS}[monthofyear({date}) - 1])"), String),
                    "weekday" => Typed::atom(format!("tostring({WEEKDAYS}[toint(dayofweek({date}) / 1d)])"), String),
                    part => Typed::atom(format!("tostring({})", part_of(part, &date).text), String),
                })
            }
            ("DATETRUNC", [date]) => {
                let date = self.date(date)?.text;
                let text = match part {
                    "year" => format!("startofyear({date})"),
                    "quarter" => {
                        format!("datetime_add('month', -((monthofyear({date}) - 1) % 3), startofmonth({date}))")
                    }
                    "month" => format!("startofmonth({date})"),
                    "week" => format!("startofweek({date})"),
                    "day" | "dayofyear" => format!("startofday({date})"),
                    "hour" => format!("bin({date}, 1h)"),
                    "minute" => format!("bin({date}, 1m)"),
                    "second" => format!("bin({date}, 1s)"),
                    "millisecond" => format!("bin({date}, 1ms)"),
                    "microsecond" => format!("bin({date}, 1microsecond)"),
                    part => return Err(self.not_served(format!("DATETRUNC({part}, ...)"))),
                };
                Ok(Typed::atom(text, DateTime))
            }
            _ => {
                let message = format!("{what}: found {} arguments, which is not how it is called", values.len() + 1);
                Err(self.mistake(ARGUMENT_COUNT, span, message))
            }
        }
    }

    /// The text of a whole number.
    pub(super) fn whole(&self, value: &Typed) -> Result<String> {
        match value.ty {
            Some(KqlType::Int | KqlType::Long) | None => Ok(value.text.clone()),
            Some(_) => Ok(self.coerced(value.clone(), KqlType::Long)?.text),
        }
    }

    pub(super) fn text(&self, value: &Typed) -> Result<String> {
        match value.ty {
            Some(KqlType::String) | None => Ok(value.text.clone()),
            Some(_) => Ok(self.coerced(value.clone(), KqlType::String)?.text),
        }
    }

    /// A function of T-SQL with this many arguments; `None` when there is none.
    fn scalar(&mut self, what: &str, values: &[Typed], span: tokenizer::Span) -> Result<Option<Typed>> {
        if let Some(value) = self.more(what, values, span)? {
            return Ok(Some(value));
        }
        if let Some(value) = self.text_function(what, values)? {
            return Ok(Some(value));
        }
        if let Some(value) = self.number_function(what, values) {
            return Ok(Some(value));
        }
        use KqlType::*;
        let plain = |text: std::string::String, ty: KqlType| Ok(Some(Typed::atom(text, ty)));
        match (what, values) {
            (
                "GETDATE" | "GETUTCDATE" | "SYSDATETIME" | "SYSUTCDATETIME" | "CURRENT_TIMESTAMP" | "SYSDATETIMEOFFSET",
                [],
            ) => plain("now()".into(), DateTime),
            ("YEAR", [date]) => plain(format!("getyear({})", self.date(date)?.text), Int),
            ("MONTH", [date]) => plain(format!("monthofyear({})", self.date(date)?.text), Int),
            ("DAY", [date]) => plain(format!("dayofmonth({})", self.date(date)?.text), Int),
            ("EOMONTH", [date]) => plain(format!("startofday(endofmonth({}))", self.date(date)?.text), DateTime),
            ("EOMONTH", [date, months]) => {
                let (date, months) = (self.date(date)?.text, self.whole(months)?);
                plain(format!("startofday(endofmonth({date}, {months}))"), DateTime)
            }
            ("DATEFROMPARTS", [year, month, day]) => {
                plain(format!("make_datetime({}, {}, {})", year.text, month.text, day.text), DateTime)
            }
            ("DATETIMEFROMPARTS", [year, month, day, hour, minute, second, milliseconds]) => plain(
                format!(
                    "make_datetime({}, {}, {}, {}, {}, {} + {} / 1000.0)",
                    year.text,
                    month.text,
                    day.text,
                    hour.text,
                    minute.text,
                    second.at(Level::Add),
                    milliseconds.at(Level::Atom)
                ),
                DateTime,
            ),
            ("ISDATE", [value]) => plain(format!("toint(isnotnull(todatetime({})))", self.text(value)?), Int),
            ("ISNUMERIC", [value]) => plain(format!("toint(isnotnull(toreal({})))", self.text(value)?), Int),
            ("ISNULL", [value, other]) => self.coalesced(vec![value.clone(), other.clone()]).map(Some),
            ("COALESCE", [_, _, ..]) => self.coalesced(values.to_vec()).map(Some),
            ("NULLIF", [value, other]) => {
                use datafusion::sql::sqlparser::ast::BinaryOperator;
                let test = self.binary(value.clone(), &BinaryOperator::Eq, other.clone(), span)?;
                let null = null_of(value.ty.unwrap_or(Long));
                Ok(Some(Typed::new(
                    format!("iff({}, {}, {})", test.text, null.text, value.text),
                    value.ty,
                    Level::Atom,
                )))
            }
            ("IIF", [test, then, otherwise]) => {
                let (values, ty) = self.unified(vec![then.clone(), otherwise.clone()])?;
                let text = format!("iff({}, {}, {})", test.text, values[0].text, values[1].text);
                Ok(Some(Typed::new(text, ty, Level::Atom)))
            }
            ("CHOOSE", [index, _, ..]) => {
                let (values, ty) = self.unified(values[1..].to_vec())?;
                let mut arguments: Vec<std::string::String> = Vec::new();
                for (at, value) in values.iter().enumerate() {
                    arguments.push(format!("{} == {}", index.at(Level::Add), at + 1));
                    arguments.push(value.text.clone());
                }
                arguments.push(null_of(ty.unwrap_or(Long)).text);
                Ok(Some(Typed::new(format!("case({})", arguments.join(", ")), ty, Level::Atom)))
            }
            ("NEWID", []) => plain("new_guid()".into(), Guid),
            ("DB_NAME", []) => plain("current_database()".into(), String),
            ("SUSER_SNAME" | "SUSER_NAME" | "USER_NAME" | "ORIGINAL_LOGIN", []) => {
                plain("current_principal()".into(), String)
            }
            ("SCHEMA_NAME", []) => Ok(Some(Typed::text("dbo"))),
            ("APP_NAME" | "HOST_NAME", []) => Ok(Some(Typed::text(""))),
            ("SERVERPROPERTY", [property]) => {
                let Literal::Text(property) = &property.literal else {
                    return Err(self.mistake(NOT_CONSTANT, span, "SERVERPROPERTY needs a constant text"));
                };
                Ok(Some(match property.to_ascii_lowercase().as_str() {
                    "productversion" => Typed::text(env!("CARGO_PKG_VERSION")),
                    "edition" => Typed::text("Tidewater"),
                    "servername" | "machinename" => Typed::text("Tidewater"),
                    "collation" => Typed::text("Latin1_General_100_BIN2_UTF8"),
                    // Azure SQL, which is what the emulated server says it is.
                    "engineedition" => Typed::atom("int(5)", Int),
                    _ => null_of(String),
                }))
            }
            ("JSON_VALUE", [text, path]) => {
                plain(format!("extract_json({}, {}, typeof(string))", path.text, self.text(text)?), String)
            }
            ("JSON_QUERY", [text, path]) => {
                plain(format!("extract_json({}, {}, typeof(dynamic))", path.text, self.text(text)?), Dynamic)
            }
            ("FORMAT", [date, format]) if date.ty == Some(DateTime) => {
                let Literal::Text(format) = &format.literal else {
                    return Err(self.mistake(NOT_CONSTANT, span, "FORMAT needs a constant text"));
                };
                plain(format!("format_datetime({}, {})", date.text, quoted(format)), String)
            }
            ("FORMAT", [_, _]) => Err(self.not_served("FORMAT of other than datetimes")),
            _ => Ok(None),
        }
    }

    fn coalesced(&mut self, values: Vec<Typed>) -> Result<Typed> {
        // The first argument's type counts where it is known, as for ISNULL.
        let (values, ty) = self.unified(values)?;
        let texts: Vec<&str> = values.iter().map(|value| value.text.as_str()).collect();
        Ok(Typed::new(format!("coalesce({})", texts.join(", ")), ty, Level::Atom))
    }

    fn text_function(&mut self, what: &str, values: &[Typed]) -> Result<Option<Typed>> {
        use KqlType::{Int, Long, String};
        let mut texts = Vec::new();
        let is_text = matches!(
            what,
            "LEN"
                | "UPPER"
                | "LOWER"
                | "LTRIM"
                | "RTRIM"
                | "TRIM"
                | "REVERSE"
                | "SUBSTRING"
                | "LEFT"
                | "RIGHT"
                | "REPLACE"
                | "CHARINDEX"
                | "CONCAT"
                | "CONCAT_WS"
                | "REPLICATE"
                | "SPACE"
                | "STUFF"
                | "TRANSLATE"
                | "ASCII"
                | "UNICODE"
                | "CHAR"
                | "NCHAR"
        );
        if !is_text {
            return Ok(None);
        }
        for value in values {
            // Numbers among the arguments stay numbers.
            texts.push(match value.ty {
                Some(Int | Long) if !matches!(what, "LEN" | "UPPER" | "LOWER" | "REVERSE" | "REPLACE" | "TRIM") => {
                    value.text.clone()
                }
                _ => self.text(value)?,
            });
        }
        let (ty, text) = match (what, texts.as_slice()) {
            // Blanks at the end do not count.
            ("LEN", [text]) => (Long, format!("strlen(trim_end(\" +\", {text}))")),
            ("UPPER", [text]) => (String, format!("toupper({text})")),
            ("LOWER", [text]) => (String, format!("tolower({text})")),
            ("LTRIM", [text]) => (String, format!("trim_start(\" +\", {text})")),
            ("RTRIM", [text]) => (String, format!("trim_end(\" +\", {text})")),
            ("TRIM", [text]) => (String, format!("trim(\" +\", {text})")),
            ("REVERSE", [text]) => (String, format!("reverse({text})")),
            ("SUBSTRING", [text, _, length]) => {
                // Places count from 1; a place before the text shortens what is cut out.
                match number(&values[1]) {
                    Some(start) if start >= 1 => (String, format!("substring({text}, {}, {length})", start - 1)),
                    _ => {
                        let start = format!("tolong({})", values[1].text);
                        let length = format!("max_of(tolong({length}) + min_of({start} - 1, 0), 0)");
                        (String, format!("substring({text}, max_of({start} - 1, 0), {length})"))
                    }
                }
            }
            ("LEFT", [text, count]) => (String, format!("substring({text}, 0, {count})")),
            ("RIGHT", [text, count]) => {
                (String, format!("substring({text}, max_of(strlen({text}) - tolong({count}), 0))"))
            }
            ("REPLACE", [text, old, new]) => (String, format!("replace_string({text}, {old}, {new})")),
            ("CHARINDEX", [part, text]) => (Long, format!("(indexof({text}, {part}) + 1)")),
            ("CHARINDEX", [part, text, start]) => {
                (Long, format!("(indexof({text}, {part}, max_of(tolong({start}) - 1, 0)) + 1)"))
            }
            ("CONCAT", [_, ..]) => (String, format!("strcat({})", texts.join(", "))),
            ("CONCAT_WS", [first, rest @ ..]) if values.iter().any(Typed::is_null) => {
                // NULL is left out together with its separator.
                let there = rest.iter().zip(&values[1..]).filter(|(_, value)| !value.is_null());
                let texts: Vec<&str> = there.map(|(text, _)| text.as_str()).collect();
                match texts.is_empty() {
                    true => return Ok(Some(Typed::text(""))),
                    false => (String, format!("strcat_delim({first}, {})", texts.join(", "))),
                }
            }
            ("CONCAT_WS", [_, _, ..]) => (String, format!("strcat_delim({})", texts.join(", "))),
            ("REPLICATE", [text, count]) => (String, format!("strrep({text}, {count})")),
            ("SPACE", [count]) => (String, format!("strrep(\" \", {count})")),
            ("STUFF", [text, start, length, new]) => {
                let start = format!("tolong({start})");
                let text = format!(
                    "strcat(substring({text}, 0, {start} - 1), {new}, substring({text}, {start} - 1 + tolong({length})))"
                );
                (String, text)
            }
            ("TRANSLATE", [text, from, to]) => (String, format!("translate({from}, {to}, {text})")),
            ("ASCII" | "UNICODE", [text]) => (Int, format!("toint(unicode_codepoints_from_string({text})[0])")),
            ("CHAR" | "NCHAR", [code]) => (String, format!("unicode_codepoints_to_string({code})")),
            _ => return Ok(None),
        };
        Ok(Some(Typed::atom(text, ty)))
    }

    fn number_function(&mut self, what: &str, values: &[Typed]) -> Option<Typed> {
        use KqlType::*;
        let text = |at: usize| values[at].text.as_str();
        let own = values.first().and_then(|value| value.ty);
        let real = |text: std::string::String| Some(Typed::atom(text, Real));
        match (what, values.len()) {
            ("ABS", 1) => Some(Typed::new(format!("abs({})", text(0)), own, Level::Atom)),
            ("CEILING", 1) => Some(Typed::new(format!("ceiling({})", text(0)), own, Level::Atom)),
            ("FLOOR", 1) => Some(Typed::new(format!("floor({}, 1)", text(0)), own, Level::Atom)),
            ("ROUND", 2) => Some(Typed::new(format!("round({}, {})", text(0), text(1)), own, Level::Atom)),
            ("POWER", 2) => real(format!("pow({}, {})", text(0), text(1))),
            ("SQUARE", 1) => real(format!("pow({}, 2)", text(0))),
            (
                "SQRT" | "EXP" | "LOG10" | "SIN" | "COS" | "TAN" | "ASIN" | "ACOS" | "ATAN" | "COT" | "DEGREES"
                | "RADIANS",
                1,
            ) => real(format!("{}({})", what.to_ascii_lowercase(), text(0))),
            ("ATN2", 2) => real(format!("atan2({}, {})", text(0), text(1))),
            ("LOG", 1) => real(format!("log({})", text(0))),
            ("LOG", 2) => real(format!("(log({}) / log({}))", text(0), text(1))),
            ("SIGN", 1) => Some(Typed::new(format!("sign({})", text(0)), None, Level::Atom)),
            ("PI", 0) => real("pi()".into()),
            ("RAND", 0) => real("rand()".into()),
            ("GREATEST" | "LEAST", 2..) => {
                let call = if what == "GREATEST" { "max_of" } else { "min_of" };
                let texts: Vec<&str> = values.iter().map(|value| value.text.as_str()).collect();
                Some(Typed::new(format!("{call}({})", texts.join(", ")), own, Level::Atom))
            }
            _ => None,
        }
    }

    /// CAST and CONVERT.
    pub(super) fn converted(&mut self, value: Typed, ty: &DataType, style: Option<&Typed>) -> Result<Typed> {
        let written = ty.to_string().to_ascii_uppercase();
        let (base, arguments) = match written.split_once('(') {
            Some((base, rest)) => (base.trim().to_string(), rest.trim_end_matches(')').to_string()),
            None => (written.clone(), std::string::String::new()),
        };
        let base = base.trim_start_matches('[').trim_end_matches(']').trim_matches('"');
        let wanted = match base {
            "BIGINT" | "INT8" => KqlType::Long,
            "INT" | "INTEGER" | "SMALLINT" | "TINYINT" => KqlType::Int,
            "FLOAT" | "REAL" | "DOUBLE" | "DOUBLE PRECISION" => KqlType::Real,
            "DECIMAL" | "NUMERIC" | "DEC" | "MONEY" | "SMALLMONEY" => KqlType::Decimal,
            "BIT" | "BOOL" | "BOOLEAN" => KqlType::Bool,
            "VARCHAR" | "NVARCHAR" | "CHAR" | "NCHAR" | "TEXT" | "NTEXT" | "SYSNAME" | "CHARACTER VARYING"
            | "CHARACTER" => KqlType::String,
            "DATETIME" | "DATETIME2" | "SMALLDATETIME" | "DATE" | "TIMESTAMP" | "DATETIMEOFFSET" => KqlType::DateTime,
            "TIME" => KqlType::TimeSpan,
            "UNIQUEIDENTIFIER" | "UUID" => KqlType::Guid,
            _ => return Err(self.not_served(format!("the type {written}"))),
        };
        if wanted == KqlType::String {
            let text = match (style.map(|style| &style.literal), value.ty) {
                (None, _) => self.coerced(value, KqlType::String)?,
                (Some(Literal::Number(style)), Some(KqlType::DateTime)) => self.styled(&value, style)?,
                (Some(_), Some(KqlType::DateTime)) => return Err(self.not_served("CONVERT with a computed style")),
                (Some(_), _) => self.coerced(value, KqlType::String)?,
            };
            return Ok(match arguments.split(',').next().unwrap_or("").trim().parse::<u32>() {
                Ok(length) => Typed::atom(format!("substring({}, 0, {length})", text.text), KqlType::String),
                Err(_) => text,
            });
        }
        if wanted == KqlType::TimeSpan && value.ty == Some(KqlType::DateTime) {
            let text = format!("({} - startofday({}))", value.at(Level::Add), value.text);
            return Ok(Typed::atom(text, KqlType::TimeSpan));
        }
        let converted = match (&value.literal, value.ty) {
            // A constant that does not fit is a null, as a column's value is.
            (Literal::Text(_), _) | (_, None) if !value.is_null() => match self.coerced(value.clone(), wanted) {
                Ok(converted) if value.ty.is_some() => converted,
                _ => Typed::atom(format!("{}({})", super::expr::conversion(wanted), value.text), wanted),
            },
            _ => self.coerced(value, wanted)?,
        };
        Ok(match base {
            "DATE" => Typed::atom(format!("startofday({})", converted.text), KqlType::DateTime),
            _ => converted,
        })
    }

    fn styled(&self, value: &Typed, style: &str) -> Result<Typed> {
        let format = match style {
            "120" | "20" => "yyyy-MM-dd HH:mm:ss",
            "121" | "21" | "25" => "yyyy-MM-dd HH:mm:ss.fff",
            "23" => "yyyy-MM-dd",
            "101" => "MM/dd/yyyy",
            "102" => "yyyy.MM.dd",
            "103" => "dd/MM/yyyy",
            "104" => "dd.MM.yyyy",
            "105" => "dd-MM-yyyy",
            "110" => "MM-dd-yyyy",
            "111" => "yyyy/MM/dd",
            "108" | "24" => "HH:mm:ss",
            "114" => "HH:mm:ss:fff",
            "112" | "126" | "127" => {
                let date = &value.text;
                let text = match style {
                    "112" => format!("replace_string(format_datetime({date}, \"yyyy-MM-dd\"), \"-\", \"\")"),
                    _ => format!(
                        "strcat(format_datetime({date}, \"yyyy-MM-dd\"), \"T\", format_datetime({date}, \"HH:mm:ss.fff\"){})",
                        if style == "127" { ", \"Z\"" } else { "" }
                    ),
                };
                return Ok(Typed::atom(text, KqlType::String));
            }
            other => return Err(self.not_served(format!("CONVERT with style {other}"))),
        };
        Ok(Typed::atom(format!("format_datetime({}, \"{format}\")", value.text), KqlType::String))
    }

    /// The constant number of an expression, for messages and clauses.
    pub(super) fn constant(&mut self, expr: &Expr) -> Result<Typed> {
        let value = self.expr(expr, &mut Names::none())?;
        match value.literal {
            Literal::None => Err(self.mistake(NOT_CONSTANT, place_of(expr), "expected a constant")),
            _ => Ok(value),
        }
    }
}

pub(super) fn number(value: &Typed) -> Option<i64> {
    match &value.literal {
        Literal::Number(text) => text.parse().ok(),
        _ => None,
    }
}

fn part_of(part: &str, date: &str) -> Typed {
    let text = match part {
        // Sunday is the first day.
        "weekday" => format!("(toint(dayofweek({date}) / 1d) + 1)"),
        "week" => format!("toint(datetime_diff('week', {date}, startofyear({date})) + 1)"),
        "iso_week" => format!("week_of_year({date})"),
        part => format!("datetime_part('{part}', {date})"),
    };
    Typed::atom(text, KqlType::Int)
}
