//! Names of a LoRA's tensors: each line of the input is one, its first character choosing the tensor's shape. Whatever
//! they are, the file is refused or every tensor of it ends in a layer of the model that it fits.

use std::sync::{Arc, LazyLock};

use candle_core::Device;
use serde_json::{Map, json};
use tintype_worker::weights::{LayerName, LayerShape, Layers, LdmUNet, Lora, Network, Part, WeightFile};

use crate::scratch::file_of;

/// Shapes that fit as one half or the other, as a number, or not at all.
const SHAPES: [&[usize]; 8] = [&[2, 4], &[4, 2], &[1], &[], &[2, 4, 1, 1], &[4, 2, 1, 1], &[2, 4, 3, 3], &[3, 3]];
/// Bytes of a number.
const F32_BYTES: usize = 4;

/// Layers of a small UNet and a text encoder, of the kinds there are.
static UNET: LazyLock<Layers> = LazyLock::new(|| {
    layers(&[
        ("down_blocks.0.attentions.0.proj_in", 1),
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", 1),
        ("down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj", 1),
        ("down_blocks.0.resnets.0.conv1", 3),
        ("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0", 1),
        ("up_blocks.1.upsamplers.0.conv", 3),
    ])
});
static TEXT: LazyLock<Layers> =
    LazyLock::new(|| layers(&[("encoder.layers.0.self_attn.q_proj", 1), ("encoder.layers.0.mlp.fc1", 1)]));

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = file_of(&file(text));
    let Ok(file) = WeightFile::open(&path) else { return };
    let ldm = LdmUNet { layers: vec![1, 1], up_attends: vec![true, true] };
    let networks = [
        Network { part: Part::UNet, layers: &UNET, ldm: Some(&ldm) },
        Network { part: Part::Text, layers: &TEXT, ldm: None },
    ];
    let lora = match Lora::read(&file, &networks, &Device::Cpu) {
        Ok(lora) => lora,
        Err(error) => {
            assert!(error.file == path && !error.what.is_empty());
            return;
        }
    };
    let mut tensors = 0;
    for network in networks {
        for (layer, delta) in lora.part(network.part).into_iter().flat_map(|deltas| deltas.iter()) {
            let LayerShape { inner, outer, side } = network.layers[layer];
            let (down, up) = (delta.down.dims(), delta.up.dims());
            assert!(down[0] == up[1] && down[1] == inner && up[0] == outer && delta.scale.is_finite(), "{layer}");
            assert!(down.get(2).copied().unwrap_or(1) == side, "{layer}");
            tensors += 2;
        }
    }
    let alphas = file.shapes().keys().filter(|name| name.rsplit('.').next() == Some("alpha")).count();
    assert_eq!(tensors + alphas, file.shapes().len(), "no tensor is passed over");
}

/// A weight file with a tensor of ones for each line.
fn file(text: &str) -> Vec<u8> {
    let (mut header, mut end) = (Map::new(), 0);
    for line in text.lines() {
        let Some(first) = line.chars().next() else { continue };
        let name = &line[first.len_utf8()..];
        let shape = SHAPES[first as usize % SHAPES.len()];
        if name.is_empty() || header.contains_key(name) {
            continue;
        }
        let start = end;
        end += shape.iter().product::<usize>() * F32_BYTES;
        header.insert(name.to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}));
    }
    let header = serde_json::to_vec(&header).expect("a map of plain values is JSON");
    let ones = 1.0_f32.to_le_bytes().repeat(end / F32_BYTES);
    [(header.len() as u64).to_le_bytes().as_slice(), &header, &ones].concat()
}

fn layers(names: &[(&str, usize)]) -> Layers {
    let shape = |side| LayerShape { inner: 4, outer: 4, side };
    names.iter().map(|(name, side)| -> (LayerName, _) { (Arc::from(*name), shape(*side)) }).collect()
}
