//! A model loaded ahead of jobs, because the dispatcher said so while there was nothing to do. The worker goes on asking for
//! work meanwhile, and a job that comes goes first: it stops the load, unless it wants that very model.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tintype_types::FailureReason;
use tintype_types::worker::{WarmUpOrder, WarmUpStanding};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::engine::Models;
use crate::pipeline::{PipelineError, WarmUp};
use crate::run::Worker;
use crate::weights::Interrupt;

/// What the worker remembers of it.
pub(crate) struct Warming {
    standing: watch::Sender<WarmUpStanding>,
    /// Stops the load that is under way.
    interrupt: Mutex<Interrupt>,
    /// The models as the engine last told of them: it is not to be asked while it loads.
    models: Mutex<Models>,
}

impl Default for Warming {
    fn default() -> Self {
        Self {
            standing: watch::Sender::new(WarmUpStanding::Ready),
            interrupt: Mutex::default(),
            models: Mutex::default(),
        }
    }
}

impl Warming {
    /// What a claim says.
    pub(crate) fn standing(&self) -> WarmUpStanding {
        self.standing.borrow().clone()
    }

    /// A claim that said this was answered: it need not be said again.
    pub(crate) fn heard(&self, said: &WarmUpStanding) {
        self.standing.send_if_modified(|now| {
            let over = now == said && !matches!(now, WarmUpStanding::Loading { .. });
            if over {
                *now = WarmUpStanding::Ready;
            }
            over
        });
    }

    /// Remembers what the engine said.
    pub(crate) fn remember(&self, models: &Models) {
        locked(&self.models).clone_from(models);
    }

    /// The models there are while one is loaded; nothing while none is: then the engine knows.
    pub(crate) fn models(&self) -> Option<Models> {
        self.is_loading().then(|| locked(&self.models).clone())
    }

    /// Waits for the end of the load that is under way; for ever, if none is.
    pub(crate) async fn ended(&self) {
        let mut news = self.standing.subscribe();
        let loading = |standing: &WarmUpStanding| matches!(standing, WarmUpStanding::Loading { .. });
        if !self.is_loading() || news.wait_for(|standing| !loading(standing)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A job of this model came: a load of another one stops.
    pub(crate) fn give_way_to(&self, model: &str) {
        if matches!(&*self.standing.borrow(), WarmUpStanding::Loading { model: loads } if loads != model) {
            locked(&self.interrupt).set();
        }
    }

    /// Stops the load that is under way.
    pub(crate) fn stop(&self) {
        locked(&self.interrupt).set();
    }

    fn is_loading(&self) -> bool {
        matches!(&*self.standing.borrow(), WarmUpStanding::Loading { .. })
    }

    fn begin(&self, order: &WarmUpOrder) -> Interrupt {
        let interrupt = Interrupt::default();
        *locked(&self.interrupt) = interrupt.clone();
        // What may go for it is not to be counted on.
        locked(&self.models).resident.retain(|resident| !order.evict.contains(&resident.name));
        self.standing.send_replace(WarmUpStanding::Loading { model: order.model.clone() });
        interrupt
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is replaced as a whole, so a poisoned lock holds a good value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// Begins to load a model ahead of jobs; does nothing while another one is loaded.
    pub(crate) fn begin_warm_up(self: &Arc<Self>, order: WarmUpOrder, loads: &mut JoinSet<()>) {
        if self.warming.is_loading() {
            return;
        }
        let (worker, interrupt) = (Arc::clone(self), self.warming.begin(&order));
        loads.spawn(async move {
            let ended = worker.warm_up(order, interrupt).await;
            let outcome = match &ended {
                WarmUpStanding::Failed { model, message, .. } => {
                    tracing::warn!(model, why = message, "a model could not be loaded ahead of jobs");
                    "failed"
                }
                WarmUpStanding::Superseded { model } => {
                    tracing::info!(model, "a model is not loaded ahead of jobs, as a job came");
                    "superseded"
                }
                WarmUpStanding::Ready | WarmUpStanding::Loading { .. } => "loaded",
            };
            worker.metrics.warm_ups.with_label_values(&[outcome]).inc();
            worker.warming.standing.send_replace(ended);
        });
    }

    async fn warm_up(&self, order: WarmUpOrder, interrupt: Interrupt) -> WarmUpStanding {
        let WarmUpOrder { model, evict } = order;
        let failed =
            |model: String, reason: FailureReason, message: String| WarmUpStanding::Failed { model, reason, message };
        if let Some(fetcher) = &self.fetcher {
            tokio::select! {
                brought = fetcher.bring_model(&model) => if let Err((name, error)) = brought {
                    let message = format!("the file of the model {name} {error}");
                    return failed(model, error.reason().0, message);
                },
                () = interrupt.wait() => return WarmUpStanding::Superseded { model },
            }
        }
        let free_bytes = self.probe.read().iter().map(|gpu| gpu.vram_free_bytes).sum();
        let loaded = self.engine.warm(WarmUp { model: model.clone(), may_go: evict, free_bytes, interrupt }).await;
        match loaded {
            Ok(Ok(())) => WarmUpStanding::Ready,
            Ok(Err(PipelineError::Stopped)) => WarmUpStanding::Superseded { model },
            Ok(Err(error)) => failed(model, error.reason().0, error.to_string()),
            Err(ended) => failed(model, FailureReason::Internal, ended.to_string()),
        }
    }
}
