//! A pipeline whose steps are let through one by one, so that a test knows how many were taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tintype_types::ResolvedRequest;
use tintype_types::worker::{ResidentModel, Tier};
use tintype_worker::engine::{CheckpointError, LaneState};
use tintype_worker::output::RgbImage;
use tintype_worker::pipeline::{Lane, Order, Pipeline, PipelineError, WarmUp};

/// A prompt that makes it panic.
pub(crate) const PANIC: &str = "break";
/// A model whose load ahead of jobs ends when it is stopped and no sooner.
pub(crate) const SLOW: &str = "slow";
/// A test that forgets to let steps through fails after this.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a waiting step asks whether to go on.
const ASK_PERIOD: Duration = Duration::from_millis(2);

/// The test's hand on the steps.
#[derive(Clone, Default)]
pub(crate) struct Steps {
    allowed: Arc<AtomicU32>,
    taken: Arc<AtomicU32>,
}

impl Steps {
    /// Lets this many more steps through.
    pub(crate) fn allow(&self, more: u32) {
        self.allowed.fetch_add(more, Ordering::SeqCst);
    }

    /// Steps taken so far, over all jobs.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Whether one more is let through, which then counts as taken.
    fn let_through(&self) -> bool {
        let less = |taken| (taken < self.allowed.load(Ordering::SeqCst)).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }

    /// Holds another pipeline by its steps: a call of several pictures counts as one.
    pub(crate) fn gate<P: Pipeline>(&self, pipeline: P) -> impl Pipeline + use<P> {
        let (steps, mut since) = (self.clone(), Instant::now());
        Watched::new(pipeline, move |_: &mut [&mut P::Lane]| {
            if steps.let_through() {
                since = Instant::now();
                return Then::Step;
            }
            assert!(since.elapsed() < PATIENCE, "no step was let through");
            std::thread::sleep(ASK_PERIOD);
            Then::ComeAgain
        })
    }
}

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is taken.
    Step,
    /// It is not, and the engine comes again; what it has been told meanwhile it heeds first.
    ComeAgain,
}

/// A pipeline, and what is to happen before each of its steps.
pub(crate) struct Watched<P, F> {
    pipeline: P,
    before: F,
}

impl<P: Pipeline, F: FnMut(&mut [&mut P::Lane]) -> Then + Send + 'static> Watched<P, F> {
    pub(crate) fn new(pipeline: P, before: F) -> Self {
        Self { pipeline, before }
    }
}

impl<P: Pipeline, F: FnMut(&mut [&mut P::Lane]) -> Then + Send + 'static> Pipeline for Watched<P, F> {
    type Lane = P::Lane;

    fn load(&mut self, model: &str) -> Result<(), PipelineError> {
        self.pipeline.load(model)
    }

    fn warm(&mut self, order: &WarmUp) -> Result<(), PipelineError> {
        self.pipeline.warm(order)
    }

    fn begin(&mut self, order: &Order, index: u32) -> Result<Self::Lane, PipelineError> {
        self.pipeline.begin(order, index)
    }

    fn step(&mut self, lanes: &mut [&mut Self::Lane]) -> Result<(), PipelineError> {
        match (self.before)(lanes) {
            Then::Step => self.pipeline.step(lanes),
            Then::ComeAgain => Ok(()),
        }
    }

    fn finish(&mut self, lane: &Self::Lane) -> Result<RgbImage, PipelineError> {
        self.pipeline.finish(lane)
    }

    fn preview(&mut self, lane: &Self::Lane) -> Result<Option<RgbImage>, PipelineError> {
        self.pipeline.preview(lane)
    }

    fn resident(&self) -> Vec<ResidentModel> {
        self.pipeline.resident()
    }

    fn loadable(&mut self) -> Vec<String> {
        self.pipeline.loadable()
    }
}

/// Paints a grey picture.
pub(crate) struct Stepper(Steps);

impl Stepper {
    pub(crate) fn new() -> (Self, Steps) {
        let steps = Steps::default();
        (Self(steps.clone()), steps)
    }
}

/// A picture that is nothing but a number of steps.
pub(crate) struct GreyLane {
    request: ResolvedRequest,
    done: u32,
    since: Instant,
}

impl Lane for GreyLane {
    fn progress(&self) -> (u32, u32) {
        (self.done, self.request.steps)
    }

    fn is_over(&self) -> bool {
        self.done >= self.request.steps
    }

    fn area(&self) -> usize {
        1
    }

    fn weights(&self) -> &'static str {
        "none"
    }

    fn state(&self) -> LaneState {
        LaneState { pass: 0, evaluations: self.done, noise: 0.into(), latent: vec![0.5; 4], history: Vec::new() }
    }

    fn restore(&mut self, state: LaneState) -> Result<(), CheckpointError> {
        self.done = state.evaluations;
        Ok(())
    }

    fn steps_with(&self, _other: &Self) -> bool {
        true
    }
}

impl Pipeline for Stepper {
    type Lane = GreyLane;

    fn load(&mut self, _model: &str) -> Result<(), PipelineError> {
        Ok(())
    }

    fn warm(&mut self, order: &WarmUp) -> Result<(), PipelineError> {
        let began = Instant::now();
        while order.model == SLOW && !order.interrupt.is_set() {
            assert!(began.elapsed() < PATIENCE, "nobody stops the load");
            std::thread::sleep(ASK_PERIOD);
        }
        if order.interrupt.is_set() { Err(PipelineError::Stopped) } else { Ok(()) }
    }

    fn begin(&mut self, order: &Order, _index: u32) -> Result<GreyLane, PipelineError> {
        assert_ne!(order.request.prompt, PANIC, "the test wants this panic");
        Ok(GreyLane { request: order.request.clone(), done: 0, since: Instant::now() })
    }

    /// Steps the lanes whose steps are let through; where none is, the engine comes again and again, and a stop that
    /// comes then costs no further step.
    fn step(&mut self, lanes: &mut [&mut GreyLane]) -> Result<(), PipelineError> {
        let mut moved = false;
        for lane in lanes {
            if self.0.let_through() {
                lane.done += 1;
                lane.since = Instant::now();
                moved = true;
            }
            assert!(lane.since.elapsed() < PATIENCE, "no step was let through");
        }
        if !moved {
            std::thread::sleep(ASK_PERIOD);
        }
        Ok(())
    }

    fn finish(&mut self, lane: &GreyLane) -> Result<RgbImage, PipelineError> {
        let ResolvedRequest { width, height, .. } = lane.request;
        Ok(RgbImage { width, height, pixels: vec![128; (width * height * 3) as usize] })
    }

    fn resident(&self) -> Vec<ResidentModel> {
        vec![ResidentModel { name: "tintype/shapes".to_owned(), bytes: 1, load_ms: 1, tier: Tier::PageCache }]
    }

    fn loadable(&mut self) -> Vec<String> {
        vec!["tintype/shapes".to_owned()]
    }
}
