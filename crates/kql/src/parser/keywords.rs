//! Which words may be names, and where.
//!
//! Most keywords of the language are names too. The lists below are what Kusto refuses without
//! brackets. Source: entity names page, checked against the service's own parser.

/// Words that are never a bare name, neither declared nor referred to.
const RESERVED: &[&str] = &[
    "and",
    "asc",
    "bagexpansion",
    "between",
    "contains_cs",
    "date",
    "datetime",
    "decimal",
    "desc",
    "double",
    "dynamic",
    "endswith",
    "endswith_cs",
    "expandoutput",
    "external_data",
    "false",
    "first",
    "flags",
    "float",
    "has_all",
    "has_any",
    "has_cs",
    "hasprefix",
    "hasprefix_cs",
    "hassuffix",
    "hassuffix_cs",
    "int",
    "int16",
    "int32",
    "int64",
    "last",
    "like",
    "long",
    "nooptimization",
    "notcontains",
    "or",
    "others",
    "pathformat",
    "project",
    "real",
    "relaxed",
    "shards",
    "simple",
    "startswith",
    "startswith_cs",
    "string",
    "time",
    "timechart",
    "timespan",
    "true",
    "uint",
    "ulong",
    "union",
    "uniqueid",
];

/// Words that may be declared bare, but not referred to.
const RESERVED_REFERENCE: &[&str] = &[
    "accumulate",
    "as",
    "by",
    "contains",
    "datatable",
    "externaldata",
    "find",
    "has",
    "in",
    "invoke",
    "materialize",
    "of",
    "print",
    "sample",
    "search",
    "set",
    "title",
    "to",
    "toscalar",
    "verbose",
    "where",
];

/// Words that may be referred to bare, but not declared.
const RESERVED_DECLARATION: &[&str] = &["kind", "with_source", "withsource"];

/// Whether a bare word cannot name something that exists.
pub(crate) fn is_reserved_reference(word: &str) -> bool {
    RESERVED.binary_search(&word).is_ok() || RESERVED_REFERENCE.binary_search(&word).is_ok()
}

/// Whether a bare word cannot name something new.
pub(crate) fn is_reserved_declaration(word: &str) -> bool {
    RESERVED.binary_search(&word).is_ok() || RESERVED_DECLARATION.binary_search(&word).is_ok()
}

/// Parameters of operators, besides `hint.*`. Source: the inventory's operator parameters.
pub(super) const INTERNAL_PARAMETERS: &[&str] =
    &["__crossCluster", "__crossDB", "__id", "__isFuzzy", "__noWithSource", "__packedColumn", "__sourceColumnIndex"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_lists_are_sorted() {
        for list in [RESERVED, RESERVED_REFERENCE, RESERVED_DECLARATION] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }
}
