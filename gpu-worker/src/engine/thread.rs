//! The thread that owns the pipeline, and the handle by which everybody else speaks to it.

use std::io;

use bytes::Bytes;
use tintype_types::worker::ResidentModel;
use tokio::sync::{mpsc, oneshot};

use super::line::{Outlet, Seat, line};
use super::{Crew, CrewOptions, Turn};
use crate::pipeline::{Order, Pipeline, PipelineError, WarmUp};

/// Things said to the engine that it has not taken in yet. Attempts are few, and what they say is short.
const COMMANDS_MAX: usize = 64;

/// A job for the engine.
pub(crate) struct Join {
    /// What to draw.
    pub(crate) order: Order,
    /// Where an earlier attempt stopped.
    pub(crate) saved: Option<Bytes>,
    /// Steps of a picture after which a checkpoint is made unasked; 0 is never.
    pub(crate) checkpoint_every: u32,
    /// Whether what is done for it is noted.
    pub(crate) traced: bool,
}

pub(super) enum Command {
    Join(Box<Join>, Outlet),
    Models(oneshot::Sender<Models>),
    Warm(Box<WarmUp>, oneshot::Sender<Result<(), PipelineError>>),
    /// Nothing new, but something the engine waited for may have come about.
    Poke,
}

/// The models a pipeline has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Models {
    /// In memory, most recently used first.
    pub(crate) resident: Vec<ResidentModel>,
    /// That could be brought in, in order of name.
    pub(crate) loadable: Vec<String>,
}

/// The engine is not there any more: its thread broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine has ended")]
pub(crate) struct EngineEnded;

/// A handle on the engine's thread, which ends once all handles are gone and no job is left.
#[derive(Clone)]
pub(crate) struct Engine {
    commands: mpsc::Sender<Command>,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start<P: Pipeline>(pipeline: P, options: CrewOptions) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || run(Crew::new(pipeline, options), inbox))
            .map(|_detached| Self { commands })
    }

    /// A handle on whatever takes commands from the channel.
    #[cfg(test)]
    pub(super) fn to_nobody(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }

    /// Gives a job to the engine. Its pictures, and its end, come by the seat.
    pub(crate) async fn join(&self, join: Join) -> Result<Seat, EngineEnded> {
        let (seat, outlet) = line(self);
        if join.traced {
            outlet.note();
        }
        self.commands.send(Command::Join(Box::new(join), outlet)).await.map_err(|_| EngineEnded)?;
        Ok(seat)
    }

    /// What models there are. Answered between two steps.
    pub(crate) async fn models(&self) -> Result<Models, EngineEnded> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Models(reply)).await.map_err(|_| EngineEnded)?;
        answer.await.map_err(|_| EngineEnded)
    }

    /// Brings a model in ahead of jobs. It holds the engine up until it is there or is broken off.
    pub(crate) async fn warm(&self, order: WarmUp) -> Result<Result<(), PipelineError>, EngineEnded> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Warm(Box::new(order), reply)).await.map_err(|_| EngineEnded)?;
        answer.await.map_err(|_| EngineEnded)
    }

    /// Has the engine look at its lines again. With a full inbox it will anyway.
    pub(super) fn poke(&self) {
        let _full = self.commands.try_send(Command::Poke);
    }
}

fn run<P: Pipeline>(mut crew: Crew<P>, mut inbox: mpsc::Receiver<Command>) {
    loop {
        let idle = crew.turn() == Turn::Idle;
        if idle {
            match inbox.blocking_recv() {
                Some(command) => take(&mut crew, command),
                None if crew.is_empty() => return,
                // Nobody is left to speak; the jobs that are have lost their attempts and leave.
                None => {}
            }
        }
        while let Ok(command) = inbox.try_recv() {
            take(&mut crew, command);
        }
    }
}

fn take<P: Pipeline>(crew: &mut Crew<P>, command: Command) {
    match command {
        Command::Join(join, outlet) => crew.join(*join, outlet),
        Command::Models(reply) => {
            // Whoever asked may have stopped waiting.
            let _unheard = reply.send(crew.models());
        }
        Command::Warm(order, reply) => {
            let _unheard = reply.send(crew.warm(&order));
        }
        Command::Poke => {}
    }
}
