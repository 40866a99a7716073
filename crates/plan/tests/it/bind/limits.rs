//! Queries that grow without bound are refused by a named limit, quickly and without overflowing the stack.

use super::{columns, refused};

fn limit_of(text: &str) -> String {
    let found = super::bind_with(text, &super::context()).unwrap_err();
    found.iter().map(|found| found.message.clone()).collect::<Vec<_>>().join("; ")
}

#[test]
fn long_chains_and_lists_are_fine() {
    let terms = vec!["k == 1"; 20_000].join(" or ");
    assert_eq!(columns(&format!("Small | where {terms} | count")), "Count: long");
    let list: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    assert_eq!(columns(&format!("Small | where k in ({}) | count", list.join(","))), "Count: long");
}

#[test]
fn pipelines_have_a_bounded_depth() {
    let long = format!("Small{}", " | where k > 1".repeat(300));
    assert_eq!(columns(&long), "k: long, v: string");
    assert!(limit_of(&format!("Small{}", " | where k > 1".repeat(1_000))).contains("more than 400 operators"));
}

#[test]
fn functions_that_double_at_each_level_are_refused() {
    let mut text = "let f0 = () { print x = 1 };".to_string();
    for level in 1..40 {
        text.push_str(&format!("let f{level} = () {{ union f{}, f{} }};", level - 1, level - 1));
    }
    text.push_str("f39");
    assert!(limit_of(&text).contains("too complex"));
}

#[test]
fn scalars_that_double_at_each_level_are_refused() {
    let mut text = "let a0 = rand();".to_string();
    for level in 1..60 {
        text.push_str(&format!("let a{level} = a{} + a{};", level - 1, level - 1));
    }
    text.push_str("print a59");
    assert!(limit_of(&text).contains("too complex"));
}

#[test]
fn calls_have_a_bounded_depth() {
    let mut text = "let f0 = () { 1 };".to_string();
    for level in 1..200 {
        text.push_str(&format!("let f{level} = () {{ f{}() + 1 }};", level - 1));
    }
    text.push_str("print f199()");
    assert!(limit_of(&text).contains("deeper than 64 levels"));
}

#[test]
fn too_many_columns_are_refused() {
    let items: Vec<String> = (0..10_001).map(|n| format!("c{n} = 1")).collect();
    assert_eq!(refused(&format!("print {}", items.join(", ")))[0].0, "SEM0004");
}
