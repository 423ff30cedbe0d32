//! The laws of lanes, on the models that ship: a picture has the same bytes alone and beside any others, stopped and taken
//! up again at any evaluation in another pipeline, on one thread and on two.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use proptest::prelude::*;
use tintype_types::{GenerationRequest, ModelDefaults, NoiseSource, ResolvedRequest, Sampler};
use tintype_worker::engine::{Lane, checkpoint};
use tintype_worker::pipeline::{CandlePipeline, Flow, Lane as _, Order, Pipeline, ResidentLimits};

const MODELS: [&str; 2] = ["tintype/shapes", "tintype/shapes-xl"];
/// One, two and three chunks of tokens, so that prompts of different lengths share a call.
const PROMPTS: [&str; 4] = [
    "a red circle on a blue background",
    "a (white:1.3) star on purple",
    "a green square BREAK on a yellow background",
    "a black ring BREAK on white BREAK very large",
];
/// Where weights lie in a place of our own, and in the models that ship.
const UNET: (&str, &str) =
    ("shapes/unet/diffusion_pytorch_model.safetensors", "shapes/unet/diffusion_pytorch_model.safetensors");
const LORA: (&str, &str) = ("night.safetensors", "shapes-night/pytorch_lora_weights.safetensors");
/// Draws of everything by one property; each takes a second or two.
const CASES: u32 = 24;

/// A picture and what happens to it.
#[derive(Clone, Debug)]
struct Life {
    request: ResolvedRequest,
    /// The turn it joins at.
    joins: usize,
    /// Turns at which it is written down, dropped, and taken up in a pipeline of its own.
    stops: Vec<usize>,
    /// Turns it is left out of.
    rests: Vec<usize>,
}

prop_compose! {
    fn life()(
        model in 0..MODELS.len(),
        prompt in 0..PROMPTS.len(),
        sampler in 0..Sampler::ALL.len(),
        steps in 1_u32..5,
        guidance in prop::sample::select(vec![1.0, 1.5, 3.0, 7.0]),
        wide in prop::bool::weighted(0.2),
        clip_skip in 0_u32..2,
        nv in any::<bool>(),
        seed in 0_u64..1_000,
        joins in 0_usize..4,
        stops in prop::collection::vec(0_usize..8, 0..3),
        rests in prop::collection::vec(0_usize..8, 0..3),
    ) -> Life {
        let sampler = Sampler::ALL[sampler];
        let width = if wide { 128 } else { 64 };
        let defaults = ModelDefaults { width, height: 64, steps, guidance_scale: guidance, sampler };
        let noise = if nv { NoiseSource::Nv } else { NoiseSource::Cpu };
        let resolved = GenerationRequest::new(MODELS[model], PROMPTS[prompt]).resolve(&defaults, seed);
        Life { request: ResolvedRequest { noise, clip_skip, ..resolved }, joins, stops, rests }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn a_picture_does_not_depend_on_its_company_nor_on_where_it_was_stopped(
        lives in prop::collection::vec(life(), 2..6),
        alone_on in 1_usize..3,
        together_on in 1_usize..3,
    ) {
        let together = on_threads(together_on, || draw_together(&lives));
        for (life, picture) in lives.iter().zip(together) {
            let alone = on_threads(alone_on, || draw_alone(&life.request));
            prop_assert!(alone == picture, "another picture came out: {:?}", life);
        }
    }
}

#[test]
fn every_sampler_goes_on_from_every_evaluation() {
    let mut pipeline = pipeline();
    for sampler in Sampler::ALL {
        let defaults = ModelDefaults { width: 64, height: 64, steps: 3, guidance_scale: 3.0, sampler };
        let order = Order::from(&GenerationRequest::new(MODELS[0], PROMPTS[0]).resolve(&defaults, 11));
        let undisturbed = pipeline.draw(&order, 0, &mut |_, _| Flow::Continue).unwrap();
        let mut lane = pipeline.begin(&order, 0).unwrap();
        loop {
            lane = taken_up(&mut pipeline, &order, &lane);
            if lane.is_over() {
                break;
            }
            pipeline.step(&mut [&mut lane]).unwrap();
        }
        assert!(pipeline.finish(&lane).unwrap() == undisturbed, "{sampler:?}");
    }
}

#[test]
fn a_checkpoint_of_another_model_size_or_place_is_refused() {
    let mut pipeline = pipeline();
    let sampler = Sampler::Lms;
    let defaults = ModelDefaults { width: 64, height: 64, steps: 4, guidance_scale: 3.0, sampler };
    let order = Order::from(&GenerationRequest::new(MODELS[0], PROMPTS[0]).resolve(&defaults, 11));
    let mut lane = pipeline.begin(&order, 0).unwrap();
    for _ in 0..2 {
        pipeline.step(&mut [&mut lane]).unwrap();
    }
    let state = lane.state();
    let mut fresh = || pipeline.begin(&order, 0).unwrap();
    fresh().restore(state.clone()).unwrap();
    let spoilt: [fn(&mut tintype_worker::engine::LaneState); 9] = [
        |state| state.pass = 1,
        |state| state.evaluations = 5,
        |state| state.evaluations = 1,
        |state| state.noise = serde_json::json!({"cpu": {"words": [], "next": 0, "kept": null}}),
        |state| state.noise = serde_json::Value::Null,
        |state| state.latent.truncate(255),
        |state| state.latent[3] = f32::NAN,
        |state| drop(state.history.pop()),
        |state| state.history[0].truncate(1),
    ];
    for (place, spoil) in spoilt.into_iter().enumerate() {
        let mut state = state.clone();
        spoil(&mut state);
        assert!(fresh().restore(state).is_err(), "{place}");
    }
}

/// All lives in one engine's turns: who is there and does not rest steps with whom it can.
fn draw_together(lives: &[Life]) -> Vec<Vec<u8>> {
    let mut pipeline = pipeline();
    let orders: Vec<Order> = lives.iter().map(|life| Order::from(&life.request)).collect();
    let mut lanes: Vec<Option<Lane>> = lives.iter().map(|_| None).collect();
    for turn in 0.. {
        for ((life, order), lane) in lives.iter().zip(&orders).zip(&mut lanes) {
            if life.joins == turn {
                *lane = Some(pipeline.begin(order, 0).unwrap());
            }
            if let Some(stopped) = lane.as_ref().filter(|_| life.stops.contains(&turn)) {
                *lane = Some(taken_up(&mut pipeline, order, stopped));
            }
        }
        let mut moving: Vec<&mut Lane> = lives
            .iter()
            .zip(&mut lanes)
            .filter(|(life, _)| !life.rests.contains(&turn))
            .filter_map(|(_, lane)| lane.as_mut().filter(|lane| !lane.is_over()))
            .collect();
        while !moving.is_empty() {
            let (mut batch, mut others): (Vec<&mut Lane>, Vec<&mut Lane>) = (Vec::new(), Vec::new());
            for lane in moving {
                let fits = batch.first().is_none_or(|first| first.steps_with(lane));
                if fits { batch.push(lane) } else { others.push(lane) }
            }
            pipeline.step(&mut batch).unwrap();
            moving = others;
        }
        if lanes.iter().all(|lane| lane.as_ref().is_some_and(tintype_worker::pipeline::Lane::is_over)) {
            break;
        }
    }
    lanes.iter().map(|lane| pipeline.finish(lane.as_ref().unwrap()).unwrap().pixels).collect()
}

#[test]
fn what_was_drawn_with_other_weights_of_the_same_names_is_not_gone_on_with() {
    let root = tempfile::tempdir().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").canonicalize().unwrap();
    let mut request = GenerationRequest::new("shapes", "a red circle");
    request.loras = vec![tintype_types::LoraUse { name: "night".to_owned(), weight: 1.0 }];
    let defaults = ModelDefaults { width: 64, height: 64, steps: 3, guidance_scale: 3.0, sampler: Sampler::Ddim };
    let order = Order::from(&request.resolve(&defaults, 1));
    // A place for the model and its LoRA; in each variant one of the two was trained a little further.
    let variant = |changed: Option<&str>| {
        let folder = root.path().join(changed.unwrap_or("same").replace('/', "-"));
        for file in [UNET, LORA] {
            let target = folder.join(file.0);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            let mut bytes = std::fs::read(models.join(file.1)).unwrap();
            if changed == Some(file.0) {
                // The last bits of the last tensor's numbers.
                let from = bytes.len() - 1_000;
                bytes[from..].iter_mut().step_by(2).for_each(|byte| *byte ^= 1);
            }
            std::fs::write(target, bytes).unwrap();
        }
        for entry in std::fs::read_dir(models.join("shapes")).unwrap().map(Result::unwrap) {
            if entry.file_name() != "unet" && entry.file_name() != "tintype.json" {
                let _there = std::os::unix::fs::symlink(entry.path(), folder.join("shapes").join(entry.file_name()));
            }
        }
        let config = models.join("shapes/unet/config.json");
        std::fs::copy(config, folder.join("shapes/unet/config.json")).unwrap();
        let mut pipeline = CandlePipeline::new(vec![folder], ResidentLimits { count: 1, bytes: 0 }).unwrap();
        pipeline.begin(&order, 0).unwrap()
    };
    let lane = variant(None);
    let file = checkpoint::write(&order.request, lane.weights(), &[lane.state()]).unwrap();
    assert!(checkpoint::read(&order.request, variant(None).weights(), &file).is_ok());
    for changed in [UNET.0, LORA.0] {
        let read = checkpoint::read(&order.request, variant(Some(changed)).weights(), &file);
        assert!(matches!(read, Err(checkpoint::CheckpointError::OtherWeights)), "{changed}: {read:?}");
    }
}

/// The lane written down, and another one that goes on from there.
fn taken_up(pipeline: &mut CandlePipeline, order: &Order, lane: &Lane) -> Lane {
    let file = checkpoint::write(&order.request, lane.weights(), &[lane.state()]).unwrap();
    let mut again = pipeline.begin(order, 0).unwrap();
    let read = checkpoint::read(&order.request, again.weights(), &file).unwrap().remove(0);
    again.restore(read).unwrap();
    again
}

/// Kept, as shrinking asks for the same again and again.
fn draw_alone(request: &ResolvedRequest) -> Vec<u8> {
    static KNOWN: OnceLock<Mutex<BTreeMap<String, Vec<u8>>>> = OnceLock::new();
    let key = format!("{request:?} on {}", rayon::current_num_threads());
    let known = KNOWN.get_or_init(Mutex::default);
    if let Some(pixels) = known.lock().unwrap().get(&key) {
        return pixels.clone();
    }
    let pixels = pipeline().generate(request, 0, &mut |_, _| Flow::Continue).unwrap().pixels;
    known.lock().unwrap().insert(key, pixels.clone());
    pixels
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn pipeline() -> CandlePipeline {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    CandlePipeline::new(vec![models], ResidentLimits { count: 2, bytes: 0 }).unwrap()
}
