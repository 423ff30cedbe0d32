//! What is done with bytes from strangers, as targets for a fuzzer. A target panics when what came of the bytes is not
//! what was promised; that the code under test does not panic by itself is the least of it.
//!
//! `cargo test -p tintype-fuzz` tries every target on its committed corpus; `scripts/fuzz.sh` lets libFuzzer look for
//! more. A crash it finds is kept under `regressions/` and is a test from then on.

mod checkpoint;
mod config;
mod lora;
mod picture;
mod prompt;
mod scratch;
mod weights;

/// One thing to try bytes on.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of the folder of its corpus.
    pub name: &'static str,
    /// Longest input that makes sense to try, in bytes.
    pub bytes_max: usize,
    /// Tries it; panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "weights", bytes_max: 4_096, run: weights::run },
    Target { name: "config", bytes_max: 2_048, run: config::run },
    Target { name: "lora", bytes_max: 1_024, run: lora::run },
    Target { name: "prompt", bytes_max: 512, run: prompt::run },
    Target { name: "checkpoint", bytes_max: 4_096, run: checkpoint::run },
    Target { name: "picture", bytes_max: 4_096, run: picture::run },
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
