//! What a single `.safetensors` file holds, from the names and shapes in its header alone. The header may come from a disk
//! or, for the operator, over HTTP from where the file can be had.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use tintype_types::{ModelFamily, ModelKind};

/// Longest header read, as the worker's reader has it.
pub const HEADER_BYTES_MAX: u64 = 16 << 20;
/// How every tensor of a UNet begins in a single-file checkpoint.
const UNET: &str = "model.diffusion_model.";
/// Where the first text encoder is in checkpoints of each family.
const ENCODERS: [(&str, ModelFamily); 3] = [
    ("conditioner.embedders.0.transformer.", ModelFamily::Sdxl),
    ("cond_stage_model.model.", ModelFamily::Sd2),
    ("cond_stage_model.transformer.", ModelFamily::Sd15),
];
/// What stands in the names of a LoRA's tensors, in every naming.
const LORA: [&str; 4] = ["lora_down", "lora_A", "lora.down", "lora_linear_layer"];
/// Width of the prompt's vectors by family, the last dimension of what reads them.
const CONTEXTS: [(u64, ModelFamily); 3] =
    [(768, ModelFamily::Sd15), (1_024, ModelFamily::Sd2), (2_048, ModelFamily::Sdxl)];

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// A checkpoint or a LoRA.
    pub kind: ModelKind,
    /// Architecture.
    pub family: ModelFamily,
    /// Bytes its tensors take, behind the header.
    pub bytes: u64,
}

/// One line of the header: a tensor, or the notes, which have no shape.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    shape: Vec<u64>,
    #[serde(default)]
    data_offsets: Option<(u64, u64)>,
}

/// Looks into a file.
pub(crate) fn look(path: &Path) -> Result<Contents, String> {
    let mut file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| "is too short for a safetensors file".to_owned())?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(format!("is not a safetensors file: it claims a header of {length} bytes"));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(|error| format!("cannot be read: {error}"))?;
    contents_of(&header)
}

/// What a file with this header holds: the JSON text without the length before it.
///
/// # Errors
/// What is wrong with it, to be put behind the file's name.
pub fn contents_of(header: &[u8]) -> Result<Contents, String> {
    let lines: BTreeMap<String, Line> =
        serde_json::from_slice(header).map_err(|error| format!("is not a safetensors file: {error}"))?;
    contents(&lines).ok_or_else(|| {
        "is neither a Stable Diffusion checkpoint nor a LoRA; say what it is in a tintype.json beside it".to_owned()
    })
}

fn contents(lines: &BTreeMap<String, Line>) -> Option<Contents> {
    let has = |start: &str| lines.range(start.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(start));
    let bytes = lines.values().filter_map(|line| line.data_offsets).map(|(_, end)| end).max().unwrap_or(0);
    if has(UNET) {
        let family = ENCODERS.iter().find(|(start, _)| has(start)).map(|(_, family)| *family)?;
        return Some(Contents { kind: ModelKind::Checkpoint, family, bytes });
    }
    if lines.keys().any(|name| LORA.iter().any(|mark| name.contains(mark))) {
        return Some(Contents { kind: ModelKind::Lora, family: lora_family(lines), bytes });
    }
    None
}

/// From what reads the prompt; a LoRA that changes nothing there is of SDXL if it says so by its names.
fn lora_family(lines: &BTreeMap<String, Line>) -> ModelFamily {
    let down = |name: &str| LORA.iter().any(|mark| name.contains(mark)) && !name.contains(".up");
    let reads = lines.iter().filter(|(name, _)| name.contains("attn2") && name.contains("to_k") && down(name));
    for (_, line) in reads {
        let width = line.shape.get(1).copied().unwrap_or(0);
        if let Some((_, family)) = CONTEXTS.iter().find(|(context, _)| *context == width) {
            return *family;
        }
    }
    let xl = |name: &String| {
        name.starts_with("lora_te2_") || name.starts_with("text_encoder_2.") || name.contains("input_blocks")
    };
    if lines.keys().any(xl) { ModelFamily::Sdxl } else { ModelFamily::Sd15 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and shapes.
    type Tensors<'a> = &'a [(&'a str, &'a [u64])];

    #[test]
    fn each_kind_of_file_is_told_by_its_names() {
        let cases: [(Tensors<'_>, ModelKind, ModelFamily); 7] = [
            (
                &[("model.diffusion_model.out.2.bias", &[4]), ("cond_stage_model.transformer.x", &[])],
                ModelKind::Checkpoint,
                ModelFamily::Sd15,
            ),
            (
                &[("model.diffusion_model.out.2.bias", &[4]), ("cond_stage_model.model.x", &[])],
                ModelKind::Checkpoint,
                ModelFamily::Sd2,
            ),
            (
                &[("model.diffusion_model.out.2.bias", &[4]), ("conditioner.embedders.0.transformer.x", &[])],
                ModelKind::Checkpoint,
                ModelFamily::Sdxl,
            ),
            (&[("unet.a.attn2.to_k.lora_A.weight", &[4, 2_048])], ModelKind::Lora, ModelFamily::Sdxl),
            (&[("lora_unet_a_attn2_to_k.lora_down.weight", &[4, 1_024])], ModelKind::Lora, ModelFamily::Sd2),
            (&[("lora_unet_a_attn1_to_k.lora_down.weight", &[4, 320])], ModelKind::Lora, ModelFamily::Sd15),
            (&[("lora_te2_text_model_x.lora_down.weight", &[4, 320])], ModelKind::Lora, ModelFamily::Sdxl),
        ];
        for (tensors, kind, family) in cases {
            assert_eq!(contents(&lines(tensors)), Some(Contents { kind, family, bytes: 0 }), "{tensors:?}");
        }
        for tensors in [&[("decoder.conv_in.weight", &[4_u64][..])][..], &[("model.diffusion_model.x", &[])], &[]] {
            assert_eq!(contents(&lines(tensors)), None);
        }
    }

    fn lines(tensors: &[(&str, &[u64])]) -> BTreeMap<String, Line> {
        tensors
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), Line { shape: shape.to_vec(), data_offsets: None }))
            .collect()
    }

    #[test]
    fn the_last_tensors_end_is_the_size_of_all() {
        let header = br#"{"__metadata__": {"format": "pt"},
            "a.lora_down.weight": {"dtype": "F16", "shape": [4, 8], "data_offsets": [0, 64]},
            "a.lora_up.weight": {"dtype": "F16", "shape": [8, 4], "data_offsets": [64, 128]}}"#;
        let contents = contents_of(header).unwrap();
        assert_eq!((contents.kind, contents.bytes), (ModelKind::Lora, 128));
        assert!(contents_of(b"<html>").unwrap_err().contains("is not a safetensors file"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), length in 0_u64..260) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.safetensors");
            std::fs::write(&path, [length.to_le_bytes().to_vec(), bytes].concat()).unwrap();
            assert!(look(&path).is_err());
        }
    }
}
