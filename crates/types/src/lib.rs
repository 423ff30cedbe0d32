//! The words that cross a wire: ids, the generation request, the worker protocol, progress, error bodies.
//!
//! Beside them, which addresses may be called because a stranger named them. Every program reads this crate, so it must
//! not know a runtime, a transport, a database or a cluster.

pub mod error;
pub mod id;
pub mod inputs;
pub mod job;
pub mod limits;
pub mod model;
pub mod progress;
pub mod reach;
pub mod request;
pub mod time;
pub mod trace;
pub mod worker;

pub use error::{ErrorBody, ErrorCode, ErrorDetail, without_middle};
pub use id::{Attempt, BootId, JobId, PoolName, QueueKey, WorkerId};
pub use inputs::{ControlUse, Hires, ImageFormat, InitImage, Levels, LoraUse, NoiseSource};
pub use job::{FailureReason, JobState, Output};
pub use model::{ModelCard, ModelDefaults, ModelFamily, ModelKind};
pub use progress::{JobEvent, Preview};
pub use request::{GenerationRequest, RequestError, ResolvedRequest, Sampler};
pub use time::Timestamp;
pub use trace::Traceparent;
