//! Room on the stack for recursion over trees.

/// What must be free before a level is entered, and what is added when it is not.
const RED_ZONE_BYTES: usize = 128 * 1024;
const SEGMENT_BYTES: usize = 1024 * 1024;

/// Runs one level of a recursion over a tree, on a new piece of stack when the present one is nearly used up.
pub fn grow<T>(level: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(RED_ZONE_BYTES, SEGMENT_BYTES, level)
}
