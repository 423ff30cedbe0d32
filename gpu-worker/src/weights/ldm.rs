//! The UNet's names in checkpoints of the first kind (CompVis' and Stability's `ldm` code), which single-file
//! checkpoints and kohya's SDXL LoRAs still use: there the blocks of a side are numbered through.

/// What the numbering depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdmUNet {
    /// Residual layers of each block on the way down, from the wide end.
    pub layers: Vec<usize>,
    /// Whether each block attends on the way up, from the narrow end.
    pub up_attends: Vec<bool>,
}

impl LdmUNet {
    /// The old name of a layer or tensor of diffusers' name; none for one the old code has not got.
    pub fn name(&self, name: &str) -> Option<String> {
        let parts: Vec<&str> = name.split('.').collect();
        match parts.as_slice() {
            ["conv_in", rest @ ..] => Some(joined("input_blocks.0.0", rest)),
            ["time_embedding", "linear_1", rest @ ..] => Some(joined("time_embed.0", rest)),
            ["time_embedding", "linear_2", rest @ ..] => Some(joined("time_embed.2", rest)),
            ["add_embedding", "linear_1", rest @ ..] => Some(joined("label_emb.0.0", rest)),
            ["add_embedding", "linear_2", rest @ ..] => Some(joined("label_emb.0.2", rest)),
            ["conv_norm_out", rest @ ..] => Some(joined("out.0", rest)),
            ["conv_out", rest @ ..] => Some(joined("out.2", rest)),
            ["mid_block", "attentions", "0", rest @ ..] => Some(joined("middle_block.1", rest)),
            ["mid_block", "resnets", index @ ("0" | "1"), rest @ ..] => {
                resnet(&format!("middle_block.{}", if *index == "0" { 0 } else { 2 }), rest)
            }
            ["down_blocks", block, kind, layer, rest @ ..] => self.down(number(block)?, kind, number(layer)?, rest),
            ["up_blocks", block, kind, layer, rest @ ..] => self.up(number(block)?, kind, number(layer)?, rest),
            _ => None,
        }
    }

    fn down(&self, block: usize, kind: &str, layer: usize, rest: &[&str]) -> Option<String> {
        let layers = *self.layers.get(block)?;
        // Each block before has its layers and one for halving; the first of all is `conv_in`.
        let first = 1 + self.layers[..block].iter().map(|layers| layers + 1).sum::<usize>();
        match (kind, rest) {
            ("resnets", rest) if layer < layers => resnet(&format!("input_blocks.{}.0", first + layer), rest),
            ("attentions", rest) if layer < layers => Some(joined(&format!("input_blocks.{}.1", first + layer), rest)),
            ("downsamplers", ["conv", rest @ ..]) if layer == 0 => {
                Some(joined(&format!("input_blocks.{}.0.op", first + layers), rest))
            }
            _ => None,
        }
    }

    fn up(&self, block: usize, kind: &str, layer: usize, rest: &[&str]) -> Option<String> {
        let attends = *self.up_attends.get(block)?;
        let counts: Vec<usize> = self.layers.iter().rev().map(|layers| layers + 1).collect();
        let (first, count) = (counts[..block].iter().sum::<usize>(), counts[block]);
        match (kind, rest) {
            ("resnets", rest) if layer < count => resnet(&format!("output_blocks.{}.0", first + layer), rest),
            ("attentions", rest) if layer < count => Some(joined(&format!("output_blocks.{}.1", first + layer), rest)),
            ("upsamplers", ["conv", rest @ ..]) if layer == 0 => {
                let place = if attends { 2 } else { 1 };
                Some(joined(&format!("output_blocks.{}.{place}.conv", first + count - 1), rest))
            }
            _ => None,
        }
    }
}

fn resnet(place: &str, rest: &[&str]) -> Option<String> {
    let (first, rest) = rest.split_first()?;
    let name = match *first {
        "norm1" => "in_layers.0",
        "conv1" => "in_layers.2",
        "time_emb_proj" => "emb_layers.1",
        "norm2" => "out_layers.0",
        "conv2" => "out_layers.3",
        "conv_shortcut" => "skip_connection",
        _ => return None,
    };
    Some(joined(&format!("{place}.{name}"), rest))
}

fn joined(place: &str, rest: &[&str]) -> String {
    std::iter::once(place).chain(rest.iter().copied()).collect::<Vec<_>>().join(".")
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::LdmUNet;

    /// SDXL's UNet: three blocks of two layers, the widest without attention.
    fn sdxl() -> LdmUNet {
        LdmUNet { layers: vec![2, 2, 2], up_attends: vec![true, true, false] }
    }

    #[test]
    fn published_names_are_found() {
        let cases = [
            ("conv_in.weight", "input_blocks.0.0.weight"),
            ("time_embedding.linear_2.bias", "time_embed.2.bias"),
            ("add_embedding.linear_1.weight", "label_emb.0.0.weight"),
            ("down_blocks.0.resnets.1.conv1", "input_blocks.2.0.in_layers.2"),
            ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
            (
                "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
                "input_blocks.4.1.transformer_blocks.0.attn1.to_q",
            ),
            ("down_blocks.1.resnets.0.conv_shortcut", "input_blocks.4.0.skip_connection"),
            ("down_blocks.2.attentions.1.proj_in", "input_blocks.8.1.proj_in"),
            ("mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"),
            ("mid_block.attentions.0.proj_out", "middle_block.1.proj_out"),
            ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
            ("up_blocks.1.attentions.2.norm", "output_blocks.5.1.norm"),
            ("up_blocks.2.resnets.2.norm2", "output_blocks.8.0.out_layers.0"),
            ("conv_out.bias", "out.2.bias"),
        ];
        for (ours, theirs) in cases {
            assert_eq!(sdxl().name(ours).as_deref(), Some(theirs));
        }
    }

    #[test]
    fn an_upsampler_behind_no_attention_has_another_place() {
        let sd15 = LdmUNet { layers: vec![2; 4], up_attends: vec![false, true, true, true] };
        assert_eq!(sd15.name("up_blocks.0.upsamplers.0.conv").unwrap(), "output_blocks.2.1.conv");
        assert_eq!(sd15.name("up_blocks.1.upsamplers.0.conv").unwrap(), "output_blocks.5.2.conv");
    }

    #[test]
    fn what_is_not_there_has_no_name() {
        for name in ["", "down_blocks", "down_blocks.3.resnets.0.conv1", "down_blocks.0.resnets.2.conv1", "mid_block.x"]
        {
            assert_eq!(sdxl().name(name), None, "{name}");
        }
    }
}
