//! Dynamic values behind one trait: JSON text today, a binary form later.
