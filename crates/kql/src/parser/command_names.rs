//! Which documented command a text is, by its words.

use super::Parser;
use crate::diagnostic::nearest;
use crate::lexer::TokenKind;

/// Every documented command in words, one a line. Source: the language's inventory of commands.
const NAMES: &str = include_str!("command_names.txt");

/// Words of a text that are looked at: no command has more, names included.
const LONGEST_HEAD: usize = 64;

/// The longest name of a documented command that fits the text.
pub(super) struct Documented {
    /// Its words.
    pub(super) name: &'static str,
    /// Index of the last token that belongs to the name.
    pub(super) last_token: usize,
}

impl Parser<'_> {
    /// The words of the command outside brackets and strings, squeezed (`alter-merge` is `altermerge`), each with its
    /// last token's index.
    fn command_words(&self) -> Vec<(String, usize)> {
        let mut words = Vec::new();
        let mut index = 1;
        while words.len() < LONGEST_HEAD {
            let Some(token) = self.tokens.get(index) else { break };
            match token.kind {
                TokenKind::Pipe | TokenKind::LessPipe | TokenKind::End => break,
                TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::OpenBrace => {
                    index = match self.partner[index] {
                        super::NO_PARTNER => index + 1,
                        partner => partner as usize + 1,
                    };
                }
                TokenKind::Name => {
                    let mut word = squeezed(token.span.text(self.text));
                    while self.is_glued(index + 1, TokenKind::Minus) && self.is_glued(index + 2, TokenKind::Name) {
                        index += 2;
                        word.push_str(&squeezed(self.tokens[index].span.text(self.text)));
                    }
                    words.push((word, index));
                    index += 1;
                }
                _ => index += 1,
            }
        }
        words
    }

    fn is_glued(&self, index: usize, kind: TokenKind) -> bool {
        self.tokens.get(index).is_some_and(|token| token.kind == kind && token.glued)
    }

    /// The documented command that the text is, if it is one.
    pub(super) fn documented_command(&self) -> Option<Documented> {
        let words = self.command_words();
        let fits = NAMES.lines().filter_map(|name| Some((fit(&words, name)?, name)));
        let (last_token, name) = fits.max_by_key(|(last, name)| (name.len(), std::cmp::Reverse(*last)))?;
        Some(Documented { name, last_token })
    }

    /// The documented command whose name is nearest to the first words of the text.
    pub(super) fn nearest_command(&self) -> Option<&'static str> {
        let words: Vec<String> = self.command_words().into_iter().map(|(word, _)| word).collect();
        (1..=words.len().min(4)).rev().find_map(|count| {
            let wanted = words[..count].join(" ");
            nearest(&wanted, NAMES.lines().filter(|name| name.split(' ').count() == count))
        })
    }
}

fn squeezed(word: &str) -> String {
    word.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// Index of the last token when all words of the name occur in the text in their order, the first one first.
/// A word of the text may be several of the name (`prettyname`); other words of the text are names of things.
fn fit(words: &[(String, usize)], name: &str) -> Option<usize> {
    let parts: Vec<&str> = name.split(' ').collect();
    let mut done = 0;
    for (position, (word, token)) in words.iter().enumerate() {
        let taken = (1..=parts.len() - done).find(|count| parts[done..done + count].concat() == *word);
        match taken {
            Some(count) => {
                done += count;
                if done == parts.len() {
                    return Some(*token);
                }
            }
            None if position == 0 => return None,
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_name_of_its_own_words() {
        for name in NAMES.lines() {
            let text = format!(".{name}");
            let found = Parser::new(&text).documented_command().expect(name);
            assert!(found.name.len() >= name.len(), "{name}: {}", found.name);
        }
    }

    #[test]
    fn names_of_things_between_the_words_do_not_matter() {
        let name = |text: &str| Parser::new(text).documented_command().map(|found| found.name);
        assert_eq!(name(".show table T policy caching"), Some("show table policy caching"));
        assert_eq!(name(".alter-merge table ['a b'] policy row_level_security enable"), Some("alter merge table"));
        assert_eq!(
            name(".alter table T policy row_level_security enable 'q'"),
            Some("alter table policy row level security")
        );
        assert_eq!(name(".drop database X prettyname"), Some("drop database pretty name"));
        assert_eq!(name(".show materialized-view V details | project a"), Some("show materialized view details"));
        assert_eq!(name(".frobnicate table"), None);
        assert_eq!(Parser::new(".shw tables").nearest_command(), Some("show tables"));
    }
}
