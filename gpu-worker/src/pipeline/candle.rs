//! The pipeline on candle's tensors: CPU, or the first CUDA device when built with the feature `cuda`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tintype_types::worker::ResidentModel;
use tintype_types::{ModelFamily, ModelKind, ResolvedRequest};

use super::addons::{self, Beside, Ground, check_digests, unreadable};
use super::measure::Meter;
use super::memory::{Held, Memory, Room};
use super::prompts::Prompts;
use super::{DeviceChoice, LoadedModel, Order, Pipeline, PipelineError, WarmUp, loaded};
pub use crate::cache::ResidentLimits;
use crate::cache::{Cost, Keep, Need};
use crate::catalogue::Catalogue;
use crate::engine::{Lane, step};
use crate::kernels::{self, NotSuited, Precision};
use crate::output::RgbImage;
use crate::weights::{Digests, Interrupt};

/// Most bytes of prompts' vectors: a pair of SDXL's, in one chunk, takes 1.3 MB.
const PROMPTS_BYTES_MAX: u64 = 64 << 20;
/// The part of a small budget that they get.
const PROMPTS_PART: u64 = 16;

/// Models from folders, kept in memory while there is room.
#[derive(Debug)]
pub struct CandlePipeline {
    ground: loaded::Ground,
    directories: Vec<PathBuf>,
    /// Where files of sources lie once they were fetched.
    cache: Option<PathBuf>,
    catalogue: Catalogue,
    memory: Memory,
    digests: Digests,
    /// Models that were to be there from the start and could not be had; said once.
    not_to_be_had: BTreeSet<String>,
}

/// Which models stay in memory.
#[derive(Clone, Debug)]
pub struct Residency {
    /// What they may take together.
    pub limits: ResidentLimits,
    /// Those wanted more than by their value.
    pub keep: BTreeMap<String, Keep>,
    /// How long one may be idle; none is for ever.
    pub unload_after: Option<Duration>,
}

impl From<ResidentLimits> for Residency {
    fn from(limits: ResidentLimits) -> Self {
        Self { limits, keep: BTreeMap::new(), unload_after: None }
    }
}

impl CandlePipeline {
    /// On whatever device there is, with nothing kept but by its value.
    ///
    /// # Errors
    /// See [`Self::with`].
    pub fn new(directories: Vec<PathBuf>, limits: ResidentLimits) -> Result<Self, PipelineError> {
        Self::with(directories, limits.into(), DeviceChoice::Auto)
    }

    /// Looks through the models directories; loads nothing yet.
    ///
    /// # Errors
    /// A device that was asked for and cannot be had.
    pub fn with(directories: Vec<PathBuf>, residency: Residency, device: DeviceChoice) -> Result<Self, PipelineError> {
        let limits = residency.limits;
        // A share of the budget that models do not get.
        let prompts_bytes = match limits.bytes {
            0 => PROMPTS_BYTES_MAX,
            bytes => (bytes / PROMPTS_PART).min(PROMPTS_BYTES_MAX),
        };
        let limits = ResidentLimits { bytes: limits.bytes.saturating_sub(prompts_bytes), ..limits };
        let limits = if residency.limits.bytes == 0 { residency.limits } else { limits };
        let catalogue = Catalogue::scan(&directories).cached_in(None);
        for refused in &catalogue.refused {
            tracing::warn!(error = %refused, "this is not used as a model");
        }
        let (device, prompts) = (device.open()?, Arc::new(Prompts::new(prompts_bytes)));
        Ok(Self {
            ground: loaded::Ground { device, precision: Precision::F32, prompts, interrupt: Interrupt::default() },
            directories,
            cache: None,
            catalogue,
            memory: Memory::new(Residency { limits, ..residency }),
            digests: Digests::default(),
            not_to_be_had: BTreeSet::new(),
        })
    }

    /// The same with UNets that multiply in a given precision; without it they do in fp32.
    ///
    /// # Errors
    /// A precision that the device does not do at speed.
    pub fn multiplied_in(self, precision: Precision) -> Result<Self, NotSuited> {
        let precision = precision.checked_on(&self.ground.device)?;
        Ok(Self { ground: loaded::Ground { precision, ..self.ground }, ..self })
    }

    /// What models, LoRAs, ControlNets and prompts take of the budget, in bytes.
    pub fn bytes(&self) -> u64 {
        self.memory.bytes().saturating_add(self.ground.prompts.bytes())
    }

    /// The same with files that a fetcher brings into this folder.
    #[must_use]
    pub fn cached_in(self, cache: PathBuf) -> Self {
        let mut with = Self { cache: Some(cache), ..self };
        with.catalogue = with.found();
        with
    }

    /// What lies in the directories now.
    fn found(&self) -> Catalogue {
        self.catalogue.rescan(&self.directories).cached_in(self.cache.as_deref())
    }

    /// The models found at the last look.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read(&mut self, name: &str, room: &Room<'_>) -> Result<(), PipelineError> {
        self.look_for(std::iter::once((ModelKind::Checkpoint, name)));
        let entry = self.catalogue.checkpoint(name).ok_or_else(|| PipelineError::UnknownModel(name.to_owned()))?;
        let meter = Meter::start();
        let needed = LoadedModel::bytes_needed(&entry.path, entry.card.family)
            .map_err(|error| unreadable(name, error.into()))?;
        check_digests(entry, &mut self.digests).map_err(|error| unreadable(name, error.into()))?;
        let need = Need { bytes: needed, heads: 1 };
        self.memory.make_room(&format!("the model {name}"), need, room)?;
        let loaded =
            LoadedModel::read(&entry.path, entry.card.family, &self.ground).map_err(|error| unreadable(name, error))?;
        // Weights are stored in half the bytes they take, or in as many.
        let load = meter.end(needed / 2);
        tracing::info!(
            model = %name, bytes = needed, grown_bytes = load.grown, took_ms = load.took.as_millis() as u64,
            tier = ?load.tier, "loaded a model"
        );
        let held = Held::Model { model: Arc::new(loaded), tier: load.tier };
        self.memory.keep(name.to_owned(), Cost { need, load: load.took }, held);
        Ok(())
    }

    /// The LoRAs and ControlNets a request names.
    fn beside(&mut self, model: &LoadedModel, request: &ResolvedRequest) -> Result<Beside, PipelineError> {
        let loras = request.loras.iter().map(|lora| (ModelKind::Lora, lora.name.as_str()));
        let controls = request.controls.iter().map(|control| (ModelKind::Controlnet, control.name.as_str()));
        self.look_for(loras.chain(controls));
        let ground = Ground { catalogue: &self.catalogue, name: &request.model, model };
        addons::gather(&mut self.memory, ground, request, &mut self.digests)
    }

    /// Looks through the directories again if one of these is not known: it may have been put there since.
    fn look_for<'a>(&mut self, mut names: impl Iterator<Item = (ModelKind, &'a str)>) {
        if names.any(|(kind, name)| self.catalogue.find(kind, name).is_none()) {
            self.catalogue = self.found();
        }
    }
}

impl Pipeline for CandlePipeline {
    type Lane = Lane;

    fn load(&mut self, model: &str) -> Result<(), PipelineError> {
        if self.memory.model(model).is_some() {
            return Ok(());
        }
        self.read(model, &Room::ByValue)
    }

    fn warm(&mut self, order: &WarmUp) -> Result<(), PipelineError> {
        if self.memory.model(&order.model).is_some() {
            return Ok(());
        }
        self.ground.interrupt = order.interrupt.clone();
        self.digests.interrupted_by(order.interrupt.clone());
        let read = self.read(&order.model, &Room::Among { may_go: &order.may_go, free_bytes: order.free_bytes });
        self.ground.interrupt = Interrupt::default();
        self.digests.interrupted_by(Interrupt::default());
        if read.is_err() && order.interrupt.is_set() {
            kernels::give_back();
            return Err(PipelineError::Stopped);
        }
        read
    }

    fn begin(&mut self, order: &Order, index: u32) -> Result<Lane, PipelineError> {
        let name = &order.request.model;
        self.load(name)?;
        let model = self.memory.model(name).ok_or_else(|| PipelineError::UnknownModel(name.clone()))?;
        let model = Arc::clone(model);
        let beside = self.beside(&model, &order.request)?;
        Lane::begin(&model, order, index, &beside)
    }

    fn step(&mut self, lanes: &mut [&mut Lane]) -> Result<(), PipelineError> {
        step::step(lanes)
    }

    fn finish(&mut self, lane: &Lane) -> Result<RgbImage, PipelineError> {
        lane.picture()
    }

    fn preview(&mut self, lane: &Lane) -> Result<Option<RgbImage>, PipelineError> {
        lane.preview()
    }

    fn resident(&self) -> Vec<ResidentModel> {
        self.memory.models()
    }

    fn family(&self, model: &str) -> Option<ModelFamily> {
        self.catalogue.checkpoint(model).map(|entry| entry.card.family)
    }

    fn tend(&mut self) {
        self.memory.put_out_idle();
        for name in self.memory.missing() {
            if self.not_to_be_had.contains(&name) {
                continue;
            }
            if let Err(error) = self.load(&name) {
                if matches!(error, PipelineError::NoRoomNow(_)) {
                    continue;
                }
                tracing::warn!(model = %name, %error, "a model that should be in memory is not");
                self.not_to_be_had.insert(name);
            }
        }
    }

    fn loadable(&mut self) -> Vec<String> {
        // A folder put there while the worker runs is found when it next asks for work.
        let found = self.found();
        if found != self.catalogue {
            tracing::info!(models = found.entries().count(), "the models directories have changed");
            self.catalogue = found;
        }
        self.catalogue.names(ModelKind::Checkpoint)
    }
}
