//! Single-file checkpoints: where each tensor of each network is, by its diffusers name. Such files have the names of the
//! `ldm` code they were first written by, and of OpenCLIP, which holds query, key and value in one matrix.

use candle_core::{Device, Result, Tensor};

use super::{LdmUNet, UnreadableFile, WeightFile};

/// Where the UNet is.
const UNET: &str = "model.diffusion_model.";
/// Where the autoencoder is.
const VAE: &str = "first_stage_model.";

/// How the tensors of one network are named in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// As diffusers names them.
    #[default]
    Diffusers,
    /// A UNet in a single file.
    UNet(LdmUNet),
    /// An autoencoder of so many blocks in a single file.
    Vae {
        /// Blocks on each side.
        blocks: usize,
    },
    /// A text encoder with its own names, below others.
    Clip {
        /// What stands before them.
        prefix: &'static str,
    },
    /// A text encoder as OpenCLIP has it.
    OpenClip {
        /// What stands before its names.
        prefix: &'static str,
    },
}

/// Where a tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The tensor that holds it.
    pub name: String,
    /// What of it.
    pub piece: Piece,
}

/// A part of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All of it.
    Whole,
    /// One third of its rows.
    Third(usize),
    /// Rows and columns changed over.
    Turned,
}

impl Naming {
    /// Where a tensor of this diffusers name is; none for one such files have not got.
    pub fn stored(&self, name: &str) -> Option<Stored> {
        let whole = |name: String| Stored { name, piece: Piece::Whole };
        match self {
            Self::Diffusers => Some(whole(name.to_owned())),
            Self::UNet(ldm) => ldm.name(name).map(|name| whole(format!("{UNET}{name}"))),
            Self::Vae { blocks } => vae(name, *blocks).map(|name| whole(format!("{VAE}{name}"))),
            Self::Clip { prefix } => Some(whole(format!("{prefix}{name}"))),
            Self::OpenClip { prefix } => {
                open_clip(name).map(|(name, piece)| Stored { name: format!("{prefix}{name}"), piece })
            }
        }
    }
}

impl Stored {
    pub(super) fn is_in(&self, file: &WeightFile) -> bool {
        file.has(&self.name)
    }

    /// Reads it; it must come to this shape.
    pub(super) fn read(
        &self,
        file: &WeightFile,
        shape: &[usize],
        device: &Device,
    ) -> std::result::Result<Tensor, UnreadableFile> {
        let wrong = |error: candle_core::Error| {
            UnreadableFile::new(file.path(), format!("holds a {} that cannot be loaded: {error}", self.name))
        };
        match (self.piece, shape) {
            (Piece::Third(which), [rows, rest @ ..]) => {
                let all: Vec<usize> = std::iter::once(rows * 3).chain(rest.iter().copied()).collect();
                let tensor = file.tensor(&self.name, &all, device)?;
                // A copy of its own, or the other thirds would stay in memory with it.
                tensor.narrow(0, which * rows, *rows).and_then(|third| third.copy()).map_err(wrong)
            }
            (Piece::Turned, [rows, columns]) => {
                let turn = |tensor: Tensor| -> Result<Tensor> { tensor.t()?.contiguous() };
                turn(file.tensor(&self.name, &[*columns, *rows], device)?).map_err(wrong)
            }
            (Piece::Whole | Piece::Third(_) | Piece::Turned, _) => file.tensor(&self.name, shape, device),
        }
    }
}

fn vae(name: &str, blocks: usize) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let (half, rest) = match parts.as_slice() {
        [half @ ("encoder" | "decoder"), rest @ ..] => (*half, rest),
        ["quant_conv" | "post_quant_conv", ..] => return Some(name.to_owned()),
        _ => return None,
    };
    let place = match rest {
        [end @ ("conv_in" | "conv_out"), leaf] => format!("{end}.{leaf}"),
        ["conv_norm_out", leaf] => format!("norm_out.{leaf}"),
        ["mid_block", "resnets", index, rest @ ..] => {
            format!("mid.block_{}.{}", index.parse::<usize>().ok()? + 1, vae_resnet(rest)?)
        }
        ["mid_block", "attentions", "0", rest @ .., leaf] => {
            let own = match rest {
                ["group_norm"] => "norm",
                ["to_q" | "query"] => "q",
                ["to_k" | "key"] => "k",
                ["to_v" | "value"] => "v",
                ["to_out", "0"] | ["proj_attn"] => "proj_out",
                _ => return None,
            };
            format!("mid.attn_1.{own}.{leaf}")
        }
        [side @ ("down_blocks" | "up_blocks"), block, kind, layer, rest @ ..] => {
            let block = block.parse::<usize>().ok().filter(|block| *block < blocks)?;
            // On the way up blocks are counted from the wide end too.
            let (side, block) = if *side == "down_blocks" { ("down", block) } else { ("up", blocks - 1 - block) };
            match (*kind, rest) {
                ("resnets", rest) => format!("{side}.{block}.block.{layer}.{}", vae_resnet(rest)?),
                ("downsamplers", ["conv", leaf]) => format!("{side}.{block}.downsample.conv.{leaf}"),
                ("upsamplers", ["conv", leaf]) => format!("{side}.{block}.upsample.conv.{leaf}"),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(format!("{half}.{place}"))
}

fn vae_resnet(rest: &[&str]) -> Option<String> {
    match rest {
        ["conv_shortcut", leaf] => Some(format!("nin_shortcut.{leaf}")),
        [layer @ ("norm1" | "conv1" | "norm2" | "conv2"), leaf] => Some(format!("{layer}.{leaf}")),
        _ => None,
    }
}

fn open_clip(name: &str) -> Option<(String, Piece)> {
    let whole = |name: &str| Some((name.to_owned(), Piece::Whole));
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["text_projection", "weight"] => Some(("text_projection".to_owned(), Piece::Turned)),
        ["text_model", "embeddings", "token_embedding", "weight"] => whole("token_embedding.weight"),
        ["text_model", "embeddings", "position_embedding", "weight"] => whole("positional_embedding"),
        ["text_model", "final_layer_norm", leaf] => whole(&format!("ln_final.{leaf}")),
        ["text_model", "encoder", "layers", layer, rest @ .., leaf] => {
            let place = format!("transformer.resblocks.{layer}");
            let third = |which| Some((format!("{place}.attn.in_proj_{leaf}"), Piece::Third(which)));
            match rest {
                ["layer_norm1"] => whole(&format!("{place}.ln_1.{leaf}")),
                ["layer_norm2"] => whole(&format!("{place}.ln_2.{leaf}")),
                ["mlp", "fc1"] => whole(&format!("{place}.mlp.c_fc.{leaf}")),
                ["mlp", "fc2"] => whole(&format!("{place}.mlp.c_proj.{leaf}")),
                ["self_attn", "q_proj"] => third(0),
                ["self_attn", "k_proj"] => third(1),
                ["self_attn", "v_proj"] => third(2),
                ["self_attn", "out_proj"] => whole(&format!("{place}.attn.out_proj.{leaf}")),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `part: diffusers name = stored name`, as diffusers converts single files.
    const NAMES: &str = include_str!("../../tests/fixtures/ldm_names.txt");

    #[test]
    fn every_name_is_the_one_diffusers_converts() {
        for line in NAMES.lines() {
            let (part, names) = line.split_once(": ").unwrap();
            let (ours, theirs) = names.split_once(" = ").unwrap();
            let (naming, prefix) = match part {
                "unet" => (Naming::UNet(LdmUNet { layers: vec![1, 1], up_attends: vec![false, true] }), UNET),
                "vae" => (Naming::Vae { blocks: 2 }, VAE),
                _ => (Naming::OpenClip { prefix: "x." }, "x."),
            };
            let (theirs, piece) = match theirs.split_once('/') {
                Some((name, "t")) => (name, Piece::Turned),
                Some((name, which)) => (name, Piece::Third(which.parse().unwrap())),
                None => (theirs, Piece::Whole),
            };
            let stored = Stored { name: format!("{prefix}{theirs}"), piece };
            assert_eq!(naming.stored(ours), Some(stored), "{line}");
        }
        assert!(NAMES.lines().count() > 300);
    }

    #[test]
    fn what_is_not_there_has_no_place() {
        for name in ["", "decoder", "decoder.up_blocks.2.resnets.0.conv1.weight", "encoder.mid_block.attentions.1.x.y"]
        {
            assert_eq!(Naming::Vae { blocks: 2 }.stored(name), None, "{name}");
        }
        assert_eq!(Naming::OpenClip { prefix: "" }.stored("text_model.encoder.layers.0.self_attn.x.weight"), None);
    }
}
