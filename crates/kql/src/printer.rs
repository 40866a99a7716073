//! Tree to text.
use crate::ast::Script;
/// TODO-less early version; the whole printer follows.
pub fn print(_script: &Script) -> String {
    String::new()
}
