//! Compiles the kernels for GPUs to PTX, which the driver turns into the code of its GPU at their first use. Only in a build with
//! CUDA; `cuda-check` finds a compiler that needs no GPU.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Ampere, the oldest with the products that the kernels are made of; later GPUs run its PTX.
const ARCHITECTURE: &str = "-arch=compute_80";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=cuda");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let compiler = match (env::var_os("NVCC"), env::var_os("CUDA_HOME")) {
        (Some(compiler), _) => PathBuf::from(compiler),
        (None, Some(home)) => PathBuf::from(home).join("bin/nvcc"),
        (None, None) => PathBuf::from("nvcc"),
    };
    let out = PathBuf::from(env::var("OUT_DIR")?).join("attention.ptx");
    let mut command = Command::new(&compiler);
    command.args(["--ptx", "-std=c++17", "-O3", ARCHITECTURE, "cuda/attention.cu", "-o"]).arg(out);
    let status = command.status().map_err(|error| {
        format!("cannot start NVIDIA's compiler `{}` ({error}); name it by NVCC or CUDA_HOME", compiler.display())
    })?;
    if status.success() { Ok(()) } else { Err(format!("cannot compile cuda/attention.cu: {status}").into()) }
}
