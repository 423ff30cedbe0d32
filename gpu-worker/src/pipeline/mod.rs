//! The seam between the engine and whatever draws: an order in, lanes that are stepped together, pixels out.

pub(crate) mod addons;
mod candle;
mod device;
mod folder;
mod loaded;
mod measure;
mod memory;
mod preview;
pub(crate) mod prompts;
mod source;
pub(crate) mod text;

use std::collections::BTreeMap;

use bytes::Bytes;
use tintype_types::worker::ResidentModel;
use tintype_types::{FailureReason, ModelFamily, ResolvedRequest};

pub use candle::{CandlePipeline, Residency, ResidentLimits};
pub use device::DeviceChoice;
pub use loaded::LoadedModel;
pub use preview::PREVIEW_SIDE_MAX;

use crate::engine::{CheckpointError, LaneState};
use crate::images::InputError;
use crate::output::RgbImage;
use crate::samplers::ScheduleError;
use crate::weights::{Interrupt, UnreadableFile};

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

/// One job's work: the request, and the bytes of the pictures it names.
#[derive(Clone)]
pub struct Order {
    /// What to make.
    pub request: ResolvedRequest,
    /// The files behind the request's store keys, as they were fetched.
    pub inputs: BTreeMap<String, Bytes>,
}

impl From<&ResolvedRequest> for Order {
    fn from(request: &ResolvedRequest) -> Self {
        Self { request: request.clone(), inputs: BTreeMap::new() }
    }
}

/// A model to be brought in ahead of jobs.
#[derive(Clone, Debug)]
pub struct WarmUp {
    /// The model.
    pub model: String,
    /// Models that may be put out for it, in this order; no others are.
    pub may_go: Vec<String>,
    /// Memory of the device that nobody uses, in bytes.
    pub free_bytes: u64,
    /// Breaks it off.
    pub interrupt: Interrupt,
}

/// One picture being drawn, as the engine sees it. What it holds is the pipeline's own business.
pub trait Lane: Send + 'static {
    /// Whole steps done, and steps in all.
    fn progress(&self) -> (u32, u32);

    /// Whether no step is left: the picture can be finished.
    fn is_over(&self) -> bool;

    /// What a step of it costs in memory: rows given to the denoiser, times the pixels of its latent.
    fn area(&self) -> usize;

    /// What tells the weights it is drawn with from others.
    fn weights(&self) -> &str;

    /// What the steps have changed, to be written down.
    fn state(&self) -> LaneState;

    /// Takes the lane, just begun, to where another one was when its state was written down.
    ///
    /// # Errors
    /// A state this lane cannot come to. The lane may be anything then.
    fn restore(&mut self, state: LaneState) -> Result<(), CheckpointError>;

    /// Whether the two may be stepped in one call: the same model and the same shape.
    fn steps_with(&self, other: &Self) -> bool;
}

/// Something that can draw.
pub trait Pipeline: Send + 'static {
    /// One picture on its way.
    type Lane: Lane;

    /// Brings a model into memory and makes it the most recently used. It may put others out.
    ///
    /// # Errors
    /// A model that is unknown, unreadable or too large.
    fn load(&mut self, model: &str) -> Result<(), PipelineError>;

    /// Brings a model into memory ahead of jobs, where that takes nothing from anybody.
    ///
    /// # Errors
    /// As [`Self::load`]; no room but what is in demand; [`PipelineError::Stopped`] when it was broken off.
    fn warm(&mut self, order: &WarmUp) -> Result<(), PipelineError> {
        self.load(&order.model)
    }

    /// Begins picture `index` of an order, with the seed `request.seed + index`. Takes no step.
    ///
    /// # Errors
    /// A model that cannot be had, or a request it cannot do.
    fn begin(&mut self, order: &Order, index: u32) -> Result<Self::Lane, PipelineError>;

    /// Takes each of these lanes one evaluation further, in one call of the denoiser. They all step with each other, and
    /// none is over. On an error no lane has changed.
    ///
    /// # Errors
    /// A device's failure.
    fn step(&mut self, lanes: &mut [&mut Self::Lane]) -> Result<(), PipelineError>;

    /// The pixels of a lane that is over. The lane stays as it is.
    ///
    /// # Errors
    /// A device's failure.
    fn finish(&mut self, lane: &Self::Lane) -> Result<RgbImage, PipelineError>;

    /// A small picture of what a lane is becoming; none where there is nothing to see yet, or no way to show it.
    ///
    /// # Errors
    /// A device's failure. The lane is well all the same.
    fn preview(&mut self, _lane: &Self::Lane) -> Result<Option<RgbImage>, PipelineError> {
        Ok(None)
    }

    /// Models in memory, most recently used first.
    fn resident(&self) -> Vec<ResidentModel>;

    /// The family of a model that is known here.
    fn family(&self, _model: &str) -> Option<ModelFamily> {
        None
    }

    /// Done between two steps, each time the models are asked for: puts out what nobody has used for long, brings in what
    /// is always to be there.
    fn tend(&mut self) {}

    /// Models that could be brought in, in order of name.
    fn loadable(&mut self) -> Vec<String>;

    /// Draws picture `index` of an order alone, from beginning to end.
    ///
    /// # Errors
    /// Whatever kept it from drawing; [`PipelineError::Stopped`] when the listener said so.
    fn draw(&mut self, order: &Order, index: u32, on_step: OnStep<'_>) -> Result<RgbImage, PipelineError> {
        let mut lane = self.begin(order, index)?;
        let mut told = |lane: &Self::Lane| {
            let (done, steps) = lane.progress();
            match on_step(done, steps) {
                Flow::Continue => Ok(()),
                Flow::Stop => Err(PipelineError::Stopped),
            }
        };
        told(&lane)?;
        while !lane.is_over() {
            self.step(&mut [&mut lane])?;
            told(&lane)?;
        }
        self.finish(&lane)
    }

    /// As [`Self::draw`], of a request that names no pictures.
    ///
    /// # Errors
    /// As [`Self::draw`].
    fn generate(
        &mut self,
        request: &ResolvedRequest,
        index: u32,
        on_step: OnStep<'_>,
    ) -> Result<RgbImage, PipelineError> {
        self.draw(&Order::from(request), index, on_step)
    }
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
    #[error("the model {model} cannot be read: {file}")]
    Unreadable {
        /// The model.
        model: String,
        /// The file and what is wrong with it. Told in the message, so it is no `source`, which would be told again.
        file: UnreadableFile,
    },
    /// The model cannot do what is asked.
    #[error("{0}")]
    Unsupported(String),
    /// An input picture cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Not enough memory.
    #[error("{0}")]
    OutOfMemory(String),
    /// Not enough memory while others are being drawn.
    #[error("{0}")]
    NoRoomNow(String),
    /// The tensor library failed where it should not have.
    #[error("the pipeline failed: {0}")]
    Device(#[from] candle_core::Error),
    /// The pipeline panicked.
    #[error("the pipeline broke; the log of the worker says more")]
    Broken,
}

impl PipelineError {
    /// The reason reported, and whether another attempt could end otherwise.
    pub fn reason(&self) -> (FailureReason, bool) {
        match self {
            Self::Stopped => (FailureReason::Cancelled, false),
            Self::UnknownModel(_) => (FailureReason::UnknownModel, false),
            Self::Unreadable { .. } => (FailureReason::ModelUnreadable, false),
            Self::Unsupported(_) | Self::Input(_) => (FailureReason::InvalidRequest, false),
            Self::OutOfMemory(_) | Self::NoRoomNow(_) => (FailureReason::OutOfMemory, true),
            Self::Device(_) | Self::Broken => (FailureReason::Internal, true),
        }
    }
}

impl From<ScheduleError> for PipelineError {
    fn from(error: ScheduleError) -> Self {
        Self::Unsupported(error.to_string())
    }
}
