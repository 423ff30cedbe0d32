//! The engine: steps a set of lanes, each one picture of one job. Jobs join and leave between two steps; lanes of one model
//! and one shape share a call of the denoiser, whatever their prompts, samplers, steps and guidance.
//!
//! How a feature hooks in:
//! - what one picture needs from beginning to end is a field of [`Lane`], set in [`Lane::begin`] from the
//!   [`Order`](crate::pipeline::Order) (request and fetched input files): a LoRA set, ControlNets with their hints;
//! - what it needs at one size is made in `pass`: the first latent, the sampler's run, what is kept of a user's picture. A
//!   second pass (`hires`) begins with a step of its own, between those of the first and its own. A lane must stay complete: whatever a step changes is in it, and is written down with it;
//! - what the denoiser is told, row by row, is gathered in [`step`], which holds the one call of the UNet;
//! - what is done with its answer (guidance, rescale, the sampler, the mask) is [`Lane`]'s `take_in`;
//! - what steps change of a lane is in its `state`, and comes back by `restore` into a lane just begun (see
//!   [`LaneState`]);
//! - pixels come out in [`Lane`]'s `pixels`, and go to the attempt, which makes the file and uploads it.
//!
//! [`Crew`] decides which lanes step next and is plain code without a clock or a thread; `thread` is the thread that owns
//! it, `line` how attempts speak with it. It must not know leases, dispatchers or stores.

pub mod checkpoint;
mod control;
mod crew;
mod ground;
mod lane;
mod line;
mod marks;
mod pass;
pub(crate) mod step;
#[cfg(test)]
mod tests;
mod thread;

pub use checkpoint::{CheckpointError, LaneState};
pub use lane::Lane;

pub(crate) use crew::{Crew, CrewOptions, Turn};
pub(crate) use line::{Control, End, Look, News, Picture, Saved, Seat, Wish};
pub(crate) use marks::{Doing, Mark};
pub(crate) use thread::{Engine, Join, Models};
