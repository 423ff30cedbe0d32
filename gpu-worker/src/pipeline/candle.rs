//! The pipeline on candle's tensors: CPU, or the first CUDA device when built with the feature `cuda`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::Device;
use tintype_types::worker::{ResidentModel, Tier};
use tintype_types::{ModelKind, ResolvedRequest};

use super::addons::{Addons, Beside, Ground, check_digests, unreadable};
use super::measure::Meter;
use super::{DeviceChoice, LoadedModel, Order, Pipeline, PipelineError};
pub use crate::cache::ResidentLimits;
use crate::cache::{Cost, Keep, NoRoom, Residents};
use crate::catalogue::Catalogue;
use crate::engine::{Lane, step};
use crate::kernels::{self, Precision};
use crate::output::RgbImage;
use crate::weights::Digests;

/// Models from folders, kept in memory while there is room.
#[derive(Debug)]
pub struct CandlePipeline {
    device: Device,
    precision: Precision,
    directories: Vec<PathBuf>,
    catalogue: Catalogue,
    residents: Residents<Held>,
    addons: Addons,
    digests: Digests,
    unload_after: Option<Duration>,
    /// From when the residents' times count.
    started: Instant,
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

/// A model in memory. Lanes that are drawn with it hold it as well.
#[derive(Debug)]
struct Held {
    model: Arc<LoadedModel>,
    tier: Tier,
}

impl Held {
    fn in_use(&self) -> bool {
        Arc::strong_count(&self.model) > 1
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
        let Residency { limits, keep, unload_after } = residency;
        let catalogue = Catalogue::scan(&directories);
        for refused in &catalogue.refused {
            tracing::warn!(error = %refused, "this is not used as a model");
        }
        let device = device.open()?;
        Ok(Self {
            addons: Addons::new(device.clone(), limits),
            device,
            precision: Precision::F32,
            directories,
            catalogue,
            residents: Residents::new(limits, keep),
            digests: Digests::default(),
            unload_after,
            started: Instant::now(),
            not_to_be_had: BTreeSet::new(),
        })
    }

    /// The same with UNets that multiply in a given precision; without it they do in fp32.
    #[must_use]
    pub fn multiplied_in(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The models found at the last look.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read(&mut self, name: &str) -> Result<(), PipelineError> {
        self.look_for(std::iter::once((ModelKind::Checkpoint, name)));
        let entry = self.catalogue.checkpoint(name).ok_or_else(|| PipelineError::UnknownModel(name.to_owned()))?;
        let meter = Meter::start();
        let needed = LoadedModel::bytes_needed(&entry.path, entry.card.family)
            .map_err(|error| unreadable(name, error.into()))?;
        check_digests(entry, &mut self.digests).map_err(|error| unreadable(name, error.into()))?;
        let now = self.started.elapsed();
        let gone = self.residents.make_room(needed, now, Held::in_use).map_err(|none| no_room(name, needed, none))?;
        put_out(gone, "its room is wanted");
        let loaded = LoadedModel::read(&entry.path, entry.card.family, &self.device, self.precision)
            .map_err(|error| unreadable(name, error))?;
        // Weights are stored in half the bytes they take, or in as many.
        let load = meter.end(needed / 2);
        tracing::info!(
            model = %name, bytes = needed, grown_bytes = load.grown, took_ms = load.took.as_millis() as u64,
            tier = ?load.tier, "loaded a model"
        );
        let held = Held { model: Arc::new(loaded), tier: load.tier };
        let cost = Cost { bytes: needed, load: load.took };
        self.residents.insert(name.to_owned(), cost, self.started.elapsed(), held);
        Ok(())
    }

    /// The LoRAs and ControlNets a request names.
    fn beside(&mut self, model: &LoadedModel, request: &ResolvedRequest) -> Result<Beside, PipelineError> {
        let loras = request.loras.iter().map(|lora| (ModelKind::Lora, lora.name.as_str()));
        let controls = request.controls.iter().map(|control| (ModelKind::Controlnet, control.name.as_str()));
        self.look_for(loras.chain(controls));
        let ground = Ground { catalogue: &self.catalogue, name: &request.model, model };
        self.addons.gather(ground, &request.loras, &request.controls, &mut self.digests)
    }

    /// Looks through the directories again if one of these is not known: it may have been put there since.
    fn look_for<'a>(&mut self, mut names: impl Iterator<Item = (ModelKind, &'a str)>) {
        if names.any(|(kind, name)| self.catalogue.find(kind, name).is_none()) {
            self.catalogue = self.catalogue.rescan(&self.directories);
        }
    }
}

impl Pipeline for CandlePipeline {
    type Lane = Lane;

    fn load(&mut self, model: &str) -> Result<(), PipelineError> {
        let now = self.started.elapsed();
        if self.residents.touch(model, now).is_some() {
            return Ok(());
        }
        self.read(model)
    }

    fn begin(&mut self, order: &Order, index: u32) -> Result<Lane, PipelineError> {
        let name = &order.request.model;
        self.load(name)?;
        let now = self.started.elapsed();
        let held = self.residents.touch(name, now).ok_or_else(|| PipelineError::UnknownModel(name.clone()))?;
        let model = Arc::clone(&held.model);
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
        let tell = |(name, Cost { bytes, load }, held): (&str, Cost, &Held)| ResidentModel {
            name: name.to_owned(),
            bytes,
            load_ms: load.as_millis() as u64,
            tier: held.tier,
        };
        self.residents.list().into_iter().map(tell).collect()
    }

    fn tend(&mut self) {
        if let Some(after) = self.unload_after {
            let idle = self.residents.put_out_idle(after, self.started.elapsed(), Held::in_use);
            put_out(idle, "nobody used it");
            if self.addons.put_out_idle(after) {
                kernels::give_back();
            }
        }
        for name in self.residents.missing() {
            if self.not_to_be_had.contains(&name) {
                continue;
            }
            if let Err(error) = self.load(&name) {
                tracing::warn!(model = %name, %error, "a model that should be in memory is not");
                self.not_to_be_had.insert(name);
            }
        }
    }

    fn loadable(&mut self) -> Vec<String> {
        // A folder put there while the worker runs is found when it next asks for work.
        let found = self.catalogue.rescan(&self.directories);
        if found != self.catalogue {
            tracing::info!(models = found.entries().count(), "the models directories have changed");
            self.catalogue = found;
        }
        self.catalogue.names(ModelKind::Checkpoint)
    }
}

/// Lets go of models, and of the memory they took.
fn put_out(gone: Vec<(String, Held)>, why: &str) {
    if gone.is_empty() {
        return;
    }
    for (name, held) in gone {
        tracing::info!(model = %name, why, "put a model out of memory");
        drop(held);
    }
    kernels::give_back();
}

fn no_room(name: &str, needed: u64, none: NoRoom) -> PipelineError {
    PipelineError::OutOfMemory(match none {
        NoRoom::Ever { most } => format!(
            "the model {name} needs {needed} bytes and this worker can give it {most}; raise --resident-bytes-max, pin \
             fewer models, or give the job to a larger worker"
        ),
        NoRoom::Now => format!("the model {name} needs {needed} bytes, and what could make room is being drawn with"),
    })
}
