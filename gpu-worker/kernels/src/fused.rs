//! Attention on an NVIDIA GPU in one kernel of our own, `cuda/attention.cu`: which one suits a head, and how it is launched.
//! **Not run on a GPU yet.** The tests run the kernel's own text on a stand-in for a GPU; `cuda-check` compiles it for real ones.

use super::precision::Precision;

/// Numbers of a head, padded with zeros, that there are kernels for.
const WIDTHS: [usize; 6] = [32, 48, 64, 80, 128, 160];
/// Threads of a warp, and the queries it owns.
const WARP: usize = 32;
const WARP_QUERIES: usize = 16;

/// One of the kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    name: String,
    warps: usize,
}

impl Kernel {
    /// The one for heads of so many numbers, unless they are wider than any.
    pub(super) fn of(precision: Precision, width: usize) -> Option<Self> {
        let width = WIDTHS.into_iter().find(|padded| *padded >= width)?;
        let warps = match precision {
            Precision::F32 => 2,
            Precision::Bf16 | Precision::F16 => 4,
        };
        Some(Self { name: format!("attention_{precision}_{width}"), warps })
    }

    /// Threads of a block.
    fn threads(&self) -> usize {
        self.warps * WARP
    }

    /// Queries of a block.
    fn queries(&self) -> usize {
        self.warps * WARP_QUERIES
    }
}

#[cfg(feature = "cuda")]
pub(super) use launch::{attention, has_bf16};

#[cfg(feature = "cuda")]
mod launch {
    use candle_core::backend::BackendStorage as _;
    use candle_core::cuda_backend::WrapErr as _;
    use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute as Attribute;
    use candle_core::cuda_backend::cudarc::driver::{CudaView, LaunchConfig, PushKernelArg as _};
    use candle_core::{
        CpuStorage, CudaDevice, CudaStorage, CustomOp3, Device, Error, Layout, Result, Shape, Storage, Tensor, bail,
    };

    use super::{Kernel, Precision};

    /// All kernels, as text for the driver.
    const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/attention.ptx"));
    /// What candle knows them by.
    const MODULE: &str = "tintype_attention";
    /// Ampere: the first with bf16, and with the products the kernels are made of.
    const MAJOR_MIN: i32 = 8;
    /// Most blocks side by side in the second and third direction (CUDA C++ Programming Guide, compute capabilities).
    const BLOCKS_MAX: usize = 65_535;

    /// As [`super::super::attention`], of arguments that it has checked; none where no kernel suits the heads or the GPU.
    pub(in super::super) fn attention(
        [queries, keys, values]: [&Tensor; 3],
        heads: usize,
        mask: Option<&Tensor>,
        precision: Precision,
    ) -> Result<Option<Tensor>> {
        let (batch, _, channels) = queries.dims3()?;
        if !has_bf16(queries.device())? || batch.max(heads) > BLOCKS_MAX {
            return Ok(None);
        }
        let Some(kernel) = Kernel::of(precision, channels / heads) else { return Ok(None) };
        let launch = Launch { kernel, heads, mask: mask.map(Tensor::contiguous).transpose()? };
        let (queries, keys, values) = (queries.contiguous()?, keys.contiguous()?, values.contiguous()?);
        queries.apply_op3_no_bwd(&keys, &values, &launch).map(Some)
    }

    /// Whether a device is a GPU of Ampere or later.
    pub(in super::super) fn has_bf16(device: &Device) -> Result<bool> {
        let Device::Cuda(device) = device else { return Ok(false) };
        let stream = device.cuda_stream();
        let major = stream.context().attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR).w()?;
        Ok(major >= MAJOR_MIN)
    }

    /// One attention, by one kernel.
    struct Launch {
        kernel: Kernel,
        heads: usize,
        mask: Option<Tensor>,
    }

    impl CustomOp3 for Launch {
        fn name(&self) -> &'static str {
            "fused attention"
        }

        fn cpu_fwd(
            &self,
            _: &CpuStorage,
            _: &Layout,
            _: &CpuStorage,
            _: &Layout,
            _: &CpuStorage,
            _: &Layout,
        ) -> Result<(CpuStorage, Shape)> {
            bail!("the fused attention is for GPUs")
        }

        fn cuda_fwd(
            &self,
            queries: &CudaStorage,
            queries_layout: &Layout,
            keys: &CudaStorage,
            keys_layout: &Layout,
            values: &CudaStorage,
            values_layout: &Layout,
        ) -> Result<(CudaStorage, Shape)> {
            let (batch, queried, channels) = queries_layout.shape().dims3()?;
            let (_, keyed, _) = keys_layout.shape().dims3()?;
            let mask = self.mask.as_ref().map(Tensor::storage_and_layout);
            let mask = match &mask {
                None => None,
                Some((storage, layout)) => match &**storage {
                    Storage::Cuda(storage) => Some(numbers(storage, layout)?),
                    Storage::Cpu(_) | Storage::Metal(_) => bail!("the mask lies on another device than the queries"),
                },
            };
            let tensors =
                [numbers(queries, queries_layout)?, numbers(keys, keys_layout)?, numbers(values, values_layout)?];
            let sizes = Sizes { batch, queried, keyed, heads: self.heads, width: channels / self.heads };
            let answer = self.run(queries.device(), tensors, mask, &sizes)?;
            Ok((answer, queries_layout.shape().clone()))
        }
    }

    /// What is attended to, in numbers.
    struct Sizes {
        batch: usize,
        queried: usize,
        keyed: usize,
        heads: usize,
        width: usize,
    }

    impl Launch {
        fn run(
            &self,
            device: &CudaDevice,
            [queries, keys, values]: [CudaView<'_, f32>; 3],
            mask: Option<CudaView<'_, f32>>,
            sizes: &Sizes,
        ) -> Result<CudaStorage> {
            let Sizes { batch, queried, keyed, heads, width } = *sizes;
            let function = device.get_or_load_custom_func(&self.kernel.name, MODULE, PTX)?;
            let [grid_x, grid_y, grid_z, block] =
                [queried.div_ceil(self.kernel.queries()), heads, batch, self.kernel.threads()].map(u32::try_from);
            let config = LaunchConfig {
                grid_dim: (grid_x.map_err(Error::wrap)?, grid_y.map_err(Error::wrap)?, grid_z.map_err(Error::wrap)?),
                block_dim: (block.map_err(Error::wrap)?, 1, 1),
                shared_mem_bytes: 0,
            };
            let [queried, keyed, heads, width] = [queried, keyed, heads, width].map(i32::try_from);
            let (queried, keyed) = (queried.map_err(Error::wrap)?, keyed.map_err(Error::wrap)?);
            let (heads, width) = (heads.map_err(Error::wrap)?, width.map_err(Error::wrap)?);
            #[expect(unsafe_code, reason = "memory of the GPU that nobody has written yet")]
            // SAFETY: the kernel writes each of them: its blocks cover every (sample, head, query), and each all of a head's channels.
            let mut answer = unsafe { device.alloc::<f32>(queries.len()) }?;
            let mut builder = function.builder();
            builder.arg(&queries).arg(&keys).arg(&values);
            let null = 0_u64;
            match &mask {
                Some(mask) => builder.arg(mask),
                None => builder.arg(&null),
            };
            builder.arg(&mut answer).arg(&queried).arg(&keyed).arg(&heads).arg(&width);
            #[expect(unsafe_code, reason = "a kernel is told pointers and sizes")]
            // SAFETY: arguments are those of `KERNEL` in `cuda/attention.cu`, in order; the caller of `attention` has checked that the
            // tensors have the sizes told, they are contiguous, and the kernel reads and writes inside of them alone.
            unsafe { builder.launch(config) }.w()?;
            drop(builder);
            Ok(CudaStorage::wrap_cuda_slice(answer, device.clone()))
        }
    }

    /// A tensor's numbers.
    fn numbers<'a>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, f32>> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a kernel wants contiguous tensors") };
        Ok(storage.as_cuda_slice::<f32>()?.slice(start..end))
    }
}

#[cfg(test)]
mod tests;
