//! Everything that starts from a picture, against what diffusers and Pillow compute. The numbers were written by
//! `tools/parity/image_fixtures.py`; nothing of Python is needed here.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod autoencoder;
mod files;
mod lanes;
mod previews;
mod redrawn;
mod sd2;
mod starts;

/// A fixture in JSON.
fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(common::fixtures().join(name)).unwrap()).unwrap()
}
