//! An order's lanes as one safetensors file, and back. What follows from the request (prompts, noise levels, hints) is
//! made again; what the steps have changed is written down. A file that is damaged, or of anything but this very request,
//! is refused with a word of why: the attempt then starts from its first step.

use std::collections::HashMap;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tintype_types::ResolvedRequest;
use tintype_types::limits::CHECKPOINT_BYTES_MAX;

/// Raised when the meaning of what is written changes.
const VERSION: u32 = 2;
/// Key of our facts in the file's metadata.
const FACTS: &str = "tintype";
/// Lists of numbers a sampler may remember; PNDM and LMS have four.
const HISTORY_MAX: usize = 8;

/// What the steps have changed of one lane.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneState {
    /// Which of the picture's passes it is in, from 0.
    pub pass: u32,
    /// Evaluations of the denoiser done in that pass.
    pub evaluations: u32,
    /// The noise generator, as it serialises.
    pub noise: Value,
    /// The latent.
    pub latent: Vec<f32>,
    /// What the sampler remembers; each list is as long as the latent.
    pub history: Vec<Vec<f32>>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is larger than any that is written.
    #[error("has {bytes} bytes, more than the {CHECKPOINT_BYTES_MAX} that are read")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// It is no safetensors file, or not one of ours.
    #[error("is no checkpoint: {0}")]
    Unreadable(String),
    /// Its numbers are not those that were written.
    #[error("is damaged: its digest is another")]
    Damaged,
    /// It was written by another version of this program.
    #[error("is of version {0}, and version {VERSION} is read")]
    Version(u32),
    /// It is of another request.
    #[error("is of another request")]
    OtherRequest,
    /// It was drawn with another model, LoRA or ControlNet than those that have these names here.
    #[error("was drawn with other weights")]
    OtherWeights,
    /// Its numbers are none that this model and this request can have come to.
    #[error("does not fit the request: {0}")]
    Unfit(&'static str),
}

/// Everything but numbers. Unknown fields are another version's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    version: u32,
    /// SHA-256 of the request, in hex. The request itself, which holds the prompt, is not written.
    request: String,
    /// What tells the weights it was drawn with from others, in hex.
    weights: String,
    /// SHA-256 of these facts with an empty digest, and of all numbers in order.
    digest: String,
    lanes: Vec<LaneFacts>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneFacts {
    pass: u32,
    evaluations: u32,
    noise: Value,
    history: usize,
}

/// Writes lanes down, one for each picture of the request, in order. `weights` tells what they were drawn with.
///
/// # Errors
/// More than a checkpoint may hold.
pub fn write(request: &ResolvedRequest, weights: &str, lanes: &[LaneState]) -> Result<Vec<u8>, CheckpointError> {
    let unwritable = |error: &dyn std::error::Error| CheckpointError::Unreadable(error.to_string());
    let lane_facts = |lane: &LaneState| LaneFacts {
        pass: lane.pass,
        evaluations: lane.evaluations,
        noise: lane.noise.clone(),
        history: lane.history.len(),
    };
    let lane_facts = lanes.iter().map(lane_facts).collect();
    let (request, weights, digest_of_all) = (hash(request), weights.to_owned(), String::new());
    let mut facts = Facts { version: VERSION, request, weights, digest: digest_of_all, lanes: lane_facts };
    let mut tensors: Vec<(String, Vec<u8>)> = Vec::new();
    for (index, lane) in lanes.iter().enumerate() {
        let lists = std::iter::once(&lane.latent).chain(&lane.history);
        tensors.extend(names(index, lane.history.len()).zip(lists.map(|list| to_bytes(list))));
    }
    facts.digest = digest(&facts, tensors.iter().map(|(_, bytes)| bytes.as_slice()));
    let text = serde_json::to_string(&facts).map_err(|error| unwritable(&error))?;
    let views = tensors.iter().map(|(name, bytes)| {
        TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes).map(|view| (name.clone(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| unwritable(&error))?;
    let metadata = HashMap::from([(FACTS.to_owned(), text)]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| unwritable(&error))?;
    if file.len() as u64 > CHECKPOINT_BYTES_MAX {
        return Err(CheckpointError::TooLarge { bytes: file.len() });
    }
    Ok(file)
}

/// Reads what [`write`] wrote for the same request and the same weights. The bytes may come from anywhere.
///
/// # Errors
/// Anything else.
pub fn read(request: &ResolvedRequest, weights: &str, file: &[u8]) -> Result<Vec<LaneState>, CheckpointError> {
    if file.len() as u64 > CHECKPOINT_BYTES_MAX {
        return Err(CheckpointError::TooLarge { bytes: file.len() });
    }
    let unreadable = |what: String| CheckpointError::Unreadable(what);
    let (_, metadata) = SafeTensors::read_metadata(file).map_err(|error| unreadable(error.to_string()))?;
    let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(FACTS));
    let text = text.ok_or_else(|| unreadable("it says nothing of itself".to_owned()))?;
    let mut facts: Facts = serde_json::from_str(text).map_err(|error| match version(text) {
        Some(version) if version != VERSION => CheckpointError::Version(version),
        Some(_) | None => unreadable(error.to_string()),
    })?;
    if facts.version != VERSION {
        return Err(CheckpointError::Version(facts.version));
    }
    let tensors = SafeTensors::deserialize(file).map_err(|error| unreadable(error.to_string()))?;
    let lists = lists(&facts, &tensors)?;
    let told = std::mem::take(&mut facts.digest);
    if digest(&facts, lists.iter().flatten().copied()) != told {
        return Err(CheckpointError::Damaged);
    }
    if facts.request != hash(request) {
        return Err(CheckpointError::OtherRequest);
    }
    if facts.weights != weights {
        return Err(CheckpointError::OtherWeights);
    }
    if facts.lanes.len() != request.images as usize {
        return Err(CheckpointError::Unfit("the number of pictures"));
    }
    let state = |(lane, lists): (LaneFacts, Vec<&[u8]>)| {
        let mut lists = lists.into_iter().map(to_values);
        let latent = lists.next().unwrap_or_default();
        let LaneFacts { pass, evaluations, noise, history: _ } = lane;
        LaneState { pass, evaluations, noise, latent, history: lists.collect() }
    };
    Ok(facts.lanes.into_iter().zip(lists).map(state).collect())
}

/// The bytes of each lane's lists; the file holds these and no others.
fn lists<'a>(facts: &Facts, tensors: &SafeTensors<'a>) -> Result<Vec<Vec<&'a [u8]>>, CheckpointError> {
    let mut all = Vec::with_capacity(facts.lanes.len());
    for (index, lane) in facts.lanes.iter().enumerate() {
        if lane.history > HISTORY_MAX {
            return Err(CheckpointError::Unfit("what the sampler remembers"));
        }
        let mut lists = Vec::with_capacity(lane.history + 1);
        for name in names(index, lane.history) {
            let view = tensors.tensor(&name).map_err(|error| CheckpointError::Unreadable(error.to_string()))?;
            if view.dtype() != Dtype::F32 {
                return Err(CheckpointError::Unreadable(format!("{name} is not of 32-bit floats")));
            }
            lists.push(view.data());
        }
        all.push(lists);
    }
    if tensors.len() != all.iter().map(Vec::len).sum::<usize>() {
        return Err(CheckpointError::Unreadable("it holds more than it says".to_owned()));
    }
    Ok(all)
}

fn version(text: &str) -> Option<u32> {
    let facts: Value = serde_json::from_str(text).ok()?;
    facts.get("version")?.as_u64().and_then(|version| u32::try_from(version).ok())
}

fn names(index: usize, history: usize) -> impl Iterator<Item = String> {
    let remembered = (0..history).map(move |place| format!("{index}.history.{place}"));
    std::iter::once(format!("{index}.latent")).chain(remembered)
}

fn hash(request: &ResolvedRequest) -> String {
    // A struct of plain fields always has a JSON form; were there none, no two requests would be the same.
    hex::encode(Sha256::digest(serde_json::to_vec(request).unwrap_or_default()))
}

fn digest<'a>(facts: &Facts, lists: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(facts).unwrap_or_default());
    for list in lists {
        hash.update((list.len() as u64).to_le_bytes());
        hash.update(list);
    }
    hex::encode(hash.finalize())
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn to_values(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tintype_types::{GenerationRequest, ModelDefaults, Sampler};

    use super::*;
    use crate::rng::Mt19937;

    const WEIGHTS: &str = "a model and a LoRA";

    #[test]
    fn what_is_written_is_read() {
        let file = write(&request(2), WEIGHTS, &lanes()).unwrap();
        assert_eq!(read(&request(2), WEIGHTS, &file).unwrap(), lanes());
        assert_eq!(file, write(&request(2), WEIGHTS, &lanes()).unwrap(), "the same lanes are the same bytes");
        assert!(!file.windows(6).any(|bytes| bytes == b"secret"), "the prompt is in the file");
    }

    #[test]
    fn a_picture_of_sdxl_at_1024_takes_a_mebibyte_and_a_half_at_most() {
        let latent = vec![0.5; 4 * 128 * 128];
        let mut noise = Mt19937::new(1);
        noise.randn(3);
        // The most that any sampler remembers.
        let (noise, history) = (serde_json::to_value(noise).unwrap(), vec![latent.clone(); 4]);
        let file =
            write(&request(1), WEIGHTS, &[LaneState { pass: 0, evaluations: 9, noise, latent, history }]).unwrap();
        assert!(file.len() <= 3 << 19, "{} bytes", file.len());
    }

    #[test]
    fn what_was_not_written_for_this_request_is_refused() {
        let file = write(&request(2), WEIGHTS, &lanes()).unwrap();
        let other = ResolvedRequest { seed: 8, ..request(2) };
        assert!(matches!(read(&other, WEIGHTS, &file), Err(CheckpointError::OtherRequest)));
        assert!(matches!(read(&request(2), "another model", &file), Err(CheckpointError::OtherWeights)));
        let one = write(&request(2), WEIGHTS, &lanes()[..1]).unwrap();
        assert!(matches!(read(&request(2), WEIGHTS, &one), Err(CheckpointError::Unfit(_))));
        for cut in [0, 7, 8, 100, file.len() - 1] {
            assert!(matches!(read(&request(2), WEIGHTS, &file[..cut]), Err(CheckpointError::Unreadable(_))), "{cut}");
        }
        let mut flipped = file.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(matches!(read(&request(2), WEIGHTS, &flipped), Err(CheckpointError::Damaged)));
        let large = vec![0; usize::try_from(CHECKPOINT_BYTES_MAX).unwrap() + 1];
        assert!(matches!(read(&request(2), WEIGHTS, &large), Err(CheckpointError::TooLarge { .. })));
    }

    #[test]
    fn lies_about_itself_are_found() {
        let facts = |change: fn(&mut Value)| {
            let file = write(&request(2), WEIGHTS, &lanes()).unwrap();
            let (_, metadata) = SafeTensors::read_metadata(&file).unwrap();
            let mut facts: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()[FACTS]).unwrap();
            change(&mut facts);
            let tensors = SafeTensors::deserialize(&file).unwrap();
            let metadata = HashMap::from([(FACTS.to_owned(), facts.to_string())]);
            safetensors::serialize(tensors.tensors(), Some(metadata)).unwrap()
        };
        let refused = |change| read(&request(2), WEIGHTS, &facts(change)).unwrap_err();
        assert!(matches!(refused(|facts| facts["lanes"][0]["evaluations"] = 4.into()), CheckpointError::Damaged));
        assert!(matches!(refused(|facts| facts["version"] = 1.into()), CheckpointError::Version(1)));
        assert!(matches!(refused(|facts| facts["more"] = 2.into()), CheckpointError::Unreadable(_)));
        assert!(matches!(refused(|facts| facts["lanes"][0]["history"] = 0.into()), CheckpointError::Unreadable(_)));
        assert!(matches!(refused(|facts| facts["lanes"][0]["history"] = 4.into()), CheckpointError::Unreadable(_)));
        let many = |facts: &mut Value| facts["lanes"][0]["history"] = 4_000_000_000_u64.into();
        assert!(matches!(refused(many), CheckpointError::Unfit(_)));
        let none = safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), None).unwrap();
        assert!(matches!(read(&request(2), WEIGHTS, &none), Err(CheckpointError::Unreadable(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut file = write(&request(2), WEIGHTS, &lanes()).unwrap();
            let (at, cut) = (at.index(file.len()), cut.index(file.len()));
            file[at] = byte;
            if let Ok(read) = read(&request(2), WEIGHTS, &file) {
                // The byte was the same, or one that means nothing.
                prop_assert_eq!(read, lanes());
            }
            prop_assert!(read(&request(2), WEIGHTS, &file[..cut]).is_err());
            prop_assert!(read(&request(2), WEIGHTS, &file[cut..]).is_err() || cut == 0);
        }
    }

    fn lanes() -> Vec<LaneState> {
        let noise = serde_json::to_value(Mt19937::new(3)).unwrap();
        let first = LaneState {
            pass: 1,
            evaluations: 3,
            noise: noise.clone(),
            latent: vec![1.0, -0.0, f32::MIN_POSITIVE],
            history: vec![vec![0.1; 3], vec![0.2; 3]],
        };
        vec![first, LaneState { pass: 0, evaluations: 0, noise, latent: vec![2.0; 3], history: Vec::new() }]
    }

    fn request(images: u32) -> ResolvedRequest {
        let sampler = Sampler::Lms;
        let defaults = ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler };
        ResolvedRequest { images, ..GenerationRequest::new("m", "a secret").resolve(&defaults, 7) }
    }
}
