//! What hardware there is and how it fares. The only door to it: NVML behind one file, the host's CPU behind another.

mod cpu;
mod nvml;

use std::path::Path;

use tintype_types::worker::Gpu;

pub use cpu::CpuProbe;
pub use nvml::NvmlProbe;

/// Reads the GPUs.
pub trait GpuProbe: Send + Sync {
    /// Each GPU as it is now. Quick: no driver is waited for.
    fn read(&self) -> Vec<Gpu>;
}

/// NVML where it loads and sees a GPU, else the CPU; says which.
///
/// # Errors
/// A library that was named and does not load: then the caller did not mean the CPU.
pub fn find(nvml_lib: Option<&Path>) -> Result<Box<dyn GpuProbe>, nvml::ProbeError> {
    match NvmlProbe::start(nvml_lib) {
        Ok(probe) => {
            let gpus = probe.read();
            tracing::info!(gpus = gpus.len(), "NVML was loaded");
            if !cfg!(feature = "cuda") {
                tracing::warn!("this build draws on the CPU although there are GPUs; use the build with CUDA");
            }
            Ok(Box::new(probe))
        }
        Err(error) if nvml_lib.is_some() => Err(error),
        Err(error) => {
            tracing::info!(why = %error, "no NVIDIA GPU is to be seen; the CPU is reported instead");
            Ok(Box::new(CpuProbe::default()))
        }
    }
}
