//! Every predicate is true, false or null: `where p`, `where not(p)` and `where isnull(p)` split a table.
//!
//! Predicates over all types are made up with a fixed seed and run over stored rows, where filters go down
//! to the files, and as a projected value, where nothing does. Both must tell the same rows.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidewater_kql::KqlType;
use tidewater_service::{Context, Service};

const ROWS: usize = 120;
const PREDICATES: usize = 150;
const DATABASE: &str = "NetDefaultDB";

/// Columns: two of every type, `b` and `b2`, so that columns meet columns.
const COLUMNS: &[(&str, KqlType)] = &[
    ("b", KqlType::Bool),
    ("i", KqlType::Int),
    ("l", KqlType::Long),
    ("r", KqlType::Real),
    ("m", KqlType::Decimal),
    ("t", KqlType::DateTime),
    ("s", KqlType::TimeSpan),
    ("g", KqlType::Guid),
    ("x", KqlType::String),
    ("d", KqlType::Dynamic),
];
const NUMBERS: &[KqlType] = &[KqlType::Int, KqlType::Long, KqlType::Real, KqlType::Decimal];
const ORDERED: &[KqlType] = &[
    KqlType::Bool,
    KqlType::Int,
    KqlType::Long,
    KqlType::Real,
    KqlType::Decimal,
    KqlType::DateTime,
    KqlType::TimeSpan,
];

fn literals(ty: KqlType) -> &'static [&'static str] {
    match ty {
        KqlType::Bool => &["true", "false", "bool(null)"],
        KqlType::Int => &["int(0)", "int(1)", "int(-1)", "int(2147483647)", "int(-2147483648)", "int(null)"],
        KqlType::Long => &["0", "1", "-1", "9223372036854775807", "9007199254740993", "long(null)"],
        KqlType::Real => &["0.0", "-0.0", "1.0", "-1.5", "real(nan)", "real(inf)", "real(-inf)", "real(null)"],
        KqlType::Decimal => &["decimal(0)", "decimal(1)", "decimal(-1.5)", "decimal(1e20)", "decimal(null)"],
        KqlType::DateTime => &[
            "datetime(2020-01-01)",
            "datetime(2020-01-01 00:00:00.0000001)",
            "datetime(0001-01-01)",
            "datetime(9999-12-31 23:59:59.9999999)",
            "datetime(null)",
        ],
        KqlType::TimeSpan => &["0s", "1h", "-1h", "1tick", "timespan(null)"],
        KqlType::Guid => {
            &["guid(74be27de-1e4e-49d9-b579-fe0b331d3642)", "guid(00000000-0000-0000-0000-000000000000)", "guid(null)"]
        }
        KqlType::String => &["''", "'a'", "'A'", "'abc def'", "'é'", "'5'", "'true'"],
        KqlType::Dynamic => &[
            "dynamic(null)",
            "dynamic(1)",
            "dynamic(1.5)",
            "dynamic('a')",
            "dynamic([1,'a',null])",
            "dynamic({'k':1,'s':'a'})",
            "dynamic(true)",
            "dynamic('')",
        ],
    }
}

/// A small generator of numbers: the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn column(&mut self, ty: KqlType) -> String {
        let (name, _) = COLUMNS.iter().find(|(_, column)| *column == ty).unwrap();
        format!("{name}{}", self.of(&["", "2"]))
    }

    fn operand(&mut self, ty: KqlType) -> String {
        match self.below(10) {
            0..=4 => self.column(ty),
            5..=7 => self.of(literals(ty)).to_string(),
            _ => {
                let (left, right) = (self.column(ty), self.column(ty));
                match ty {
                    KqlType::Long => format!("({left} {} {right})", self.of(&["+", "-", "*", "/", "%"])),
                    KqlType::Real => format!("({left} {} {right})", self.of(&["+", "-", "*", "/"])),
                    KqlType::DateTime => format!("({left} {} s)", self.of(&["+", "-"])),
                    KqlType::TimeSpan => format!("({left} {} {right})", self.of(&["+", "-"])),
                    KqlType::String => format!("tostring({})", self.column(KqlType::Long)),
                    KqlType::Dynamic => self.of(&["d.k", "d2.s", "d[0]", "d2[1]"]).to_string(),
                    _ => left,
                }
            }
        }
    }

    fn predicate(&mut self, depth: usize) -> String {
        let typed = |random: &mut Self| loop {
            let (_, ty) = random.of(COLUMNS);
            if ty != KqlType::Dynamic {
                return ty;
            }
        };
        match self.below(if depth < 3 { 20 } else { 14 }) {
            0..=2 => {
                let ty = typed(self);
                format!("{} {} {}", self.operand(ty), self.of(&["==", "!="]), self.operand(ty))
            }
            3 => {
                let (left, right) = (self.of(NUMBERS), self.of(NUMBERS));
                let op = self.of(&["==", "!=", "<", "<=", ">", ">="]);
                format!("{} {op} {}", self.operand(left), self.operand(right))
            }
            4..=5 => {
                let ty = self.of(ORDERED);
                format!("{} {} {}", self.operand(ty), self.of(&["<", "<=", ">", ">="]), self.operand(ty))
            }
            6..=7 => {
                let ty = self.of(ORDERED);
                let (value, low, high) = (self.operand(ty), self.operand(ty), self.operand(ty));
                format!("{value} {} ({low} .. {high})", self.of(&["between", "!between"]))
            }
            8..=9 => {
                let ty = typed(self);
                let items: Vec<String> = (0..=self.below(3)).map(|_| self.operand(ty)).collect();
                format!("{} {} ({})", self.operand(ty), self.of(&["in", "!in"]), items.join(", "))
            }
            10..=11 => {
                let op = self.of(&[
                    "has",
                    "!has",
                    "contains",
                    "!contains",
                    "startswith",
                    "!startswith",
                    "endswith",
                    "=~",
                    "!~",
                    "has_cs",
                    "hasprefix",
                    "hassuffix",
                    "contains_cs",
                    "startswith_cs",
                    "!startswith_cs",
                ]);
                format!("{} {op} {}", self.operand(KqlType::String), self.operand(KqlType::String))
            }
            12 => {
                let value = self.operand(KqlType::Dynamic);
                match self.below(4) {
                    0 => format!("{value} == {}", self.of(literals(KqlType::Long))),
                    1 => format!("{value} != {}", self.of(literals(KqlType::String))),
                    2 => format!("{value} > {}", self.of(literals(KqlType::Long))),
                    _ => format!("{value} in ('a', '1')"),
                }
            }
            13 => {
                let (_, ty) = self.of(COLUMNS);
                format!("{}({})", self.of(&["isnull", "isnotnull", "isempty"]), self.operand(ty))
            }
            14..=18 => {
                format!("({} {} {})", self.predicate(depth + 1), self.of(&["and", "or"]), self.predicate(depth + 1))
            }
            _ => format!("not({})", self.predicate(depth + 1)),
        }
    }
}

async fn rows(service: &Service, query: &str) -> Vec<RecordBatch> {
    let answer = match service.query(Context::new(DATABASE), query).await {
        Ok(answer) => answer,
        Err(error) => panic!("{query}: {error}"),
    };
    let mut batches = Vec::new();
    for table in answer.results {
        match table.collect().await {
            Ok(found) => batches.extend(found),
            Err(error) => panic!("{query}: {error}"),
        }
    }
    batches
}

async fn ids(service: &Service, query: &str) -> BTreeSet<i64> {
    let batches = rows(service, query).await;
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn a_predicate_its_negation_and_its_null_split_a_table() {
    super::cases::runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let service = super::open_service(folder.path());
        let mut random = Random(7);
        let mut columns = "id: long".to_string();
        for suffix in ["", "2"] {
            for (name, ty) in COLUMNS {
                let _ = write!(columns, ", {name}{suffix}: {ty}");
            }
        }
        let mut cells = Vec::new();
        for id in 0..ROWS {
            cells.push(id.to_string());
            for (_, ty) in COLUMNS.iter().chain(COLUMNS) {
                cells.push(random.of(literals(*ty)).to_string());
            }
        }
        let command = format!(".set-or-replace T <| datatable({columns}) [{}]", cells.join(", "));
        if let Err(error) = service.command(Context::new(DATABASE), &command).await {
            panic!("{error}");
        }
        let all: BTreeSet<i64> = (0..ROWS as i64).collect();
        for _ in 0..PREDICATES {
            let p = random.predicate(0);
            let holds = ids(&service, &format!("T | where {p} | project id")).await;
            let fails = ids(&service, &format!("T | where not({p}) | project id")).await;
            let null = ids(&service, &format!("T | where isnull({p}) | project id")).await;
            assert_eq!(holds.len() + fails.len() + null.len(), ROWS, "{p}");
            assert_eq!(&(&holds | &fails) | &null, all, "{p}");
            let mut seen = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
            for batch in rows(&service, &format!("T | project id, v = tostring({p})")).await {
                let values = batch.column(1).as_string_view();
                for (row, id) in batch.column(0).as_primitive::<Int64Type>().values().iter().enumerate() {
                    let place = match values.value(row) {
                        "True" => 0,
                        "False" => 1,
                        _ => 2,
                    };
                    seen[place].insert(*id);
                }
            }
            assert_eq!([holds, fails, null], seen, "{p}");
        }
    });
}
