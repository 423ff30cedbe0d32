//! A pipeline whose steps are let through one by one, so that a test knows how many were taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tintype_types::ResolvedRequest;
use tintype_worker::output::RgbImage;
use tintype_worker::pipeline::{Flow, OnStep, Pipeline, PipelineError};

/// A prompt that makes it panic.
pub(crate) const PANIC: &str = "break";
/// A test that forgets to let steps through fails after this.
const PATIENCE: Duration = Duration::from_secs(30);
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
}

/// Paints a grey picture.
pub(crate) struct Stepper(Steps);

impl Stepper {
    pub(crate) fn new() -> (Self, Steps) {
        let steps = Steps::default();
        (Self(steps.clone()), steps)
    }
}

impl Pipeline for Stepper {
    fn load(&mut self, _model: &str) -> Result<(), PipelineError> {
        Ok(())
    }

    fn generate(
        &mut self,
        request: &ResolvedRequest,
        _index: u32,
        on_step: OnStep<'_>,
    ) -> Result<RgbImage, PipelineError> {
        assert_ne!(request.prompt, PANIC, "the test wants this panic");
        for step in 0..request.steps {
            let since = Instant::now();
            // Within a step it asks again and again: a stop that comes then costs no further step.
            while self.0.taken() >= self.0.allowed.load(Ordering::SeqCst) {
                if on_step(step, request.steps) == Flow::Stop {
                    return Err(PipelineError::Stopped);
                }
                assert!(since.elapsed() < PATIENCE, "no step was let through");
                std::thread::sleep(ASK_PERIOD);
            }
            self.0.taken.fetch_add(1, Ordering::SeqCst);
            if on_step(step + 1, request.steps) == Flow::Stop {
                return Err(PipelineError::Stopped);
            }
        }
        let pixels = vec![128; (request.width * request.height * 3) as usize];
        Ok(RgbImage { width: request.width, height: request.height, pixels })
    }

    fn resident(&self) -> Vec<String> {
        vec!["tintype/shapes".to_owned()]
    }

    fn loadable(&mut self) -> Vec<String> {
        vec!["tintype/shapes".to_owned()]
    }
}
