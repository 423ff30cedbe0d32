//! A checkpoint as it comes from a store: bytes that are anything, and states nobody's steps came to in a file that is in
//! order. What is read is what was written; what a lane takes over it can go on from.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;
use tintype_types::{GenerationRequest, ModelDefaults, NoiseSource, ResolvedRequest, Sampler};
use tintype_worker::engine::LaneState;
use tintype_worker::engine::checkpoint::{read, write};
use tintype_worker::pipeline::{CandlePipeline, Lane as _, Order, Pipeline as _, ResidentLimits};

/// What the lanes are said to be drawn with.
const WEIGHTS: &str = "0123456789abcdef";
/// Numbers of the small model's latent at 64 by 64.
const LATENT: usize = 4 * 8 * 8;
/// Samplers tried: with no memory, with some, with noise of their own, and with two evaluations a step.
const SAMPLERS: [Sampler; 4] = [Sampler::Ddim, Sampler::Lms, Sampler::EulerA, Sampler::Heun];

static PIPELINE: OnceLock<Mutex<CandlePipeline>> = OnceLock::new();

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(lanes) = read(&request(Sampler::Ddim), WEIGHTS, bytes) {
        let again = write(&request(Sampler::Ddim), WEIGHTS, &lanes).expect("what was read is no longer than may be");
        let again = read(&request(Sampler::Ddim), WEIGHTS, &again).expect("what is written is read");
        assert_eq!(bits(&again), bits(&lanes));
    }
    let Some((first, rest)) = bytes.split_first() else { return };
    let request = request(SAMPLERS[usize::from(*first) % SAMPLERS.len()]);
    let Some(state) = state(rest) else { return };
    let Ok(file) = write(&request, WEIGHTS, std::slice::from_ref(&state)) else { return };
    let Ok(lanes) = read(&request, WEIGHTS, &file) else {
        assert!(state.history.len() > 8, "what is written is read");
        return;
    };
    assert_eq!(bits(&lanes), bits(std::slice::from_ref(&state)));
    assert!(read(&request, "other weights", &file).is_err());
    take_up(&request, state);
}

/// A lane takes the state over, or refuses it; one that took it is at that very state.
fn take_up(request: &ResolvedRequest, state: LaneState) {
    let pipeline = PIPELINE.get_or_init(|| {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let limits = ResidentLimits { count: 1, bytes: 0 };
        Mutex::new(CandlePipeline::new(vec![models], limits).expect("the models that ship can be looked through"))
    });
    let mut pipeline = pipeline.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lane = pipeline.begin(&Order::from(request), 0).expect("the model that ships can be drawn with");
    let (told, evaluations) = (bits(std::slice::from_ref(&state)), state.evaluations);
    if lane.restore(state).is_ok() {
        let (done, steps) = lane.progress();
        assert!(done <= steps && lane.state().evaluations == evaluations);
        assert_eq!(bits(&[lane.state()])[0].1, told[0].1, "another latent");
        assert!(told[0].1.iter().all(|number| f32::from_bits(*number).is_finite()));
    }
}

/// A state from bytes: pass, evaluations, lists remembered, how much too long they are, then the noise as JSON, or the
/// bytes' own numbers.
fn state(bytes: &[u8]) -> Option<LaneState> {
    let [pass, evaluations, history, longer, rest @ ..] = bytes else { return None };
    let (noise, numbers) = match rest.iter().position(|byte| *byte == 0) {
        Some(end) => (serde_json::from_slice(&rest[..end]).unwrap_or(Value::Null), &rest[end + 1..]),
        None => (serde_json::from_slice(rest).unwrap_or(Value::Null), rest),
    };
    let numbers: Vec<f32> = numbers.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let list =
        |more: usize| -> Vec<f32> { (0..LATENT + more).map(|at| numbers.get(at).copied().unwrap_or(0.5)).collect() };
    Some(LaneState {
        pass: u32::from(*pass),
        evaluations: u32::from(*evaluations),
        noise,
        latent: list(usize::from(*longer > 250)),
        history: (0..*history % 12).map(|nth| list(usize::from(*longer == nth + 1))).collect(),
    })
}

/// The numbers as bits, so that one that is none equals itself.
fn bits(lanes: &[LaneState]) -> Vec<(u32, Vec<u32>, Vec<Vec<u32>>)> {
    let list = |list: &Vec<f32>| list.iter().map(|number| number.to_bits()).collect();
    lanes.iter().map(|lane| (lane.evaluations, list(&lane.latent), lane.history.iter().map(list).collect())).collect()
}

fn request(sampler: Sampler) -> ResolvedRequest {
    let defaults = ModelDefaults { width: 64, height: 64, steps: 6, guidance_scale: 3.0, sampler };
    let mut request = GenerationRequest::new("tintype/shapes", "a red circle").resolve(&defaults, 7);
    // A generator whose state is a few numbers.
    request.noise = NoiseSource::Nv;
    request
}
