//! LoRAs and ControlNets a request names beside its model: found, checked against the model, kept in memory while there
//! is room.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use tintype_types::{ControlUse, ModelFamily, ModelKind, ResolvedRequest};

use super::memory::{Held, Memory, Room};
use super::{LoadedModel, PipelineError};
use crate::cache::{Cost, Need};
use crate::catalogue::{Catalogue, Entry};
use crate::models::BuildError;
use crate::models::adapters::Adapter;
use crate::models::controlnet::{ControlNet, ControlNetConfig};
use crate::weights::{Digests, Fingerprint, Lora, Part, UnreadableFile, WeightFile, Weights};

/// A LoRA at work in a request.
#[derive(Clone, Debug)]
pub(crate) struct UsedLora {
    pub(crate) lora: Arc<Lora>,
    pub(crate) weight: f64,
}

/// A ControlNet at work in a request.
#[derive(Clone, Debug)]
pub(crate) struct UsedControl {
    pub(crate) net: Arc<ControlNet>,
    /// What tells its weights from others.
    pub(crate) weights: Fingerprint,
    pub(crate) wanted: ControlUse,
}

/// All that works beside the model in a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    pub(crate) loras: Vec<UsedLora>,
    pub(crate) controls: Vec<UsedControl>,
}

impl Beside {
    /// What tells the weights that work in a request from others: the model's and those of all that is beside it.
    pub(crate) fn fingerprint(&self, model: Fingerprint) -> String {
        let mut hash = Sha256::new();
        hash.update(model);
        for (kind, weights) in self
            .loras
            .iter()
            .map(|used| (0, used.lora.fingerprint()))
            .chain(self.controls.iter().map(|used| (1, used.weights)))
        {
            hash.update([kind]);
            hash.update(weights);
        }
        hex::encode(hash.finalize())
    }

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

/// Brings in what a request names. What has no weight is not even looked at.
///
/// # Errors
/// One that is unknown, unreadable, or made for another model, or that there is no room for.
pub(super) fn gather(
    memory: &mut Memory,
    ground: Ground<'_>,
    request: &ResolvedRequest,
    digests: &mut Digests,
) -> Result<Beside, PipelineError> {
    let mut beside = Beside::default();
    for wanted in request.loras.iter().filter(|wanted| wanted.weight != 0.0) {
        let entry = find(ground, ModelKind::Lora, &wanted.name)?;
        let lora = lora(memory, ground, entry, digests)?;
        beside.loras.push(UsedLora { lora, weight: wanted.weight });
    }
    for wanted in request.controls.iter().filter(|wanted| wanted.weight != 0.0) {
        let entry = find(ground, ModelKind::Controlnet, &wanted.name)?;
        let (net, weights) = control(memory, ground, entry, digests)?;
        let fits = net.config().fits(ground.model.unet.config());
        fits.map_err(|why| unreadable(&wanted.name, UnreadableFile::new(&entry.path, why).into()))?;
        beside.controls.push(UsedControl { net, weights, wanted: wanted.clone() });
    }
    Ok(beside)
}

fn lora(
    memory: &mut Memory,
    ground: Ground<'_>,
    entry: &Entry,
    digests: &mut Digests,
) -> Result<Arc<Lora>, PipelineError> {
    // Read for one model: whether and where it fits depends on the model's layers.
    let key = Memory::addon("lora", &format!("{} for {}", identity(&entry.path), ground.name));
    if let Some(lora) = memory.lora(&key) {
        return Ok(Arc::clone(lora));
    }
    let asked = Instant::now();
    let name = &entry.card.name;
    let unread = |source: UnreadableFile| unreadable(name, source.into());
    check_digests(entry, digests).map_err(unread)?;
    let file = WeightFile::open(&entry.path).map_err(unread)?;
    let need = Need { bytes: file.fp32_bytes(), heads: 0 };
    memory.make_room(&format!("the LoRA {name}"), need, &Room::ByValue)?;
    let lora = Arc::new(ground.model.read_lora(&file).map_err(unread)?);
    memory.keep(key, Cost { need, load: asked.elapsed() }, Held::Lora(Arc::clone(&lora)));
    Ok(lora)
}

fn control(
    memory: &mut Memory,
    ground: Ground<'_>,
    entry: &Entry,
    digests: &mut Digests,
) -> Result<(Arc<ControlNet>, Fingerprint), PipelineError> {
    let name = &entry.card.name;
    let key = Memory::addon("ControlNet", &identity(&entry.path.join("diffusion_pytorch_model.safetensors")));
    if let Some((net, weights)) = memory.control(&key) {
        return Ok((Arc::clone(net), weights));
    }
    let asked = Instant::now();
    let unread = |source: UnreadableFile| unreadable(name, source.into());
    check_digests(entry, digests).map_err(unread)?;
    let config = ControlNetConfig::read(&entry.path.join("config.json")).map_err(unread)?;
    let file = super::folder::open(&entry.path, "", "diffusion_pytorch_model").map_err(unread)?;
    let need = Need { bytes: file.fp32_bytes(), heads: 0 };
    memory.make_room(&format!("the ControlNet {name}"), need, &Room::ByValue)?;
    let fingerprint = file.fingerprint().map_err(unread)?;
    let weights = Weights::new(Arc::new(file), ground.model.device.clone());
    let net = Arc::new(ControlNet::read(&config, &weights).map_err(|error| unreadable(name, error))?);
    memory.keep(key, Cost { need, load: asked.elapsed() }, Held::Control(Arc::clone(&net), fingerprint));
    Ok((net, fingerprint))
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
        BuildError::Unreadable(file) => PipelineError::Unreadable { model: model.to_owned(), file },
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
