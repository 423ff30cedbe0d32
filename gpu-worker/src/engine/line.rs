//! The line between an attempt and the engine: pictures one way, wishes the other. Neither side ever waits for the other
//! while holding it up: the engine leaves a job alone whose line is full, and looks at wishes between two steps.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::marks::{Doing, Mark, Marks};
use super::thread::Engine;
use crate::output::RgbImage;
use crate::pipeline::PipelineError;

/// Things that may wait to be taken: a finished picture, or a checkpoint. More are made only then.
const WAITING_MAX: usize = 1;

/// What an attempt is sent while its job is drawn.
pub(crate) enum News {
    /// A picture is finished.
    Picture(Picture),
    /// So many steps were done since the last checkpoint that another one is due. The job takes no step until the attempt
    /// says [`Control::stored`].
    Checkpoint(Saved),
}

/// One finished picture.
pub(crate) struct Picture {
    /// Which of the job's pictures.
    pub(crate) index: u32,
    /// Its pixels.
    pub(crate) image: RgbImage,
}

/// How one of the job's pictures looks while it is drawn.
pub(crate) struct Look {
    /// Which of the job's pictures.
    pub(crate) index: u32,
    /// Steps of it done by then.
    pub(crate) step: u32,
    /// It, small.
    pub(crate) image: RgbImage,
}

/// A job written down between two steps.
#[derive(Clone)]
pub(crate) struct Saved {
    /// Steps done, over all pictures.
    pub(crate) step: u32,
    /// The checkpoint.
    pub(crate) file: Bytes,
}

/// How a job leaves the engine.
pub(crate) enum End {
    /// All pictures were sent.
    Done,
    /// It was asked to leave; with a checkpoint, if it was asked for one and a step was done.
    Left(Option<Saved>),
    /// It cannot be drawn. A step that failed has changed nothing: this is the job as it was before, if a step was done.
    Failed(PipelineError, Option<Saved>),
}

/// What an attempt wants of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wish {
    /// To go on.
    GoOn = 0,
    /// To leave at the next step boundary, its work thrown away.
    Leave = 1,
    /// To leave at the next step boundary, with a checkpoint.
    Save = 2,
}

/// What both sides read and write without asking each other.
#[derive(Default)]
struct Shared {
    step: AtomicU32,
    steps: AtomicU32,
    drawing_us: AtomicU64,
    wish: AtomicU8,
    /// Whether a checkpoint is on its way to the store.
    storing: AtomicBool,
    /// Whether looks are wanted.
    wants_looks: AtomicBool,
    /// The newest looks that nobody has taken: one a picture at most.
    looks: Mutex<Vec<Look>>,
    /// What was done for the job; none where nobody wants to know.
    marks: Mutex<Option<Marks>>,
}

impl Shared {
    fn looks(&self) -> MutexGuard<'_, Vec<Look>> {
        // It is replaced as a whole, so a poisoned lock holds a good list.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marks(&self) -> MutexGuard<'_, Option<Marks>> {
        // A mark that is lost costs a span.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attempt's end of the line. Dropping it is a wish to leave.
pub(crate) struct Seat {
    news: mpsc::Receiver<News>,
    end: oneshot::Receiver<End>,
    control: Control,
}

/// The attempt's hand on its job in the engine.
#[derive(Clone)]
pub(crate) struct Control {
    shared: Arc<Shared>,
    engine: Engine,
}

/// The engine's end of the line.
pub(crate) struct Outlet {
    news: mpsc::Sender<News>,
    end: oneshot::Sender<End>,
    shared: Arc<Shared>,
}

/// A line with nothing on it.
pub(super) fn line(engine: &Engine) -> (Seat, Outlet) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let (end_sender, end_receiver) = oneshot::channel();
    let shared = Arc::new(Shared::default());
    let control = Control { shared: Arc::clone(&shared), engine: engine.clone() };
    let seat = Seat { news: receiver, end: end_receiver, control };
    (seat, Outlet { news: sender, end: end_sender, shared })
}

impl Seat {
    /// The next picture or checkpoint; none once the job has left the engine.
    pub(crate) async fn news(&mut self) -> Option<News> {
        let news = self.news.recv().await;
        // There is room on the line now.
        self.control.engine.poke();
        news
    }

    #[cfg(test)]
    pub(super) fn try_news(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }

    #[cfg(test)]
    pub(super) fn try_end(mut self) -> Option<End> {
        self.end.try_recv().ok()
    }

    /// How the job left, once it has. None if the engine broke.
    pub(crate) async fn end(self) -> Option<End> {
        let Self { news, end, control: _ } = self;
        // What is still on the line is dropped, and a job that is still there leaves.
        drop(news);
        end.await.ok()
    }

    /// For others who want a hand on the job.
    pub(crate) fn control(&self) -> Control {
        self.control.clone()
    }
}

impl Control {
    /// Asks the engine for something, at the next step boundary.
    pub(crate) fn wish(&self, wish: Wish) {
        self.shared.wish.store(wish as u8, Ordering::Release);
        self.engine.poke();
    }

    /// The checkpoint sent last is in the store, or will never be: the job may go on.
    pub(crate) fn stored(&self) {
        self.shared.storing.store(false, Ordering::Release);
        self.engine.poke();
    }

    /// Asks for looks at the pictures; they are made once, after the next step.
    pub(crate) fn want_looks(&self) {
        self.shared.wants_looks.store(true, Ordering::Release);
    }

    /// The looks made since they were last taken.
    pub(crate) fn looks(&self) -> Vec<Look> {
        std::mem::take(&mut *self.shared.looks())
    }

    /// Steps done and steps in all, over all pictures; (0, 0) before the job is begun.
    pub(crate) fn progress(&self) -> (u32, u32) {
        (self.shared.step.load(Ordering::Relaxed), self.shared.steps.load(Ordering::Relaxed))
    }

    /// What was done for the job since this was last asked, if that is noted.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        self.shared.marks().as_mut().map(Marks::take).unwrap_or_default()
    }

    /// Time the job was worked for: its part of every call it shared.
    pub(crate) fn drawing(&self) -> Duration {
        Duration::from_micros(self.shared.drawing_us.load(Ordering::Relaxed))
    }
}

impl Outlet {
    pub(super) fn wish(&self) -> Wish {
        let wished = self.shared.wish.load(Ordering::Acquire);
        if wished == Wish::Leave as u8 || self.news.is_closed() {
            Wish::Leave
        } else if wished == Wish::Save as u8 {
            Wish::Save
        } else {
            Wish::GoOn
        }
    }

    /// Whether a checkpoint is on its way to the store.
    pub(super) fn is_storing(&self) -> bool {
        self.shared.storing.load(Ordering::Acquire)
    }

    /// A checkpoint is about to be sent.
    pub(super) fn begin_storing(&self) {
        self.shared.storing.store(true, Ordering::Release);
    }

    /// Whether looks are wanted; asked once for each wish.
    pub(super) fn takes_looks(&self) -> bool {
        self.shared.wants_looks.swap(false, Ordering::AcqRel)
    }

    pub(super) fn show_looks(&self, looks: Vec<Look>) {
        *self.shared.looks() = looks;
    }

    pub(super) fn show_progress(&self, step: u32, steps: u32) {
        self.shared.steps.store(steps, Ordering::Relaxed);
        self.shared.step.store(step, Ordering::Relaxed);
    }

    pub(super) fn charge(&self, time: Duration) {
        self.shared.drawing_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// Has what is done for the job noted.
    pub(super) fn note(&self) {
        *self.shared.marks() = Some(Marks::default());
    }

    pub(super) fn is_noted(&self) -> bool {
        self.shared.marks().is_some()
    }

    /// Something was done until now.
    pub(super) fn mark(&self, doing: Doing, took: Duration) {
        self.mark_before(doing, took, Duration::ZERO);
    }

    /// A job was begun in this time, so much of which went into bringing models in. That comes first; what is left went into
    /// prompts and pictures.
    pub(super) fn mark_beginning(&self, took: Duration, load: Duration) {
        let rest = took.saturating_sub(load);
        if !load.is_zero() {
            self.mark_before(Doing::Load, load.min(took), rest);
        }
        self.mark(Doing::Encode, rest);
    }

    /// Something was done until a while ago.
    fn mark_before(&self, doing: Doing, took: Duration, ago: Duration) {
        if let Some(marks) = &mut *self.shared.marks() {
            // Only a clock near 1970 has nothing before it.
            let now = SystemTime::now();
            let to = now.checked_sub(ago).unwrap_or(now);
            marks.add(Mark { doing, from: to.checked_sub(took).unwrap_or(to), to });
        }
    }

    /// Room for one thing to send, if there is any.
    pub(super) fn room(&self) -> Option<mpsc::Permit<'_, News>> {
        self.news.try_reserve().ok()
    }

    pub(super) fn end(self, end: End) {
        // An attempt that does not listen any more wanted no end.
        let _unheard = self.end.send(end);
    }
}
