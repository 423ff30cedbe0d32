//! The jobs in the engine and whose turn it is. Plain code: it is given a pipeline and is told to take turns.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tintype_types::{FailureReason, ModelFamily, ResolvedRequest};

use super::checkpoint::{self, CheckpointError, LaneState};
use super::line::{End, Look, News, Outlet, Picture, Saved, Wish};
use super::marks::{Doing, loaded_in};
use super::thread::{Join, Models};
use crate::pipeline::{Lane, Order, Pipeline, PipelineError, WarmUp};

/// Latent pixels times rows of one call: four guided pictures of 512x512, or one of 1024x1024. A call's memory grows with
/// it, so larger sets are stepped in turn.
pub(crate) const BATCH_AREA_MAX: usize = 8 * 64 * 64;

/// Told of one step.
pub(crate) type OnLaneStep = Box<dyn Fn(Option<ModelFamily>, Duration) + Send>;

/// What may be tuned.
pub(crate) struct CrewOptions {
    /// Most latent pixels times rows in one call; a lane that is larger steps alone.
    pub(crate) batch_area_max: usize,
    /// Told how long each step of each lane took, and of which family its model is.
    pub(crate) on_step: OnLaneStep,
}

impl Default for CrewOptions {
    fn default() -> Self {
        Self { batch_area_max: BATCH_AREA_MAX, on_step: Box::new(|_, _| {}) }
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
    /// Jobs for whose models there was no room beside those that are drawn, in the order they came.
    waiting: VecDeque<(Join, Outlet)>,
    /// How many jobs there were when the first of them was last tried.
    crowd: usize,
}

struct Job<L> {
    outlet: Outlet,
    request: ResolvedRequest,
    checkpoint_every: u32,
    /// In the order of its pictures. Lanes whose picture was sent stay: they are small, and part of the job's state.
    lanes: Vec<Berth<L>>,
}

struct Berth<L> {
    lane: L,
    sent: bool,
    /// Steps done when it was last written down.
    saved: u32,
}

/// A lane, by its places in the lists of jobs and of lanes.
type Place = (usize, usize);

impl<P: Pipeline> Crew<P> {
    /// Nobody yet.
    pub(crate) fn new(pipeline: P, options: CrewOptions) -> Self {
        Self { pipeline, options, jobs: Vec::new(), waiting: VecDeque::new(), crowd: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn models(&mut self) -> Models {
        self.pipeline.tend();
        Models { resident: self.pipeline.resident(), loadable: self.pipeline.loadable() }
    }

    /// Brings a model in ahead of jobs; where there are any, they go first.
    pub(crate) fn warm(&mut self, order: &WarmUp) -> Result<(), PipelineError> {
        if !self.is_empty() || order.interrupt.is_set() {
            return Err(PipelineError::Stopped);
        }
        guarded(|| self.pipeline.warm(order))
    }

    /// Begins every picture of a job, or takes them up where a checkpoint left them. One for whose models there is no room
    /// waits until others leave, and whoever comes after it waits behind it.
    pub(crate) fn join(&mut self, join: Join, outlet: Outlet) {
        if self.waiting.is_empty() {
            self.try_join(join, outlet);
        } else {
            self.waiting.push_back((join, outlet));
        }
    }

    fn try_join(&mut self, join: Join, outlet: Outlet) {
        let before = outlet.is_noted().then(|| self.pipeline.resident());
        let started = Instant::now();
        let lanes = self.begin(&join.order, join.saved.as_deref());
        let took = started.elapsed();
        outlet.charge(took);
        if let Some(before) = before.filter(|_| lanes.is_ok()) {
            outlet.mark_beginning(took, loaded_in(&before, &self.pipeline.resident()));
        }
        match lanes {
            Err(PipelineError::NoRoomNow(why)) if !self.jobs.is_empty() => {
                tracing::info!(%why, "a job waits for room");
                self.crowd = self.jobs.len();
                self.waiting.push_front((join, outlet));
            }
            Ok(lanes) => {
                let Join { order, saved: _, checkpoint_every, traced: _ } = join;
                if lanes.is_empty() {
                    return outlet.end(End::Done);
                }
                let berth = |lane: P::Lane| Berth { saved: lane.progress().0, lane, sent: false };
                let lanes = lanes.into_iter().map(berth).collect();
                let job = Job { outlet, request: order.request, checkpoint_every, lanes };
                job.show_progress();
                // First in line: whoever comes should be seen to move.
                self.jobs.insert(0, job);
            }
            Err(error) => outlet.end(End::Failed(error, None)),
        }
    }

    fn begin(&mut self, order: &Order, saved: Option<&[u8]>) -> Result<Vec<P::Lane>, PipelineError> {
        let pipeline = &mut self.pipeline;
        let mut begin = || guarded(|| (0..order.request.images).map(|index| pipeline.begin(order, index)).collect());
        let mut lanes: Vec<P::Lane> = begin()?;
        let Some(saved) = saved else { return Ok(lanes) };
        match take_up(&mut lanes, order, saved) {
            Ok(()) => Ok(lanes),
            Err(error) => {
                tracing::warn!(why = %error, "a checkpoint is not used, and the job starts from its first step");
                begin()
            }
        }
    }

    /// Does one thing: lets jobs leave, then finishes one picture or takes one step of the lanes whose turn it is.
    pub(crate) fn turn(&mut self) -> Turn {
        self.let_leave();
        if self.let_in() || self.save_one() || self.finish_one() {
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
            let saved = if job.outlet.wish() == Wish::Save { job.save() } else { None };
            job.outlet.end(End::Left(saved));
        }
        let (stay, leave): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, outlet)| outlet.wish() == Wish::GoOn);
        self.waiting = stay;
        for (_, outlet) in leave {
            outlet.end(End::Left(None));
        }
    }

    /// Tries the first job that waits for room, once somebody has left.
    fn let_in(&mut self) -> bool {
        if self.jobs.len() >= self.crowd && !self.jobs.is_empty() {
            return false;
        }
        let Some((join, outlet)) = self.waiting.pop_front() else { return false };
        // Should it be let in, the next one is tried at once.
        self.crowd = usize::MAX;
        self.try_join(join, outlet);
        true
    }

    /// Makes one checkpoint that is due, of a job whose attempt has room for it.
    fn save_one(&mut self) -> bool {
        for job in &mut self.jobs {
            if !job.is_due() || job.outlet.is_storing() {
                continue;
            }
            let Some(permit) = job.outlet.room() else { continue };
            if let Some(saved) = job.save() {
                job.outlet.begin_storing();
                permit.send(News::Checkpoint(saved));
            }
            for berth in &mut job.lanes {
                berth.saved = berth.lane.progress().0;
            }
            return true;
        }
        false
    }

    /// Finishes one picture that is ready and whose attempt has room for it.
    fn finish_one(&mut self) -> bool {
        for at in 0..self.jobs.len() {
            let job = &mut self.jobs[at];
            let ready = job.lanes.iter().position(|berth| berth.lane.is_over() && !berth.sent);
            let Some((place, permit)) = ready.and_then(|place| Some((place, job.outlet.room()?))) else { continue };
            let (started, pipeline, lane) = (Instant::now(), &mut self.pipeline, &job.lanes[place].lane);
            let finished = guarded(|| pipeline.finish(lane));
            let took = started.elapsed();
            job.outlet.charge(took);
            job.outlet.mark(Doing::Decode { picture: place as u32 }, took);
            match finished {
                Ok(image) => {
                    permit.send(News::Picture(Picture { index: place as u32, image }));
                    job.lanes[place].sent = true;
                    if job.lanes.iter().all(|berth| berth.sent) {
                        self.jobs.remove(at).outlet.end(End::Done);
                    }
                }
                Err(error) => {
                    drop(permit);
                    self.jobs.remove(at).fail(error);
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
            // With a checkpoint not stored yet, one more step could be lost than was promised.
            if job.is_due() || job.outlet.is_storing() {
                continue;
            }
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
        let mut stepped: Vec<usize> = batch.iter().map(|(at, _)| *at).collect();
        stepped.dedup();
        self.show_looks(&stepped);
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
            (self.options.on_step)(self.pipeline.family(&job.request.model), took);
        }
        let mut jobs: Vec<usize> = batch.iter().map(|(at, _)| *at).collect();
        jobs.dedup();
        for job in jobs.iter().filter_map(|at| self.jobs.get(*at)).filter(|_| stepped.is_ok()) {
            job.outlet.mark(Doing::Step { done: job.progress().0, calls: 1 }, took);
        }
        stepped
    }

    /// Shows the pictures of these jobs to the attempts that want to see them. A look that fails is done without.
    fn show_looks(&mut self, stepped: &[usize]) {
        for job in stepped.iter().filter_map(|at| self.jobs.get(*at)) {
            if !job.outlet.takes_looks() {
                continue;
            }
            let (started, pipeline) = (Instant::now(), &mut self.pipeline);
            let mut look = |(index, berth): (usize, &Berth<P::Lane>)| {
                let image = guarded(|| pipeline.preview(&berth.lane)).unwrap_or_else(|error| {
                    tracing::debug!(%error, "a preview could not be made");
                    None
                })?;
                Some(Look { index: index as u32, step: berth.lane.progress().0, image })
            };
            let unfinished = job.lanes.iter().enumerate().filter(|(_, berth)| !berth.lane.is_over());
            let looks = unfinished.filter_map(&mut look).collect();
            job.outlet.charge(started.elapsed());
            job.outlet.show_looks(looks);
        }
    }

    /// Puts those who had their turn behind the others, and lets those go who failed.
    fn requeue(&mut self, stepped: &[usize], failed: Vec<(usize, PipelineError)>) {
        let (mut waited, mut had_turn) = (Vec::new(), Vec::new());
        let mut errors: std::collections::BTreeMap<usize, PipelineError> = failed.into_iter().collect();
        for (at, job) in std::mem::take(&mut self.jobs).into_iter().enumerate() {
            match errors.remove(&at) {
                Some(error) => job.fail(error),
                None if stepped.contains(&at) => had_turn.push(job),
                None => waited.push(job),
            }
        }
        waited.append(&mut had_turn);
        self.jobs = waited;
    }
}

impl<L: Lane> Job<L> {
    fn progress(&self) -> (u32, u32) {
        let lanes = self.lanes.iter().map(|berth| berth.lane.progress());
        lanes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn show_progress(&self) {
        let (done, steps) = self.progress();
        self.outlet.show_progress(done, steps);
    }

    /// Whether so many steps were done since the last checkpoint that another must be made first.
    fn is_due(&self) -> bool {
        let every = self.checkpoint_every;
        every > 0 && self.lanes.iter().any(|berth| berth.lane.progress().0 - berth.saved >= every)
    }

    /// Lets the job go, as far as it came. The state is read again only where what ended it is not the job's own.
    fn fail(self, error: PipelineError) {
        let saved = if error.reason().0 == FailureReason::Internal { self.save() } else { None };
        self.outlet.end(End::Failed(error, saved));
    }

    /// The job written down; nothing if no step was done. Pictures that were sent are in it as the latents they came from.
    fn save(&self) -> Option<Saved> {
        let (step, _) = self.progress();
        let states: Vec<LaneState> = self.lanes.iter().map(|berth| berth.lane.state()).collect();
        if states.iter().all(|state| state.evaluations == 0) {
            return None;
        }
        let weights = self.lanes.first().map_or("", |berth| berth.lane.weights());
        match checkpoint::write(&self.request, weights, &states) {
            Ok(file) => Some(Saved { step, file: file.into() }),
            Err(error) => {
                tracing::warn!(%error, "a checkpoint could not be made");
                None
            }
        }
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

/// Takes lanes just begun to where a checkpoint left them.
fn take_up<L: Lane>(lanes: &mut [L], order: &Order, saved: &[u8]) -> Result<(), CheckpointError> {
    let weights = lanes.first().map_or("", |lane| lane.weights());
    let states = checkpoint::read(&order.request, weights, saved)?;
    // As many as there are pictures: `read` has seen to it.
    lanes.iter_mut().zip(states).try_for_each(|(lane, state)| lane.restore(state))
}

/// A pipeline that panics costs the jobs it worked for, not the engine. It holds nothing half-done: a model is kept only
/// when it is whole, and lanes change only after everything that can fail.
fn guarded<T>(work: impl FnOnce() -> Result<T, PipelineError>) -> Result<T, PipelineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(PipelineError::Broken))
}
