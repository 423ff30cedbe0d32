//! Whatever is loaded, drawn with and let go of, in whatever order: what is in memory stays within the budget, and what is
//! being drawn with is counted.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tintype_types::{ControlUse, GenerationRequest, LoraUse, ModelDefaults, ResolvedRequest, Sampler};
use tintype_worker::engine::Lane;
use tintype_worker::pipeline::{
    CandlePipeline, DeviceChoice, Lane as _, Order, Pipeline as _, PipelineError, Residency, ResidentLimits,
};

/// Room for two of the small models, or one with a LoRA and a ControlNet.
const BUDGET: u64 = 48 << 20;
/// Places for lanes that are drawn at a time.
const SLOTS: usize = 3;
/// A hint for the ControlNet.
const HINT: &[u8] = include_bytes!("fixtures/ground.png");

/// One thing that happens.
#[derive(Clone, Debug)]
enum Move {
    /// A lane of a model begins in a slot, with or without a LoRA and a ControlNet; whoever was there leaves.
    Begin { slot: usize, model: usize, lora: bool, control: bool, prompt: u8 },
    /// The lane of a slot takes a step.
    Step(usize),
    /// It leaves.
    Leave(usize),
    /// What is idle goes.
    Tend,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let begin = (0..SLOTS, 0..3_usize, any::<bool>(), any::<bool>(), 0..4_u8);
    let begin =
        begin.prop_map(|(slot, model, lora, control, prompt)| Move::Begin { slot, model, lora, control, prompt });
    let one = prop_oneof![4 => begin, 1 => (0..SLOTS).prop_map(Move::Step), 2 => (0..SLOTS).prop_map(Move::Leave), 1 => Just(Move::Tend)];
    proptest::collection::vec(one, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn the_budget_holds(moves in moves()) {
        let root = tempfile::tempdir().unwrap();
        let mut pipeline = pipeline(root.path());
        let mut lanes: BTreeMap<usize, (usize, Lane)> = BTreeMap::new();
        for step in moves {
            match step {
                Move::Begin { slot, model, lora, control, prompt } => {
                    lanes.remove(&slot);
                    let mut order = Order::from(&request(model, lora, control, prompt));
                    order.inputs.insert("inputs/hint".to_owned(), HINT.into());
                    match pipeline.begin(&order, 0) {
                        Ok(lane) => drop(lanes.insert(slot, (model, lane))),
                        // Others are in the way, and there are others.
                        Err(PipelineError::NoRoomNow(_)) => prop_assert!(!lanes.is_empty()),
                        Err(error) => prop_assert!(false, "{error}"),
                    }
                }
                Move::Step(slot) => {
                    if let Some((_, lane)) = lanes.get_mut(&slot).filter(|(_, lane)| !lane.is_over()) {
                        pipeline.step(&mut [lane]).unwrap();
                    }
                }
                Move::Leave(slot) => drop(lanes.remove(&slot)),
                Move::Tend => pipeline.tend(),
            }
            prop_assert!(pipeline.bytes() <= BUDGET, "{} bytes", pipeline.bytes());
            let resident: Vec<String> = pipeline.resident().into_iter().map(|resident| resident.name).collect();
            for (model, _) in lanes.values() {
                prop_assert!(resident.contains(&name(*model)), "{model} is drawn with and not counted: {resident:?}");
            }
        }
        lanes.clear();
        pipeline.tend();
        prop_assert!(pipeline.resident().is_empty());
        prop_assert!(pipeline.bytes() <= BUDGET / 16, "what is left of LoRAs, ControlNets and prompts: {}", pipeline.bytes());
    }
}

#[test]
fn a_lora_that_is_drawn_with_is_counted_and_its_room_is_not_given_away() {
    let root = tempfile::tempdir().unwrap();
    let mut pipeline = pipeline(root.path());
    let plain = pipeline.begin(&Order::from(&request(0, false, false, 0)), 0).unwrap();
    let before = pipeline.bytes();
    let lane = pipeline.begin(&Order::from(&request(0, true, false, 0)), 0).unwrap();
    let lora = pipeline.bytes() - before;
    assert!(lora > 100_000, "a LoRA of {lora} bytes");
    drop(plain);
    pipeline.tend();
    assert!(pipeline.bytes() > before, "it went while a lane is drawn with it");
    drop(lane);
    pipeline.tend();
    assert!(pipeline.bytes() < lora);
}

/// Three copies of the small model beside its LoRA and its ControlNet; all of it goes when it is idle.
fn pipeline(root: &Path) -> CandlePipeline {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").canonicalize().unwrap();
    for copy in 0..3 {
        let folder = root.join(name(copy));
        std::fs::create_dir(&folder).unwrap();
        for entry in std::fs::read_dir(models.join("shapes")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "tintype.json" {
                std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
    }
    let residency = Residency {
        limits: ResidentLimits { count: 2, bytes: BUDGET },
        keep: BTreeMap::new(),
        unload_after: Some(Duration::ZERO),
    };
    CandlePipeline::with(vec![root.to_owned(), models], residency, DeviceChoice::Cpu).unwrap()
}

fn name(copy: usize) -> String {
    format!("copy-{copy}")
}

fn request(model: usize, lora: bool, control: bool, prompt: u8) -> ResolvedRequest {
    let defaults = ModelDefaults { width: 64, height: 64, steps: 4, guidance_scale: 3.0, sampler: Sampler::Ddim };
    let mut request = GenerationRequest::new(name(model), format!("a red circle, {prompt}"));
    if lora {
        request.loras.push(LoraUse { name: "tintype/night".to_owned(), weight: 1.0 });
    }
    if control {
        let (name, image) = ("tintype/shapes-control".to_owned(), "inputs/hint".to_owned());
        request.controls.push(ControlUse { name, image, weight: 1.0, start: 0.0, end: 1.0 });
    }
    request.resolve(&defaults, 3)
}
