//! What hardware there is and how it fares. The only door to it: NVML behind one folder, the host's CPU behind a file.

mod cpu;
mod foreign;
mod health;
mod nvml;

use std::path::Path;

use tintype_types::worker::Gpu;
use tokio::sync::watch;

pub use cpu::CpuProbe;
pub use health::{FaultKind, Health, Toll, Trouble};
pub use nvml::{NvmlProbe, ProbeError};

/// What other processes on the GPU are to this worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Neighbours {
    /// It owns whole GPUs: whoever else computes there takes what its models need.
    #[default]
    Trouble,
    /// It shares them.
    Welcome,
}

/// Reads the GPUs.
pub trait GpuProbe: Send + Sync {
    /// Each GPU as it is now. Quick: no driver is waited for.
    fn read(&self) -> Vec<Gpu>;

    /// How they fare, now and after each reading, changed or not. Hardware that cannot tell is well for good: the sender is gone.
    fn health(&self) -> watch::Receiver<Health> {
        watch::channel(Health::default()).1
    }

    /// Told how much of the GPU's memory this process holds in models; `None` while it draws or loads and nobody can say. What
    /// is in use beyond that is others'.
    fn holds(&self, _bytes: Option<u64>) {}
}

/// NVML where it loads and sees a GPU, else the CPU; says which.
///
/// # Errors
/// A library that was named and does not load: then the caller did not mean the CPU.
pub fn find(nvml_lib: Option<&Path>, neighbours: Neighbours) -> Result<Box<dyn GpuProbe>, ProbeError> {
    match NvmlProbe::start(nvml_lib, neighbours) {
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
