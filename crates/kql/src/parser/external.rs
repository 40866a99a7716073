//! The definition of an external table: behind `inline_external_table` and `.create external table T`.

use super::{P, Parser};
use crate::ast::{ExternalDefinition, ExternalPartition, Name, PathPart};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// `[(columns)] kind=storage [partition by (...)] [pathformat=(...)] [dataformat=csv] (uris) [with (...)]`.
    pub(super) fn external_definition(&mut self) -> P<ExternalDefinition> {
        let columns = if self.at(TokenKind::OpenParen) { self.schema()? } else { Vec::new() };
        self.expect_word("kind")?;
        self.expect(TokenKind::Equal)?;
        let kind = self.word_or_string()?;
        let (mut partitions, mut path_format, mut data_format) = (Vec::new(), Vec::new(), None);
        loop {
            if self.eat_word("partition") {
                self.expect_word("by")?;
                partitions = self.parenthesized(Self::external_partition)?;
            } else if self.eat_word("pathformat") {
                self.expect(TokenKind::Equal)?;
                path_format = self.path_format()?;
            } else if self.eat_word("dataformat") {
                self.expect(TokenKind::Equal)?;
                data_format = Some(self.word_or_string()?);
            } else if self.at_word("table") && self.kind_at(1) == TokenKind::Equal {
                // `kind=sql table=Name (connection)`: read to its end, refused by who runs it.
                self.bump();
                self.bump();
                self.any_name("a table name")?;
            } else {
                break;
            }
        }
        let uris = self.parenthesized(Self::unary)?;
        let properties = self.with_properties()?;
        Ok(ExternalDefinition { columns, kind, partitions, path_format, data_format, uris, properties })
    }

    fn word_or_string(&mut self) -> P<Name> {
        if self.at(TokenKind::String) {
            let span = self.span();
            return Ok(Name { text: self.string_token()?, span });
        }
        self.any_name("a word")
    }

    /// `name: type [= expression]`.
    fn external_partition(&mut self) -> P<ExternalPartition> {
        let name = self.any_name("a partition name")?;
        self.expect(TokenKind::Colon)?;
        let ty = self.type_name()?;
        let value = if self.eat(TokenKind::Equal) { Some(self.unary()?) } else { None };
        Ok(ExternalPartition { name, ty, value })
    }

    /// `( "text" Partition datetime_pattern("yyyy", Partition) ... )`, without commas.
    fn path_format(&mut self) -> P<Vec<PathPart>> {
        self.expect(TokenKind::OpenParen)?;
        self.nested(|parser| {
            let mut parts = Vec::new();
            while !parser.at(TokenKind::CloseParen) {
                if parser.at(TokenKind::String) {
                    parts.push(PathPart::Text(parser.string_token()?));
                } else if parser.at_word("datetime_pattern") && parser.kind_at(1) == TokenKind::OpenParen {
                    parser.bump();
                    parser.bump();
                    let pattern = parser.string_token()?;
                    parser.expect(TokenKind::Comma)?;
                    let partition = parser.any_name("a partition name")?;
                    parser.expect_close(TokenKind::CloseParen)?;
                    parts.push(PathPart::DateTime { pattern, partition });
                } else {
                    parts.push(PathPart::Partition(parser.any_name("a text or the name of a partition")?));
                }
            }
            parser.expect_close(TokenKind::CloseParen)?;
            Ok(parts)
        })
    }
}
