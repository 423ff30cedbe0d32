//! The pipeline on candle's tensors: CPU, or the first CUDA device when built with the feature `cuda`.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;

use super::{LoadedModel, Order, Pipeline, PipelineError};
pub use crate::cache::ResidentLimits;
use crate::cache::Residents;
use crate::catalogue::Catalogue;
use crate::engine::{Lane, step};
use crate::models::BuildError;
use crate::output::RgbImage;

/// Models from folders, kept in memory while there is room.
#[derive(Debug)]
pub struct CandlePipeline {
    device: Device,
    directories: Vec<PathBuf>,
    catalogue: Catalogue,
    residents: Residents<Arc<LoadedModel>>,
}

impl CandlePipeline {
    /// Looks through the models directories; loads nothing yet.
    ///
    /// # Errors
    /// A CUDA device that was built for and cannot be had.
    pub fn new(directories: Vec<PathBuf>, limits: ResidentLimits) -> Result<Self, PipelineError> {
        let catalogue = Catalogue::scan(&directories);
        for refused in &catalogue.refused {
            tracing::warn!(error = %refused, "a folder is not used as a model");
        }
        Ok(Self { device: device()?, directories, catalogue, residents: Residents::new(limits) })
    }

    /// The models found at the last look.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn read(&mut self, name: &str) -> Result<(), PipelineError> {
        if self.catalogue.find(name).is_none() {
            self.catalogue = Catalogue::scan(&self.directories);
        }
        let folder = self.catalogue.find(name).ok_or_else(|| PipelineError::UnknownModel(name.to_owned()))?;
        let started = std::time::Instant::now();
        let needed =
            LoadedModel::bytes_needed(&folder.path, folder.family).map_err(|error| unreadable(name, error.into()))?;
        if !self.residents.could_hold(needed) {
            return Err(PipelineError::OutOfMemory(format!(
                "the model {name} needs {needed} bytes, more than this worker may use; raise --resident-bytes-max or \
                 give the job to a larger worker"
            )));
        }
        for gone in self.residents.make_room(needed) {
            tracing::info!(model = %gone, "put a model out of memory to make room");
        }
        let loaded = LoadedModel::read(&folder.path, folder.family, &self.device).map_err(|e| unreadable(name, e))?;
        tracing::info!(model = %name, bytes = needed, took_ms = started.elapsed().as_millis() as u64, "loaded a model");
        self.residents.insert(name.to_owned(), needed, Arc::new(loaded));
        Ok(())
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
        Lane::begin(model, order, index)
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
        let found = Catalogue::scan(&self.directories);
        if found != self.catalogue {
            tracing::info!(models = found.names().len(), "the models directories have changed");
            self.catalogue = found;
        }
        self.catalogue.names()
    }
}

fn unreadable(model: &str, error: BuildError) -> PipelineError {
    match error {
        BuildError::Unreadable(source) => PipelineError::Unreadable { model: model.to_owned(), source },
        BuildError::Device(error) => PipelineError::Device(error),
    }
}

/// The first CUDA device in a build with the feature, else the CPU.
fn device() -> Result<Device, PipelineError> {
    if cfg!(feature = "cuda") { Ok(Device::new_cuda(0)?) } else { Ok(Device::Cpu) }
}
