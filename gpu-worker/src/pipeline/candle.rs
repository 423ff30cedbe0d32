//! The pipeline on candle's tensors: CPU, or the first CUDA device when built with the feature `cuda`.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use tintype_types::{ModelKind, ResolvedRequest};

use super::addons::{Addons, Beside, Ground, check_digests, unreadable};
use super::{LoadedModel, Order, Pipeline, PipelineError};
pub use crate::cache::ResidentLimits;
use crate::cache::Residents;
use crate::catalogue::Catalogue;
use crate::engine::{Lane, step};
use crate::output::RgbImage;
use crate::weights::Digests;

/// Models from folders, kept in memory while there is room.
#[derive(Debug)]
pub struct CandlePipeline {
    device: Device,
    directories: Vec<PathBuf>,
    catalogue: Catalogue,
    residents: Residents<Arc<LoadedModel>>,
    addons: Addons,
    digests: Digests,
}

impl CandlePipeline {
    /// Looks through the models directories; loads nothing yet.
    ///
    /// # Errors
    /// A CUDA device that was built for and cannot be had.
    pub fn new(directories: Vec<PathBuf>, limits: ResidentLimits) -> Result<Self, PipelineError> {
        let catalogue = Catalogue::scan(&directories);
        for refused in &catalogue.refused {
            tracing::warn!(error = %refused, "this is not used as a model");
        }
        let device = device()?;
        let addons = Addons::new(device.clone(), limits);
        let (residents, digests) = (Residents::new(limits), Digests::default());
        Ok(Self { device, directories, catalogue, residents, addons, digests })
    }

    /// The models found at the last look.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read(&mut self, name: &str) -> Result<(), PipelineError> {
        self.look_for(std::iter::once((ModelKind::Checkpoint, name)));
        let entry = self.catalogue.checkpoint(name).ok_or_else(|| PipelineError::UnknownModel(name.to_owned()))?;
        let started = std::time::Instant::now();
        let needed = LoadedModel::bytes_needed(&entry.path, entry.card.family)
            .map_err(|error| unreadable(name, error.into()))?;
        if !self.residents.could_hold(needed) {
            return Err(PipelineError::OutOfMemory(format!(
                "the model {name} needs {needed} bytes, more than this worker may use; raise --resident-bytes-max or \
                 give the job to a larger worker"
            )));
        }
        check_digests(entry, &mut self.digests).map_err(|error| unreadable(name, error.into()))?;
        for gone in self.residents.make_room(needed) {
            tracing::info!(model = %gone, "put a model out of memory to make room");
        }
        let loaded =
            LoadedModel::read(&entry.path, entry.card.family, &self.device).map_err(|error| unreadable(name, error))?;
        tracing::info!(model = %name, bytes = needed, took_ms = started.elapsed().as_millis() as u64, "loaded a model");
        self.residents.insert(name.to_owned(), needed, Arc::new(loaded));
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
        if self.residents.touch(model).is_some() {
            return Ok(());
        }
        self.read(model)
    }

    fn begin(&mut self, order: &Order, index: u32) -> Result<Lane, PipelineError> {
        let name = &order.request.model;
        self.load(name)?;
        let model = self.residents.touch(name).ok_or_else(|| PipelineError::UnknownModel(name.clone()))?;
        let model = Arc::clone(model);
        let beside = self.beside(&model, &order.request)?;
        Lane::begin(&model, order, index, &beside)
    }

    fn step(&mut self, lanes: &mut [&mut Lane]) -> Result<(), PipelineError> {
        step::step(lanes)
    }

    fn finish(&mut self, lane: &Lane) -> Result<RgbImage, PipelineError> {
        lane.pixels()
    }

    fn resident(&self) -> Vec<String> {
        self.residents.names()
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

/// The first CUDA device in a build with the feature, else the CPU.
fn device() -> Result<Device, PipelineError> {
    if cfg!(feature = "cuda") { Ok(Device::new_cuda(0)?) } else { Ok(Device::Cpu) }
}
