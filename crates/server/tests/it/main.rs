//! Tests of the HTTP interface: frames byte for byte, and a started server in a temporary directory.

mod command;
mod frames;
mod ingest;
mod support;
mod wire;
