//! End to end, over the real parts: a real API server, a real PostgreSQL, our programs as processes, the model that
//! ships, and the vendors' own clients. Whether a picture is right is read from its pixels.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's helpers stop the test like the test itself does, and show the logs of what they started"
)]

mod addons;
mod asking;
mod bucket;
mod captions;
mod cluster;
mod faults;
mod front;
mod hub;
mod local;
mod monitoring;
mod plugin;
mod providers;
mod redrawn;
mod support;
mod traces;
