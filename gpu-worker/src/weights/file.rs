//! One safetensors file: header checked against the file's length, tensors read where they lie.
//!
//! Tensors are read with `pread` and converted piece by piece into the memory they stay in: no second copy, nothing
//! packed anew. Not by mapping the file: a mapped file that somebody cuts short ends the process with SIGBUS where a
//! read gives an error, and single precision needs memory of its own anyway.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::UnreadableFile;
use super::header::{self, Header, Place};
use super::numbers::{Float, Trouble, read_all};

/// Longest header read. SDXL's UNet has 0.2 MB; the format itself stops at 100 MB.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// The header is preceded by its length, a little-endian u64.
const LENGTH_BYTES: u64 = 8;
/// Bytes of a number in memory.
const F32_BYTES: u64 = 4;

/// An open file whose header has been read and checked.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    file: File,
    header: Header,
    data_start: u64,
    length: u64,
}

impl WeightFile {
    /// Opens a file and checks its header: every tensor lies inside the file, none overlap, no gaps.
    ///
    /// # Errors
    /// A file that cannot be opened, is cut short, or is not safetensors.
    pub fn open(path: &Path) -> Result<Self, UnreadableFile> {
        let wrong = |what: String| UnreadableFile::new(path, what);
        let (file, length) = open_plain(path)?;
        if length < LENGTH_BYTES {
            return Err(wrong(format!("is cut short: {length} bytes are too few for a safetensors file")));
        }
        let mut prefix = [0; LENGTH_BYTES as usize];
        file.read_exact_at(&mut prefix, 0).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let header_bytes = u64::from_le_bytes(prefix);
        if header_bytes > HEADER_BYTES_MAX {
            return Err(wrong(format!("is not a safetensors file: it claims a header of {header_bytes} bytes")));
        }
        let data_start = LENGTH_BYTES + header_bytes;
        if data_start > length {
            return Err(wrong(format!("is cut short: its header needs {data_start} bytes and it has {length}")));
        }
        let mut text = vec![0; header_bytes as usize];
        file.read_exact_at(&mut text, LENGTH_BYTES).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let header = header::parse(&text, length - data_start).map_err(wrong)?;
        Ok(Self { path: path.to_owned(), file, header, data_start, length })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What all its tensors take in memory as fp32, in bytes.
    pub fn fp32_bytes(&self) -> u64 {
        let bytes = |place: &Place| F32_BYTES.saturating_mul(place.count() as u64);
        self.header.tensors.values().fold(0, |sum, place| sum.saturating_add(bytes(place)))
    }

    /// The name and shape of every tensor, in order of name.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.header.tensors.iter().map(|(name, place)| (name.clone(), place.shape.clone())).collect()
    }

    /// Every tensor's place, in order of name.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.header.tensors.iter().map(|(name, place)| (name.as_str(), place))
    }

    /// The file, and where the tensors' bytes begin in it.
    pub(super) fn data(&self) -> (&File, u64) {
        (&self.file, self.data_start)
    }

    /// A text of the header's `__metadata__`.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.header.metadata.get(key).map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    /// Reads a tensor as fp32, whatever floating type it is stored in. `shape` is what the model's config asks for; a
    /// stored shape that differs only by trailing ones is taken (a 1x1 convolution stands in for a linear layer).
    ///
    /// # Errors
    /// No such tensor, another shape, a type that is not floating point, a number that is infinite or none, or a read
    /// that fails.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor, UnreadableFile> {
        let wrong = |what: String| UnreadableFile::new(&self.path, what);
        let place = self.header.tensors.get(name).ok_or_else(|| wrong(format!("has no tensor {name}")))?;
        if without_ones(&place.shape) != without_ones(shape) {
            return Err(wrong(format!(
                "holds {name} with the shape {:?}, and the model's config.json asks for {shape:?}",
                place.shape
            )));
        }
        let float = Float::of(place.dtype)
            .ok_or_else(|| wrong(format!("holds {name} as {:?}; only F64, F32, F16 and BF16 are read", place.dtype)))?;
        let from = self.data_start + place.start;
        let numbers = read_all(float, place.count(), |buffer, at| self.file.read_exact_at(buffer, from + at))
            .map_err(|trouble| wrong(trouble.of(name)))?;
        Tensor::from_vec(numbers, shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_device(device))
            .map_err(|error| wrong(format!("holds a {name} that cannot be loaded: {error}")))
    }
}

impl Trouble {
    /// What is said of a tensor, behind the file's name.
    fn of(self, name: &str) -> String {
        match self {
            Self::Read(error) => format!("cannot be read where {name} should lie: {error}"),
            Self::Memory => format!("holds a {name} larger than the memory that is left"),
            Self::NotFinite(place) => format!(
                "holds a number in {name} that is infinite or none (number {place}); no picture can come of it, fetch \
                 the file again or take another"
            ),
        }
    }
}

/// Opens what is a file, and nothing that could keep its reader waiting or never end.
pub(super) fn open_plain(path: &Path) -> Result<(File, u64), UnreadableFile> {
    let wrong = |what: String| UnreadableFile::new(path, what);
    let file = File::options()
        .read(true)
        // To open a pipe nobody writes to would wait for ever.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| wrong(format!("cannot be opened: {error}")))?;
    let about = file.metadata().map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !about.is_file() {
        return Err(wrong("is a folder or a device, not a file".to_owned()));
    }
    Ok((file, about.len()))
}

fn without_ones(shape: &[usize]) -> &[usize] {
    let kept = shape.iter().rposition(|side| *side != 1).map_or(0, |last| last + 1);
    &shape[..kept]
}
