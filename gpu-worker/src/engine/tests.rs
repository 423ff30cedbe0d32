//! Whose turn it is, who waits, and who fails: by a pipeline that only counts.

use std::sync::{Arc, Mutex};

use tintype_types::worker::ResidentModel;
use tintype_types::{GenerationRequest, ModelDefaults, Sampler};
use tokio::sync::mpsc;

use super::checkpoint::{CheckpointError, LaneState};
use super::crew::{Crew, CrewOptions, Turn};
use super::line::{End, News, Seat, Wish, line};
use super::thread::{Engine, Join};
use crate::output::RgbImage;
use crate::pipeline::{self, Order, Pipeline, PipelineError};

/// Steps of each picture.
const STEPS: u32 = 4;

/// Notes which pictures were stepped together, by prompt and index.
#[derive(Clone, Default)]
struct Counter {
    calls: Arc<Mutex<Vec<String>>>,
    /// Held by every lane: one that needs all the room begins while nobody else holds it.
    room: Arc<()>,
}

struct Counted {
    name: String,
    model: String,
    done: u32,
    _room: Arc<()>,
}

impl Counter {
    fn note(&self, lanes: &[&mut Counted]) {
        let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        self.calls.lock().unwrap().push(names.join(" "));
    }
}

impl pipeline::Lane for Counted {
    fn progress(&self) -> (u32, u32) {
        (self.done, STEPS)
    }

    fn is_over(&self) -> bool {
        self.done >= STEPS
    }

    fn area(&self) -> usize {
        10
    }

    fn weights(&self) -> &'static str {
        "none"
    }

    fn state(&self) -> LaneState {
        LaneState { pass: 0, evaluations: self.done, noise: 0.into(), latent: vec![1.0; 2], history: Vec::new() }
    }

    fn restore(&mut self, state: LaneState) -> Result<(), CheckpointError> {
        self.done = state.evaluations;
        Ok(())
    }

    fn steps_with(&self, other: &Self) -> bool {
        self.model == other.model
    }
}

impl Pipeline for Counter {
    type Lane = Counted;

    fn load(&mut self, _model: &str) -> Result<(), PipelineError> {
        Ok(())
    }

    fn begin(&mut self, order: &Order, index: u32) -> Result<Counted, PipelineError> {
        let name = format!("{}{index}", order.request.prompt);
        if name.starts_with("big") && Arc::strong_count(&self.room) > 1 {
            return Err(PipelineError::NoRoomNow("others are drawn".to_owned()));
        }
        Ok(Counted { name, model: order.request.model.clone(), done: 0, _room: Arc::clone(&self.room) })
    }

    fn step(&mut self, lanes: &mut [&mut Counted]) -> Result<(), PipelineError> {
        self.note(lanes);
        if let Some(bad) = lanes.iter().find(|lane| lane.name.starts_with("bad")) {
            return Err(PipelineError::Unsupported(bad.name.clone()));
        }
        assert!(!lanes.iter().any(|lane| lane.name.starts_with("panic")), "the test wants this panic");
        for lane in lanes {
            lane.done += 1;
        }
        Ok(())
    }

    fn finish(&mut self, _lane: &Counted) -> Result<RgbImage, PipelineError> {
        Ok(RgbImage { width: 1, height: 1, pixels: vec![0; 3] })
    }

    fn preview(&mut self, lane: &Counted) -> Result<Option<RgbImage>, PipelineError> {
        assert!(!lane.name.starts_with("shy"), "the test wants this panic");
        Ok(Some(RgbImage { width: 1, height: 1, pixels: vec![lane.done as u8; 3] }))
    }

    fn resident(&self) -> Vec<ResidentModel> {
        Vec::new()
    }

    fn loadable(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// A crew of counters, and a handle nobody listens to.
struct Scene {
    crew: Crew<Counter>,
    calls: Arc<Mutex<Vec<String>>>,
    engine: Engine,
}

impl Scene {
    fn new() -> Self {
        let counter = Counter::default();
        let calls = Arc::clone(&counter.calls);
        let crew = Crew::new(counter, CrewOptions { batch_area_max: 40, ..CrewOptions::default() });
        Self { crew, calls, engine: Engine::to_nobody(mpsc::channel(1).0) }
    }

    fn join(&mut self, name: &str, images: u32) -> Seat {
        self.join_with(name, images, |_| {})
    }

    fn join_with(&mut self, name: &str, images: u32, change: fn(&mut Join)) -> Seat {
        let defaults =
            ModelDefaults { width: 64, height: 64, steps: STEPS, guidance_scale: 1.0, sampler: Sampler::Ddim };
        let mut request = GenerationRequest::new("m", name).resolve(&defaults, 1);
        request.images = images;
        let mut join = Join { order: Order::from(&request), saved: None, checkpoint_every: 0, traced: false };
        change(&mut join);
        let (seat, outlet) = line(&self.engine);
        self.crew.join(join, outlet);
        seat
    }

    /// Takes turns until nothing can be done, but no more than these; answers the calls made.
    fn turns(&mut self, most: usize) -> Vec<String> {
        for _ in 0..most {
            if self.crew.turn() == Turn::Idle {
                break;
            }
        }
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

#[test]
fn lanes_that_fit_share_a_call_and_larger_sets_take_turns() {
    let mut scene = Scene::new();
    let _a = scene.join("a", 3);
    let _b = scene.join("b", 2);
    let _other = scene.join_with("c", 1, |join| join.order.request.model = "another".to_owned());
    // Whoever came last begins; then the one that waited longest; what does not fit waits its turn.
    assert_eq!(scene.turns(6), ["c0", "b0 b1 a0 a1", "c0", "b0 b1 a0 a1", "c0", "b0 b1 a0 a1"]);
}

#[test]
fn a_job_that_joins_and_leaves_does_so_between_two_steps() {
    let mut scene = Scene::new();
    let first = scene.join("a", 1);
    assert_eq!(scene.turns(1), ["a0"]);
    let second = scene.join("b", 1);
    assert_eq!(scene.turns(1), ["b0 a0"]);
    first.control().wish(Wish::Leave);
    assert_eq!(scene.turns(1), ["b0"]);
    assert!(matches!(ended(first), Some(End::Left(None))));
    drop(second);
    assert_eq!(scene.turns(1), Vec::<String>::new());
    assert!(scene.crew.is_empty());
}

#[test]
fn a_full_line_holds_up_its_own_job_alone() {
    let mut scene = Scene::new();
    let mut slow = scene.join("a", 2);
    scene.turns(20);
    assert!(matches!(slow.try_news(), Some(News::Picture(picture)) if picture.index == 0));
    let mut quick = scene.join("b", 1);
    assert_eq!(scene.turns(20).len(), STEPS as usize);
    assert!(quick.try_news().is_some());
    assert!(matches!(slow.try_news(), Some(News::Picture(picture)) if picture.index == 1));
    assert!(matches!((ended(slow), ended(quick)), (Some(End::Done), Some(End::Done))));
}

#[test]
fn what_ails_one_lane_does_not_end_its_neighbours() {
    for ill in ["bad", "panic"] {
        let mut scene = Scene::new();
        let (well, sick) = (scene.join("a", 1), scene.join(ill, 1));
        scene.turns(20);
        assert!(matches!(ended(sick), Some(End::Failed(..))), "{ill}");
        assert!(matches!(ended(well), Some(End::Done)), "{ill}");
    }
}

#[test]
fn no_step_is_taken_while_a_checkpoint_is_on_its_way() {
    let mut scene = Scene::new();
    let mut seat = scene.join_with("a", 1, |join| join.checkpoint_every = 1);
    let mut other = scene.join("b", 1);
    for step in 1..STEPS {
        assert!(scene.turns(50).iter().filter(|call| call.contains("a0")).count() == 1, "step {step}");
        let Some(News::Checkpoint(saved)) = seat.try_news() else { panic!("no checkpoint after step {step}") };
        assert_eq!(saved.step, step);
        // Taken off the line, and not in the store yet.
        assert!(scene.turns(50).iter().all(|call| !call.contains("a0")), "step {step}");
        seat.control().stored();
    }
    assert!(matches!(other.try_news(), Some(News::Picture(_))), "the neighbour was held up");
}

#[test]
fn a_job_is_looked_at_once_for_each_wish_after_its_next_step() {
    let mut scene = Scene::new();
    let (seen, other) = (scene.join("a", 2), scene.join("b", 1));
    let looks = |seat: &Seat| -> Vec<(u32, u32, u8)> {
        seat.control().looks().iter().map(|look| (look.index, look.step, look.image.pixels[0])).collect()
    };
    seen.control().want_looks();
    assert_eq!(looks(&seen), [], "a look before a step was taken");
    scene.turns(1);
    assert_eq!(looks(&seen), [(0, 1, 1), (1, 1, 1)]);
    scene.turns(1);
    assert_eq!((looks(&seen), looks(&other)), (vec![], vec![]), "nobody asked for another");
    seen.control().want_looks();
    scene.turns(1);
    seen.control().want_looks();
    scene.turns(1);
    // What was not taken gives way to what is newer; a picture that is ready is not looked at, but sent.
    assert_eq!(looks(&seen), []);
}

#[test]
fn a_job_there_is_no_room_for_waits_for_others_and_whoever_comes_after_waits_behind_it() {
    let mut scene = Scene::new();
    let (first, big, small) = (scene.join("a", 1), scene.join("big", 1), scene.join("c", 1));
    let (gone, late) = (scene.join("big", 1), scene.join("big", 1));
    assert_eq!(scene.turns(2), ["a0", "a0"]);
    gone.control().wish(Wish::Save);
    let calls = scene.turns(50);
    let at = |name: &str| calls.iter().position(|call| call.contains(name)).unwrap();
    assert!(
        at("a0") < at("big0") && calls.iter().all(|call| !call.contains("a0") || !call.contains("big0")),
        "{calls:?}"
    );
    assert!(at("big0") <= at("c0"), "{calls:?}");
    for (seat, done) in [(first, true), (big, true), (small, true), (gone, false), (late, true)] {
        match ended(seat) {
            Some(End::Done) => assert!(done),
            Some(End::Left(None)) => assert!(!done),
            _ => panic!("neither drawn nor let go: {calls:?}"),
        }
    }
    assert!(scene.crew.is_empty());
}

#[test]
fn a_look_that_fails_costs_nothing() {
    let mut scene = Scene::new();
    let seat = scene.join("shy", 1);
    seat.control().want_looks();
    scene.turns(20);
    assert!(seat.control().looks().is_empty());
    assert!(matches!(ended(seat), Some(End::Done)));
}

#[test]
fn a_job_goes_on_from_its_own_checkpoint_and_from_no_other() {
    let mut scene = Scene::new();
    let seat = scene.join("a", 2);
    scene.turns(3);
    seat.control().wish(Wish::Save);
    scene.turns(1);
    let Some(End::Left(Some(saved))) = ended(seat) else { panic!("no checkpoint") };
    assert_eq!(saved.step, 6);
    let file = saved.file;
    for (name, steps) in [("a", 1), ("b", 4)] {
        let (seat, outlet) = line(&scene.engine);
        let mut request = GenerationRequest::new("m", name).resolve(
            &ModelDefaults { width: 64, height: 64, steps: STEPS, guidance_scale: 1.0, sampler: Sampler::Ddim },
            1,
        );
        request.images = 2;
        let join = Join { order: Order::from(&request), saved: Some(file.clone()), checkpoint_every: 0, traced: false };
        scene.crew.join(join, outlet);
        assert_eq!(seat.control().progress(), (8 - 2 * steps, 8), "{name}");
        assert_eq!(scene.turns(50).len(), steps as usize, "{name}");
        drop(seat);
        scene.turns(1);
    }
}

fn ended(seat: Seat) -> Option<End> {
    seat.try_end()
}
