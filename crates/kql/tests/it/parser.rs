//! The parser over whole texts: round trips, positions of mistakes, depth, linear time, arbitrary input.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tidewater_kql::command::{self, Command, ExtentScope, FunctionMode, QueryIngestion, SchemaForm, ShowTable};
use tidewater_kql::lexer::{TokenKind, lex};
use tidewater_kql::parser::{MAX_DEPTH, MAX_DIAGNOSTICS, fuzz_query};
use tidewater_kql::{
    KqlType, Parsed, ast, is_command, parse_command, parse_function_body, parse_literal, parse_query, printer,
};

/// Queries of our own: every statement, operator and form of expression at least once.
const QUERIES: &str = include_str!("queries.kql");

fn queries() -> impl Iterator<Item = &'static str> {
    QUERIES.split("\n\n").map(str::trim).filter(|query| !query.is_empty())
}

fn clean(text: &str) -> ast::Script {
    let parsed = parse_query(text);
    assert_eq!(parsed.diagnostics, vec![], "{text}");
    parsed.tree
}

/// The tree's debug text without positions.
pub(crate) fn without_spans(tree: &impl std::fmt::Debug) -> String {
    let text = format!("{tree:?}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("Span {") {
        out.push_str(&rest[..at]);
        out.push_str("Span");
        let end = rest[at..].find('}').expect("spans are closed");
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    out
}

#[test]
fn printed_queries_are_read_as_the_same_tree() {
    let mut count = 0;
    for query in queries() {
        let tree = clean(query);
        let printed = printer::print(&tree);
        let again = parse_query(&printed);
        assert_eq!(again.diagnostics, vec![], "{query}\nprinted as\n{printed}");
        assert_eq!(without_spans(&tree), without_spans(&again.tree), "{query}\nprinted as\n{printed}");
        count += 1;
    }
    assert!(count > 90, "{count} queries");
}

#[test]
fn tokens_cover_every_query() {
    for query in queries() {
        let mut at = 0;
        for token in lex(query) {
            assert_eq!(token.span.start as usize, at);
            assert_ne!(token.kind, TokenKind::Error, "{query}");
            at = token.span.end as usize;
        }
        assert_eq!(at, query.len());
    }
}

fn mistakes(text: &str) -> Vec<(String, String)> {
    let diagnostics = if is_command(text) { parse_command(text).diagnostics } else { parse_query(text).diagnostics };
    for diagnostic in &diagnostics {
        assert_eq!(diagnostic.code, "SYN0002", "{text}");
        assert!(diagnostic.span.start <= diagnostic.span.end && diagnostic.span.end as usize <= text.len());
    }
    diagnostics.iter().map(|diagnostic| (diagnostic.span.text(text).to_string(), diagnostic.message.clone())).collect()
}

/// Where the mistakes are: `start:text`.
fn places(text: &str) -> Vec<String> {
    let diagnostics = if is_command(text) { parse_command(text).diagnostics } else { parse_query(text).diagnostics };
    assert_eq!(diagnostics.len(), mistakes(text).len());
    diagnostics.iter().map(|found| format!("{}:{}", found.span.start, found.span.text(text))).collect()
}

#[test]
fn mistakes_are_reported_at_the_token_that_does_not_fit() {
    assert_eq!(places("T | where x == "), ["14:"]);
    assert_eq!(places("T | where a = 5"), ["12:="]);
    assert_eq!(places("T | wher x"), ["4:wher"]);
    assert_eq!(places("T | where not x"), ["14:x"]);
    assert_eq!(places("T | where !x"), ["9:"]);
    assert_eq!(places("print --1"), ["7:"]);
    assert_eq!(places("print +-1"), ["7:"]);
    assert_eq!(places("print a == b == c"), ["13:=="]);
    assert_eq!(places("print 1 < 2 < 3"), ["12:<"]);
    assert_eq!(places("print 1 in (1) == true"), ["15:=="]);
    assert_eq!(places("print a has 'b' has 'c'"), ["16:has"]);
    assert_eq!(places("print a =~ b has 'c'"), ["13:has"]);
    assert_eq!(places("print a == b in (c)"), ["13:in"]);
    assert_eq!(places("print x in ()"), ["12:"]);
    assert_eq!(places("print x in dynamic([1])"), ["11:dynamic"]);
    assert_eq!(places("print 1 between 1 .. 2"), ["16:1"]);
    assert_eq!(places("print .5"), ["5:"]);
    assert_eq!(places("print 5 d"), ["8:d"]);
    assert_eq!(places("print string(1)"), ["5:"]);
    assert_eq!(places("print 2 * *"), ["9:"]);
    assert_eq!(places("print title"), ["5:"]);
    assert_eq!(places("print kind = 5"), ["6:kind"]);
    assert_eq!(places("print int(1.0)"), ["10:1.0"]);
    assert_eq!(places("print int(2147483648)"), ["10:2147483648"]);
    assert_eq!(places("print int(-0x10), 1"), ["10:-0x10"]);
    assert_eq!(places("print 9999999999999999999"), ["6:9999999999999999999"]);
    assert_eq!(places("print 'a\\q'"), ["8:\\q"]);
    assert_eq!(places("print 'abc"), ["10:"]);
    assert_eq!(places("print @'a\nb'"), ["9:"]);
    assert_eq!(places("print /* a */ 1"), ["5:"]);
    assert_eq!(places("print dynamic([now()])"), ["15:now"]);
    assert_eq!(places("print dynamic({a:1})"), ["15:a"]);
    assert_eq!(places("print dynamic([1,])"), ["17:"]);
    assert_eq!(places("T;;T"), ["2:;"]);
    assert_eq!(places(";T"), ["0:;"]);
    assert_eq!(places("T | project *"), ["12:*"]);
    assert_eq!(places("T | join (U) | count"), ["4:join (U)"]);
    assert_eq!(places("T | fork (take 5), (count)"), ["17:,"]);
    assert_eq!(places("let x = 5 print x"), ["10:print"]);
    assert_eq!(places("let f = (a: lng) { a }; print 1"), ["12:lng"]);
    assert_eq!(places("T | order by"), ["12:"]);
    assert_eq!(places(""), ["0:"]);
    assert_eq!(places("// nothing"), ["10:"]);
    assert_eq!(places("T | where f(1"), ["13:"]);
    assert_eq!(places("T)"), ["1:)"]);
}

#[test]
fn one_mistake_does_not_hide_the_next() {
    assert_eq!(places("T | where a == | foo | where b == 1 | take"), ["14:", "17:foo", "42:"]);
    assert_eq!(places("T | join (U | where ) on x | where y =="), ["19:", "39:"]);
    assert_eq!(places("let a = ; let b = ; print a ="), ["7:", "17:", "29:"]);
    assert_eq!(places("print x between (1, 2) | wher y"), ["18:,", "25:wher"]);
    assert_eq!(places("T | extend a = f(1 2 [3 | 4]) | where ="), ["19:2", "37:"]);
    let tree = parse_query("T | wher x == 1 | count").tree;
    assert_eq!(printer::print(&tree), "T | <error> | count");
}

#[test]
fn messages_name_what_was_found_and_what_was_expected() {
    let message = |text: &str| mistakes(text).remove(0).1;
    assert_eq!(message("T | where x =="), "Query could not be parsed at the end of the text: expected an expression");
    assert_eq!(
        message("T | summarize count( x"),
        "Query could not be parsed at the end of the text: expected ',' or ')'"
    );
    assert_eq!(message("print 'a"), "Query could not be parsed: the string literal has no end");
    assert!(message("T | where x = 5").contains("'==' compares"));
    assert!(message("print ['a'] = ").ends_with("expected an expression"));
    let hints = |text: &str| parse_query(text).diagnostics.remove(0).hints;
    assert_eq!(hints("T | summarise count()"), ["did you mean 'summarize'?"]);
    assert_eq!(hints("T | mv-exapnd a"), ["did you mean 'mv-expand'?"]);
}

#[test]
fn there_are_never_more_mistakes_than_the_limit() {
    let text = "print 1 |".to_string() + &" foo |".repeat(1000);
    assert_eq!(parse_query(&text).diagnostics.len(), MAX_DIAGNOSTICS);
}

/// Runs on a thread with the smallest stack that a server thread has.
fn on_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).expect("a thread");
    thread.join().expect("no panic");
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    on_small_stack(|| {
        let levels = 100_000;
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("not(", "true", ")"),
            ("f(1, g(", "x", "))"),
            ("a[", "0", "]"),
            ("-(", "1", ")"),
            ("1 + (2 * (", "1", "))"),
            ("x in (", "1", ")"),
            ("toscalar(T | where x == (", "1", "))"),
            ("dynamic(", "1", ")"),
            ("iff(a, b, ", "1", ")"),
        ] {
            for text in [
                format!("print {}{middle}{}", open.repeat(levels), close.repeat(levels)),
                format!("print {}", open.repeat(levels)),
            ] {
                let parsed = parse_query(&text);
                assert_eq!(parsed.diagnostics.len(), 1, "{open}");
                assert!(
                    parsed.diagnostics[0].message.contains("nested deeper than 512 levels"),
                    "{}",
                    parsed.diagnostics[0].message
                );
            }
        }
        for open in [
            "T | join (",
            "T | union (U | ",
            "let f = () { ",
            "T | mv-apply x on (where ",
            "T | partition by a { U | ",
            "T | fork (fork (",
            "T | where a has_any (",
        ] {
            let parsed = parse_query(&open.repeat(levels));
            assert!(!parsed.diagnostics.is_empty(), "{open}");
        }
        assert_eq!(parse_query(&format!("print {}1", "-".repeat(levels))).diagnostics.len(), 1);
        assert_eq!(
            parse_query(&format!("print dynamic({}{})", "[".repeat(levels), "]".repeat(levels))).diagnostics.len(),
            1
        );
        assert_eq!(parse_query(&format!("print dynamic({}{})", "[".repeat(200), "]".repeat(200))).diagnostics.len(), 1);
        assert!(!parse_query(&")".repeat(levels)).is_clean());
        assert!(!parse_query(&"]}".repeat(levels)).is_clean());
    });
}

#[test]
fn allowed_depth_can_be_read_copied_printed_and_dropped() {
    on_small_stack(|| {
        let most = MAX_DEPTH as usize;
        for (levels, open, middle, close) in [
            (most - 2, "f(", "1", ")"),
            (most / 2 - 2, "not(a == ", "true", ")"),
            (most / 2 - 2, "a[", "0", "]"),
            (most / 2 - 2, "-(", "1", ")"),
            (most / 2 - 2, "toscalar(T | where x < ", "1", ")"),
            (most / 9, "a or b and c == 1 < 2 + 3 * -(", "1", ")"),
        ] {
            let text = format!("print {}{middle}{}", open.repeat(levels), close.repeat(levels));
            let tree = clean(&text);
            let copy = tree.clone();
            assert_eq!(tree, copy);
            let printed = printer::print(&copy);
            assert_eq!(printer::print(&clean(&printed)), printed);
        }
    });
}

#[test]
fn long_chains_are_flat_or_refused() {
    on_small_stack(|| {
        let terms = 100_000;
        for op in ["and", "or"] {
            let text = format!("T | where {}", vec!["a == -1"; terms].join(&format!(" {op} ")));
            let tree = clean(&text);
            let printed = printer::print(&tree);
            assert_eq!(printer::print(&clean(&printed)), printed);
        }
        for joined in [
            vec!["1"; terms].join(" + "),
            vec!["1"; terms].join("*"),
            vec!["a"; terms].join("."),
            format!("a{}", "[0]".repeat(terms)),
            format!("a{}", ".f()".repeat(terms)),
        ] {
            let parsed = parse_query(&format!("print {joined}"));
            assert_eq!(parsed.diagnostics.len(), 1);
            assert!(parsed.diagnostics[0].message.contains("nested deeper"));
        }
        clean(&format!("print {}", vec!["-1 * x"; 250].join(" + ")));
        clean(&format!("print {}", vec!["a.b.c[0] == -f(1) - 2 and not(x)"; terms / 10].join(", ")));
        clean(&format!("T{}", " | where -a < b + c".repeat(terms / 10)));
        clean(&format!("datatable(a: long) [{}]", "-1, ".repeat(terms)));
        clean(&format!("print x in ({})", vec!["1"; terms].join(", ")));
        clean(&vec!["print -1"; terms / 10].join(";"));
    });
}

#[test]
fn reading_takes_linear_time() {
    // Each text would take minutes if anything in it were looked at again and again.
    let size = 60_000;
    let texts = [
        "(".repeat(size),
        "[".repeat(size),
        "{".repeat(size),
        "print ".to_string() + &"(a, ".repeat(size),
        "print ".to_string() + &"'a' ".repeat(size),
        "print 1".to_string() + &" | foo".repeat(size),
        "print 1".to_string() + &" | a-b".repeat(size),
        "print ".to_string() + &"a*".repeat(size),
        "T | project-away ".to_string() + &"a*b, ".repeat(size),
        "T | project-away ".to_string() + &"a*b".repeat(size),
        "T | ".to_string() + &"a-".repeat(size),
        "T | where ".to_string() + &"(a) = ".repeat(size),
        "print ".to_string() + &"(a, b) = ".repeat(size),
        "~~".repeat(size),
        "```a".repeat(size),
        "'".repeat(size),
        " #".repeat(size),
        "\n#".repeat(size),
        "let a = ".repeat(size),
        "let f = (".repeat(size),
        ";".repeat(size),
        ")".repeat(size),
        "T | join (".repeat(400) + &"a ".repeat(size),
        "T | join (".repeat(400) + &"]".repeat(size),
        ".show ".to_string() + &"table ".repeat(size),
        ".show ".to_string() + &"a-".repeat(size),
        ".alter ".to_string() + &"x".repeat(size),
        ".create table T (".to_string() + &"a: long, ".repeat(size),
        ".set T <| ".to_string() + &"print (".repeat(size),
        ".ingest inline into table T ".to_string() + &"[a,'b]".repeat(size),
        "print a".to_string() + &" - - ".repeat(size),
        "print datetime(".repeat(size),
    ];
    for text in texts {
        let started = Instant::now();
        fuzz_query(text.as_bytes());
        let spent = started.elapsed();
        assert!(spent < Duration::from_secs(20), "{spent:?} for {}", &text[..30]);
    }
}

/// A small generator: the same texts on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn arbitrary_texts_never_panic() {
    let corpus: Vec<&str> = queries().chain(COMMANDS.iter().copied()).collect();
    let pieces: Vec<&str> =
        corpus.iter().flat_map(|text| lex(text).into_iter().map(move |token| token.span.text(text))).collect();
    let mut random = Random(0x5EED);
    for round in 0..6_000 {
        let mut bytes = Vec::new();
        match round % 3 {
            // A text with some bytes changed, dropped or doubled.
            0 => {
                bytes.extend_from_slice(corpus[random.next(corpus.len())].as_bytes());
                for _ in 0..1 + random.next(6) {
                    let at = random.next(bytes.len().max(1));
                    match random.next(4) {
                        0 if at < bytes.len() => bytes[at] = random.next(256) as u8,
                        1 if at < bytes.len() => drop(bytes.remove(at)),
                        2 => bytes.insert(at.min(bytes.len()), b"()[]{}|;,.'\"=-!@~`#*<>\\\n"[random.next(24)]),
                        _ => bytes.truncate(at),
                    }
                }
            }
            // Tokens of the corpus in any order.
            1 => {
                for _ in 0..random.next(40) {
                    bytes.extend_from_slice(pieces[random.next(pieces.len())].as_bytes());
                    if random.next(2) == 0 {
                        bytes.push(b' ');
                    }
                }
            }
            // Bytes.
            _ => bytes.extend((0..random.next(60)).map(|_| random.next(256) as u8)),
        }
        fuzz_query(&bytes);
    }
}

#[test]
fn clean_trees_of_mutated_queries_survive_printing() {
    let corpus: Vec<&str> = queries().collect();
    let mut random = Random(0xC0FFEE);
    let mut checked = 0;
    for _ in 0..4_000 {
        let text = corpus[random.next(corpus.len())];
        let tokens = lex(text);
        let (drop_at, copy_from) = (random.next(tokens.len()), tokens[random.next(tokens.len())]);
        let mut changed = String::new();
        for (index, token) in tokens.iter().enumerate() {
            if index == drop_at {
                let _ = write!(changed, " {} ", copy_from.span.text(text));
            } else {
                changed.push_str(token.span.text(text));
            }
        }
        let parsed = parse_query(&changed);
        if !parsed.is_clean() {
            continue;
        }
        let printed = printer::print(&parsed.tree);
        let again = parse_query(&printed);
        assert_eq!(again.diagnostics, vec![], "{changed}\nprinted as\n{printed}");
        assert_eq!(without_spans(&parsed.tree), without_spans(&again.tree), "{changed}\nprinted as\n{printed}");
        checked += 1;
    }
    assert!(checked > 400, "{checked}");
}

// Values.

fn first_value(text: &str) -> ast::ExprKind {
    let script = clean(&format!("print {text}"));
    let ast::StatementKind::Query(ast::Expr { kind: ast::ExprKind::Pipe(pipeline), .. }) = &script.statements[0].kind
    else {
        panic!("{text}")
    };
    let ast::OperatorKind::Print(items) = &pipeline.operators[0].kind else { panic!("{text}") };
    items[0].value.kind.clone()
}

fn literal(text: &str) -> ast::Literal {
    match first_value(text) {
        ast::ExprKind::Literal(literal) => literal,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn literals_have_the_values_of_the_language() {
    use ast::Literal::*;
    assert_eq!(literal("0xFF"), Long(Some(255)));
    assert_eq!(literal("0xFFFFFFFFFFFFFFFF"), Long(Some(-1)));
    assert_eq!(literal("-9223372036854775808"), Long(Some(i64::MIN)));
    assert_eq!(literal("1."), Real(Some(1.0)));
    assert_eq!(literal("1.e2"), Real(Some(100.0)));
    assert_eq!(literal("int(010)"), Int(Some(10)));
    assert_eq!(literal("int(0xFFFFFFFF)"), Int(Some(-1)));
    assert_eq!(literal("long(null)"), Long(None));
    assert_eq!(literal("double(null)"), Real(None));
    assert_eq!(literal("real(-inf)"), Real(Some(f64::NEG_INFINITY)));
    assert_eq!(literal("TRUE"), Bool(Some(true)));
    assert_eq!(literal("1.5h"), TimeSpan(Some(54_000_000_000)));
    assert_eq!(literal("time(2)"), TimeSpan(Some(2 * 864_000_000_000)));
    assert_eq!(literal("timespan(15 seconds)"), TimeSpan(Some(150_000_000)));
    assert_eq!(literal("datetime(1970-01-01)"), DateTime(Some(621_355_968_000_000_000)));
    assert_eq!(literal("datetime('1970-01-01')"), DateTime(Some(621_355_968_000_000_000)));
    assert_eq!(literal("datetime(2025)"), DateTime(Some(638_712_864_000_000_000)));
    assert_eq!(literal("datetime(2025-13-01)"), DateTime(None));
    assert_eq!(literal("decimal(0.10)"), Decimal(Some("0.10".into())));
    assert_eq!(
        literal("guid(74be27de-1e4e-49d9-b579-fe0b331d3642)"),
        Guid(Some(0x74be27de1e4e49d9b579fe0b331d3642u128.to_be_bytes()))
    );
    assert_eq!(literal("'it''s'"), String("its".into()));
    assert_eq!(literal("'a' // one\n \"b\" @'\\c' ```d\n```"), String("ab\\cd\n".into()));
    assert_eq!(literal("h'secret'"), String("secret".into()));
    assert_eq!(literal("dynamic(null)"), Dynamic(None));
    assert_eq!(
        literal("dynamic({'a' : [1, -2.50, 'x\\u00e9', 1d, datetime(2020-01-01), null, dynamic([true])], \"b\": {}})"),
        Dynamic(Some(r#"{"a":[1,-2.50,"xé",864000000000,"2020-01-01T00:00:00.0000000Z",null,[true]],"b":{}}"#.into()))
    );
    assert_eq!(without_spans(&first_value("datetime()")), without_spans(&first_value("datetime(now)")));
}

#[test]
fn values_of_query_parameters_are_literals_or_bare_texts() {
    use ast::Literal::*;
    assert_eq!(parse_literal("5", KqlType::Long), Some(Long(Some(5))));
    assert_eq!(parse_literal("-5", KqlType::Int), Some(Int(Some(-5))));
    assert_eq!(parse_literal("5", KqlType::Real), Some(Real(Some(5.0))));
    assert_eq!(parse_literal("long(5)", KqlType::Long), Some(Long(Some(5))));
    assert_eq!(parse_literal("1h", KqlType::TimeSpan), Some(TimeSpan(Some(36_000_000_000))));
    assert_eq!(parse_literal("01:00:00", KqlType::TimeSpan), Some(TimeSpan(Some(36_000_000_000))));
    assert_eq!(parse_literal("datetime(1970-01-01)", KqlType::DateTime), Some(DateTime(Some(621_355_968_000_000_000))));
    assert_eq!(parse_literal("1970-01-01", KqlType::DateTime), Some(DateTime(Some(621_355_968_000_000_000))));
    assert_eq!(parse_literal("'a b'", KqlType::String), Some(String("a b".into())));
    assert_eq!(parse_literal("a b's", KqlType::String), Some(String("a b's".into())));
    assert_eq!(parse_literal("true", KqlType::Bool), Some(Bool(Some(true))));
    assert_eq!(parse_literal("[1, 2]", KqlType::Dynamic), Some(Dynamic(Some("[1,2]".into()))));
    assert_eq!(parse_literal("dynamic([1, 2])", KqlType::Dynamic), Some(Dynamic(Some("[1,2]".into()))));
    assert_eq!(parse_literal("abc", KqlType::Long), None);
    assert_eq!(parse_literal("5; drop", KqlType::Long), None);
    assert_eq!(parse_literal("5000000000", KqlType::Int), None);
}

#[test]
fn operators_bind_as_the_language_says() {
    let same = |left: &str, right: &str| {
        assert_eq!(without_spans(&first_value(left)), without_spans(&first_value(right)), "{left}")
    };
    same("a or b and c", "a or (b and c)");
    same("a + b * c - d", "(a + (b * c)) - d");
    same("1 < 2 == true", "(1 < 2) == true");
    same("a == b and c != d", "(a == b) and (c != d)");
    same("-a.b[0]", "-((a.b)[0])");
    same("a has 'b' or c in (1, 2)", "(a has 'b') or (c in (1, 2))");
    same("a + b has 'c'", "a + (b has 'c')");
    same("a == b contains c", "a == (b contains c)");
    same("a =~ b == c", "(a =~ b) == c");
    same("a has -b < c", "(a has (-b)) < c");
    same("a < b in (c)", "(a < b) in (c)");
    same("a <> b", "a != b");
    same("a notcontains b", "a !contains b");
    let ast::ExprKind::Chain { operands, .. } = first_value("a and b and c and d") else { panic!() };
    assert_eq!(operands.len(), 4);
    assert!(matches!(first_value("a or b"), ast::ExprKind::Binary { op: ast::BinaryOp::Or, .. }));
}

// Commands.

const COMMANDS: &[&str] = &[
    ".create table T (a: string, ['b c']: long) with (docstring = 'd', folder = \"f\")",
    ".create-merge table T (a: string)",
    ".create tables A (x: int), B (y: real)",
    ".alter table T (a: string)",
    ".alter-merge table T (a: string, b: dynamic)",
    ".drop table T ifexists",
    ".drop tables (A, ['B']) ifexists",
    ".rename table A to B",
    ".rename tables A = B, C = D",
    ".alter table T docstring 'text'",
    ".show tables (A, B) details",
    ".show table T schema as json",
    ".show databases (['a'], b) schema as json",
    ".show database ['a b'] schema as json if_later_than 'v1'",
    ".show databases entities with (showObfuscatedStrings = true) | where EntityType == 'Table'",
    ".create database X persist (@'c:\\x', @'y') ifnotexists",
    ".ingest inline into table T with (format = csv) <| a,1\nb,2",
    ".ingest inline into table T [a,\"]\"] [b,2]",
    ".ingest async into table T ('a.csv', h'b.csv') with (format = 'csv', ignoreFirstRecord = true)",
    ".set-or-append async T with (tags = '[]') <| let a = 5; range x from 1 to a step 1",
    ".create-or-alter function with (folder = 'f') F(a: long, T: (*)) { T | where x == a }",
    ".show running queries by user 'u' | take 5",
    ".cancel query 'id' with (reason = 'x')",
    ".show operations (a, 'b')",
    ".show table T extents hot where tags has 'x' and tags !contains 'y' | count",
    ".alter table T policy caching hot = 5d",
    ".show tables; $command_results | count",
];

fn command(text: &str) -> Command {
    let parsed = parse_command(text);
    assert_eq!(parsed.diagnostics, vec![], "{text}");
    parsed.tree
}

#[test]
fn every_command_of_the_list_is_read() {
    for text in COMMANDS {
        assert!(is_command(text));
        let tree = command(text);
        assert_ne!(tree, Command::Error, "{text}");
        let moved = format!("  \n// a note\n{text} // end");
        assert_eq!(without_spans(&command(&moved)).replace(" // end", ""), without_spans(&tree), "{text}");
    }
    assert!(!is_command("print 1 // .show"));
}

#[test]
fn commands_carry_their_parts() {
    let Command::CreateTable { table, merge: false, if_not_exists: false, properties } = command(COMMANDS[0]) else {
        panic!()
    };
    assert_eq!(
        (table.name.text.as_str(), table.columns[1].name.text.as_str(), table.columns[1].ty),
        ("T", "b c", KqlType::Long)
    );
    assert_eq!(command::property_text(&properties, "Folder").as_deref(), Some("f"));
    assert!(
        matches!(command(".drop table my-table.v2"), Command::DropTable { table, if_exists: false } if table.text == "my-table.v2")
    );
    assert!(matches!(command(".show table T"), Command::ShowTable { what: ShowTable::Columns, .. }));
    assert!(matches!(command(".show table T cslschema"), Command::ShowTable { what: ShowTable::CslSchema, .. }));
    assert!(matches!(
        command(".show database schema"),
        Command::ShowDatabaseSchema { database: None, form: SchemaForm::Rows, .. }
    ));
    assert!(matches!(
        command(".show database X schema as csl script"),
        Command::ShowDatabaseSchema { form: SchemaForm::CslScript, .. }
    ));
    assert!(matches!(command(".show database"), Command::ShowDatabase { database: None, details: false }));
    assert!(matches!(command(".show schema as json"), Command::ShowSchema { as_json: true }));
    assert!(matches!(
        command(".show database extents"),
        Command::ShowExtents { scope: ExtentScope::Database(None), .. }
    ));
    assert!(
        matches!(command(".show operations 078b2641-f10d-4694-96f8-1ee2b75dda48"), Command::ShowOperations { ids } if ids == ["078b2641-f10d-4694-96f8-1ee2b75dda48"])
    );
    assert!(matches!(command(".show queries"), Command::ShowQueries { running: false, by_user: None }));
    assert_eq!(command(".get kusto identity token"), Command::GetKustoIdentityToken);
    assert_eq!(command(".show version;"), Command::ShowVersion);
}

#[test]
fn inline_data_is_the_text_behind_the_mark() {
    let data = |text: &str| match command(text) {
        Command::IngestInline { data, data_span, .. } => (data, data_span.text(text).to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(data(".ingest inline into table T <| a,1\nb | 'x").0, "a,1\nb | 'x");
    assert_eq!(data(".ingest inline into table T with (format='tsv') <|\r\n\tx\n").0, "\tx\n");
    assert_eq!(data(".ingest inline into table T <|").0, "");
    assert_eq!(data(".ingest inline into table ['T'] [a,\"]\"]\n  [b,2]").0, "a,\"]\"\nb,2\n");
}

#[test]
fn queries_inside_commands_keep_their_places() {
    let text = ".set-or-replace T <| range x from 1 to 5 step 1 | where y =";
    let Parsed { tree, diagnostics } = parse_command(text);
    assert_eq!(diagnostics[0].span.text(text), "=");
    let Command::IngestFromQuery { mode: QueryIngestion::SetOrReplace, is_async: false, query_span, .. } = tree else {
        panic!()
    };
    assert_eq!(query_span.text(text), "range x from 1 to 5 step 1 | where y =");

    let text = ".create-or-alter function with (docstring='d') f (a: long = 5) { let b = a; print b }";
    let Command::CreateFunction { mode: FunctionMode::CreateOrAlter, function, .. } = command(text) else { panic!() };
    assert_eq!(
        (function.parameters_text.as_str(), function.body_text.as_str()),
        ("(a: long = 5)", "{ let b = a; print b }")
    );
    let body = parse_function_body(&function.parameters_text, &function.body_text);
    assert!(body.is_clean());
    assert_eq!(without_spans(&body.tree.expect("a function")), without_spans(&function.lambda));

    let text = ".show tables | where x == | count";
    let Parsed { tree, diagnostics } = parse_command(text);
    assert_eq!(diagnostics.len(), 1);
    let Command::Piped { command, pipeline_span, operators } = tree else { panic!() };
    assert!(matches!(*command, Command::ShowTables { .. }));
    assert_eq!((pipeline_span.text(text), operators.len()), ("| where x == | count", 2));
}

#[test]
fn commands_that_are_not_served_keep_their_names() {
    let name = |text: &str| match command(text) {
        Command::Other { name } => name,
        Command::Piped { command, .. } => match *command {
            Command::Other { name } => format!("{name} |"),
            other => panic!("{other:?}"),
        },
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(name(".show table T policy rowid"), "show table policy row id");
    assert_eq!(name(".show table * mirroring templates | project x"), "show mirroring templates |");
    assert_eq!(
        name(".alter-merge database db policy shards_grouping '{}'"),
        "alter merge database policy shards grouping"
    );
    assert_eq!(name(".show follower database X"), "show follower database");
    assert_eq!(name(".refresh database 'd' table 't' cache ingestionbatchingpolicy"), "refresh database cache");
}

#[test]
fn commands_about_entities_have_trees() {
    use tidewater_kql::command::{
        EntityCommand, ExternalTableCommand, GraphCommand, MaterializedViewCommand, PutMode, ShowView,
        StoredResultCommand,
    };
    let entity = |text: &str| match command(text) {
        Command::Entity(entity) => *entity,
        other => panic!("{text}: {other:?}"),
    };
    let text = ".create async ifnotexists materialized-view with (backfill=true) V on table ['a b'] { ['a b'] | summarize count() by x }";
    let EntityCommand::MaterializedView(MaterializedViewCommand::Put(view)) = entity(text) else { panic!() };
    assert!(view.is_async && view.if_not_exists && !view.over_view && view.mode == PutMode::Create);
    assert_eq!((view.name.text.as_str(), view.source.text.as_str()), ("V", "a b"));
    assert_eq!(view.query_text, "['a b'] | summarize count() by x");
    assert_eq!(view.query_span.text(text).trim(), view.query_text);
    let show = entity(".show materialized-view V schema as csl");
    let EntityCommand::MaterializedView(MaterializedViewCommand::Show { what, .. }) = show else { panic!() };
    assert_eq!(what, ShowView::CslSchema);
    let text = ".create external table E (x: long) kind=storage partition by (d: datetime = bin(t, 1d), s: string) \
                pathformat=(\"d=\" datetime_pattern(\"yyyy\", d) \"/\" s) dataformat=csv (h@'a', 'b') with (folder='f')";
    let EntityCommand::ExternalTable(ExternalTableCommand::Put { definition, .. }) = entity(text) else { panic!() };
    assert_eq!((definition.partitions.len(), definition.path_format.len(), definition.uris.len()), (2, 4, 2));
    let EntityCommand::ExternalTable(ExternalTableCommand::PutMapping { mapping, text, .. }) =
        entity(".create external table E mapping 'M' '[]'")
    else {
        panic!()
    };
    assert_eq!((mapping.as_str(), text.as_str()), ("M", "[]"));
    let set = entity(".set-or-replace async stored_query_result R with (previewCount=1) <| T | count");
    let EntityCommand::StoredResult(StoredResultCommand::Set { replace: true, is_async: true, .. }) = set else {
        panic!()
    };
    let graph = entity(".drop graph_snapshot ['a.b'].S");
    let EntityCommand::Graph(GraphCommand::DropSnapshot { model, snapshot }) = graph else { panic!() };
    assert_eq!((model.text.as_str(), snapshot.text.as_str()), ("a.b", "S"));
    assert!(matches!(command(".show entity_groups | count"), Command::Piped { .. }));
    for broken in [
        ".create external table E (x: long) kind",
        ".create materialized-view V on table T {",
        ".make graph_snapshot S",
    ] {
        assert!(!parse_command(broken).diagnostics.is_empty(), "{broken}");
    }
}

#[test]
fn unknown_and_broken_commands_are_refused_with_a_way_out() {
    let first = |text: &str| parse_command(text).diagnostics.remove(0);
    assert_eq!(first(".shw tables").hints, ["did you mean '.show tables'?"]);
    assert_eq!(places(".frobnicate the thing"), ["0:.frobnicate the thing"]);
    assert_eq!(places(".create table T (a: lng)"), ["20:lng"]);
    assert_eq!(places(".drop table T foo"), ["14:foo"]);
    assert_eq!(places(".rename table A B"), ["16:B"]);
    assert_eq!(places("."), ["0:."]);
    assert!(first(".show tables\n.show tables").message.contains("one command"));
    assert!(!parse_query(".show tables").is_clean());
}

#[test]
fn misspelt_words_get_the_nearest_as_a_hint() {
    for (text, hint) in [
        ("T | sumarize count()", "summarize"),
        ("T | project-awy a", "project-away"),
        ("T | where s contans 'a'", "contains"),
        ("T | where s startwith 'a'", "startswith"),
        ("T | where a adn b", "and"),
        ("T | top 3 yb a", "by"),
        ("T | sort by a dsec", "desc"),
        ("T | mv-expand a to typeof(strign)", "string"),
    ] {
        let found = parse_query(text).diagnostics;
        assert_eq!(found[0].hints, [format!("did you mean '{hint}'?")], "{text}");
    }
}
