//! Tables, expressions and pipelines made at random, of the right types, the same for the same seed.
//!
//! Pipelines are made so that KQL says exactly which rows they give: no `take` without a total order, no sums of
//! reals that depend on the order of addition, no picked row that is not the only one.

use tidewater_kql::KqlType;

/// A small generator of numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % count.max(1)
    }

    pub(crate) fn one<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A column that an expression may read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: KqlType,
}

pub(crate) const TYPES: [KqlType; 10] = [
    KqlType::Bool,
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::String,
    KqlType::DateTime,
    KqlType::TimeSpan,
    KqlType::Guid,
    KqlType::Dynamic,
];

/// The columns of the generated table: a unique `id`, a key of few values, one column per type.
pub(crate) fn table_columns() -> Vec<Column> {
    let column = |name: &str, ty| Column { name: name.to_string(), ty };
    vec![
        column("id", KqlType::Long),
        column("k", KqlType::String),
        column("b", KqlType::Bool),
        column("i", KqlType::Int),
        column("l", KqlType::Long),
        column("r", KqlType::Real),
        column("e", KqlType::Decimal),
        column("s", KqlType::String),
        column("t", KqlType::DateTime),
        column("p", KqlType::TimeSpan),
        column("g", KqlType::Guid),
        column("d", KqlType::Dynamic),
    ]
}

/// Values of a type, odd ones among them.
fn values(ty: KqlType) -> &'static [&'static str] {
    match ty {
        KqlType::Bool => &["true", "false", "bool(null)"],
        KqlType::Int => &["int(0)", "int(1)", "int(-1)", "int(7)", "int(2147483647)", "int(-2147483647)", "int(null)"],
        KqlType::Long => {
            &["0", "1", "-1", "2", "5", "100", "long(9223372036854775807)", "long(-9223372036854775807)", "long(null)"]
        }
        KqlType::Real => &[
            "0.0",
            "-0.0",
            "1.0",
            "-1.5",
            "2.5",
            "1e300",
            "-1e-300",
            "real(nan)",
            "real(inf)",
            "real(-inf)",
            "real(null)",
        ],
        KqlType::Decimal => &["decimal(0)", "decimal(1.50)", "decimal(-2.5)", "decimal(1e20)", "decimal(null)"],
        KqlType::String => &[
            "''",
            "'a'",
            "'A'",
            "'abc def'",
            "'ABC-def_1'",
            "'été Ünïcode'",
            "'K'",
            "'k'",
            "'null'",
            "'5'",
            "'2020-01-01'",
            "'a longer text with several words and 12345 in it'",
            "' blank '",
        ],
        KqlType::DateTime => &[
            "datetime(2020-01-01)",
            "datetime(2020-02-29 12:34:56.7654321)",
            "datetime(0001-01-01)",
            "datetime(9999-12-31 23:59:59.9999999)",
            "datetime(1969-12-31 23:59:59)",
            "datetime(null)",
        ],
        KqlType::TimeSpan => &["0s", "1h", "-1d", "1tick", "timespan(100.12:30:00)", "timespan(null)"],
        KqlType::Guid => &[
            "guid(00000000-0000-0000-0000-000000000000)",
            "guid(74be27de-1e4e-49d9-b579-fe0b331d3642)",
            "guid(ffffffff-ffff-ffff-ffff-ffffffffffff)",
            "guid(null)",
        ],
        KqlType::Dynamic => &[
            "dynamic(null)",
            "dynamic(5)",
            "dynamic('a')",
            "dynamic([1, 2, 'a', null])",
            "dynamic({'a': 1, 'b': {'c': 'x'}})",
            "dynamic([])",
            "dynamic({})",
            "dynamic(true)",
            "dynamic(1.5)",
            "dynamic({'a': 'a', 'b': [1]})",
        ],
    }
}

/// `datatable (...) [...]` of generated rows with ids from `first`.
pub(crate) fn datatable(random: &mut Random, first: usize, rows: usize) -> String {
    let columns = table_columns();
    let header: Vec<String> = columns.iter().map(|column| format!("{}: {}", column.name, column.ty)).collect();
    let mut cells = Vec::new();
    for row in 0..rows {
        for column in &columns {
            cells.push(match column.name.as_str() {
                "id" => (first + row).to_string(),
                "k" => (*random.one(&["'x'", "'y'", "'z'", "''"])).to_string(),
                _ => (*random.one(values(column.ty))).to_string(),
            });
        }
    }
    format!("datatable({})[{}]", header.join(", "), cells.join(", "))
}

/// Expressions over some columns.
pub(crate) struct Expressions<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) columns: &'a [Column],
}

impl Expressions<'_> {
    fn column(&mut self, ty: KqlType) -> Option<String> {
        let fitting: Vec<&Column> = self.columns.iter().filter(|column| column.ty == ty).collect();
        (!fitting.is_empty()).then(|| self.random.one(&fitting).name.clone())
    }

    fn leaf(&mut self, ty: KqlType) -> String {
        if self.random.chance(70)
            && let Some(column) = self.column(ty)
        {
            return column;
        }
        (*self.random.one(values(ty))).to_string()
    }

    /// An expression of a type.
    pub(crate) fn of(&mut self, ty: KqlType, depth: usize) -> String {
        if depth == 0 || self.random.chance(25) {
            return self.leaf(ty);
        }
        let below = depth - 1;
        if self.random.chance(10) {
            let (test, yes, no) = (self.of(KqlType::Bool, below), self.of(ty, below), self.of(ty, below));
            return format!("iff({test}, {yes}, {no})");
        }
        if self.random.chance(6) && ty != KqlType::Dynamic {
            return format!("coalesce({}, {})", self.of(ty, below), self.of(ty, below));
        }
        match ty {
            KqlType::Bool => self.predicate(below),
            KqlType::Long => match self.random.below(12) {
                0..4 => {
                    let op = *self.random.one(&["+", "-", "*", "/", "%"]);
                    format!("({} {op} {})", self.of(ty, below), self.of(ty, below))
                }
                4 => format!("strlen({})", self.of(KqlType::String, below)),
                5 => format!("bin({}, {})", self.of(ty, below), self.random.one(&["1", "5", "100"])),
                6 => format!("tolong({})", self.number(below)),
                7 => format!("array_length({})", self.of(KqlType::Dynamic, below)),
                8 => format!("abs({})", self.of(ty, below)),
                9 => format!("dayofyear({})", self.of(KqlType::DateTime, below)),
                10 => format!("countof({}, 'a')", self.of(KqlType::String, below)),
                _ => format!("tolong({})", self.of(KqlType::Int, below)),
            },
            KqlType::Int => match self.random.below(3) {
                0 => format!("toint({})", self.number(below)),
                1 => format!("monthofyear({})", self.of(KqlType::DateTime, below)),
                _ => self.leaf(ty),
            },
            KqlType::Real => match self.random.below(6) {
                0..2 => {
                    let op = *self.random.one(&["+", "-", "*", "/"]);
                    format!("({} {op} {})", self.of(ty, below), self.of(ty, below))
                }
                2 => format!("toreal({})", self.number(below)),
                3 => format!("sqrt({})", self.of(ty, below)),
                4 => format!("({} * {})", self.of(KqlType::Long, below), self.of(ty, below)),
                _ => format!("floor({}, 0.5)", self.of(ty, below)),
            },
            KqlType::Decimal => match self.random.below(3) {
                0 => format!("todecimal({})", self.of(KqlType::Long, below)),
                1 => format!("({} + {})", self.of(ty, below), self.of(ty, below)),
                _ => self.leaf(ty),
            },
            KqlType::String => match self.random.below(9) {
                0 => format!("strcat({}, {})", self.of(ty, below), self.any(below)),
                1 => format!("substring({}, {}, 3)", self.of(ty, below), self.random.below(4)),
                2 => format!("tolower({})", self.of(ty, below)),
                3 => format!("toupper({})", self.of(ty, below)),
                4 => format!("tostring({})", self.any(below)),
                5 => format!("trim(' ', {})", self.of(ty, below)),
                6 => format!("replace_string({}, 'a', 'bb')", self.of(ty, below)),
                7 => format!("extract('([a-z]+)', 1, {})", self.of(ty, below)),
                _ => format!("reverse({})", self.of(ty, below)),
            },
            KqlType::DateTime => match self.random.below(5) {
                0 => format!("({} + {})", self.of(ty, below), self.of(KqlType::TimeSpan, below)),
                1 => format!("bin({}, {})", self.of(ty, below), self.random.one(&["1h", "7d", "1tick"])),
                2 => format!("startofday({})", self.of(ty, below)),
                3 => format!("startofmonth({})", self.of(ty, below)),
                _ => format!("todatetime({})", self.of(KqlType::String, below)),
            },
            KqlType::TimeSpan => match self.random.below(4) {
                0 => format!("({} - {})", self.of(KqlType::DateTime, below), self.of(KqlType::DateTime, below)),
                1 => format!("({} + {})", self.of(ty, below), self.of(ty, below)),
                2 => format!("totimespan({})", self.of(KqlType::String, below)),
                _ => format!("bin({}, 1h)", self.of(ty, below)),
            },
            KqlType::Guid => match self.random.below(2) {
                0 => format!("toguid({})", self.of(KqlType::String, below)),
                _ => self.leaf(ty),
            },
            KqlType::Dynamic => match self.random.below(6) {
                0 => format!("{}.a", self.column(ty).unwrap_or("dynamic({'a': 1})".into())),
                1 => format!("{}[0]", self.column(ty).unwrap_or("dynamic([1])".into())),
                2 => format!("pack_array({}, {})", self.of(KqlType::Long, below), self.of(KqlType::String, below)),
                3 => format!("bag_pack('a', {})", self.of(KqlType::Long, below)),
                4 => format!("split({}, ' ')", self.of(KqlType::String, below)),
                _ => format!("todynamic({})", self.of(KqlType::String, below)),
            },
        }
    }

    /// Something that is converted to numbers: a guid is not.
    fn number(&mut self, depth: usize) -> String {
        let ty = *self.random.one(&TYPES);
        self.of(if ty == KqlType::Guid { KqlType::Bool } else { ty }, depth)
    }

    fn any(&mut self, depth: usize) -> String {
        let ty = *self.random.one(&TYPES);
        self.of(ty, depth)
    }

    /// A predicate.
    pub(crate) fn predicate(&mut self, depth: usize) -> String {
        let below = depth.saturating_sub(1);
        const ORDERED: [KqlType; 7] = [
            KqlType::Int,
            KqlType::Long,
            KqlType::Real,
            KqlType::DateTime,
            KqlType::TimeSpan,
            KqlType::Decimal,
            KqlType::String,
        ];
        match self.random.below(if depth == 0 { 9 } else { 14 }) {
            0..3 => {
                let ty = *self.random.one(&ORDERED);
                // The order of strings is asked for by `sort` only.
                let ops: &[&str] = match ty {
                    KqlType::String => &["==", "!=", "=~", "!~"],
                    _ => &["==", "!=", "<", "<=", ">", ">="],
                };
                let op = *self.random.one(ops);
                format!("({} {op} {})", self.of(ty, below), self.of(ty, below))
            }
            3 => {
                let op = *self.random.one(&[
                    "has",
                    "!has",
                    "contains",
                    "!contains",
                    "startswith",
                    "!startswith",
                    "endswith",
                    "has_cs",
                    "contains_cs",
                    "hasprefix",
                    "hassuffix",
                    "startswith_cs",
                    "!endswith_cs",
                ]);
                let needle = *self.random.one(&["'a'", "'abc'", "'def'", "''", "'K'", "'é'", "'words and'", "'5'"]);
                format!("({} {op} {needle})", self.of(KqlType::String, below))
            }
            4 => {
                let ty = *self.random.one(&[KqlType::Long, KqlType::String, KqlType::Guid, KqlType::DateTime]);
                let op = if ty == KqlType::String {
                    *self.random.one(&["in", "!in", "in~", "!in~"])
                } else {
                    *self.random.one(&["in", "!in"])
                };
                let list: Vec<&str> = (0..1 + self.random.below(4)).map(|_| *self.random.one(values(ty))).collect();
                format!("({} {op} ({}))", self.of(ty, below), list.join(", "))
            }
            5 => {
                let ty = *self.random.one(&ORDERED[..5]);
                let op = *self.random.one(&["between", "!between"]);
                format!("({} {op} ({} .. {}))", self.of(ty, below), self.leaf(ty), self.leaf(ty))
            }
            6 => {
                let ty = *self.random.one(&TYPES);
                let test = *self.random.one(&["isnull", "isnotnull"]);
                format!("{test}({})", self.of(ty, below))
            }
            7 => {
                let test = *self.random.one(&["isempty", "isnotempty"]);
                format!("{test}({})", self.of(KqlType::String, below))
            }
            8 => self.leaf(KqlType::Bool),
            9 | 10 => format!("({} and {})", self.of(KqlType::Bool, below), self.of(KqlType::Bool, below)),
            11 | 12 => format!("({} or {})", self.of(KqlType::Bool, below), self.of(KqlType::Bool, below)),
            _ => format!("not({})", self.of(KqlType::Bool, below)),
        }
    }
}

/// A pipeline and what is known of its columns.
pub(crate) struct Pipelines<'a> {
    pub(crate) random: &'a mut Random,
    /// Number of the next new name.
    pub(crate) next: usize,
    /// No two rows have the same `id`: the first rows by it are known.
    pub(crate) is_unique: bool,
}

impl Pipelines<'_> {
    fn name(&mut self) -> String {
        self.next += 1;
        format!("n{}", self.next)
    }

    fn predicate(&mut self, columns: &[Column]) -> String {
        Expressions { random: self.random, columns }.predicate(2)
    }

    fn value(&mut self, columns: &[Column], ty: KqlType) -> String {
        Expressions { random: self.random, columns }.of(ty, 2)
    }

    fn pick<'c>(&mut self, columns: &'c [Column], fits: impl Fn(KqlType) -> bool) -> Option<&'c Column> {
        let fitting: Vec<&Column> = columns.iter().filter(|column| fits(column.ty)).collect();
        (!fitting.is_empty()).then(|| *self.random.one(&fitting))
    }

    /// `source` and some operators; the columns of the result.
    pub(crate) fn pipeline(&mut self, source: &str, depth: usize) -> (String, Vec<Column>) {
        let mut text = source.to_string();
        let mut columns = table_columns();
        self.is_unique = true;
        for _ in 0..1 + self.random.below(4) {
            let (operator, after) = self.operator(&columns, source, depth);
            text.push_str(" | ");
            text.push_str(&operator);
            columns = after;
        }
        (text, columns)
    }

    fn operator(&mut self, columns: &[Column], source: &str, depth: usize) -> (String, Vec<Column>) {
        let same = columns.to_vec();
        match self.random.below(if depth == 0 { 13 } else { 18 }) {
            0..3 => (format!("where {}", self.predicate(columns)), same),
            3 | 4 => {
                let ty = *self.random.one(&TYPES);
                let name = self.name();
                let text = format!("extend {name} = {}", self.value(columns, ty));
                let mut after = same;
                after.push(Column { name, ty });
                (text, after)
            }
            5 => {
                let kept: Vec<Column> = columns.iter().filter(|_| self.random.chance(60)).cloned().collect();
                let kept = if kept.is_empty() { vec![columns[0].clone()] } else { kept };
                let names: Vec<&str> = kept.iter().map(|column| column.name.as_str()).collect();
                (format!("project {}", names.join(", ")), kept)
            }
            6 | 7 => self.summarize(columns),
            8 => {
                let keys: Vec<Column> =
                    columns.iter().filter(|column| column.ty != KqlType::Dynamic).take(3).cloned().collect();
                if keys.is_empty() {
                    return ("count".to_string(), vec![Column { name: "Count".into(), ty: KqlType::Long }]);
                }
                let names: Vec<&str> = keys.iter().map(|column| column.name.as_str()).collect();
                (format!("distinct {}", names.join(", ")), keys)
            }
            9 if self.is_unique && columns.iter().any(|column| column.name == "id") => {
                let order = *self.random.one(&["asc", "desc"]);
                (format!("sort by id {order} | take {}", self.random.below(40)), same)
            }
            10 if self.is_unique && columns.iter().any(|column| column.name == "id") => {
                let (name, order) = (self.name(), *self.random.one(&["asc", "desc"]));
                let call = match self.random.below(3) {
                    0 => "row_number()".to_string(),
                    1 => "row_cumsum(id)".to_string(),
                    _ => "prev(id)".to_string(),
                };
                let mut after = same;
                after.push(Column { name: name.clone(), ty: KqlType::Long });
                (format!("sort by id {order} | extend {name} = {call}"), after)
            }
            11 => {
                self.is_unique = false;
                let name = self.name();
                let mut after = same;
                after.push(Column { name: name.clone(), ty: KqlType::Long });
                let list = match self.pick(columns, |ty| ty == KqlType::Long) {
                    Some(column) => format!("pack_array(1, {}, 3)", column.name),
                    None => "pack_array(1, 2)".to_string(),
                };
                (format!("mv-expand {name} = {list} to typeof(long)"), after)
            }
            12 => match self.pick(columns, |ty| ty == KqlType::String).cloned() {
                Some(column) => {
                    let name = self.name();
                    let mut after = same;
                    after.push(Column { name: name.clone(), ty: KqlType::String });
                    (format!("parse {} with * 'a' {name} ' ' *", column.name), after)
                }
                None => ("where true".to_string(), same),
            },
            13 | 14 => self.join(columns, source, depth),
            15 => {
                let (right, _) = self.pipeline(source, depth - 1);
                self.is_unique = false;
                let names: Vec<String> =
                    columns.iter().map(|column| format!("{} = tostring({0})", column.name)).collect();
                let after = columns.iter().map(|column| Column { ty: KqlType::String, ..column.clone() }).collect();
                let shared: Vec<String> = columns
                    .iter()
                    .map(|column| format!("{} = tostring(column_ifexists('{0}', ''))", column.name))
                    .collect();
                let text = format!("project {} | union ({right} | project {})", names.join(", "), shared.join(", "));
                (text, after)
            }
            16 => {
                let predicate = self.predicate(columns);
                (format!("as hint.materialized=true Q{} | where {predicate}", self.next), same)
            }
            _ => match self.pick(columns, |ty| matches!(ty, KqlType::String | KqlType::Long)).cloned() {
                Some(key) if self.is_unique && columns.iter().any(|column| column.name == "id") => {
                    (format!("partition hint.strategy=native by {} (top 2 by id asc)", key.name), same)
                }
                _ => ("serialize".to_string(), same),
            },
        }
    }

    fn summarize(&mut self, columns: &[Column]) -> (String, Vec<Column>) {
        let mut after = Vec::new();
        let mut keys = Vec::new();
        for _ in 0..self.random.below(3) {
            let ty = *self.random.one(&TYPES[..9]);
            let name = self.name();
            keys.push(format!("{name} = {}", self.value(columns, ty)));
            after.push(Column { name, ty });
        }
        let mut calls = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let name = self.name();
            let (call, ty) = match self.random.below(8) {
                0 => ("count()".to_string(), KqlType::Long),
                1 => (format!("countif({})", self.predicate(columns)), KqlType::Long),
                2 => (format!("sum({})", self.value(columns, KqlType::Int)), KqlType::Long),
                3 => {
                    let ty = *self.random.one(&[KqlType::Long, KqlType::Real, KqlType::DateTime, KqlType::TimeSpan]);
                    (format!("max({})", self.value(columns, ty)), ty)
                }
                4 => {
                    let ty = *self.random.one(&[KqlType::Long, KqlType::Real, KqlType::DateTime, KqlType::Decimal]);
                    (format!("min({})", self.value(columns, ty)), ty)
                }
                5 => {
                    let ty = *self.random.one(&TYPES[..9]);
                    (format!("count_distinct({})", self.value(columns, ty)), KqlType::Long)
                }
                6 => {
                    let ty = *self.random.one(&TYPES[..9]);
                    (format!("dcount({})", self.value(columns, ty)), KqlType::Long)
                }
                _ => {
                    let set = self.value(columns, KqlType::Long);
                    (format!("make_set({set})"), KqlType::Dynamic)
                }
            };
            // The order of a set is not promised.
            let call = if ty == KqlType::Dynamic { format!("array_sort_asc({call})") } else { call };
            calls.push(format!("{name} = {call}"));
            after.push(Column { name, ty });
        }
        let by = if keys.is_empty() { String::new() } else { format!(" by {}", keys.join(", ")) };
        (format!("summarize {}{by}", calls.join(", ")), after)
    }

    fn join(&mut self, columns: &[Column], source: &str, depth: usize) -> (String, Vec<Column>) {
        let kinds = ["inner", "leftouter", "rightouter", "fullouter", "leftsemi", "rightsemi", "leftanti", "rightanti"];
        let kind = *self.random.one(&kinds);
        let was_unique = self.is_unique;
        let (right, right_columns) = self.pipeline(source, depth - 1);
        self.is_unique = was_unique && !matches!(kind, "rightouter" | "fullouter" | "rightsemi" | "rightanti");
        let pair = columns.iter().find_map(|left| {
            let fits = |right: &&Column| right.ty == left.ty && left.ty != KqlType::Dynamic;
            right_columns.iter().find(fits).map(|right| (left.clone(), right.clone()))
        });
        let Some((left, right_key)) = pair else { return ("serialize".to_string(), columns.to_vec()) };
        // Few rows and other names on the right side.
        let key = self.name();
        let value = self.name();
        let text = format!(
            "join kind={kind} ({right} | summarize {value} = count() by {key} = {}) on $left.{} == $right.{key}",
            right_key.name, left.name
        );
        let right_columns = vec![Column { name: key, ty: right_key.ty }, Column { name: value, ty: KqlType::Long }];
        let after = match kind {
            "leftsemi" | "leftanti" => columns.to_vec(),
            "rightsemi" | "rightanti" => right_columns,
            _ => columns.iter().cloned().chain(right_columns).collect(),
        };
        (text, after)
    }
}
