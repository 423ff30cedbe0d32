//! Which layer a tensor of a LoRA file belongs to. Two ways of naming are in use: PEFT's, with dots, which diffusers
//! writes, and kohya's, with underscores, which for SDXL's UNet uses the numbering of the old `ldm` code.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{LayerName, LayerShape, Layers, LdmUNet};

/// Endings of tensors' names, and what the tensor is.
const ENDINGS: [(&str, Role); 11] = [
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".alpha", Role::Alpha),
];

/// A network of a model that LoRAs change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The denoiser.
    UNet,
    /// The text encoder, or SDXL's first.
    Text,
    /// SDXL's second text encoder.
    Text2,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::UNet, Self::Text, Self::Text2];

    /// Its folder in a diffusers folder, and the first word of its tensors' names in PEFT's naming.
    pub fn folder(self) -> &'static str {
        match self {
            Self::UNet => "unet",
            Self::Text => "text_encoder",
            Self::Text2 => "text_encoder_2",
        }
    }

    /// How its tensors' names begin in kohya's naming.
    fn kohya(self) -> &'static [&'static str] {
        match self {
            Self::UNet => &["lora_unet_"],
            Self::Text => &["lora_te_text_model_", "lora_te1_text_model_"],
            Self::Text2 => &["lora_te2_text_model_"],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder())
    }
}

/// A network as LoRAs see it.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// Which it is.
    pub part: Part,
    /// Its layers.
    pub layers: &'a Layers,
    /// How the old code numbers its blocks, for a UNet.
    pub ldm: Option<&'a LdmUNet>,
}

/// What a tensor of a LoRA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// From the layer's input down to the rank.
    Down,
    /// From the rank up to the layer's output.
    Up,
    /// The number its product is scaled with, times the rank.
    Alpha,
}

/// A layer of one of the networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) part: Part,
    pub(super) layer: LayerName,
    pub(super) shape: LayerShape,
}

/// A tensor's name without its ending, and what the ending says; none for an ending that is not known.
pub(super) fn split(name: &str) -> Option<(&str, Role)> {
    ENDINGS.iter().find_map(|(ending, role)| Some((name.strip_suffix(ending)?, *role)))
}

/// Every way each layer may be called.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<String, Site>);

impl Names {
    pub(super) fn new(networks: &[Network<'_>]) -> Self {
        let mut names = Self::default();
        for Network { part, layers, ldm } in networks {
            for (layer, shape) in *layers {
                let site = Site { part: *part, layer: Arc::clone(layer), shape: *shape };
                names.add(&site, *ldm);
            }
        }
        names
    }

    /// The layer meant by a tensor's name without its ending.
    pub(super) fn find(&self, stem: &str) -> Option<&Site> {
        self.0.get(stem)
    }

    fn add(&mut self, site: &Site, ldm: Option<&LdmUNet>) {
        let (layer, folder) = (&site.layer, site.part.folder());
        let mut put = |name: String| self.0.insert(name, site.clone());
        put(format!("{folder}.{layer}"));
        for prefix in site.part.kohya() {
            put(format!("{prefix}{}", layer.replace('.', "_")));
            if let Some(old) = ldm.and_then(|ldm| ldm.name(layer)) {
                put(format!("{prefix}{}", old.replace('.', "_")));
            }
        }
        match site.part {
            // A UNet saved on its own has no first word.
            Part::UNet => put(layer.to_string()),
            // The `text_model` around the encoder comes and goes with transformers' versions.
            Part::Text | Part::Text2 => put(format!("{folder}.text_model.{layer}")),
        };
    }
}
