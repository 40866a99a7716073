//! Recorded and documented answers of scalar functions. Sources: the functions' pages and kql-behaviour.

use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use tidewater_functions::call::Call;
use tidewater_functions::{Imp, Returns, find_scalar};
use tidewater_kql::KqlType;

type Value = (ScalarValue, KqlType);

fn s(text: &str) -> Value {
    (ScalarValue::Utf8View(Some(text.to_string())), KqlType::String)
}

fn l(value: i64) -> Value {
    (ScalarValue::Int64(Some(value)), KqlType::Long)
}

fn r(value: f64) -> Value {
    (ScalarValue::Float64(Some(value)), KqlType::Real)
}

fn b(value: bool) -> Value {
    (ScalarValue::Boolean(Some(value)), KqlType::Bool)
}

/// Dynamic, as JSON text.
fn d(json: &str) -> Value {
    (ScalarValue::Utf8View(Some(json.to_string())), KqlType::Dynamic)
}

fn null(ty: KqlType) -> Value {
    (ScalarValue::try_from(&ty.arrow()).unwrap(), ty)
}

/// The value of a kernel for constants; `None` is null.
fn value(name: &str, args: &[Value]) -> Option<String> {
    let row = find_scalar(name).unwrap();
    let Imp::Kernel(kernel) = row.imp else { panic!("{name} has no kernel") };
    let types: Vec<KqlType> = args.iter().map(|(_, ty)| *ty).collect();
    let returns = match row.signatures[0].returns {
        Returns::Type(ty) => ty,
        _ => panic!("{name}: the type of the value"),
    };
    let args: Vec<ColumnarValue> = args.iter().map(|(value, _)| ColumnarValue::Scalar(value.clone())).collect();
    let answer = kernel(&Call { args: &args, types: &types, returns, rows: 1 }).unwrap();
    let ColumnarValue::Scalar(answer) = answer else { panic!("{name}: not a scalar") };
    if answer.is_null() { None } else { Some(answer.to_string()) }
}

fn check(name: &str, cases: &[(&[Value], Option<&str>)]) {
    for (args, expected) in cases {
        assert_eq!(value(name, args).as_deref(), *expected, "{name}{args:?}");
    }
}

#[test]
fn lengths_count_code_points_and_bytes() {
    check("strlen", &[(&[s("⒦⒰⒮⒯⒪")], Some("5")), (&[s("👨‍👩‍👧")], Some("5")), (&[s("C\u{327}edilla")], Some("8"))]);
    check("string_size", &[(&[s("👨‍👩‍👧")], Some("18")), (&[s("")], Some("0"))]);
}

#[test]
fn substring_clips_its_window() {
    check(
        "substring",
        &[
            (&[s("123456"), l(1)], Some("23456")),
            (&[s("123456"), l(2), l(2)], Some("34")),
            (&[s("123456"), l(-2), l(2)], Some("56")),
            (&[s("abc"), l(-2), l(5)], Some("bc")),
            (&[s("x"), l(-2), l(5)], Some("")),
            (&[s("x"), l(-1), l(2)], Some("x")),
            (&[s("abc"), l(-10)], Some("")),
            (&[s("hello"), l(-3), l(2)], Some("ll")),
            (&[s("hello"), l(-100), l(3)], Some("")),
            (&[s("hello"), l(1), l(-1)], Some("")),
            (&[s("hello"), l(10), l(5)], Some("")),
            (&[s("a😀b"), l(1), l(1)], Some("😀")),
            (&[s("👨‍👩‍👧"), l(0), l(1)], Some("👨")),
            (&[s("éa"), l(-1)], Some("a")),
            (&[s("éa"), l(i64::MIN), l(i64::MAX)], Some("")),
            (&[s("éa"), l(0), l(i64::MAX)], Some("éa")),
        ],
    );
}

#[test]
fn indexof_counts_from_either_end_and_overlaps() {
    check(
        "indexof",
        &[
            (&[s("abcdefg"), s("cde")], Some("2")),
            (&[s("abcdefg"), s("cde"), l(1), l(4)], Some("2")),
            (&[s("abcdefg"), s("cde"), l(1), l(2)], Some("-1")),
            (&[s("abcdefg"), s("cde"), l(3), l(4)], Some("-1")),
            (&[s("abcdefg"), s("cde"), l(-5)], Some("2")),
            (&[s("1234567"), s("5"), l(1), l(4)], Some("4")),
            (&[s("abcdefg"), s("cde"), l(2), l(-1)], Some("2")),
            (&[s("abcdefgabcdefg"), s("cde"), l(1), l(10), l(2)], Some("9")),
            (&[s("abcdefgabcdefg"), s("cde"), l(1), l(-1), l(3)], Some("-1")),
            (&[s("café"), s("é")], Some("3")),
            (&[s("aaa"), s("aa"), l(0), l(-1), l(2)], Some("1")),
            (&[s("abc"), s("")], None),
            (&[s("abc"), s("a"), l(0), l(-2)], None),
            (&[s("abc"), s("c"), l(100)], Some("-1")),
            (&[s("éé"), s("é"), l(2)], Some("-1")),
        ],
    );
    check(
        "indexof_regex",
        &[
            (&[s("abcabc"), s("a.c")], Some("0")),
            (&[s("abcabcdefg"), s("a.c"), l(0), l(9), l(2)], Some("3")),
            (&[s("abcabc"), s("a.c"), l(1), l(-1), l(2)], Some("-1")),
            (&[s("ababaa"), s("a.a"), l(0), l(-1), l(2)], Some("-1")),
            (&[s("abcabc"), s("a|ab"), l(-1)], None),
        ],
    );
}

#[test]
fn countof_overlaps_only_for_plain_text() {
    check(
        "countof",
        &[
            (&[s("aaa"), s("a")], Some("3")),
            (&[s("aaaa"), s("aa")], Some("3")),
            (&[s("ababa"), s("ab"), s("normal")], Some("2")),
            (&[s("ababa"), s("aba")], Some("2")),
            (&[s("ababa"), s("aba"), s("regex")], Some("1")),
            (&[s("abcabc"), s("a.c"), s("regex")], Some("2")),
            (&[s("hello world hello"), s("l+"), s("regex")], Some("3")),
            (&[s("abc"), s("")], Some("0")),
            (&[null(KqlType::String), s("a")], Some("0")),
        ],
    );
}

#[test]
fn split_gives_arrays() {
    check(
        "split",
        &[
            (&[s("aa_bb"), s("_")], Some("[\"aa\",\"bb\"]")),
            (&[s("aaa_bbb_ccc"), s("_"), l(1)], Some("[\"bbb\"]")),
            (&[s(""), s("_")], Some("[\"\"]")),
            (&[s("a__b"), s("_")], Some("[\"a\",\"\",\"b\"]")),
            (&[s("aabbcc"), s("bb")], Some("[\"aa\",\"cc\"]")),
            (&[s("a_b"), s("_"), l(5)], None),
            (&[s("abc"), s("")], None),
        ],
    );
}

#[test]
fn texts_are_replaced() {
    check(
        "replace_string",
        &[
            (&[s("aaa"), s("a"), s("")], Some("")),
            (&[s("aaa"), s(""), s("X")], Some("aaa")),
            (&[s("abcabc"), s("a"), s("XY")], Some("XYbcXYbc")),
            (&[s("O'Brien's"), s("'"), s("''")], Some("O''Brien''s")),
        ],
    );
    let message = || s("This is an example of using replace_strings()");
    check(
        "replace_strings",
        &[
            (&[s("a cat into a dog"), d("[\"cat\",\"dog\"]"), d("[\"dog\",\"pigeon\"]")], Some("a dog into a pigeon")),
            (
                &[message(), d("[\"This\",\"is\"]"), d("[\"This\",\"was\"]")],
                Some("This was an example of using replace_strings()"),
            ),
            (
                &[message(), d("[\"is\",\"This\"]"), d("[\"was\",\"This\"]")],
                Some("Thwas was an example of using replace_strings()"),
            ),
            (
                &[message(), d("[\"This\",\"is\"]"), d("[12345,\"was\"]")],
                Some("This was an example of using replace_strings()"),
            ),
        ],
    );
    check(
        "replace_regex",
        &[
            (&[s("one two three"), s(r"(\w+)"), s(r"[\1]")], Some("[one] [two] [three]")),
            (&[s("one two three"), s(r"(\w)(\w)"), s(r"\2\1")], Some("noe wto htere")),
            (&[s("Number is 1"), s(r"is (\d+)"), s(r"was: \1")], Some("Number was: 1")),
            (&[s("abcABCabc"), s("(?i)abc"), s("#")], Some("###")),
            (&[s("abc"), s("b"), s("$0")], Some("a$0c")),
            (&[s("abc"), s("b"), s(r"\0\0")], Some("abbc")),
            (&[s("abc"), s("z"), s("y")], Some("abc")),
            (&[s(""), s("z"), s("y")], Some("")),
        ],
    );
    check(
        "translate",
        &[
            (&[s("abc"), s("x"), s("abc")], Some("xxx")),
            (&[s("abc"), s(""), s("ab")], Some("")),
            (&[s("krasp"), s("otsku"), s("spark")], Some("kusto")),
        ],
    );
}

#[test]
fn trim_takes_one_match_from_each_end() {
    check(
        "trim",
        &[
            (&[s("x"), s("xxabcxx")], Some("xabcx")),
            (&[s("x"), s("xxx")], Some("x")),
            (&[s("x"), s("x")], Some("")),
            (&[s(r"\s"), s("  pad  ")], Some(" pad ")),
            (&[s("--"), s("--https://bing.com--")], Some("https://bing.com")),
            (&[s(r"[^\w]+"), s("-  Te st1// $")], Some("Te st1")),
            (&[s("[x_]"), s("midxxmid")], Some("midxxmid")),
            (&[s("x"), s("")], Some("")),
        ],
    );
    check("trim_start", &[(&[s("x"), s("xxhelloxx")], Some("xhelloxx"))]);
    check("trim_end", &[(&[s("_"), s("__world__")], Some("__world_")), (&[s("x"), s("xx")], Some("x"))]);
}

#[test]
fn matches_are_extracted() {
    check(
        "extract",
        &[
            (&[s("User: ([^,]+)"), l(1), s("User: James, Age: 29")], Some("James")),
            (&[s(r"(\d+)-(\d+)"), l(2), s("2020-12-31")], Some("12")),
            (&[s(r"(\d+)"), l(0), s("no match")], Some("")),
            (&[s(r"(\d+)"), l(7), s("12")], Some("")),
        ],
    );
    let id = || s("82b8be2d-dfa7");
    check(
        "extract_all",
        &[
            (&[s(r"([\da-f]{2})"), id()], Some("[\"82\",\"b8\",\"be\",\"2d\",\"df\",\"a7\"]")),
            (&[s(r"(\w)(\w+)(\w)"), d("[1,3]"), id()], Some("[[\"8\",\"d\"],[\"d\",\"7\"]]")),
            (
                &[s(r"(?P<first>\w)(?P<middle>\w+)(?P<last>\w)"), d("[\"first\",2,\"last\"]"), id()],
                Some("[[\"8\",\"2b8be2\",\"d\"],[\"d\",\"fa\",\"7\"]]"),
            ),
            (&[s(r"([a-z])(\d)?"), s("ab1")], Some("[[\"a\",\"\"],[\"b\",\"1\"]]")),
            (&[s(r"(\d)(\d)"), d("[2,9]"), s("12")], Some("[\"2\"]")),
            (&[s("(x*)"), s("ax")], Some("[\"\",\"x\",\"\"]")),
            (&[s(r"(\d)"), s("none")], None),
        ],
    );
    check("regex_quote", &[(&[s("(so$me.Te^xt)")], Some(r"\(so\$me\.Te\^xt\)"))]);
    check(
        "extract_json",
        &[
            (&[s("$.name"), s("{\"name\": \"John\", \"age\": 30}")], Some("John")),
            (&[s("$.a[1].b"), s("{\"a\": [1, {\"b\": [true]}]}")], Some("[true]")),
            (&[s("$.x"), s("{\"name\": 1}")], Some("")),
            (&[s("$.x"), s("not json")], Some("")),
            (&[s("no path"), s("{}")], Some("")),
        ],
    );
}

#[test]
fn texts_are_joined_and_repeated() {
    check("strcat_delim", &[(&[s("-"), s("a"), null(KqlType::String), s("b")], Some("a--b"))]);
    check(
        "strrep",
        &[
            (&[s("ABC"), l(2)], Some("ABCABC")),
            (&[s("123"), l(3), s(".")], Some("123.123.123")),
            (&[s("a"), l(-1)], Some("")),
        ],
    );
    check(
        "strcat_array",
        &[
            (&[d("[1,2,3]"), s("->")], Some("1->2->3")),
            (&[d("[\"a\",null,\"\",\"b\"]"), s("|")], Some("a|||b")),
            (&[d("[true,{\"a\":1}]"), s(",")], Some("true,{\"a\":1}")),
            (&[d("7"), s(",")], Some("7")),
            (&[d("[]"), s(",")], Some("")),
        ],
    );
    check(
        "unicode_codepoints_to_string",
        &[(&[d("[75,117,115]"), l(116), l(111)], Some("Kusto")), (&[l(-1)], Some(""))],
    );
    check("unicode_codepoints_from_string", &[(&[s("⒦⒰")], Some("[9382,9392]"))]);
    check("toupper", &[(&[s("Straße é")], Some("STRAßE É"))]);
    check("reverse", &[(&[s("𝓗ello")], Some("olle𝓗"))]);
    check(
        "has_any_index",
        &[
            (&[s("this is an example"), d("[\"this\",\"example\"]")], Some("0")),
            (&[s("this is an example"), d("[\"not\",\"example\"]")], Some("1")),
            (&[s("Example number 2"), d("[1,2,3]")], Some("1")),
            (&[s("this is an example"), d("[]")], Some("-1")),
        ],
    );
    check(
        "parse_csv",
        &[
            (
                &[s("aa,\"b,b,b\",cc,\"Escaping quotes: \"\"Title\"\"\",\"line1\nline2\"")],
                Some(r#"["aa","b,b,b","cc","Escaping quotes: \"Title\"","line1\nline2"]"#),
            ),
            (&[s("record1,a,b,c\nrecord2,x,y,z")], Some(r#"["record1","a","b","c"]"#)),
            (&[s("a,,")], Some(r#"["a","",""]"#)),
            (&[s("")], Some(r#"[""]"#)),
        ],
    );
}

#[test]
fn arrays_are_cut_moved_and_sorted() {
    let five = || d("[1,2,3,4,5]");
    check("array_length", &[(&[d("[1,2,3,\"four\"]")], Some("4")), (&[d("{}")], None), (&[d("[]")], Some("0"))]);
    check("array_concat", &[(&[d("[1,2]"), null(KqlType::Dynamic), d("[3]")], Some("[1,2,3]"))]);
    check(
        "array_slice",
        &[
            (&[five(), l(2), l(-1)], Some("[3,4,5]")),
            (&[five(), l(-3), l(-2)], Some("[3,4]")),
            (&[five(), l(0), l(100)], Some("[1,2,3,4,5]")),
            (&[five(), l(3), l(1)], Some("[]")),
            (&[d("1"), l(0), l(1)], None),
        ],
    );
    check(
        "array_split",
        &[
            (&[five(), l(2)], Some("[[1,2],[3,4,5]]")),
            (&[five(), d("[1,3]")], Some("[[1],[2,3],[4,5]]")),
            (&[five(), l(-1)], Some("[[1,2,3,4],[5]]")),
        ],
    );
    check(
        "array_shift_left",
        &[(&[five(), l(2)], Some("[3,4,5,null,null]")), (&[five(), l(-2), l(-1)], Some("[-1,-1,1,2,3]"))],
    );
    check(
        "array_shift_right",
        &[(&[five(), l(2)], Some("[null,null,1,2,3]")), (&[five(), l(-2), l(-1)], Some("[3,4,5,-1,-1]"))],
    );
    check("array_rotate_right", &[(&[five(), l(2)], Some("[4,5,1,2,3]")), (&[five(), l(-2)], Some("[3,4,5,1,2]"))]);
    check("array_rotate_left", &[(&[five(), l(i64::MIN)], Some("[3,4,5,1,2]")), (&[d("[]"), l(3)], Some("[]"))]);
    check(
        "array_sort_asc",
        &[
            (
                &[d("[1,3,4,5,2]"), d("[\"a\",\"b\",\"c\",\"d\",\"e\"]")],
                Some("[[1,2,3,4,5],[\"a\",\"e\",\"b\",\"c\",\"d\"]]"),
            ),
            (&[d("[null,\"blue\",\"yellow\",\"green\",null]")], Some("[\"blue\",\"green\",\"yellow\",null,null]")),
            (&[d("[null,\"b\",\"a\"]"), b(false)], Some("[null,\"a\",\"b\"]")),
            (&[d("[1,2]"), d("[1]")], Some("[[1,2],null]")),
            (&[d("[\"a\",2,true,1.5]")], Some("[1.5,2,\"a\",true]")),
            (&[d("5")], None),
        ],
    );
    check(
        "array_sort_desc",
        &[(&[d("[null,\"blue\",\"yellow\",\"green\",null]")], Some("[\"yellow\",\"green\",\"blue\",null,null]"))],
    );
    check(
        "array_sum",
        &[(&[d("[1,null,3]")], Some("4")), (&[d("[]")], None), (&[d("[1,\"a\"]")], None), (&[d("{}")], None)],
    );
    check(
        "array_iff",
        &[
            (&[d("[true,false,true]"), d("[1,2,3]"), d("[4,5,6]")], Some("[1,5,3]")),
            (&[d("[1,0,50]"), s("yes"), s("no")], Some("[\"yes\",\"no\",\"yes\"]")),
            (&[d("[\"x\",null]"), l(1), l(0)], Some("[null,null]")),
            (&[d("[true,true,true]"), d("[1,2]"), d("[3,4]")], Some("[1,2,null]")),
        ],
    );
    let words = || d("[\"this\",\"is\",\"an\",\"example\",\"an\",\"example\"]");
    check(
        "array_index_of",
        &[
            (&[words(), s("an")], Some("2")),
            (&[words(), s("example"), l(1), l(3)], Some("3")),
            (&[words(), s("example"), l(1), l(2)], Some("-1")),
            (&[words(), s("is"), l(2), l(4)], Some("-1")),
            (&[words(), s("an"), l(1), l(-1), l(2)], Some("4")),
            (&[words(), s("an"), l(1), l(-1), l(3)], Some("-1")),
            (&[words(), s("an"), l(-3)], Some("4")),
            (&[words(), s("is"), l(-4)], Some("-1")),
        ],
    );
    check("zip", &[(&[d("[\"A\",1,1.5]"), d("[{},\"B\"]")], Some("[[\"A\",{}],[1,\"B\"],[1.5,null]]"))]);
    check(
        "range",
        &[
            (&[l(1), l(8), l(3)], Some("[1,4,7]")),
            (&[l(3), l(1), l(-1)], Some("[3,2,1]")),
            (&[l(3), l(1)], Some("[]")),
            (&[r(1.0), l(2), r(0.5)], Some("[1.0,1.5,2.0]")),
            (&[l(i64::MAX), l(i64::MAX)], Some("[9223372036854775807]")),
            (&[l(1), l(2), l(0)], None),
        ],
    );
    check("repeat", &[(&[l(1), l(3)], Some("[1,1,1]")), (&[l(1), l(0)], Some("[]")), (&[l(1), l(-1)], None)]);
    let long = value("range", &[l(1), l(1_000_000_000)]).unwrap();
    assert!(long.ends_with(",1048576]"));
}

#[test]
fn bags_and_sets_keep_their_rules() {
    check(
        "bag_pack",
        &[(&[s("a"), l(1), s("b"), null(KqlType::Long), s("a"), s("x")], Some("{\"a\":\"x\",\"b\":null}"))],
    );
    check(
        "bag_keys",
        &[(&[d("{\"a\":\"b\",\"c\":{\"d\":1}}")], Some("[\"a\",\"c\"]")), (&[d("[]")], None), (&[d("{}")], Some("[]"))],
    );
    check(
        "bag_merge",
        &[
            (&[d("{\"A1\":12,\"B1\":2}"), d("{\"A2\":81,\"A1\":1}")], Some("{\"A1\":12,\"B1\":2,\"A2\":81}")),
            (&[d("{\"k\":1}"), null(KqlType::Dynamic)], Some("{\"k\":1}")),
        ],
    );
    let nested = || d("{\"key1\":123,\"key2\":{\"prop1\":\"abc\",\"prop2\":\"xyz\"},\"key3\":[100,200]}");
    check("bag_has_key", &[(&[nested(), s("$.key2.prop1")], Some("true")), (&[nested(), s("prop1")], Some("false"))]);
    check(
        "bag_remove_keys",
        &[(
            &[nested(), d("[\"$.key2.prop1\",\"key3\",\"none\"]")],
            Some("{\"key1\":123,\"key2\":{\"prop2\":\"xyz\"}}"),
        )],
    );
    check(
        "bag_set_key",
        &[
            (&[d("{\"key1\":1,\"key3\":\"abc\"}"), s("key3"), l(3)], Some("{\"key1\":1,\"key3\":3}")),
            (&[d("{\"key1\":123}"), s("$.key2.prop1"), s("abc")], Some("{\"key1\":123,\"key2\":{\"prop1\":\"abc\"}}")),
            (&[d("{}"), s("a\"b"), l(1)], Some("{\"a\\\"b\":1}")),
            (&[d("[]"), s("a"), l(1)], None),
        ],
    );
    check(
        "bag_zip",
        &[
            (&[d("[\"a\",\"b\",\"c\"]"), d("[1,\"2\"]")], Some("{\"a\":1,\"b\":\"2\",\"c\":null}")),
            (&[d("[\"a\",8,\"b\"]"), d("[1,\"2\",2.5]")], Some("{\"a\":1,\"b\":2.5}")),
            (&[d("[\"a\"]"), d("1")], Some("{\"a\":null}")),
            (&[d("\"a\""), d("[1]")], None),
        ],
    );
    check(
        "treepath",
        &[
            (
                &[d("{\"a\":{\"b\":{\"c\":1}},\"x\":{\"y\":2}}")],
                Some("[\"['a']\",\"['a']['b']\",\"['a']['b']['c']\",\"['x']\",\"['x']['y']\"]"),
            ),
            (
                &[d("{\"listProperty\":[100,200,\"abcde\",{\"x\":\"y\"}]}")],
                Some("[\"['listProperty']\",\"['listProperty'][0]\",\"['listProperty'][0]['x']\"]"),
            ),
        ],
    );
    check(
        "dynamic_to_json",
        &[(
            &[d("{\"b\":2,\"a\":{\"d\":1,\"c\":[{\"z\":1,\"y\":2}]}}")],
            Some("{\"a\":{\"c\":[{\"y\":2,\"z\":1}],\"d\":1},\"b\":2}"),
        )],
    );
    for (json, name) in [
        ("[1]", "array"),
        ("{}", "dictionary"),
        ("1", "long"),
        ("1.5", "double"),
        ("\"a\"", "string"),
        ("true", "bool"),
    ] {
        check("gettype", &[(&[d(json)], Some(name))]);
    }
    check("gettype", &[(&[null(KqlType::Int)], Some("int")), (&[null(KqlType::Dynamic)], Some("null"))]);
    check("set_union", &[(&[d("[1,2,1,4]"), d("[1,2]"), d("[8]")], Some("[1,2,4,8]"))]);
    check(
        "set_intersect",
        &[(&[d("[1,2,3]"), d("[3,4]"), d("[3.0]")], Some("[3]")), (&[d("[1]"), d("[2]")], Some("[]"))],
    );
    check(
        "set_difference",
        &[(&[d("[null,1,null,2,null]"), d("[null]")], Some("[1,2]")), (&[d("[1,1]"), d("[1]")], Some("[]"))],
    );
    check("set_equals", &[(&[d("[1,2,1]"), d("[2,1]")], Some("true"))]);
    check("set_has_element", &[(&[d("[1,2,3]"), l(2)], Some("true")), (&[d("[1,2,3]"), s("2")], Some("false"))]);
    check("jaccard_index", &[(&[d("[1,2,3,4]"), d("[3,4,5,6]")], Some("0.3333333333333333"))]);
}
