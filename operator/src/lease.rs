//! Leader election on a `coordination.k8s.io` Lease: reads and writes for [`crate::election`], which decides.
//!
//! Every write carries the resourceVersion read before it, so two candidates can never both take one term.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::election::{Election, LeaseSeen, Step, Timings};
use crate::index::Index;
use crate::metrics::Metrics;
use crate::term::Term;

/// Longest one call about the lease may take; under the renew deadline, so that one lost answer can be made good.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Who leads, as this replica knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leadership {
    /// Nothing is known yet, or nobody leads.
    #[default]
    Unknown,
    /// Somebody else.
    Standby {
        /// The leader's identity.
        leader: String,
    },
    /// This replica, in this term.
    Leading {
        /// The term's number.
        epoch: u64,
    },
    /// This replica led and does no more. It ends.
    Lost,
}

/// One candidate's part.
pub struct Campaign {
    /// Where the lease is.
    pub api: Api<Lease>,
    /// Its name.
    pub name: String,
    /// Who we are; different with every start.
    pub identity: String,
    /// How long things take.
    pub timings: Timings,
    /// What the jobs say of earlier terms.
    pub index: Arc<Index>,
    /// Where the term is shown to those who write.
    pub term: Arc<Term>,
    /// Counts.
    pub metrics: Metrics,
}

impl Campaign {
    /// A candidate for the lease of this name.
    pub fn api(client: Client, namespace: &str) -> Api<Lease> {
        Api::namespaced(client, namespace)
    }

    /// Runs until `stop`, then gives the lease back; or until a term is lost. Begin only once the index is synced: a
    /// term must be above those the jobs carry.
    pub async fn run(self, told: watch::Sender<Leadership>, stop: CancellationToken) {
        let mut election = Election::new(self.identity.as_str(), self.timings);
        loop {
            let step = self.turn(&mut election).await;
            self.show(&election, step, &told);
            if step == Step::Lost {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(self.timings.retry) => {}
            }
        }
        if election.leads_until().is_some() {
            self.term.set(None);
            self.give_back().await;
        }
    }

    /// Reads the lease, decides, writes if that was decided.
    async fn turn(&self, election: &mut Election) -> Step {
        let now = self.term.elapsed();
        let read = match timeout(CALL_TIMEOUT, self.api.get_opt(&self.name)).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => return self.failed(election, "read", &error),
            Err(elapsed) => return self.failed(election, "read", &elapsed),
        };
        let seen = read.as_ref().map(seen);
        let step = election.read(seen, self.index.highest_epoch(), self.term.elapsed());
        let (Step::Take { epoch } | Step::Renew { epoch }) = step else { return step };
        // The term is counted from before the call: an answer that took long must not lengthen it.
        let wanted = self.lease(read.as_ref(), epoch, &self.identity);
        match timeout(CALL_TIMEOUT, self.put(read.is_some(), &wanted)).await {
            Ok(Ok(())) => {
                election.written(epoch, now);
                self.metrics.lease_writes.with_label_values(&["written"]).inc();
                step
            }
            Ok(Err(error)) => self.failed(election, "write", &error),
            Err(elapsed) => self.failed(election, "write", &elapsed),
        }
    }

    async fn put(&self, exists: bool, lease: &Lease) -> Result<(), kube::Error> {
        let params = PostParams::default();
        if exists {
            self.api.replace(&self.name, &params, lease).await.map(drop)
        } else {
            self.api.create(&params, lease).await.map(drop)
        }
    }

    fn failed(&self, election: &mut Election, what: &'static str, error: &dyn std::error::Error) -> Step {
        self.metrics.lease_writes.with_label_values(&["failed"]).inc();
        tracing::warn!(error = %error, "could not {what} the leader lease");
        election.failed(self.term.elapsed())
    }

    /// Shows the outcome of a turn to those who write and to those who listen.
    fn show(&self, election: &Election, step: Step, told: &watch::Sender<Leadership>) {
        let until = election.leads_until();
        let now = match (step, until) {
            (Step::Take { epoch } | Step::Renew { epoch }, Some(until)) => {
                self.term.set(Some((epoch, until)));
                Leadership::Leading { epoch }
            }
            (Step::Lost, _) => {
                self.term.set(None);
                Leadership::Lost
            }
            (Step::Wait | Step::Take { .. } | Step::Renew { .. }, _) => election
                .holder()
                .map_or(Leadership::Unknown, |leader| Leadership::Standby { leader: leader.to_owned() }),
        };
        told.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    /// Lets the next leader begin at once. Best effort: without it, the lease runs out.
    async fn give_back(&self) {
        let given = async {
            let Some(read) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let lease = seen(&read);
            if lease.holder != self.identity {
                return Ok(());
            }
            let wanted = self.lease(Some(&read), lease.transitions, "");
            self.put(true, &wanted).await
        };
        match timeout(CALL_TIMEOUT, given).await {
            Ok(Ok(())) => tracing::info!("the leader lease was given back"),
            Ok(Err(error)) => tracing::warn!(error = %error, "the leader lease could not be given back; it runs out"),
            Err(_) => tracing::warn!("the leader lease could not be given back in time; it runs out"),
        }
    }

    fn lease(&self, before: Option<&Lease>, epoch: u64, holder: &str) -> Lease {
        let at = MicroTime(jiff::Timestamp::now());
        let old = before.and_then(|lease| lease.spec.as_ref());
        let same = old.is_some_and(|spec| spec.holder_identity.as_deref() == Some(holder));
        let acquired = if same { old.and_then(|spec| spec.acquire_time.clone()) } else { None };
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_transitions: Some(i32::try_from(epoch).unwrap_or(i32::MAX)),
                lease_duration_seconds: Some(whole_seconds(self.timings.duration)),
                acquire_time: acquired.or_else(|| Some(at.clone())),
                renew_time: Some(at),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// A lease is in whole seconds, at least one.
fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX).max(1)
}

fn seen(lease: &Lease) -> LeaseSeen {
    let spec = lease.spec.clone().unwrap_or_default();
    LeaseSeen {
        holder: spec.holder_identity.unwrap_or_default(),
        transitions: spec.lease_transitions.and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
        duration: Duration::from_secs(spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(15)),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
