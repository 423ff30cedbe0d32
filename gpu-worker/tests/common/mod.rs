//! A fixture of one network, and how near an answer must come to it.
#![expect(unreachable_pub, reason = "a module of several test programs")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use tintype_worker::weights::{WeightFile, Weights};

/// Most numbers said of two lists that differ.
const SHOWN: usize = 16;

/// A fixture file of one network.
pub struct Case {
    path: PathBuf,
    file: Arc<WeightFile>,
}

impl Case {
    /// Opens one by its name.
    pub fn open(name: &str) -> Self {
        let path = fixtures().join(format!("{name}.safetensors"));
        let file = Arc::new(WeightFile::open(&path).unwrap());
        Self { path, file }
    }

    /// The config in the metadata, by way of a file as a model folder has it.
    pub fn config<T, E: std::fmt::Debug>(&self, read: fn(&Path) -> Result<T, E>) -> T {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, config_of(&self.path)).unwrap();
        read(&path).unwrap()
    }

    /// The weights in it.
    pub fn weights(&self) -> Weights {
        Weights::new(Arc::clone(&self.file), Device::Cpu).at("weights")
    }

    /// An input or output in it.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Tensor {
        self.file.tensor(name, shape, &Device::Cpu).unwrap()
    }
}

/// The network's config in a fixture's metadata.
pub fn config_of(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    metadata.metadata().as_ref().unwrap()["config"].clone()
}

/// Where fixtures lie.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// As [`near`], with shapes.
pub fn close(name: &str, got: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(got.dims(), expected.dims(), "{name}");
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    near(name, &flat(got), &flat(expected), tolerance);
}

/// Off by no more than this part of the largest value expected, or of 1.
pub fn near(name: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    let off = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, |most: f32, off| {
        // NaN must not pass for nothing.
        if off.is_nan() { f32::INFINITY } else { most.max(off) }
    });
    let few = |values: &[f32]| values.iter().take(SHOWN).copied().collect::<Vec<_>>();
    let (got, expected) = (few(got), few(expected));
    assert!(off <= tolerance * largest, "{name}: off by {off:e} of {largest}\n got {got:?}...\nwant {expected:?}...");
}
