//! Claims an attempt, runs the diffusion pipeline, uploads, reports.
pub mod cache;
pub mod catalogue;
pub mod kernels;
pub mod models;
pub mod output;
pub mod pipeline;
pub mod prompt;
pub mod rng;
pub mod samplers;
pub mod weights;
