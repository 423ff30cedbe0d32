//! One safetensors file: header checked against the file's length, tensors read where they lie.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::UnreadableFile;

/// Longest header read. SDXL's UNet has 0.2 MB; the format itself stops at 100 MB.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// The header is preceded by its length, a little-endian u64.
const LENGTH_BYTES: u64 = 8;

/// An open file whose header has been read and checked.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

impl WeightFile {
    /// Opens a file and checks its header: every tensor lies inside the file, none overlap, no gaps.
    ///
    /// # Errors
    /// A file that cannot be opened, is cut short, or is not safetensors.
    pub fn open(path: &Path) -> Result<Self, UnreadableFile> {
        let wrong = |what: String| UnreadableFile::new(path, what);
        let file = File::open(path).map_err(|error| wrong(format!("cannot be opened: {error}")))?;
        let length = file.metadata().map_err(|error| wrong(format!("cannot be read: {error}")))?.len();
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
        let mut header = vec![0; header_bytes as usize];
        file.read_exact_at(&mut header, LENGTH_BYTES).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        // Deserialising checks that tensors follow each other without gap or overlap and that sizes match shapes.
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| wrong(format!("is not a safetensors file this worker reads: {error}")))?;
        let end = metadata.tensors().values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
        if data_start.checked_add(end) != Some(length) {
            return Err(wrong(format!(
                "is damaged: its tensors end at byte {} and it has {length}; fetch it again",
                data_start.saturating_add(end)
            )));
        }
        Ok(Self { path: path.to_owned(), file, metadata, data_start })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What all its tensors take in memory as fp32, in bytes.
    pub fn fp32_bytes(&self) -> u64 {
        let numbers = |info: &TensorInfo| info.shape.iter().product::<usize>() as u64;
        self.metadata.tensors().values().map(|info| numbers(info) * 4).sum()
    }

    /// The name and shape of every tensor, in order of name.
    pub fn shapes(&self) -> std::collections::BTreeMap<String, Vec<usize>> {
        self.metadata.tensors().into_iter().map(|(name, info)| (name, info.shape.clone())).collect()
    }

    /// A text of the header's `__metadata__`.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// Reads a tensor as fp32, whatever floating type it is stored in. `shape` is what the model's config asks for; a
    /// stored shape that differs only by trailing ones is taken (a 1x1 convolution stands in for a linear layer).
    ///
    /// # Errors
    /// No such tensor, another shape, a type that is not floating point, or a read that fails.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor, UnreadableFile> {
        let wrong = |what: String| UnreadableFile::new(&self.path, what);
        let info = self.metadata.info(name).ok_or_else(|| wrong(format!("has no tensor {name}")))?;
        if without_ones(&info.shape) != without_ones(shape) {
            return Err(wrong(format!(
                "holds {name} with the shape {:?}, and the model's config.json asks for {shape:?}",
                info.shape
            )));
        }
        let dtype = float_type(info.dtype)
            .ok_or_else(|| wrong(format!("holds {name} as {:?}; only F64, F32, F16 and BF16 are read", info.dtype)))?;
        let bytes = self.read(info).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(DType::F32)?.to_device(device))
            .map_err(|error| wrong(format!("holds a {name} that cannot be loaded: {error}")))
    }

    fn read(&self, info: &TensorInfo) -> std::io::Result<Vec<u8>> {
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end.saturating_sub(start)];
        self.file.read_exact_at(&mut bytes, self.data_start + start as u64)?;
        Ok(bytes)
    }
}

fn float_type(dtype: Dtype) -> Option<DType> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "safetensors' list of types is open; all others are refused")]
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

fn without_ones(shape: &[usize]) -> &[usize] {
    let kept = shape.iter().rposition(|side| *side != 1).map_or(0, |last| last + 1);
    &shape[..kept]
}
