//! The flags of `gpu-worker runpod`; what RunPod itself sets are environment variables.

use std::path::PathBuf;

use clap::Parser;

use crate::args::LogFormat;
use crate::kernels::Precision;
use crate::output::OutputArgs;
use crate::pipeline::DeviceChoice;

/// Takes jobs from RunPod's serverless platform, draws them and answers with the pictures.
#[derive(Clone, Debug, Parser)]
#[command(name = "gpu-worker runpod", version)]
pub struct RunpodArgs {
    /// Where jobs are taken; `$ID` stands for the worker. RunPod sets it.
    #[arg(long, env = "RUNPOD_WEBHOOK_GET_JOB")]
    pub get_job: String,
    /// Where results go; `$RUNPOD_POD_ID` stands for the worker and `$ID` for the job. RunPod sets it.
    #[arg(long, env = "RUNPOD_WEBHOOK_POST_OUTPUT")]
    pub post_output: String,
    /// Where the worker says that it lives; left out, it does not. RunPod sets it.
    #[arg(long, env = "RUNPOD_WEBHOOK_PING")]
    pub ping: Option<String>,
    /// How often, in milliseconds. RunPod sets it.
    #[arg(long, env = "RUNPOD_PING_INTERVAL", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub ping_interval: u64,
    /// Name of this worker. RunPod sets it.
    #[arg(long, env = "RUNPOD_POD_ID")]
    pub pod_id: String,
    /// The key of the platform's calls. RunPod sets it.
    #[arg(long, env = "RUNPOD_AI_API_KEY", hide_env_values = true)]
    pub api_key: String,
    /// Folder that holds models in diffusers layout; may be given several times.
    #[arg(long, env = "TINTYPE_MODELS_DIR", value_delimiter = ':', required = true)]
    pub models_dir: Vec<PathBuf>,
    /// Where to draw: `auto`, `cpu`, or `cuda:N`.
    #[arg(long, env = "TINTYPE_DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// What the denoiser multiplies in: f32, bf16 or f16.
    #[arg(long, env = "TINTYPE_PRECISION", default_value_t = Precision::F32)]
    pub precision: Precision,
    /// How pictures are finished.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How the log is written.
    #[arg(long, env = "TINTYPE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}
