//! A short seeded run of what `fuzz/` does for hours: texts of the cases, changed at random, are planned and run.
//!
//! `FUZZ_SECONDS=600 FUZZ_SEED=3` runs longer and elsewhere; the text that is being run is kept in the file that
//! `FUZZ_LAST` names, for faults that end the process.

#![allow(clippy::disallowed_methods, reason = "the environment steers tests")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tidewater_kql::is_command;
use tidewater_kql::lexer::lex;

#[path = "../../../../fuzz/harness.rs"]
mod harness;

use harness::Harness;

/// Inputs of the normal run.
const INPUTS: usize = 1_000;

struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % count.max(1) as u64) as usize
    }
}

/// The queries of the text cases. Cargo runs tests in their package's directory.
fn corpus() -> Vec<String> {
    let mut folders = vec![PathBuf::from("../../cases")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for case in text.split("\ncase ").skip(1) {
                let lines = case.lines().skip(1).take_while(|line| !line.starts_with("----"));
                let lines = lines.skip_while(|line| line.starts_with("source:") || line.starts_with("pending:"));
                let request = lines.collect::<Vec<_>>().join("\n");
                found.extend(request.split("\n;;\n").filter(|text| !is_command(text)).map(str::to_string));
            }
        }
    }
    found.sort();
    found
}

/// A text of the corpus with some of its tokens dropped, doubled, moved, or replaced by those of others.
fn changed(random: &mut Random, corpus: &[String], pieces: &[String]) -> String {
    let text = &corpus[random.below(corpus.len())];
    let mut tokens: Vec<String> = lex(text).into_iter().map(|token| token.span.text(text).to_string()).collect();
    if random.below(4) == 0 {
        // Operators of another query behind this one's.
        let other = &corpus[random.below(corpus.len())];
        if let Some(at) = other.find('|') {
            tokens.push("\n".to_string());
            tokens.extend(lex(&other[at..]).into_iter().map(|token| token.span.text(&other[at..]).to_string()));
        }
    }
    for _ in 0..random.below(5) {
        if tokens.is_empty() {
            break;
        }
        let at = random.below(tokens.len());
        match random.below(6) {
            0 => drop(tokens.remove(at)),
            1 => tokens.insert(at, pieces[random.below(pieces.len())].clone()),
            2 => tokens[at] = pieces[random.below(pieces.len())].clone(),
            3 => {
                let end = (at + 1 + random.below(8)).min(tokens.len());
                let copy: Vec<String> = tokens[at..end].to_vec();
                let to = random.below(tokens.len());
                tokens.splice(to..to, copy);
            }
            4 => {
                let odd = [
                    "-1",
                    "0",
                    "9223372036854775807",
                    "real(nan)",
                    "datetime(null)",
                    "''",
                    "dynamic(null)",
                    "*",
                    "1e308",
                    "(",
                    ")",
                ];
                tokens[at] = odd[random.below(odd.len())].to_string();
            }
            _ => {
                let other = random.below(tokens.len());
                tokens.swap(at, other);
            }
        }
    }
    tokens.concat()
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn changed_queries_neither_panic_nor_hang() {
    let corpus = corpus();
    let mut pieces: Vec<String> =
        corpus.iter().flat_map(|text| lex(text).into_iter().map(|token| token.span.text(text).to_string())).collect();
    pieces.retain(|piece| !piece.trim().is_empty());
    let harness = Harness::new();
    let mut random = Random(0x9E37_79B9 ^ setting("FUZZ_SEED").unwrap_or(0).wrapping_mul(0x5851_F42D));
    let until = setting("FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let last = std::env::var("FUZZ_LAST").ok();
    let (mut inputs, mut answered, mut faults) = (0, 0, Vec::new());
    loop {
        match until {
            Some(until) if Instant::now() < until => {}
            None if inputs < INPUTS => {}
            _ => break,
        }
        let text = changed(&mut random, &corpus, &pieces);
        if let Some(path) = &last {
            std::fs::write(path, &text).unwrap();
        }
        inputs += 1;
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match inputs % 4 {
            0 => harness.bind(&text),
            _ => harness.query(&text),
        })) {
            Ok(is_answered) => answered += usize::from(is_answered),
            Err(_) => {
                println!("---- fault\n{text}\n----");
                faults.push(text);
            }
        }
    }
    println!("{inputs} inputs, {answered} answered, {} faults", faults.len());
    assert!(faults.is_empty(), "{} of {inputs} inputs panicked:\n{}", faults.len(), faults.join("\n----\n"));
    assert!(answered * 20 > inputs, "{answered} of {inputs} inputs were answered");
}
