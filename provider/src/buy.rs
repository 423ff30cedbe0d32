//! A purchase, step by step: the book says what may be done next, and is kept before it is done.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tintype_crds::{PoolProvider, ProviderModel};
use tintype_purchase::{Event, Intent, Next, Order, Refusal};
use tintype_types::worker::Assignment;
use tintype_types::{FailureReason, JobId};
use tokio::time::Instant;

use crate::adapter::{Adapter, PAUSE, lock, now};
use crate::attempt::{Came, Shown};
use crate::call::RETRY_AFTER_MAX;
use crate::dialect::{Ask, Lost, No, Progress, Sent};
use crate::hooks;
use crate::input::{check, digest, input_of};
use crate::settings::{base_of, caps, price};

/// How often an attempt looks for a purchase whose answer was lost.
const LOOKS_MAX: u32 = 30;
/// How long a job may wait at the provider beyond what it may run.
const QUEUE_MAX: Duration = Duration::from_mins(10);

/// What one job is bought with.
struct Purchase<'a> {
    job: &'a JobId,
    settings: Arc<PoolProvider>,
    model: ProviderModel,
    input: Value,
    order: Order,
    begun: Instant,
    /// How often it has been looked for.
    looks: u32,
}

/// A purchase on its way to the provider.
struct Parcel {
    job: JobId,
    number: u64,
    settings: Arc<PoolProvider>,
    model: ProviderModel,
    input: Value,
}

/// One step came to an end of the attempt, or goes on.
enum Step {
    GoOn,
    /// Nothing to do until something is heard.
    Wait,
    End(Came),
}

impl Adapter {
    /// Buys what an assignment asks for, or goes on with what was bought for its job before.
    pub(crate) async fn buy(self: &Arc<Self>, assignment: &Assignment, shown: &Shown) -> Came {
        let mut purchase = match self.prepare(assignment).await {
            Ok(purchase) => purchase,
            Err(came) => return came,
        };
        loop {
            match self.step(assignment, &mut purchase, shown).await {
                Ok(Step::GoOn) => {}
                Ok(Step::Wait) => {
                    // Rung or not, what comes next is read from the book.
                    let _timed_out = tokio::time::timeout(self.poll, self.bell.notified()).await;
                }
                Ok(Step::End(came)) => return came,
                Err(error) => {
                    let job = &assignment.job;
                    tracing::error!(job.id = %job, error = format!("{error:#}"), "the book of purchases cannot be kept");
                    self.pause(PAUSE);
                    return Came::given_back("the book of purchases cannot be kept, so nothing is bought");
                }
            }
        }
    }

    async fn prepare<'a>(&self, assignment: &'a Assignment) -> Result<Purchase<'a>, Came> {
        let (request, settings) = (&assignment.request, self.settings());
        let model = settings.models.iter().find(|model| model.name == request.model).cloned();
        let model = model.ok_or_else(|| Came::given_back("this provider's pool does not offer the model any more"))?;
        let refused = |what| Came::failed(FailureReason::InvalidRequest, format!("the job {what}"), true);
        check(request, &model).map_err(refused)?;
        let uploads = self.uploads(assignment, settings.kind).await?;
        let input = input_of(request, &model, &uploads).map_err(refused)?;
        let price = price(&model).map_err(|error| Came::given_back(&error.to_string()))?;
        let possible = price.possible(request.images, model.seconds_max);
        let order =
            Order { job: assignment.job.clone(), pool: self.pool.clone(), digest: digest(&input), price, possible };
        let (job, begun) = (&assignment.job, Instant::now());
        Ok(Purchase { job, settings, model, input, order, begun, looks: 0 })
    }

    async fn step(
        self: &Arc<Self>,
        assignment: &Assignment,
        purchase: &mut Purchase<'_>,
        shown: &Shown,
    ) -> anyhow::Result<Step> {
        let job = purchase.job;
        let (next, intent) = self.ledger.read(|book| (book.next(job), book.get(job).cloned())).await?;
        let Some(intent) = intent.filter(|intent| intent.pool == self.pool) else { return self.plan(purchase).await };
        match next {
            Next::Plan => Ok(Step::GoOn),
            Next::Submit => self.submit(purchase, intent.number).await,
            Next::Wait => Ok(Step::Wait),
            Next::LookUp => self.look_up(purchase, &intent).await,
            Next::Poll { id } => self.poll(purchase, &intent, &id, shown).await,
            Next::Deliver { id } => {
                shown.begun.store(true, Ordering::Relaxed);
                Ok(Step::End(self.deliver(assignment, &purchase.settings, intent.number, &id).await))
            }
            Next::Report { why } => Ok(Step::End(Came::failed(FailureReason::Internal, why, true))),
        }
    }

    async fn plan(&self, purchase: &Purchase<'_>) -> anyhow::Result<Step> {
        let (order, caps) = (&purchase.order, caps(&purchase.settings));
        let planned = self.ledger.change(|book| book.plan(now(), order.clone(), caps)).await?;
        Ok(match planned {
            Ok(()) => Step::GoOn,
            Err(refusal @ (Refusal::Budget { .. } | Refusal::Full)) => {
                self.pause(PAUSE);
                Step::End(Came::given_back(&refusal.to_string()))
            }
            // Another attempt may meet the pool that has it, or GPUs of our own; attempts that fail are counted.
            Err(refusal @ Refusal::Elsewhere { .. }) => {
                Step::End(Came::failed(FailureReason::Internal, refusal.to_string(), true))
            }
        })
    }

    /// Says in the book that it is being sent, and sends it. The sending is a task of its own: an attempt that is stopped
    /// must not lose the answer.
    async fn submit(self: &Arc<Self>, purchase: &Purchase<'_>, number: u64) -> anyhow::Result<Step> {
        let job = purchase.job.clone();
        let waits = Sending::begin(self, number);
        if self.ledger.change(|book| book.apply(&job, number, Event::Submitting)).await?.is_err() {
            // Somebody else was faster: the book says what they did.
            return Ok(Step::GoOn);
        }
        let adapter = Arc::clone(self);
        let (settings, model) = (Arc::clone(&purchase.settings), purchase.model.clone());
        let parcel = Parcel { job, number, settings, model, input: purchase.input.clone() };
        let sending = tokio::spawn(async move {
            let said = adapter.send(&parcel).await;
            drop(waits);
            adapter.bell.notify_waiters();
            said
        });
        let no = sending.await.map_err(|_| anyhow::anyhow!("sending a purchase broke"))??;
        Ok(no.map_or(Step::GoOn, |no| self.refused(no)))
    }

    /// Sends a purchase and takes in what comes of it; answers why it was refused, if it was.
    async fn send(&self, parcel: &Parcel) -> anyhow::Result<Option<No>> {
        let Parcel { job, number, settings, model, input } = parcel;
        let number = *number;
        let base = base_of(settings)?;
        let webhook = match (&self.public_url, self.caller.key().await) {
            (Some(url), Ok(key)) => Some(hooks::address(url, &key, job, number)),
            (_, _) => None,
        };
        let tag = tag(job, number);
        let ask = Ask { model, input, tag: &tag, webhook: webhook.as_deref() };
        let (event, no) = match self.dialect(settings, &base).send(&ask).await {
            Sent::Accepted { id } => (Event::Accepted { id }, None),
            Sent::Refused(no) => (Event::Refused, Some(no)),
            Sent::Lost(why) => {
                tracing::warn!(job.id = %job, purchase = number, why, "nobody knows whether the provider took a purchase");
                (Event::AnswerLost, None)
            }
        };
        self.hear(job, number, event).await?;
        Ok(no)
    }

    fn refused(&self, no: No) -> Step {
        Step::End(match no {
            No::Unreachable(why) => {
                self.pause(PAUSE);
                Came::given_back(&format!("the provider {why}"))
            }
            No::NotNow { status, after } => {
                tracing::warn!(%status, "the provider takes no jobs now; check its key and credit if that lasts");
                self.pause(after.unwrap_or(PAUSE).min(RETRY_AFTER_MAX));
                Came::given_back(&format!("the provider takes no jobs now: it answered {status}"))
            }
            No::Invalid { status } => {
                let message =
                    format!("the provider does not take this job: it answered {status}; check the pool's mapping");
                Came::failed(FailureReason::InvalidRequest, message, true)
            }
        })
    }

    async fn look_up(&self, purchase: &mut Purchase<'_>, intent: &Intent) -> anyhow::Result<Step> {
        purchase.looks += 1;
        if self.found(purchase.job, intent, &purchase.settings).await? {
            return Ok(Step::GoOn);
        }
        if purchase.looks < LOOKS_MAX {
            return Ok(Step::Wait);
        }
        let message = "the provider never said whether it took the job, and it is not bought twice; make it anew if it is \
                       still wanted";
        Ok(Step::End(Came::failed(FailureReason::Internal, message, false)))
    }

    /// Looks once for a purchase whose answer was lost.
    pub(crate) async fn found(&self, job: &JobId, intent: &Intent, settings: &PoolProvider) -> anyhow::Result<bool> {
        let base = base_of(settings)?;
        let tag = tag(job, intent.number);
        let ids = self.ledger.read(|book| {
            let ids = book.of(&self.pool).filter_map(|(_, intent)| intent.state.id().map(str::to_owned));
            ids.collect::<Vec<_>>()
        });
        let known = ids.await?;
        let taken = |id: &str| known.iter().any(|known| known == id);
        let lost = Lost { tag: &tag, digest: &intent.digest, since: intent.at, taken: &taken };
        match self.dialect(settings, &base).find(&lost, &settings.models).await {
            Ok(Some(id)) => {
                tracing::info!(job.id = %job, purchase = intent.number, "a purchase whose answer was lost is found");
                self.hear(job, intent.number, Event::Accepted { id }).await?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                tracing::warn!(job.id = %job, %error, "a purchase could not be looked for");
                Ok(false)
            }
        }
    }

    async fn poll(&self, purchase: &Purchase<'_>, intent: &Intent, id: &str, shown: &Shown) -> anyhow::Result<Step> {
        let settled = self.look(purchase.job, intent, id, &purchase.settings).await?;
        let begun = self.ledger.read(|book| book.get(purchase.job).is_some_and(|now| now.state.as_str() == "running"));
        shown.begun.fetch_or(begun.await?, Ordering::Relaxed);
        if settled {
            return Ok(Step::GoOn);
        }
        let limit = Duration::from_secs(u64::from(purchase.model.seconds_max)) + QUEUE_MAX;
        if purchase.begun.elapsed() < limit {
            return Ok(Step::Wait);
        }
        self.call_off(purchase.job).await;
        let message = "the provider did not make the pictures in time; the purchase was called off";
        Ok(Step::End(Came::failed(FailureReason::Internal, message, true)))
    }

    /// Asks once how far a purchase is; whether it has ended.
    pub(crate) async fn look(
        &self,
        job: &JobId,
        intent: &Intent,
        id: &str,
        settings: &PoolProvider,
    ) -> anyhow::Result<bool> {
        let base = base_of(settings)?;
        let cost = |pictures: usize, held_ms| {
            intent.price.cost(u32::try_from(pictures).unwrap_or(u32::MAX), held_ms, intent.possible)
        };
        let event = match self.dialect(settings, &base).look(id).await {
            Ok(Progress::Waiting) => return Ok(false),
            Ok(Progress::Running) => Event::Began,
            Ok(Progress::Succeeded { pictures, held_ms }) => Event::Succeeded { cost: cost(pictures.len(), held_ms) },
            Ok(Progress::Failed { why, held_ms }) => Event::Failed { cost: cost(0, held_ms), why: why.to_owned() },
            Ok(Progress::Gone) => {
                let why = "the provider does not know the purchase any more; it is booked in full".to_owned();
                Event::Failed { cost: intent.possible, why }
            }
            Err(error) => {
                tracing::warn!(job.id = %job, %error, "the provider could not be asked how far a purchase is");
                return Ok(false);
            }
        };
        let ended = event != Event::Began;
        self.hear(job, intent.number, event).await?;
        Ok(ended)
    }
}

/// Somebody waits for the answer to a purchase, as long as this is there.
struct Sending {
    adapter: Arc<Adapter>,
    number: u64,
}

impl Sending {
    fn begin(adapter: &Arc<Adapter>, number: u64) -> Self {
        lock(&adapter.sending).insert(number);
        Self { adapter: Arc::clone(adapter), number }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        lock(&self.adapter.sending).remove(&self.number);
    }
}

/// Our name for a purchase, as it may stand in an address.
fn tag(job: &JobId, number: u64) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let job: String = job.as_str().chars().map(plain).take(100).collect();
    format!("{job}-{number}")
}
