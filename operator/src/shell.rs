//! The one task through which everything seen goes on to the scheduler, in order, while this replica leads.
//!
//! The index is kept warm whether it leads or not. Beginning a term reads every job anew from the majority of the
//! store: a watch may lag behind what the last leader wrote, and a finish must not be turned away for that.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tintype_dispatch::Dispatch;
use tintype_scheduler::{Observation, Place};
use tintype_types::JobEvent;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::index::{Change, Event, Index};
use crate::lease::Leadership;
use crate::memory::Memory;
use crate::pod::OwnPod;
use crate::watches::{Watched, list_jobs};

/// Pause before the jobs are listed again when that failed at the beginning of a term.
const LIST_RETRY: Duration = Duration::from_millis(500);

/// What the task needs.
pub struct Shell {
    /// For the list at the beginning of a term.
    pub watched: Watched,
    /// What was seen.
    pub index: Arc<Index>,
    /// Who decides.
    pub dispatch: Dispatch,
    /// The pod to be labelled.
    pub pod: OwnPod,
    /// What earlier leaders learned.
    pub memory: Memory,
}

impl Shell {
    /// Runs until the watches end (an error), the term is lost (an error) or the senders of leadership go.
    ///
    /// # Errors
    /// Why this replica has to end.
    pub async fn run(
        self,
        mut changes: mpsc::Receiver<Change>,
        mut leadership: watch::Receiver<Leadership>,
        synced: watch::Sender<bool>,
    ) -> anyhow::Result<()> {
        let mut leading = false;
        loop {
            tokio::select! {
                // Leadership first: a term that is lost is not to wait behind a long list.
                biased;
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let now = leadership.borrow_and_update().clone();
                    leading = self.led(now, leading, &leadership).await?;
                }
                change = changes.recv() => {
                    let change = change.context("every watch has ended")?;
                    for seen in self.index.change(change) {
                        if leading {
                            self.announce(&seen);
                            self.dispatch.observe(seen).await.context("the dispatcher has ended")?;
                        }
                    }
                    synced.send_if_modified(|before| !std::mem::replace(before, self.index.is_synced()) && *before);
                }
            }
        }
    }

    /// Whether this replica leads from now on.
    async fn led(
        &self,
        now: Leadership,
        leading: bool,
        leadership: &watch::Receiver<Leadership>,
    ) -> anyhow::Result<bool> {
        match now {
            Leadership::Leading { .. } if leading => Ok(true),
            Leadership::Leading { epoch } => {
                tracing::info!(epoch, "this replica leads");
                self.begin(leadership).await?;
                Ok(true)
            }
            Leadership::Lost => {
                self.watched.metrics.leading.set(0);
                self.dispatch.step_down().await;
                anyhow::bail!("the leader lease was lost; another replica goes on")
            }
            Leadership::Standby { .. } | Leadership::Unknown => Ok(leading),
        }
    }

    async fn begin(&self, leadership: &watch::Receiver<Leadership>) -> anyhow::Result<()> {
        let (learned, listed) = tokio::join!(self.memory.read(), list_jobs(&self.watched));
        let mut listed = Some(listed);
        loop {
            let jobs = match listed.take() {
                Some(listed) => listed,
                None => list_jobs(&self.watched).await,
            };
            match jobs {
                Ok(jobs) => {
                    self.index.change(Change::Jobs(Event::Replace(jobs)));
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the jobs could not be listed; it is tried again");
                }
            }
            // The next turn of the loop above deals with a lost term.
            if leadership.has_changed().unwrap_or(true) {
                return Ok(());
            }
            sleep(LIST_RETRY).await;
        }
        for learned in learned.into_iter().chain([self.index.hints()]) {
            self.dispatch.teach(learned).await.context("the dispatcher has ended")?;
        }
        self.dispatch.lead(self.index.world()).await.context("the dispatcher has ended")?;
        self.watched.metrics.leading.set(1);
        self.pod.mark().await;
        Ok(())
    }

    /// People who wait for a job's end hear of it however it came about; what they know already is dropped.
    fn announce(&self, seen: &Observation) {
        let Observation::Job(job) = seen else { return };
        if job.place != Place::Ended {
            return;
        }
        let Some(status) = self.index.job(&job.id).and_then(|job| job.status.clone()) else { return };
        let steps = status.progress.map_or(0, |progress| progress.steps);
        self.dispatch.announce(JobEvent {
            job: job.id.clone(),
            state: status.state,
            attempt: status.attempt,
            step: steps,
            steps,
            failure: status.failure.as_ref().map(|failure| failure.reason),
            message: status.failure.map(|failure| failure.message),
            outputs: status.outputs,
            previews: Vec::new(),
        });
    }
}
