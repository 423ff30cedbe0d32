//! The worker: claims an attempt, runs the diffusion pipeline, uploads, reports.
//!
//! It must not know a cluster, a database, users or money. All it is given is in the assignment.
//!
//! `run` is the program, `generate` its command that needs no server, `runpod` the one for GPUs of RunPod's; `engine` steps the pictures; `pipeline` is the seam
//! to whatever draws; the rest, from the outside in: `models` (networks), `samplers`, `rng`, `prompt`, `weights`, `kernels`,
//! `images` (in) and `output`, `safety`, and `probe` for the hardware.
//!
//! A build with the feature `cuda` draws on the first CUDA device by the same code. It is written to be generic over
//! the device and has not been run on one yet.

mod args;
mod attempt;
pub mod cache;
pub mod client;
pub mod engine;
mod fetch;
mod generate;
mod gpu_metrics;
pub mod images;
mod listen;
pub mod log;
mod metrics;
pub mod models;
pub mod output;
pub mod pipeline;
pub mod probe;
pub mod prompt;
pub mod rng;
mod run;
pub mod runpod;
pub mod safety;
pub mod samplers;
mod stop;
#[cfg(feature = "testing")]
pub mod testing;
mod warm;
pub mod weights;

pub use tintype_catalogue as catalogue;
pub use tintype_kernels as kernels;

pub use args::{Args, LogFormat};
pub use generate::{GenerateArgs, generate};
pub use run::{run, run_with};
pub use runpod::RunpodArgs;
pub use stop::stop_signal;
