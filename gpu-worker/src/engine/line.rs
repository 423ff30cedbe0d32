//! The line between an attempt and the engine: pictures one way, wishes the other. Neither side ever waits for the other
//! while holding it up: the engine leaves a job alone whose line is full, and looks at wishes between two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::thread::Engine;
use crate::output::RgbImage;
use crate::pipeline::PipelineError;

/// Finished pictures that may wait to be taken; the job's further pictures are finished only then.
const PICTURES_WAITING_MAX: usize = 1;

/// What an attempt is sent while its job is drawn.
pub(crate) struct Picture {
    /// Which of the job's pictures.
    pub(crate) index: u32,
    /// Its pixels.
    pub(crate) image: RgbImage,
}

/// How a job leaves the engine.
pub(crate) enum End {
    /// All pictures were sent.
    Done,
    /// It was asked to leave.
    Left,
    /// It cannot be drawn.
    Failed(PipelineError),
}

/// What an attempt wants of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wish {
    /// To go on.
    GoOn = 0,
    /// To leave at the next step boundary, its work thrown away.
    Leave = 1,
}

/// What both sides read and write without asking each other.
#[derive(Debug, Default)]
struct Shared {
    step: AtomicU32,
    steps: AtomicU32,
    drawing_us: AtomicU64,
    wish: AtomicU8,
}

/// The attempt's end of the line. Dropping it is a wish to leave.
pub(crate) struct Seat {
    pictures: mpsc::Receiver<Picture>,
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
    pictures: mpsc::Sender<Picture>,
    end: oneshot::Sender<End>,
    shared: Arc<Shared>,
}

/// A line with nothing on it.
pub(super) fn line(engine: &Engine) -> (Seat, Outlet) {
    let (sender, receiver) = mpsc::channel(PICTURES_WAITING_MAX);
    let (end_sender, end_receiver) = oneshot::channel();
    let shared = Arc::new(Shared::default());
    let control = Control { shared: Arc::clone(&shared), engine: engine.clone() };
    let seat = Seat { pictures: receiver, end: end_receiver, control };
    (seat, Outlet { pictures: sender, end: end_sender, shared })
}

impl Seat {
    /// The next picture; none once the job has left the engine.
    pub(crate) async fn picture(&mut self) -> Option<Picture> {
        let picture = self.pictures.recv().await;
        // There is room on the line now.
        self.control.engine.poke();
        picture
    }

    /// How the job left, once it has. None if the engine broke.
    pub(crate) async fn end(self) -> Option<End> {
        let Self { pictures, end, control: _ } = self;
        // Pictures still on the line are dropped, so that the engine need not wait to send one.
        drop(pictures);
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

    /// Steps done and steps in all, over all pictures; (0, 0) before the job is begun.
    pub(crate) fn progress(&self) -> (u32, u32) {
        (self.shared.step.load(Ordering::Relaxed), self.shared.steps.load(Ordering::Relaxed))
    }

    /// Time the job was worked for: its part of every call it shared.
    pub(crate) fn drawing(&self) -> Duration {
        Duration::from_micros(self.shared.drawing_us.load(Ordering::Relaxed))
    }
}

impl Outlet {
    pub(super) fn wish(&self) -> Wish {
        let wished = self.shared.wish.load(Ordering::Acquire);
        if wished == Wish::Leave as u8 || self.pictures.is_closed() { Wish::Leave } else { Wish::GoOn }
    }

    pub(super) fn show_progress(&self, step: u32, steps: u32) {
        self.shared.steps.store(steps, Ordering::Relaxed);
        self.shared.step.store(step, Ordering::Relaxed);
    }

    pub(super) fn charge(&self, time: Duration) {
        self.shared.drawing_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// Room for one picture, if there is any.
    pub(super) fn room(&self) -> Option<mpsc::Permit<'_, Picture>> {
        self.pictures.try_reserve().ok()
    }

    pub(super) fn end(self, end: End) {
        // An attempt that does not listen any more wanted no end.
        let _unheard = self.end.send(end);
    }
}
