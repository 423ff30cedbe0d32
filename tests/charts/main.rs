//! The Helm charts: linted, refused with wrong values, rendered, shown to a real API server, installed there.
//!
//! Nothing here knows what a program does with its flags; that the flags exist is all that is checked.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers stop the test like the test itself does")]

mod cluster;
mod crds;
mod documented;
mod flags;
mod golden;
mod helm;
mod manifest;
mod operator;
mod providers;
mod render;
mod rights;
mod terraform;
mod validate;
