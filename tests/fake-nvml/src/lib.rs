//! A stand-in for `libnvidia-ml.so.1`: NVIDIA's own names, types and error codes over GPUs that a JSON file describes.
//! The file is read again at each call, so a test changes the hardware by writing it. It must not know who calls it.
//!
//! As a shared library it is what a program loads; as a Rust library it is the hand that places it ([`place`]) and
//! writes the file ([`Machine::write`]). The file is the one `TINTYPE_FAKE_NVML` names, else `gpus.json` beside the
//! library. Types come from `nvml-wrapper-sys`, which bindgen made of NVIDIA's `nvml.h`, so they cannot drift from it.

mod calls;
mod events;
mod library;
mod machine;
#[cfg(test)]
mod signatures;
mod state;

pub use library::{place, place_without};
pub use machine::{FakeGpu, Machine, MigDevice, Process, RetiredPage};
