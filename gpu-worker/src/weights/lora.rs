//! LoRAs (Hu et al., 2021): for some layers of a model, a change of low rank, `up (down x)`, that is added to what the
//! layer makes. They are kept as they are; the model's own weights are never copied or changed.
//!
//! Every tensor of a file must fit a layer of the model. One that does not means a LoRA for another model or of another
//! kind, and half a LoRA makes pictures nobody asked for, so the file is refused with that tensor named.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use serde::Deserialize;

use super::lora_names::{Names, Role, Site, split};
use super::{Fingerprint, LayerName, LayerShape, Network, Part, UnreadableFile, WeightFile};

/// Most bytes of a LoRA in memory, as fp32. One of rank 128 for all of SDXL takes 1.6 GB.
const LORA_BYTES_MAX: u64 = 4 << 30;
/// Most bytes of the settings a file's header may carry.
const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// Where diffusers keeps the settings a LoRA was trained with.
const SETTINGS: &str = "lora_adapter_metadata";

/// The change of one layer.
#[derive(Clone, Debug)]
pub struct Delta {
    /// (rank, in) for a linear layer, (rank, in, side, side) for a convolution.
    pub down: Tensor,
    /// (out, rank) for a linear layer, (out, rank, 1, 1) for a convolution.
    pub up: Tensor,
    /// What the product is multiplied with: alpha divided by the rank.
    pub scale: f64,
}

/// The changes of one network, by layer.
pub type Deltas = BTreeMap<LayerName, Delta>;

/// A LoRA read for one model.
#[derive(Clone, Debug, Default)]
pub struct Lora {
    parts: BTreeMap<Part, std::sync::Arc<Deltas>>,
    bytes: u64,
    fingerprint: Fingerprint,
}

/// The tensors of one layer, by name, until all are seen.
#[derive(Debug)]
struct Found {
    site: Site,
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

impl Lora {
    /// Reads a file for a model with these networks.
    ///
    /// # Errors
    /// A tensor that fits no layer, by name or by shape, or that cannot be read.
    pub fn read(file: &WeightFile, networks: &[Network<'_>], device: &Device) -> Result<Self, UnreadableFile> {
        let wrong = |what: String| UnreadableFile::new(file.path(), what);
        let bytes = file.fp32_bytes();
        if bytes > LORA_BYTES_MAX {
            return Err(wrong(format!("would take {bytes} bytes of memory; a LoRA may take {LORA_BYTES_MAX}")));
        }
        let settings = settings(file)?;
        let shapes = file.shapes();
        let mut parts: BTreeMap<Part, Deltas> = BTreeMap::new();
        for Found { site, down, up, alpha } in find(file, networks, &shapes)? {
            let (down, up) = match (down, up) {
                (Some(down), Some(up)) => (down, up),
                (Some(one), None) | (None, Some(one)) => {
                    return Err(wrong(format!("holds {one} without its other half")));
                }
                (None, None) => return Err(wrong(format!("holds an alpha for {} and nothing else", site.layer))),
            };
            let rank = rank(file, &site, (&down, &shapes[&down]), (&up, &shapes[&up]))?;
            let (down_shape, up_shape) = wanted(site.shape, rank);
            let scale = match alpha {
                Some(name) => alpha_of(file, &name, &shapes[&name])? / rank as f64,
                None => settings.scale(site.part, &site.layer, rank),
            };
            let delta = Delta {
                down: file.tensor(&down, &down_shape, device)?,
                up: file.tensor(&up, &up_shape, device)?,
                scale,
            };
            parts.entry(site.part).or_default().insert(site.layer, delta);
        }
        if parts.is_empty() {
            return Err(wrong("holds no tensors: it is no LoRA".to_owned()));
        }
        let parts = parts.into_iter().map(|(part, deltas)| (part, deltas.into())).collect();
        Ok(Self { parts, bytes, fingerprint: file.fingerprint()? })
    }

    /// What it changes of one network, if anything.
    pub fn part(&self, part: Part) -> Option<&std::sync::Arc<Deltas>> {
        self.parts.get(&part)
    }

    /// What tells its weights from others.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether somebody draws with a part of it.
    pub fn is_applied(&self) -> bool {
        self.parts.values().any(|deltas| std::sync::Arc::strong_count(deltas) > 1)
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Gathers the tensors of each layer.
fn find(
    file: &WeightFile,
    networks: &[Network<'_>],
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<Vec<Found>, UnreadableFile> {
    let wrong = |what: String| UnreadableFile::new(file.path(), what);
    let names = Names::new(networks);
    let mut found: BTreeMap<(Part, LayerName), Found> = BTreeMap::new();
    for name in shapes.keys() {
        let Some((stem, role)) = split(name) else {
            return Err(wrong(format!(
                "holds {name}, which is no part of a plain LoRA; LoHa, LoKr, DoRA and the like are not done"
            )));
        };
        let Some(site) = names.find(stem) else {
            return Err(wrong(format!("holds {name}, which fits no layer of this model: it was made for another")));
        };
        let key = (site.part, LayerName::clone(&site.layer));
        let entry = found.entry(key).or_insert_with(|| Found { site: site.clone(), down: None, up: None, alpha: None });
        let place = match role {
            Role::Down => &mut entry.down,
            Role::Up => &mut entry.up,
            Role::Alpha => &mut entry.alpha,
        };
        if let Some(other) = place.replace(name.clone()) {
            return Err(wrong(format!("holds both {other} and {name}, which mean the same")));
        }
    }
    Ok(found.into_values().collect())
}

/// The rank both halves agree on.
fn rank(
    file: &WeightFile,
    site: &Site,
    (down, down_shape): (&str, &[usize]),
    (up, up_shape): (&str, &[usize]),
) -> Result<usize, UnreadableFile> {
    let rank = down_shape.first().copied().unwrap_or(0);
    let LayerShape { inner, outer, side } = site.shape;
    let (want_down, want_up) = (vec![rank, inner, side, side], vec![outer, rank, 1, 1]);
    for (name, shape, want) in [(down, down_shape, &want_down), (up, up_shape, &want_up)] {
        let padded: Vec<usize> = shape.iter().copied().chain(std::iter::repeat(1)).take(4).collect();
        if rank == 0 || shape.len() > 4 || padded != *want {
            return Err(UnreadableFile::new(
                file.path(),
                format!(
                    "holds {name} with the shape {shape:?}, and {} of this model's {} maps {inner} channels to {outer} \
                     (kernel {side}): it was made for another",
                    site.layer, site.part
                ),
            ));
        }
    }
    Ok(rank)
}

/// Shapes of both halves as they are used: matrices, but for a convolution that looks at more than one pixel.
fn wanted(shape: LayerShape, rank: usize) -> (Vec<usize>, Vec<usize>) {
    let LayerShape { inner, outer, side } = shape;
    if side == 1 {
        (vec![rank, inner], vec![outer, rank])
    } else {
        (vec![rank, inner, side, side], vec![outer, rank, 1, 1])
    }
}

fn alpha_of(file: &WeightFile, name: &str, shape: &[usize]) -> Result<f64, UnreadableFile> {
    let wrong = |what: String| UnreadableFile::new(file.path(), what);
    if shape.iter().product::<usize>() != 1 {
        return Err(wrong(format!("holds {name} with the shape {shape:?}; an alpha is one number")));
    }
    let values = file.tensor(name, shape, &Device::Cpu)?.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
    match values.as_deref() {
        Ok([alpha]) if alpha.is_finite() => Ok(f64::from(*alpha)),
        _ => Err(wrong(format!("holds {name}, an alpha that is no number"))),
    }
}

/// What the trainer wrote beside the tensors, a part's name before each key.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Settings(BTreeMap<String, serde_json::Value>);

fn settings(file: &WeightFile) -> Result<Settings, UnreadableFile> {
    let Some(text) = file.note(SETTINGS) else { return Ok(Settings::default()) };
    let wrong = |what: String| UnreadableFile::new(file.path(), what);
    if text.len() > SETTINGS_BYTES_MAX {
        return Err(wrong(format!("has a {SETTINGS} of {} bytes", text.len())));
    }
    let settings: Settings =
        serde_json::from_str(text).map_err(|error| wrong(format!("has a {SETTINGS} that cannot be read: {error}")))?;
    for part in Part::ALL {
        if settings.get(part, "use_dora").and_then(serde_json::Value::as_bool) == Some(true) {
            return Err(wrong("is a DoRA, which is not done; plain LoRA is".to_owned()));
        }
    }
    Ok(settings)
}

impl Settings {
    fn get(&self, part: Part, key: &str) -> Option<&serde_json::Value> {
        self.0.get(&format!("{part}.{key}"))
    }

    /// Alpha over rank as PEFT has it: an alpha of its own for a layer, or one for all, or as much as the rank.
    fn scale(&self, part: Part, layer: &str, rank: usize) -> f64 {
        let own = self.get(part, "alpha_pattern").and_then(serde_json::Value::as_object).and_then(|patterns| {
            let fits =
                |pattern: &str| layer.strip_suffix(pattern).is_some_and(|left| left.is_empty() || left.ends_with('.'));
            patterns.iter().find(|(pattern, _)| fits(pattern)).and_then(|(_, alpha)| alpha.as_f64())
        });
        let all = || self.get(part, "lora_alpha").and_then(serde_json::Value::as_f64);
        let Some(alpha) = own.or_else(all) else { return 1.0 };
        let rank = rank as f64;
        let by_root = self.get(part, "use_rslora").and_then(serde_json::Value::as_bool) == Some(true);
        alpha / if by_root { rank.sqrt() } else { rank }
    }
}
