//! What the scheduler can be told. Every observation is a fact about now, never a command, and telling one twice
//! changes nothing.

use serde::{Deserialize, Serialize};
use tintype_types::worker::{Gpu, Outcome, Unwell, WarmUpStanding};
use tintype_types::{Attempt, BootId, JobId, PoolName, QueueKey, Timestamp, WorkerId};

/// One fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Observation {
    /// A job is, or has become, this.
    Job(Box<JobSeen>),
    /// A job is not there any more.
    JobGone(JobId),
    /// A queue is, or has become, this.
    Queue(QueueSeen),
    /// A queue is not there any more; its jobs go on with weight 1.
    QueueGone(QueueKey),
    /// A pool is, or has become, this.
    Pool(PoolSeen),
    /// A pool is not there any more.
    PoolGone(PoolName),
    /// A model is known. A job that names an unknown model fails with `UnknownModel`.
    Model(ModelSeen),
    /// A model is not known any more.
    ModelGone(String),
    /// A worker asks for work and will wait.
    Claim(ClaimSeen),
    /// The claim of this worker ended unanswered (it timed out or the caller went away).
    ClaimEnded(WorkerId, BootId),
    /// An attempt was heard of.
    Renewed(RenewedSeen),
    /// An attempt says it has ended.
    Finished(FinishedSeen),
    /// The write of a decision about this attempt was refused or failed: whatever was assumed is not so.
    WriteFailed {
        /// The job the decision was about.
        job: JobId,
        /// The attempt the decision was about.
        attempt: Attempt,
    },
    /// What an earlier scheduler learned of what work costs. Where something was learned here, that stays.
    Learned(Box<crate::Learned>),
    /// Time went by.
    Tick,
    /// Everything that is in the record, replacing all that was known. Running attempts get a whole lease.
    Reset(Box<WorldSeen>),
}

/// All facts in the record at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorldSeen {
    /// Every job, finished ones included or left out alike.
    pub jobs: Vec<JobSeen>,
    /// Every queue.
    pub queues: Vec<QueueSeen>,
    /// Every pool.
    pub pools: Vec<PoolSeen>,
    /// Every model.
    pub models: Vec<ModelSeen>,
}

/// A job as the record has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSeen {
    /// The job.
    pub id: JobId,
    /// Where it waits.
    pub queue: QueueKey,
    /// Higher goes first, inside its queue and between queues.
    pub priority: i32,
    /// The model it names.
    pub model: String,
    /// The pool it must run in; none is any.
    pub pool: Option<PoolName>,
    /// Work in it: steps times pictures. Stands in for GPU-seconds until those are measured.
    pub work_steps: u32,
    /// When it was made.
    pub submitted: Timestamp,
    /// Where it stands.
    pub place: Place,
    /// What its time depends on beside its steps.
    #[serde(default)]
    pub shape: Shape,
    /// By when it should be done; none is in proportion to its length.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Whether it is refused, rather than run late, when its deadline cannot be met.
    #[serde(default)]
    pub refuse_late: bool,
    /// The last attempt given out; 0 when there was none.
    pub attempt: Attempt,
    /// How many attempts failed so far.
    pub failed_attempts: u32,
    /// Not to be tried again before this.
    pub not_before: Option<Timestamp>,
    /// The owner wants it gone.
    pub cancelled: bool,
    /// When it was to end, as an earlier scheduler promised; none if nothing was. Taken over with what is seen of the job
    /// first: later the promise is in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<Timestamp>,
}

impl JobSeen {
    /// A job that was made at the beginning of time, waits for its first attempt and wants nothing special.
    pub fn new(id: impl Into<JobId>, queue: impl Into<QueueKey>, model: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            queue: queue.into(),
            priority: 0,
            model: model.into(),
            pool: None,
            work_steps: 20,
            submitted: Timestamp(0),
            place: Place::Queued,
            shape: Shape::default(),
            deadline: None,
            refuse_late: false,
            attempt: Attempt(0),
            failed_attempts: 0,
            not_before: None,
            cancelled: false,
            promised: None,
        }
    }
}

/// What the time of a run depends on beside its model and steps. Jobs of one shape take alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Pixels of one picture.
    pub pixels: u32,
    /// Pictures.
    pub images: u16,
    /// LoRAs and ControlNets.
    pub adapters: u16,
}

/// Where a job stands, as the record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Waiting.
    Queued,
    /// An attempt is out with a worker.
    Assigned(WorkerId),
    /// Complete or failed.
    Ended,
}

/// A queue as the record has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSeen {
    /// The queue.
    pub key: QueueKey,
    /// Its part of the GPUs against other queues with work; at least 1.
    pub weight: u32,
    /// The most jobs it may have running, those of its parts included; none is no quota.
    pub running_max: Option<u32>,
    /// The queue it is part of; none stands for itself, as does one whose parent is not known.
    #[serde(default)]
    pub parent: Option<QueueKey>,
    /// What else it may have.
    #[serde(default)]
    pub quota: Quota,
}

/// What a queue and all its parts may have beside a number of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Jobs it may run beyond its own number while its siblings leave room; none is no job.
    pub borrow: Option<u32>,
    /// Of its own number, jobs its siblings may run while it does not; none is all.
    pub lend: Option<u32>,
    /// No job is begun while models of its running ones take this much memory.
    pub vram_bytes: Option<u64>,
    /// No job is begun once this much GPU time was given out in a window.
    pub gpu_ms: Option<u64>,
    /// The window's length, in milliseconds; windows follow one another from the epoch. 0 is a day.
    pub window_ms: u64,
}

/// A pool as the record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSeen {
    /// The pool.
    pub name: PoolName,
    /// Models it wants resident.
    pub warm_models: Vec<String>,
    /// Of a pool that a paid provider serves: the budget that allows nothing more. Its workers ask for nothing meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_up: Option<BudgetWindow>,
}

/// Which budget, of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BudgetWindow {
    /// The day's.
    Day,
    /// The month's.
    Month,
}

/// A model as the record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSeen {
    /// Its name.
    pub name: String,
    /// Memory it takes; 0 is not known.
    pub vram_bytes: u64,
}

/// A parked claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimSeen {
    /// Who asks.
    pub worker: WorkerId,
    /// Which start of it.
    pub boot_id: BootId,
    /// Its pool.
    pub pool: PoolName,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// Models in memory now, most recently used first.
    pub resident_models: Vec<String>,
    /// Models it can load; empty is any.
    pub loadable_models: Vec<String>,
    /// Jobs it could take.
    pub free_slots: u32,
    /// Where it stands with loading models ahead of jobs; one that says nothing is not told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUpStanding>,
    /// Why it takes no work: it is there, and counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell: Option<Unwell>,
}

/// A renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewedSeen {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// Who runs it.
    pub worker: WorkerId,
    /// Which start of it.
    pub boot_id: BootId,
    /// Steps done.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedSeen {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// Who ran it.
    pub worker: WorkerId,
    /// Which start of it.
    pub boot_id: BootId,
    /// How it ended.
    pub outcome: Outcome,
    /// Time the GPU was held, in milliseconds.
    pub gpu_ms: u64,
}
