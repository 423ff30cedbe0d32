//! `unet/config.json` as diffusers writes it, checked for what this UNet does.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::weights::{LdmUNet, UnreadableFile};

/// Most blocks on a side: SD has 4. Bounds what a hostile config can ask for.
const BLOCKS_MAX: usize = 16;
/// Most layers of a block, or of a transformer: SDXL has 10.
const LAYERS_MAX: usize = 64;
/// Widest layer: SDXL has 1280.
const CHANNELS_MAX: usize = 1 << 16;
/// Most channels of a latent, with those of a mask and a hidden picture: inpainting has 9. A request's latents are as
/// many numbers, whatever the weights.
pub(super) const LATENT_CHANNELS_MAX: usize = 64;

/// A number for all blocks, or one for each.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Each {
    All(usize),
    One(Vec<usize>),
}

/// The file as it is written. Fields that are absent have diffusers' defaults; those not named change nothing here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Raw {
    in_channels: usize,
    out_channels: usize,
    center_input_sample: bool,
    flip_sin_to_cos: bool,
    freq_shift: f64,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    mid_block_type: Option<String>,
    block_out_channels: Vec<usize>,
    layers_per_block: Each,
    transformer_layers_per_block: Each,
    attention_head_dim: Each,
    num_attention_heads: Option<Each>,
    cross_attention_dim: Each,
    norm_num_groups: Option<usize>,
    norm_eps: f64,
    act_fn: String,
    downsample_padding: usize,
    time_embedding_dim: Option<usize>,
    time_embedding_type: String,
    resnet_time_scale_shift: String,
    mid_block_scale_factor: f64,
    resnet_out_scale_factor: f64,
    conv_in_kernel: usize,
    conv_out_kernel: usize,
    addition_embed_type: Option<String>,
    addition_time_embed_dim: Option<usize>,
    projection_class_embeddings_input_dim: Option<usize>,
    class_embed_type: Option<IgnoredAny>,
    encoder_hid_dim: Option<IgnoredAny>,
    num_class_embeds: Option<IgnoredAny>,
    time_cond_proj_dim: Option<IgnoredAny>,
    time_embedding_act_fn: Option<IgnoredAny>,
    timestep_post_act: Option<IgnoredAny>,
    reverse_transformer_layers_per_block: Option<IgnoredAny>,
    dual_cross_attention: bool,
    only_cross_attention: serde_json::Value,
}

impl Default for Raw {
    fn default() -> Self {
        let cross = || "CrossAttnDownBlock2D".to_owned();
        let cross_up = || "CrossAttnUpBlock2D".to_owned();
        Self {
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: vec![cross(), cross(), cross(), "DownBlock2D".to_owned()],
            up_block_types: vec!["UpBlock2D".to_owned(), cross_up(), cross_up(), cross_up()],
            mid_block_type: Some(MID_BLOCK.to_owned()),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: Each::All(2),
            transformer_layers_per_block: Each::All(1),
            attention_head_dim: Each::All(8),
            num_attention_heads: None,
            cross_attention_dim: Each::All(1280),
            norm_num_groups: Some(32),
            norm_eps: 1e-5,
            act_fn: "silu".to_owned(),
            downsample_padding: 1,
            time_embedding_dim: None,
            time_embedding_type: "positional".to_owned(),
            resnet_time_scale_shift: "default".to_owned(),
            mid_block_scale_factor: 1.0,
            resnet_out_scale_factor: 1.0,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            class_embed_type: None,
            encoder_hid_dim: None,
            num_class_embeds: None,
            time_cond_proj_dim: None,
            time_embedding_act_fn: None,
            timestep_post_act: None,
            reverse_transformer_layers_per_block: None,
            dual_cross_attention: false,
            only_cross_attention: serde_json::Value::Bool(false),
        }
    }
}

const MID_BLOCK: &str = "UNetMidBlock2DCrossAttn";

/// One side block, from the wide end of the picture to the narrow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockConfig {
    pub(crate) channels: usize,
    /// Residual layers on the way down; one more on the way up.
    pub(crate) layers: usize,
    pub(crate) down_attends: bool,
    pub(crate) heads: usize,
    pub(crate) context: usize,
    pub(crate) transformer_layers: usize,
}

/// What SDXL's UNet is told beside the prompt (`text_time`): a pooled vector and six numbers about sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedConfig {
    /// Width of the pooled vector.
    pub pooled: usize,
    /// Width each number's sines are given.
    pub number: usize,
}

/// Numbers about sizes that SDXL's UNet is told: original height and width, top and left crop, target height and width.
pub const SIZES: usize = 6;
/// SDXL's kind of added conditions.
const TEXT_TIME: &str = "text_time";

/// What a UNet is, but for its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct UNetConfig {
    /// Channels of the latent.
    pub in_channels: usize,
    /// Channels of the answer.
    pub out_channels: usize,
    pub(crate) center_input: bool,
    pub(crate) cosine_first: bool,
    pub(crate) freq_shift: f64,
    pub(crate) time_channels: usize,
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    /// Conditions beside the prompt, in SDXL.
    pub added: Option<AddedConfig>,
    pub(crate) blocks: Vec<BlockConfig>,
    /// Whether each block attends on the way up, from the narrow end to the wide one.
    pub(crate) up_attends: Vec<bool>,
}

impl UNetConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A file that is missing, is not JSON, contradicts itself, or asks for a part this worker has not got.
    pub fn read(path: &Path) -> Result<Self, UnreadableFile> {
        Self::parse(path, crate::weights::read_json(path)?)
    }

    /// As [`Self::read`], of what such a file says; `path` is named in errors.
    pub(crate) fn parse(path: &Path, json: serde_json::Value) -> Result<Self, UnreadableFile> {
        let raw: Raw = serde_json::from_value(json)
            .map_err(|error| UnreadableFile::new(path, format!("is not the JSON it should be: {error}")))?;
        check(&raw).and_then(|()| settle(&raw)).map_err(|what| UnreadableFile::new(path, what))
    }

    /// Reads the `config.json` of a network that has only a UNet's way down: a ControlNet.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_encoder(path: &Path) -> Result<Self, UnreadableFile> {
        let mut raw: Raw = crate::weights::read_json(path)?;
        raw.up_block_types = vec!["UpBlock2D".to_owned(); raw.down_block_types.len()];
        check(&raw).and_then(|()| settle(&raw)).map_err(|what| UnreadableFile::new(path, what))
    }

    /// How the old code numbers the blocks.
    pub fn ldm(&self) -> LdmUNet {
        LdmUNet { layers: self.blocks.iter().map(|block| block.layers).collect(), up_attends: self.up_attends.clone() }
    }

    /// Width of the prompt's vectors.
    pub fn context_channels(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.context)
    }

    /// How many times the latent is halved on the way down.
    pub fn halvings(&self) -> usize {
        self.blocks.len() - 1
    }
}

fn check(raw: &Raw) -> Result<(), String> {
    let absent = [
        ("class_embed_type", &raw.class_embed_type),
        ("encoder_hid_dim", &raw.encoder_hid_dim),
        ("num_class_embeds", &raw.num_class_embeds),
        ("time_cond_proj_dim", &raw.time_cond_proj_dim),
        ("time_embedding_act_fn", &raw.time_embedding_act_fn),
        ("timestep_post_act", &raw.timestep_post_act),
        ("reverse_transformer_layers_per_block", &raw.reverse_transformer_layers_per_block),
    ];
    if let Some((name, _)) = absent.iter().find(|(_, value)| value.is_some()) {
        return Err(format!(
            "sets {name}: this worker reads the UNets of Stable Diffusion 1.x and XL, which have none"
        ));
    }
    let plain = [
        ("act_fn", raw.act_fn == "silu" || raw.act_fn == "swish"),
        ("time_embedding_type", raw.time_embedding_type == "positional"),
        ("resnet_time_scale_shift", raw.resnet_time_scale_shift == "default"),
        ("mid_block_type", raw.mid_block_type.as_deref() == Some(MID_BLOCK)),
        ("mid_block_scale_factor", (raw.mid_block_scale_factor - 1.0).abs() < f64::EPSILON),
        ("resnet_out_scale_factor", (raw.resnet_out_scale_factor - 1.0).abs() < f64::EPSILON),
        ("conv_in_kernel", raw.conv_in_kernel == 3),
        ("conv_out_kernel", raw.conv_out_kernel == 3),
        ("downsample_padding", raw.downsample_padding == 1),
        ("dual_cross_attention", !raw.dual_cross_attention),
        ("only_cross_attention", never(&raw.only_cross_attention)),
        ("norm_eps", raw.norm_eps > 0.0 && raw.norm_eps < 1.0),
        // Taken from half the first block's channels, and what is left is divided by.
        ("freq_shift", (0.0..=1.0).contains(&raw.freq_shift)),
    ];
    if let Some((name, _)) = plain.iter().find(|(_, good)| !good) {
        return Err(format!("has a {name} this worker does not do"));
    }
    let blocks = raw.block_out_channels.len();
    if blocks == 0 || blocks > BLOCKS_MAX || raw.down_block_types.len() != blocks || raw.up_block_types.len() != blocks
    {
        return Err("does not have as many block types, down and up, as block_out_channels".to_owned());
    }
    let sizes = [raw.time_embedding_dim.unwrap_or(1), raw.norm_num_groups.unwrap_or(1)];
    if raw.block_out_channels.iter().chain(&sizes).any(|size| *size == 0 || *size > CHANNELS_MAX) {
        return Err("has a number of channels, or of norm groups, out of bounds".to_owned());
    }
    if [raw.in_channels, raw.out_channels].iter().any(|size| *size == 0 || *size > LATENT_CHANNELS_MAX) {
        return Err("has in_channels or out_channels out of bounds".to_owned());
    }
    if raw.block_out_channels[0] < 4 {
        return Err("has too few channels in its first block for the time's sines".to_owned());
    }
    Ok(())
}

fn settle(raw: &Raw) -> Result<UNetConfig, String> {
    let count = raw.block_out_channels.len();
    // Diffusers' own slip, kept for the sake of published files: `attention_head_dim` is the number of heads.
    let heads = each(raw.num_attention_heads.as_ref().unwrap_or(&raw.attention_head_dim), count, "attention_head_dim")?;
    let context = each(&raw.cross_attention_dim, count, "cross_attention_dim")?;
    let layers = each(&raw.layers_per_block, count, "layers_per_block")?;
    let transformer = each(&raw.transformer_layers_per_block, count, "transformer_layers_per_block")?;
    if layers.iter().chain(&transformer).any(|layers| *layers == 0 || *layers > LAYERS_MAX) {
        return Err("has a number of layers out of bounds".to_owned());
    }
    if context.iter().chain(&heads).any(|size| *size == 0 || *size > CHANNELS_MAX) {
        return Err("has a cross_attention_dim or a number of heads out of bounds".to_owned());
    }
    let down_attends = attends(&raw.down_block_types, "DownBlock2D", "CrossAttnDownBlock2D")?;
    let blocks = (0..count)
        .map(|index| BlockConfig {
            channels: raw.block_out_channels[index],
            layers: layers[index],
            down_attends: down_attends[index],
            heads: heads[index],
            context: context[index],
            transformer_layers: transformer[index],
        })
        .collect();
    Ok(UNetConfig {
        in_channels: raw.in_channels,
        out_channels: raw.out_channels,
        center_input: raw.center_input_sample,
        cosine_first: raw.flip_sin_to_cos,
        freq_shift: raw.freq_shift,
        time_channels: raw.time_embedding_dim.unwrap_or(raw.block_out_channels[0] * 4),
        groups: raw.norm_num_groups.ok_or("has no norm_num_groups")?,
        eps: raw.norm_eps,
        added: added(raw)?,
        blocks,
        up_attends: attends(&raw.up_block_types, "UpBlock2D", "CrossAttnUpBlock2D")?,
    })
}

fn added(raw: &Raw) -> Result<Option<AddedConfig>, String> {
    let Some(kind) = &raw.addition_embed_type else { return Ok(None) };
    if kind != TEXT_TIME {
        return Err(format!("has an addition_embed_type {kind}; only {TEXT_TIME}, SDXL's, is known"));
    }
    let number = raw.addition_time_embed_dim.filter(|size| (1..=CHANNELS_MAX).contains(size));
    let total = raw.projection_class_embeddings_input_dim.filter(|size| *size <= CHANNELS_MAX);
    let (Some(number), Some(total)) = (number, total) else {
        return Err("lacks an addition_time_embed_dim or projection_class_embeddings_input_dim in bounds".to_owned());
    };
    match total.checked_sub(SIZES * number) {
        Some(pooled) if pooled > 0 => Ok(Some(AddedConfig { pooled, number })),
        Some(_) | None => {
            Err("leaves no room for the pooled prompt in projection_class_embeddings_input_dim".to_owned())
        }
    }
}

fn each(value: &Each, count: usize, name: &str) -> Result<Vec<usize>, String> {
    match value {
        Each::All(value) => Ok(vec![*value; count]),
        Each::One(values) if values.len() == count => Ok(values.clone()),
        Each::One(values) => Err(format!("has {} values of {name} for {count} blocks", values.len())),
    }
}

fn attends(types: &[String], plain: &str, cross: &str) -> Result<Vec<bool>, String> {
    types
        .iter()
        .map(|name| match name.as_str() {
            name if name == plain => Ok(false),
            name if name == cross => Ok(true),
            name => Err(format!("has a block of type {name}; only {plain} and {cross} are known")),
        })
        .collect()
}

fn never(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Bool(set) => !set,
        serde_json::Value::Array(values) => values.iter().all(never),
        serde_json::Value::Number(_) | serde_json::Value::String(_) | serde_json::Value::Object(_) => false,
    }
}
