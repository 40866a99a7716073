//! parse(print(tree)) = tree: over every query of the text cases, and over generated trees.

use std::path::{Path, PathBuf};

use tidewater_kql::ast::*;
use tidewater_kql::{KqlType, Span, is_command, parse_query, printer};

use crate::parser::{Random, without_spans};

/// The requests of the text cases. Cargo runs tests in their package's directory.
fn requests() -> Vec<String> {
    let mut folders = vec![PathBuf::from("../../cases")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "case") {
                read_requests(&path, &mut found);
            }
        }
    }
    found
}

fn read_requests(path: &Path, found: &mut Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut request: Option<String> = None;
    for line in text.lines() {
        match &mut request {
            None if line.starts_with("case ") => request = Some(String::new()),
            None => {}
            Some(_) if line.starts_with("----") => found.extend(request.take()),
            Some(text) if line == ";;" => found.push(std::mem::take(text)),
            Some(text) if text.is_empty() && (line.starts_with("source:") || line.starts_with("pending:")) => {}
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
}

fn survives_printing(text: &str) {
    let parsed = parse_query(text);
    if !parsed.is_clean() {
        return;
    }
    let printed = printer::print(&parsed.tree);
    let again = parse_query(&printed);
    assert_eq!(again.diagnostics, vec![], "{text}\nprinted as\n{printed}");
    assert_eq!(without_spans(&parsed.tree), without_spans(&again.tree), "{text}\nprinted as\n{printed}");
}

#[test]
fn every_query_of_the_cases_survives_printing() {
    let requests = requests();
    let queries: Vec<&String> = requests.iter().filter(|text| !is_command(text)).collect();
    assert!(queries.len() > 300, "{} queries", queries.len());
    queries.into_iter().for_each(|text| survives_printing(text));
}

/// Makes trees that a text can have.
struct Maker {
    random: Random,
}

const NAMES: &[&str] =
    &["a", "b1", "_c", "two words", "where", "1d", "dots.and-hyphens", "été", "count_", "$x", "kind", "by"];
const TEXTS: &[&str] = &["", "x", "it's", "say \"hi\"", "back\\slash", "tab\tnewline\n", "émoji 🙂", "\u{0}\u{7f}"];

impl Maker {
    fn below(&mut self, count: usize) -> usize {
        self.random.next(count)
    }

    fn one<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn span() -> Span {
        Span::new(0, 0)
    }

    fn name(&mut self) -> Name {
        Name { text: self.one(NAMES).to_string(), span: Self::span() }
    }

    fn expr(&mut self, depth: usize) -> Expr {
        Expr { kind: self.kind(depth), span: Self::span() }
    }

    fn boxed(&mut self, depth: usize) -> Box<Expr> {
        Box::new(self.expr(depth))
    }

    fn several(&mut self, least: usize, depth: usize) -> Vec<Expr> {
        (0..least + self.below(3)).map(|_| self.expr(depth)).collect()
    }

    fn literal(&mut self) -> Literal {
        let whole = self.one(&[0, 1, 7, 255, 1_000_000, i64::MAX]);
        match self.below(20) {
            0 => Literal::Bool(Some(self.below(2) == 0)),
            1 => Literal::Bool(None),
            2 => Literal::Int(Some(self.one(&[0, 5, -5, i32::MAX, i32::MIN]))),
            3 => Literal::Int(None),
            4 => Literal::Long(None),
            5 => Literal::Real(Some(self.one(&[0.0, 1.5, 1e300, 1e-300, 0.1, f64::INFINITY, 123456789.125]))),
            6 => Literal::Real(None),
            7 => Literal::DateTime(Some(self.one(&[0, 637_134_336_000_000_000, 637_134_336_000_000_001]))),
            8 => Literal::DateTime(None),
            9 => Literal::TimeSpan(Some(self.one(&[0, 1, 10_000_000, 864_000_000_001, i64::MAX]))),
            10 => Literal::TimeSpan(None),
            11 => Literal::Guid(Some([self.below(256) as u8; 16])),
            12 => Literal::Guid(None),
            13 => {
                let text = self.one(&["null", "[1,2.5,\"x\"]", "{\"a b\":[null,true]}", "5", "\"t\\\"q\""]);
                if text == "null" { Literal::Dynamic(None) } else { Literal::Dynamic(Some(text.to_string())) }
            }
            14..16 => Literal::Long(Some(whole)),
            _ => Literal::String(self.one(TEXTS).to_string()),
        }
    }

    fn kind(&mut self, depth: usize) -> ExprKind {
        use BinaryOp::*;
        if depth == 0 {
            return match self.below(2) {
                0 => ExprKind::Literal(self.literal()),
                _ => ExprKind::Name(self.name()),
            };
        }
        let below = depth - 1;
        match self.below(12) {
            0 => ExprKind::Literal(self.literal()),
            1 => ExprKind::Name(self.name()),
            2 => ExprKind::Member { base: self.named(below), name: self.name() },
            3 => ExprKind::Index { base: self.named(below), index: self.boxed(below) },
            4 => {
                let name = self.one(&["f", "strcat", "iff"]).to_string();
                let arguments = self.several(0, below).into_iter().map(|value| Argument { name: None, value });
                let arguments = arguments.collect();
                ExprKind::Call { base: None, name: Name { text: name, span: Self::span() }, arguments }
            }
            5 => ExprKind::Unary { op: UnaryOp::Minus, operand: self.named(below) },
            6 => {
                let op = self.one(&[And, Or]);
                let operands = self.several(3, below);
                let at = vec![Self::span(); operands.len() - 1];
                ExprKind::Chain { op, operands, at }
            }
            7 => {
                let op =
                    self.one(&[InOp::In, InOp::NotIn, InOp::InTilde, InOp::NotInTilde, InOp::HasAny, InOp::HasAll]);
                ExprKind::InList { op, operand: self.boxed(below), list: self.several(1, below) }
            }
            8 => ExprKind::Between {
                negated: self.below(2) == 0,
                operand: self.boxed(below),
                low: self.boxed(below),
                high: self.boxed(below),
                at: Self::span(),
            },
            _ => {
                let op = self.one(&[
                    Or,
                    And,
                    Equal,
                    NotEqual,
                    EqualTilde,
                    Less,
                    GreaterOrEqual,
                    Add,
                    Subtract,
                    Multiply,
                    Divide,
                    Modulo,
                    Has,
                    NotHas,
                    HasPrefixCs,
                    Contains,
                    NotContainsCs,
                    StartsWith,
                    NotEndsWith,
                    MatchesRegex,
                ]);
                ExprKind::Binary { op, left: self.boxed(below), right: self.boxed(below), at: Self::span() }
            }
        }
    }

    /// Something that a name can be taken of.
    fn named(&mut self, depth: usize) -> Box<Expr> {
        let kind = match self.below(3) {
            0 if depth > 0 => ExprKind::Member { base: self.named(depth - 1), name: self.name() },
            1 if depth > 0 => ExprKind::Index { base: self.named(depth - 1), index: self.boxed(depth - 1) },
            _ => ExprKind::Name(self.name()),
        };
        Box::new(Expr { kind, span: Self::span() })
    }

    fn item(&mut self, depth: usize) -> NamedExpr {
        let names = if self.below(2) == 0 { vec![self.name()] } else { Vec::new() };
        NamedExpr { names, tuple: false, value: self.expr(depth) }
    }

    fn items(&mut self, depth: usize) -> Vec<NamedExpr> {
        (0..1 + self.below(3)).map(|_| self.item(depth)).collect()
    }

    fn pipe(&mut self, depth: usize) -> Expr {
        let source = Expr { kind: ExprKind::Name(self.name()), span: Self::span() };
        let operators = (0..1 + self.below(4)).map(|_| self.operator(depth)).collect();
        Expr { kind: ExprKind::Pipe(Box::new(Pipeline { source: Some(source), operators })), span: Self::span() }
    }

    fn operator(&mut self, depth: usize) -> Operator {
        let none = Vec::new;
        let kind = match self.below(14) {
            0 => OperatorKind::Extend(self.items(depth)),
            1 => OperatorKind::Project(self.items(depth)),
            2 => {
                let by = if self.below(2) == 0 { Some(self.items(depth)) } else { None };
                OperatorKind::Summarize { parameters: none(), aggregates: self.items(depth), by }
            }
            3 => OperatorKind::Distinct { parameters: none(), columns: self.items(depth) },
            4 => {
                let keys = (0..1 + self.below(3)).map(|_| self.key(depth)).collect();
                OperatorKind::Sort { parameters: none(), keys }
            }
            5 => OperatorKind::Top { parameters: none(), count: self.expr(0), key: self.key(depth) },
            6 => OperatorKind::Take { parameters: none(), count: self.expr(0) },
            7 => OperatorKind::Count { name: None },
            8 if depth > 0 => {
                let on = (0..1 + self.below(2)).map(|_| Expr { kind: ExprKind::Name(self.name()), span: Self::span() });
                let on = on.collect();
                OperatorKind::Join { parameters: none(), right: Box::new(self.pipe(depth - 1)), on }
            }
            9 if depth > 0 => {
                let items = (0..1 + self.below(3)).map(|_| self.pipe(depth - 1)).collect();
                OperatorKind::Union { parameters: none(), items }
            }
            10 => {
                let name = if self.below(2) == 0 { Some(self.name()) } else { None };
                let to = self.one(&[None, Some(KqlType::Long), Some(KqlType::String)]);
                let items = vec![MvItem { name, value: self.expr(depth), to }];
                OperatorKind::MvExpand { parameters: none(), items, limit: None }
            }
            11 => OperatorKind::Serialize(self.items(depth)),
            12 => OperatorKind::GetSchema(none()),
            _ => OperatorKind::Where { parameters: none(), predicate: self.expr(depth) },
        };
        Operator { kind, span: Self::span() }
    }

    fn key(&mut self, depth: usize) -> OrderKey {
        OrderKey {
            value: self.expr(depth),
            ascending: self.one(&[None, Some(true), Some(false)]),
            nulls_first: self.one(&[None, Some(true), Some(false)]),
        }
    }
}

#[test]
fn generated_trees_are_what_their_texts_say() {
    let mut maker = Maker { random: Random(0x7265_6573) };
    let rounds = std::env::var("PROPERTY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3_000);
    for round in 0..rounds {
        let depth = 1 + round % 4;
        let query = maker.pipe(depth);
        let tree = Script { statements: vec![Statement { kind: StatementKind::Query(query), span: Maker::span() }] };
        let printed = printer::print(&tree);
        let again = parse_query(&printed);
        assert_eq!(again.diagnostics, vec![], "{printed}");
        assert_eq!(without_spans(&tree), without_spans(&again.tree), "{printed}");
    }
}
