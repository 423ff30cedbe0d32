//! The seam between the protocol and whatever draws: a request in, pixels out, a word after each step.

mod candle;
mod folder;
mod loaded;
mod text;

pub use candle::{CandlePipeline, ResidentLimits};
pub use loaded::{DrawOptions, LoadedModel};

use tintype_types::{FailureReason, ResolvedRequest};

use crate::output::RgbImage;
use crate::samplers::ScheduleError;
use crate::weights::UnreadableFile;

/// What a step's listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Take the next step.
    Continue,
    /// Stop before the next step; the picture is thrown away.
    Stop,
}

/// Told (steps done, steps in all) of one picture after each step, and once with 0 before the first.
pub type OnStep<'a> = &'a mut dyn FnMut(u32, u32) -> Flow;

/// Something that can draw.
pub trait Pipeline: Send {
    /// Brings a model into memory and makes it the most recently used. It may put others out.
    ///
    /// # Errors
    /// A model that is unknown, unreadable or too large.
    fn load(&mut self, model: &str) -> Result<(), PipelineError>;

    /// Draws picture `index` of a request, with the seed `request.seed + index`.
    ///
    /// # Errors
    /// Whatever kept it from drawing; [`PipelineError::Stopped`] when the listener said so.
    fn generate(
        &mut self,
        request: &ResolvedRequest,
        index: u32,
        on_step: OnStep<'_>,
    ) -> Result<RgbImage, PipelineError>;

    /// Models in memory, most recently used first.
    fn resident(&self) -> Vec<String>;

    /// Models that could be brought in, in order of name.
    fn loadable(&mut self) -> Vec<String>;
}

/// The seed of picture `index` of a request.
pub fn seed_of(request: &ResolvedRequest, index: u32) -> u64 {
    request.seed.wrapping_add(u64::from(index)) & tintype_types::limits::SEED_MAX
}

/// Why no picture came out.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The listener asked to stop.
    #[error("stopped between two steps")]
    Stopped,
    /// No folder in any models directory has this name.
    #[error("this worker has no model named {0}; put its folder into a models directory or choose another model")]
    UnknownModel(String),
    /// A file of the model cannot be used.
    #[error("the model {model} cannot be read: {source}")]
    Unreadable {
        /// The model.
        model: String,
        /// The file and what is wrong with it.
        source: UnreadableFile,
    },
    /// The model cannot do what is asked.
    #[error("{0}")]
    Unsupported(String),
    /// Not enough memory.
    #[error("{0}")]
    OutOfMemory(String),
    /// The tensor library failed where it should not have.
    #[error("the pipeline failed: {0}")]
    Device(#[from] candle_core::Error),
}

impl PipelineError {
    /// The reason reported, and whether another attempt could end otherwise.
    pub fn reason(&self) -> (FailureReason, bool) {
        match self {
            Self::Stopped => (FailureReason::Cancelled, false),
            Self::UnknownModel(_) => (FailureReason::UnknownModel, false),
            Self::Unreadable { .. } => (FailureReason::ModelUnreadable, false),
            Self::Unsupported(_) => (FailureReason::InvalidRequest, false),
            Self::OutOfMemory(_) => (FailureReason::OutOfMemory, true),
            Self::Device(_) => (FailureReason::Internal, true),
        }
    }
}

impl From<ScheduleError> for PipelineError {
    fn from(error: ScheduleError) -> Self {
        Self::Unsupported(error.to_string())
    }
}
