//! The worker and its probe over the stand-in for NVIDIA's library: what is read, and what a fault does to the work.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod bench;
#[path = "../protocol/contract.rs"]
#[expect(dead_code, reason = "the protocol's own tests use the rest")]
mod contract;
mod faults;
mod foreign;
mod handed_on;
mod readings;
#[path = "../protocol/stepper.rs"]
#[expect(dead_code, reason = "the protocol's own tests use the rest")]
mod stepper;
