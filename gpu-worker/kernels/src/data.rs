//! The numbers of candle's tensors, where they lie.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Result, Shape, Storage, Tensor, bail};

/// Numbers of a tensor, held for as long as this lives.
pub(super) struct Numbers<'a> {
    /// Candle's lock on the storage, whose type is not candle's own.
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    range: Range<usize>,
}

impl<'a> Numbers<'a> {
    /// # Errors
    /// A tensor that is not contiguous fp32 on the CPU.
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a kernel wants contiguous tensors") };
        if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) {
            bail!("a kernel wants fp32 in the CPU's memory");
        }
        Ok(Self { storage: Box::new(storage), range: start..end })
    }

    pub(super) fn slice(&self) -> &[f32] {
        match &**self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => &numbers[self.range.clone()],
            // `of` takes nothing else.
            Storage::Cpu(_) | Storage::Cuda(_) | Storage::Metal(_) => &[],
        }
    }
}

/// A new tensor of these numbers.
pub(super) fn tensor(numbers: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(numbers, shape.into(), &Device::Cpu)
}
