//! What is in memory, under one budget: models, LoRAs and ControlNets. Nothing is read before there is room for it, and
//! what lanes are drawn with counts until they let go of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tintype_types::worker::{ResidentModel, Tier};

use super::{LoadedModel, PipelineError, Residency};
use crate::cache::{Cost, Need, NoRoom, Residents};
use crate::kernels;
use crate::models::controlnet::ControlNet;
use crate::weights::{Fingerprint, Lora};

/// Keys of add-ons begin with this, and no model's name does.
const ADDON: char = '\n';

/// One thing in memory. Lanes that are drawn with it hold it as well.
#[derive(Debug)]
pub(super) enum Held {
    Model { model: Arc<LoadedModel>, tier: Tier },
    Lora(Arc<Lora>),
    Control(Arc<ControlNet>, Fingerprint),
}

impl Held {
    fn in_use(&self) -> bool {
        match self {
            Self::Model { model, .. } => Arc::strong_count(model) > 1,
            // Lanes hold the parts they apply, and let go of the whole.
            Self::Lora(lora) => Arc::strong_count(lora) > 1 || lora.is_applied(),
            Self::Control(net, _) => Arc::strong_count(net) > 1,
        }
    }
}

/// Where room for one more thing may come from.
#[derive(Debug)]
pub(super) enum Room<'a> {
    /// From what is worth least.
    ByValue,
    /// From these alone, in this order, and from memory that nobody on the device uses.
    Among { may_go: &'a [String], free_bytes: u64 },
}

/// All of it.
#[derive(Debug)]
pub(super) struct Memory {
    residents: Residents<Held>,
    unload_after: Option<Duration>,
    /// From when the residents' times count.
    started: Instant,
}

impl Memory {
    pub(super) fn new(residency: Residency) -> Self {
        let Residency { limits, keep, unload_after } = residency;
        Self { residents: Residents::new(limits, keep), unload_after, started: Instant::now() }
    }

    /// The key of an add-on, told from every other by this text.
    pub(super) fn addon(kind: &str, text: &str) -> String {
        format!("{ADDON}{kind} {text}")
    }

    pub(super) fn model(&mut self, name: &str) -> Option<&Arc<LoadedModel>> {
        match self.residents.touch(name, self.started.elapsed())? {
            Held::Model { model, .. } => Some(model),
            Held::Lora(_) | Held::Control(..) => None,
        }
    }

    pub(super) fn lora(&mut self, key: &str) -> Option<&Arc<Lora>> {
        match self.residents.touch(key, self.started.elapsed())? {
            Held::Lora(lora) => Some(lora),
            Held::Model { .. } | Held::Control(..) => None,
        }
    }

    pub(super) fn control(&mut self, key: &str) -> Option<(&Arc<ControlNet>, Fingerprint)> {
        match self.residents.touch(key, self.started.elapsed())? {
            Held::Control(net, weights) => Some((net, *weights)),
            Held::Model { .. } | Held::Lora(_) => None,
        }
    }

    /// Makes room for what is about to be read; `what` is what it is called in an error.
    ///
    /// # Errors
    /// No room for it ever, or none while others are drawn with what could go.
    pub(super) fn make_room(&mut self, what: &str, need: Need, room: &Room<'_>) -> Result<(), PipelineError> {
        let gone = match room {
            Room::ByValue => self.residents.make_room(need, self.started.elapsed(), Held::in_use),
            Room::Among { may_go, free_bytes } => {
                self.residents.make_room_among(need, may_go, *free_bytes, Held::in_use)
            }
        };
        put_out(gone.map_err(|none| no_room(what, need.bytes, none))?, "its room is wanted");
        Ok(())
    }

    /// Keeps what was read in the room that was made.
    pub(super) fn keep(&mut self, key: String, cost: Cost, held: Held) {
        self.residents.insert(key, cost, self.started.elapsed(), held);
    }

    /// Puts out what nobody has used for as long as it may be idle.
    pub(super) fn put_out_idle(&mut self) {
        let Some(after) = self.unload_after else { return };
        put_out(self.residents.put_out_idle(after, self.started.elapsed(), Held::in_use), "nobody used it");
    }

    /// Models that are to be there and are not.
    pub(super) fn missing(&self) -> Vec<String> {
        self.residents.missing()
    }

    /// The models, most recently used first.
    pub(super) fn models(&self) -> Vec<ResidentModel> {
        let tell = |(name, cost, held): (&str, Cost, &Held)| match held {
            Held::Model { tier, .. } => Some(ResidentModel {
                name: name.to_owned(),
                bytes: cost.need.bytes,
                load_ms: cost.load.as_millis() as u64,
                tier: *tier,
            }),
            Held::Lora(_) | Held::Control(..) => None,
        };
        self.residents.list().into_iter().filter_map(tell).collect()
    }

    /// What all of it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.residents.list().iter().fold(0, |sum, (_, cost, _)| sum.saturating_add(cost.need.bytes))
    }
}

/// Lets go of things, and of the memory they took.
fn put_out(gone: Vec<(String, Held)>, why: &str) {
    if gone.is_empty() {
        return;
    }
    for (name, held) in gone {
        tracing::info!(name = name.trim_start_matches(ADDON), why, "put out of memory");
        drop(held);
    }
    kernels::give_back();
}

fn no_room(what: &str, needed: u64, none: NoRoom) -> PipelineError {
    match none {
        NoRoom::Ever { most } => PipelineError::OutOfMemory(format!(
            "{what} needs {needed} bytes and this worker can give it {most}; raise --resident-bytes-max, pin fewer models, \
             or give the job to a larger worker"
        )),
        NoRoom::Now => PipelineError::NoRoomNow(format!(
            "{what} needs {needed} bytes, and what could make room is being drawn with"
        )),
    }
}
