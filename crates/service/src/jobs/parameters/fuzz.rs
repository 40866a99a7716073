//! Whatever the values: the parser sees the tokens that the template means, and each value is one of them.
//!
//! `PARAMETER_ROUNDS=n` asks for more rounds.

use super::*;

/// xorshift; the seeds are fixed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// What values are made of: everything that begins, ends or joins something in SQL.
const SCRAPS: &[&str] = &[
    "'",
    "''",
    "\"",
    "`",
    "\\",
    "\\'",
    "--",
    "-",
    "/*",
    "*/",
    "/",
    "*",
    ";",
    "; DROP TABLE t; ",
    " OR 1=1 ",
    "$a",
    "$b",
    "$$",
    "$tag$",
    "$$ BEGIN ",
    " END $$",
    "(",
    ")",
    ",",
    ".",
    "..",
    "e",
    "E",
    "E'",
    "N'",
    "X'",
    "R'",
    "B'",
    "U&'",
    "0x",
    "1",
    "42",
    "-7",
    "1e5",
    "1.5",
    "NULL",
    "true",
    "name",
    "schema.table",
    "é",
    "\u{2028}",
    "\u{0}",
    "\n",
    "\r",
    "\t",
    " ",
    "",
    "{{",
    "}}",
    "@",
    "#",
    "?",
    ":",
    "::",
    "|",
    "||",
    "&gt;",
    "<",
    ">",
    "=",
    "!",
    "~",
    "^",
    "[",
    "]",
    "union",
    "SELECT",
    "ALL",
    "q'[",
    "%s",
    "\u{FF07}",
    "\u{2019}",
    "''''",
];

fn hostile(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::from(random.below(1000) as i64 - 500),
        1 => Value::from((random.below(1000) as f64 - 500.0) / 8.0),
        2 => Value::Bool(random.below(2) == 0),
        3 => Value::Null,
        _ => {
            let count = random.below(5);
            Value::from((0..count).map(|_| random.of(SCRAPS)).collect::<String>())
        }
    }
}

/// The value inside quotes.
fn quoted(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// A part of a template and the tokens that it means for a value; `None` where the value must be refused.
struct Part {
    text: String,
    tokens: Option<Vec<Token>>,
}

fn quoted_word(value: &str, quote: char) -> Token {
    Token::make_word(value, Some(quote))
}

/// The tokens of a bare value, by the rule of the specification: one token.
fn bare(value: &Value) -> Option<Vec<Token>> {
    let text = match value {
        Value::Null => "NULL".to_string(),
        other => quoted(other)?,
    };
    let read = Tokenizer::new(&GenericDialect {}, &text).tokenize().ok()?;
    let is_one = match read.as_slice() {
        [Token::Number(..) | Token::SingleQuotedString(_)] => true,
        [Token::Minus, Token::Number(..)] => true,
        words if words.len() % 2 == 1 => words.iter().enumerate().all(|(at, token)| match token {
            Token::Word(word) => at % 2 == 0 && (word.quote_style.is_none() || words.len() == 1),
            token => at % 2 == 1 && *token == Token::Period,
        }),
        _ => false,
    };
    is_one.then_some(read)
}

fn part(random: &mut Random, name: &str, value: &Value) -> Part {
    let fixed = |text: &str| {
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().ok();
        Part { text: text.to_string(), tokens }
    };
    match random.below(9) {
        0 => {
            Part { text: format!("'${name}'"), tokens: quoted(value).map(|text| vec![Token::SingleQuotedString(text)]) }
        }
        1 => Part { text: format!("\"${name}\""), tokens: quoted(value).map(|text| vec![quoted_word(&text, '"')]) },
        2 => Part {
            text: format!("'a ${name}-${name}'"),
            tokens: quoted(value).map(|text| vec![Token::SingleQuotedString(format!("a {text}-{text}"))]),
        },
        3 | 4 => Part { text: format!("${name}"), tokens: bare(value) },
        5 => Part {
            text: format!("a -${name}"),
            tokens: bare(value).map(|tokens| [fixed("a -").tokens.unwrap_or_default(), tokens].concat()),
        },
        6 => Part { text: format!("`${name}`"), tokens: quoted(value).map(|text| vec![quoted_word(&text, '`')]) },
        _ => fixed(random.of(&[
            "-- $a 'x\n",
            "/* $a ' */",
            "/* /* $a */ $b ' */",
            "1",
            "'it''s'",
            "E'\\'$1'",
            "f(x)",
            "\"a\"\"b\"",
            "<>",
            "t.c",
            "$1",
            "@v",
            "::int",
        ])),
    }
}

/// The tokens that mean something.
fn meaning(tokens: &[Token]) -> Vec<&Token> {
    tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect()
}

#[test]
fn no_value_adds_takes_or_changes_a_token_other_than_its_own() {
    #[allow(clippy::disallowed_methods, reason = "the environment steers tests")]
    let rounds = std::env::var("PARAMETER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let mut random = Random(0x5EED_0006);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..rounds {
        let values = [("a", hostile(&mut random)), ("b", hostile(&mut random))];
        let mut parameters = Map::new();
        for (name, value) in &values {
            let key = if random.below(2) == 0 { format!("${name}") } else { name.to_string() };
            parameters.insert(key, value.clone());
        }
        let count = 1 + random.below(5);
        let parts: Vec<Part> = (0..count)
            .map(|_| {
                let (name, value) = random.of(&values);
                part(&mut random, name, &value)
            })
            .collect();
        let separator = random.of(&[" ", "\n", " , ", " ( "]);
        let template = parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(separator);
        let Ok(found) = substitute(&template, &parameters) else {
            refused += 1;
            continue;
        };
        taken += 1;
        let between = Tokenizer::new(&GenericDialect {}, separator).tokenize().unwrap();
        let mut wanted = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                wanted.extend(between.clone());
            }
            let tokens = part.tokens.clone();
            wanted.extend(tokens.unwrap_or_else(|| panic!("{template} with {parameters:?} was taken: {found}")));
        }
        let got = Tokenizer::new(&GenericDialect {}, &found).tokenize();
        let got = got.unwrap_or_else(|error| panic!("{template} with {parameters:?} gave {found}: {error}"));
        assert_eq!(meaning(&got), meaning(&wanted), "{template} with {parameters:?} gave {found}");
    }
    assert!(taken > rounds / 10 && refused > rounds / 10, "{taken} taken, {refused} refused");
}

#[test]
fn every_harmless_text_is_taken_inside_quotes() {
    let mut random = Random(7);
    for _ in 0..5_000 {
        let text: String = (0..random.below(6)).map(|_| random.of(SCRAPS)).collect();
        if blocks(&text) > 0 {
            continue;
        }
        let mut parameters = Map::new();
        parameters.insert("a".into(), Value::from(text.clone()));
        let found = substitute("SELECT * FROM t WHERE u = '$a' AND v = 1", &parameters);
        let found = found.unwrap_or_else(|error| panic!("{text:?}: {}", error.message()));
        let tokens = Tokenizer::new(&GenericDialect {}, &found).tokenize().unwrap();
        assert!(tokens.contains(&Token::SingleQuotedString(text.clone())), "{text:?} gave {found}");
    }
}

#[test]
fn templates_of_scraps_never_panic_and_names_may_be_anything() {
    let mut random = Random(11);
    for _ in 0..20_000 {
        let template: String = (0..random.below(12)).map(|_| random.of(SCRAPS)).collect();
        let mut parameters = Map::new();
        for name in ["a", "$b", "$tag", "", "$", "$$", "a b", "tag'"] {
            parameters.insert(name.to_string(), hostile(&mut random));
        }
        // Refused or taken: neither may panic or take long.
        let _outcome = substitute(&template, &parameters);
    }
}
