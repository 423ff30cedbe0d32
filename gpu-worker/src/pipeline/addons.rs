//! LoRAs and ControlNets a request names beside its model: found, checked against the model, kept in memory while there
//! is room.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::Device;
use tintype_types::{ControlUse, LoraUse, ModelFamily, ModelKind};

use super::{LoadedModel, PipelineError};
use crate::cache::{Cost, NoRoom, ResidentLimits, Residents};
use crate::catalogue::{Catalogue, Entry};
use crate::models::BuildError;
use crate::models::adapters::Adapter;
use crate::models::controlnet::{ControlNet, ControlNetConfig};
use crate::weights::{Digests, Lora, Part, UnreadableFile, WeightFile, Weights};

/// LoRAs kept, and their bytes together: some forty of rank 32 for SDXL.
const LORAS: ResidentLimits = ResidentLimits { count: 256, bytes: 4 << 30 };
/// ControlNets kept: as many as one request may name, and as many again.
const CONTROLS_COUNT: usize = 2 * tintype_types::limits::CONTROLS_MAX as usize;

/// Those in memory.
#[derive(Debug)]
pub(super) struct Addons {
    device: Device,
    loras: Residents<Arc<Lora>>,
    controls: Residents<Arc<ControlNet>>,
    /// From when the residents' times count.
    started: Instant,
}

/// A LoRA at work in a request.
#[derive(Clone, Debug)]
pub(crate) struct UsedLora {
    /// Tells it from every other, and from itself after its file has changed.
    pub(crate) key: String,
    pub(crate) lora: Arc<Lora>,
    pub(crate) weight: f64,
}

/// A ControlNet at work in a request.
#[derive(Clone, Debug)]
pub(crate) struct UsedControl {
    pub(crate) net: Arc<ControlNet>,
    pub(crate) wanted: ControlUse,
}

/// All that works beside the model in a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    pub(crate) loras: Vec<UsedLora>,
    pub(crate) controls: Vec<UsedControl>,
}

impl Beside {
    /// What changes one network of the model.
    pub(crate) fn adapters(&self, part: Part) -> Vec<Adapter> {
        let one = |used: &UsedLora| {
            used.lora.part(part).map(|deltas| Adapter { deltas: Arc::clone(deltas), weight: used.weight })
        };
        self.loras.iter().filter_map(one).collect()
    }
}

/// Where add-ons are found, and the model they must fit.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) name: &'a str,
    pub(super) model: &'a LoadedModel,
}

impl Addons {
    /// None yet. ControlNets may take half of what models may.
    pub(super) fn new(device: Device, models: ResidentLimits) -> Self {
        let controls = ResidentLimits { count: CONTROLS_COUNT, bytes: models.bytes / 2 };
        let (loras, controls) = (Residents::new(LORAS, BTreeMap::new()), Residents::new(controls, BTreeMap::new()));
        Self { device, loras, controls, started: Instant::now() }
    }

    /// Puts out what no request has named for this long; says whether anything went.
    pub(super) fn put_out_idle(&mut self, after: Duration) -> bool {
        let now = self.started.elapsed();
        let loras = self.loras.put_out_idle(after, now, in_use);
        let controls = self.controls.put_out_idle(after, now, in_use);
        !loras.is_empty() || !controls.is_empty()
    }

    /// Brings in what a request names. What has no weight is not even looked at.
    ///
    /// # Errors
    /// One that is unknown, unreadable, or made for another model.
    pub(super) fn gather(
        &mut self,
        ground: Ground<'_>,
        loras: &[LoraUse],
        controls: &[ControlUse],
        digests: &mut Digests,
    ) -> Result<Beside, PipelineError> {
        let mut beside = Beside::default();
        for wanted in loras.iter().filter(|wanted| wanted.weight != 0.0) {
            let entry = find(ground, ModelKind::Lora, &wanted.name)?;
            let (key, lora) =
                self.lora(ground, entry, digests).map_err(|source| unreadable(&wanted.name, source.into()))?;
            beside.loras.push(UsedLora { key, lora, weight: wanted.weight });
        }
        for wanted in controls.iter().filter(|wanted| wanted.weight != 0.0) {
            let entry = find(ground, ModelKind::Controlnet, &wanted.name)?;
            let net = self.control(entry, digests)?;
            let fits = net.config().fits(ground.model.unet.config());
            fits.map_err(|why| unreadable(&wanted.name, UnreadableFile::new(&entry.path, why).into()))?;
            beside.controls.push(UsedControl { net, wanted: wanted.clone() });
        }
        Ok(beside)
    }

    fn lora(
        &mut self,
        ground: Ground<'_>,
        entry: &Entry,
        digests: &mut Digests,
    ) -> Result<(String, Arc<Lora>), UnreadableFile> {
        // Read for one model: whether and where it fits depends on the model's layers.
        let key = format!("{} for {}", identity(&entry.path), ground.name);
        let asked = self.started.elapsed();
        if let Some(lora) = self.loras.touch(&key, asked) {
            return Ok((key, Arc::clone(lora)));
        }
        check_digests(entry, digests)?;
        let file = WeightFile::open(&entry.path)?;
        let lora = ground.model.read_lora(&file)?;
        let (lora, now) = (Arc::new(lora), self.started.elapsed());
        // One that finds no room is used and not kept.
        if self.loras.make_room(lora.bytes(), now, in_use).is_ok() {
            let cost = Cost { bytes: lora.bytes(), load: now.saturating_sub(asked) };
            self.loras.insert(key.clone(), cost, now, Arc::clone(&lora));
        }
        Ok((key, lora))
    }

    fn control(&mut self, entry: &Entry, digests: &mut Digests) -> Result<Arc<ControlNet>, PipelineError> {
        let name = &entry.card.name;
        let file = entry.path.join("diffusion_pytorch_model.safetensors");
        let key = identity(&file);
        let asked = self.started.elapsed();
        if let Some(net) = self.controls.touch(&key, asked) {
            return Ok(Arc::clone(net));
        }
        check_digests(entry, digests).map_err(|source| unreadable(name, source.into()))?;
        let config = ControlNetConfig::read(&entry.path.join("config.json"))
            .map_err(|source| unreadable(name, source.into()))?;
        let file = super::folder::open(&entry.path, "", "diffusion_pytorch_model")
            .map_err(|source| unreadable(name, source.into()))?;
        let bytes = file.fp32_bytes();
        self.controls.make_room(bytes, asked, in_use).map_err(|none| {
            PipelineError::OutOfMemory(match none {
                NoRoom::Ever { most } => format!(
                    "the ControlNet {name} needs {bytes} bytes, and this worker has {most} for them; raise \
                     --resident-bytes-max or give the job to a larger worker"
                ),
                NoRoom::Now => format!("the ControlNet {name} needs {bytes} bytes that others are drawn with"),
            })
        })?;
        let weights = Weights::new(Arc::new(file), self.device.clone());
        let net = Arc::new(ControlNet::read(&config, &weights).map_err(|error| unreadable(name, error))?);
        let now = self.started.elapsed();
        self.controls.insert(key, Cost { bytes, load: now.saturating_sub(asked) }, now, Arc::clone(&net));
        Ok(net)
    }
}

/// Whether a lane holds it as well.
fn in_use<T>(held: &Arc<T>) -> bool {
    Arc::strong_count(held) > 1
}

/// An add-on of this kind, of the model's own family.
fn find<'a>(ground: Ground<'a>, kind: ModelKind, name: &str) -> Result<&'a Entry, PipelineError> {
    let entry = ground.catalogue.find(kind, name).ok_or_else(|| PipelineError::UnknownModel(name.to_owned()))?;
    let model = ground.catalogue.checkpoint(ground.name).map(|model| model.card.family);
    match model {
        Some(family) if family != entry.card.family => {
            let (own, other) = (family_name(entry.card.family), family_name(family));
            let what = format!("is for {own}, and {} is of {other}", ground.name);
            Err(unreadable(name, UnreadableFile::new(&entry.path, what).into()))
        }
        Some(_) | None => Ok(entry),
    }
}

/// Hashes the files whose digests the card gives.
pub(super) fn check_digests(entry: &Entry, digests: &mut Digests) -> Result<(), UnreadableFile> {
    entry.digests.iter().try_for_each(|(path, wanted)| digests.check(path, wanted))
}

pub(super) fn unreadable(model: &str, error: BuildError) -> PipelineError {
    match error {
        BuildError::Unreadable(source) => PipelineError::Unreadable { model: model.to_owned(), source },
        BuildError::Device(error) => PipelineError::Device(error),
    }
}

/// A file's path with what changes when the file does.
fn identity(path: &Path) -> String {
    let metadata = std::fs::metadata(path).ok();
    let bytes = metadata.as_ref().map_or(0, std::fs::Metadata::len);
    let modified = metadata.and_then(|metadata| metadata.modified().ok());
    format!("{} ({bytes} bytes, {modified:?})", path.display())
}

fn family_name(family: ModelFamily) -> &'static str {
    match family {
        ModelFamily::Sd15 => "Stable Diffusion 1.x",
        ModelFamily::Sd2 => "Stable Diffusion 2.x",
        ModelFamily::Sdxl => "Stable Diffusion XL",
    }
}
