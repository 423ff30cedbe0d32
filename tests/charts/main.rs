//! The Helm charts: linted, refused with wrong values, rendered, shown to a real API server, installed there.
//!
//! Nothing here knows what a program does with its flags; that the flags exist is all that is checked.

mod cluster;
mod crds;
mod documented;
mod helm;
mod manifest;
mod render;
mod rights;
