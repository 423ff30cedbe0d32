//! The jobs in the engine and whose turn it is. Plain code: it is given a pipeline and is told to take turns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::line::{End, Outlet, Picture, Wish};
use super::thread::Models;
use crate::pipeline::{Lane as _, Order, Pipeline, PipelineError};

/// Latent pixels times rows of one call: four guided pictures of 512x512, or one of 1024x1024. A call's memory grows with
/// it, so larger sets are stepped in turn.
pub(crate) const BATCH_AREA_MAX: usize = 8 * 64 * 64;

/// What may be tuned.
pub(crate) struct CrewOptions {
    /// Most latent pixels times rows in one call; a lane that is larger steps alone.
    pub(crate) batch_area_max: usize,
    /// Told how long each step of each lane took.
    pub(crate) on_step: Box<dyn Fn(Duration) + Send>,
}

impl Default for CrewOptions {
    fn default() -> Self {
        Self { batch_area_max: BATCH_AREA_MAX, on_step: Box::new(|_| {}) }
    }
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something was done; take the next turn at once.
    Worked,
    /// Nothing can be done until something is said.
    Idle,
}

/// All jobs that are being drawn.
pub(crate) struct Crew<P: Pipeline> {
    pipeline: P,
    options: CrewOptions,
    /// The one that waited longest first.
    jobs: Vec<Job<P::Lane>>,
}

struct Job<L> {
    outlet: Outlet,
    /// In the order of its pictures. Lanes whose picture was sent stay: they are small, and part of the job's state.
    lanes: Vec<Berth<L>>,
}

struct Berth<L> {
    lane: L,
    sent: bool,
}

/// A lane, by its places in the lists of jobs and of lanes.
type Place = (usize, usize);

impl<P: Pipeline> Crew<P> {
    /// Nobody yet.
    pub(crate) fn new(pipeline: P, options: CrewOptions) -> Self {
        Self { pipeline, options, jobs: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(crate) fn models(&mut self) -> Models {
        Models { resident: self.pipeline.resident(), loadable: self.pipeline.loadable() }
    }

    /// Begins every picture of a job.
    pub(crate) fn join(&mut self, order: &Order, outlet: Outlet) {
        let started = Instant::now();
        let pipeline = &mut self.pipeline;
        let lanes = guarded(|| (0..order.request.images).map(|index| pipeline.begin(order, index)).collect());
        outlet.charge(started.elapsed());
        match lanes {
            Ok(lanes) => {
                let lanes: Vec<P::Lane> = lanes;
                if lanes.is_empty() {
                    return outlet.end(End::Done);
                }
                let lanes = lanes.into_iter().map(|lane| Berth { lane, sent: false }).collect();
                let job = Job { outlet, lanes };
                job.show_progress();
                // First in line: whoever comes should be seen to move.
                self.jobs.insert(0, job);
            }
            Err(error) => outlet.end(End::Failed(error)),
        }
    }

    /// Does one thing: lets jobs leave, then finishes one picture or takes one step of the lanes whose turn it is.
    pub(crate) fn turn(&mut self) -> Turn {
        self.let_leave();
        if self.finish_one() {
            return Turn::Worked;
        }
        let batch = self.choose();
        if batch.is_empty() {
            return Turn::Idle;
        }
        self.step(&batch);
        Turn::Worked
    }

    fn let_leave(&mut self) {
        let (stay, leave) = std::mem::take(&mut self.jobs).into_iter().partition(|job| job.outlet.wish() == Wish::GoOn);
        self.jobs = stay;
        for job in leave {
            job.outlet.end(End::Left);
        }
    }

    /// Finishes one picture that is ready and whose attempt has room for it.
    fn finish_one(&mut self) -> bool {
        for at in 0..self.jobs.len() {
            let job = &mut self.jobs[at];
            let ready = job.lanes.iter().position(|berth| berth.lane.is_over() && !berth.sent);
            let Some((place, permit)) = ready.and_then(|place| Some((place, job.outlet.room()?))) else { continue };
            let (started, pipeline, lane) = (Instant::now(), &mut self.pipeline, &job.lanes[place].lane);
            let finished = guarded(|| pipeline.finish(lane));
            job.outlet.charge(started.elapsed());
            match finished {
                Ok(image) => {
                    permit.send(Picture { index: place as u32, image });
                    job.lanes[place].sent = true;
                    if job.lanes.iter().all(|berth| berth.sent) {
                        self.jobs.remove(at).outlet.end(End::Done);
                    }
                }
                Err(error) => {
                    drop(permit);
                    self.jobs.remove(at).outlet.end(End::Failed(error));
                }
            }
            return true;
        }
        false
    }

    /// The lanes to step next: the first of the job that waited longest, and all that can go with it in one call. A job's
    /// earlier pictures go before its later ones, so that the first are soon there.
    fn choose(&self) -> Vec<Place> {
        let mut chosen: Vec<Place> = Vec::new();
        let mut area = 0;
        for (at, job) in self.jobs.iter().enumerate() {
            for (place, Berth { lane, .. }) in job.lanes.iter().enumerate() {
                if lane.is_over() {
                    continue;
                }
                let fits = match chosen.first() {
                    None => true,
                    Some(first) => {
                        lane.steps_with(&self.jobs[first.0].lanes[first.1].lane)
                            && area + lane.area() <= self.options.batch_area_max
                    }
                };
                if fits {
                    area += lane.area();
                    chosen.push((at, place));
                }
            }
        }
        chosen
    }

    /// Steps these lanes together. Should that fail, each alone: what ails one must not end its neighbours.
    fn step(&mut self, batch: &[Place]) {
        let mut failed = Vec::new();
        if let Err(error) = self.step_together(batch) {
            if let [one] = batch {
                failed.push((one.0, error));
            } else {
                tracing::warn!(%error, lanes = batch.len(), "a step of several pictures failed; each is tried alone");
                for one in batch {
                    if let Err(error) = self.step_together(&[*one]) {
                        failed.push((one.0, error));
                    }
                }
            }
        }
        let stepped: Vec<usize> = batch.iter().map(|(at, _)| *at).collect();
        self.requeue(&stepped, failed);
    }

    fn step_together(&mut self, batch: &[Place]) -> Result<(), PipelineError> {
        let started = Instant::now();
        let mut lanes = lanes_at(&mut self.jobs, batch);
        let pipeline = &mut self.pipeline;
        let stepped = guarded(|| pipeline.step(&mut lanes));
        let took = started.elapsed();
        for (at, _) in batch {
            let job = &self.jobs[*at];
            job.outlet.charge(took / batch.len() as u32);
            job.show_progress();
            (self.options.on_step)(took);
        }
        stepped
    }

    /// Puts those who had their turn behind the others, and lets those go who failed.
    fn requeue(&mut self, stepped: &[usize], failed: Vec<(usize, PipelineError)>) {
        let (mut waited, mut had_turn) = (Vec::new(), Vec::new());
        let mut errors: std::collections::BTreeMap<usize, PipelineError> = failed.into_iter().collect();
        for (at, job) in std::mem::take(&mut self.jobs).into_iter().enumerate() {
            match errors.remove(&at) {
                Some(error) => job.outlet.end(End::Failed(error)),
                None if stepped.contains(&at) => had_turn.push(job),
                None => waited.push(job),
            }
        }
        waited.append(&mut had_turn);
        self.jobs = waited;
    }
}

impl<L: crate::pipeline::Lane> Job<L> {
    fn show_progress(&self) {
        let (done, steps) = self
            .lanes
            .iter()
            .map(|berth| berth.lane.progress())
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.outlet.show_progress(done, steps);
    }
}

fn lanes_at<'a, L>(jobs: &'a mut [Job<L>], batch: &[Place]) -> Vec<&'a mut L> {
    let chosen = |at: usize, place: usize| batch.contains(&(at, place));
    let jobs = jobs.iter_mut().enumerate();
    jobs.flat_map(|(at, job)| job.lanes.iter_mut().enumerate().map(move |(place, berth)| (at, place, berth)))
        .filter(|(at, place, _)| chosen(*at, *place))
        .map(|(_, _, berth)| &mut berth.lane)
        .collect()
}

/// A pipeline that panics costs the jobs it worked for, not the engine. It holds nothing half-done: a model is kept only
/// when it is whole, and lanes change only after everything that can fail.
fn guarded<T>(work: impl FnOnce() -> Result<T, PipelineError>) -> Result<T, PipelineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(PipelineError::Broken))
}
