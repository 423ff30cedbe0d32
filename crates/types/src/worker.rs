//! The worker protocol: what goes over `/worker/v1/...`. The server half is `dispatch`, the client half `gpu-worker`.
//!
//! A worker pulls. `claim` reports what the worker is and asks for work; `renew` reports a step and asks whether to go
//! on; `finish` ends the attempt. Claim and renew are the heartbeat, there is nothing else: a worker whose GPU is not fit for
//! work claims too, and says so.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Attempt, BootId, JobId, PoolName, WorkerId};
use crate::job::{FailureReason, Output};
use crate::progress::Preview;
use crate::request::ResolvedRequest;
use crate::time::Timestamp;
use crate::trace::Traceparent;

/// Path of the claim call.
pub const CLAIM_PATH: &str = "/worker/v1/claim";
/// Path pattern of the renew call (axum's spelling).
pub const RENEW_PATH: &str = "/worker/v1/jobs/{job}/attempts/{attempt}/renew";
/// Path pattern of the finish call (axum's spelling).
pub const FINISH_PATH: &str = "/worker/v1/jobs/{job}/attempts/{attempt}/finish";

/// One GPU (or the CPU standing in for one) as the worker's probe reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// NVML's UUID; `cpu-0` when there is no GPU.
    pub uuid: String,
    /// Product name, such as `NVIDIA L40S`, or `CPU`.
    pub name: String,
    /// Memory in bytes; the host's memory for a CPU.
    pub vram_total_bytes: u64,
    /// Memory nobody uses, in bytes.
    pub vram_free_bytes: u64,
    /// Utilisation in percent, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation_percent: Option<u32>,
    /// Temperature in degrees Celsius, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<u32>,
    /// Power draw in milliwatts, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_milliwatts: Option<u32>,
    /// XID faults seen since the worker started.
    #[serde(default)]
    pub xid_count: u32,
    /// The number of the last of them (NVIDIA, "XID Errors"), where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_xid: Option<u32>,
    /// Memory that other processes hold, in bytes; absent where nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_bytes: Option<u64>,
    /// Part of the time in which memory was read or written, in percent, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_utilisation_percent: Option<u32>,
    /// The most it may draw, in milliwatts, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_milliwatts: Option<u32>,
    /// Energy since the driver was loaded, in millijoules, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_millijoules: Option<u64>,
    /// Clock of its multiprocessors in MHz, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_clock_mhz: Option<u32>,
    /// Clock of its memory in MHz, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<u32>,
    /// What keeps its clocks down now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9))]
    pub throttle_reasons: Vec<ThrottleReason>,
    /// Memory errors that ECC put right since the driver was loaded; absent without ECC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecc_corrected: Option<u64>,
    /// Memory errors beyond repair since the driver was loaded; absent without ECC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecc_uncorrected: Option<u64>,
    /// A page of its memory waits for a reset of the GPU to be taken out of use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub page_retirement_pending: bool,
    /// The UUID of the GPU this MIG device is a part of; absent for a whole GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig_of: Option<String>,
}

/// What keeps the clocks of a GPU down: the names of NVML (`nvmlClocksThrottleReasons`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ThrottleReason {
    /// It has nothing to do.
    GpuIdle,
    /// Somebody set them.
    ApplicationsClocksSetting,
    /// It draws as much power as it may.
    SwPowerCap,
    /// The hardware slows down: too hot, or too much power drawn.
    HwSlowdown,
    /// Other GPUs of its group are slower.
    SyncBoost,
    /// The driver keeps it from getting too hot.
    SwThermalSlowdown,
    /// The hardware keeps it from getting too hot.
    HwThermalSlowdown,
    /// The power supply asks for less.
    HwPowerBrakeSlowdown,
    /// What is shown on a screen sets them.
    DisplayClockSetting,
}

impl ThrottleReason {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::GpuIdle,
        Self::ApplicationsClocksSetting,
        Self::SwPowerCap,
        Self::HwSlowdown,
        Self::SyncBoost,
        Self::SwThermalSlowdown,
        Self::HwThermalSlowdown,
        Self::HwPowerBrakeSlowdown,
        Self::DisplayClockSetting,
    ];

    /// As a label says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GpuIdle => "gpu_idle",
            Self::ApplicationsClocksSetting => "applications_clocks_setting",
            Self::SwPowerCap => "sw_power_cap",
            Self::HwSlowdown => "hw_slowdown",
            Self::SyncBoost => "sync_boost",
            Self::SwThermalSlowdown => "sw_thermal_slowdown",
            Self::HwThermalSlowdown => "hw_thermal_slowdown",
            Self::HwPowerBrakeSlowdown => "hw_power_brake_slowdown",
            Self::DisplayClockSetting => "display_clock_setting",
        }
    }
}

/// Why a worker that is there takes no work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unwell {
    /// Why, in a word.
    pub reason: UnwellReason,
    /// A sentence for people: what ails the GPU and what ends it.
    pub message: String,
}

/// What keeps a GPU from work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnwellReason {
    /// The driver reported a critical XID error.
    Xid,
    /// Memory errors beyond repair.
    Ecc,
    /// It does not answer any more.
    Lost,
    /// It was cut into other MIG devices than those the worker was started on.
    Recut,
    /// It slows itself down because of heat.
    Hot,
    /// Other processes hold too much of its memory.
    Crowded,
}

impl UnwellReason {
    /// Each of them.
    pub const ALL: [Self; 6] = [Self::Xid, Self::Ecc, Self::Lost, Self::Recut, Self::Hot, Self::Crowded];

    /// As a label says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xid => "xid",
            Self::Ecc => "ecc",
            Self::Lost => "lost",
            Self::Recut => "recut",
            Self::Hot => "hot",
            Self::Crowded => "crowded",
        }
    }
}

/// Where the weights of a model came from when they were loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// The system had the files in memory.
    PageCache,
    /// They were read from a disk.
    Disk,
}

/// A model whose weights are in memory, and what that cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResidentModel {
    /// Its name.
    pub name: String,
    /// Memory its weights take, in bytes.
    pub bytes: u64,
    /// What loading it took, in milliseconds.
    pub load_ms: u64,
    /// Where from.
    pub tier: Tier,
}

/// A request for work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Who asks.
    pub worker: WorkerId,
    /// Which start of it.
    pub boot_id: BootId,
    /// The pool it belongs to.
    pub pool: PoolName,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// Models whose weights are in memory now, most recently used first.
    pub resident_models: Vec<String>,
    /// The same models with what they cost; empty from workers that do not measure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residents: Vec<ResidentModel>,
    /// Models this worker can load; empty means any.
    #[serde(default)]
    pub loadable_models: Vec<String>,
    /// Jobs it could take beside those it runs.
    pub free_slots: u32,
    /// How long the answer may be held back, in milliseconds.
    pub wait_ms: u64,
    /// Where it stands with loading models ahead of jobs. A worker that says nothing is never told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUpStanding>,
    /// Why it takes no work. Said with no free slots: such a claim is a sign of life, and is answered with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell: Option<Unwell>,
}

/// Where a worker stands with loading a model ahead of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "standing", rename_all = "camelCase")]
pub enum WarmUpStanding {
    /// It loads none, and would.
    Ready,
    /// It loads this one now. A job that comes meanwhile is drawn first: it stops the load, unless it wants that model.
    Loading {
        /// The model.
        model: String,
    },
    /// It could not load the last one it was told to. Said until a claim is answered.
    Failed {
        /// The model.
        model: String,
        /// Why.
        reason: FailureReason,
        /// A sentence for people: what happened, why, what to do next.
        message: String,
    },
    /// A job came before the last one was there. Said until a claim is answered.
    Superseded {
        /// The model.
        model: String,
    },
}

/// A model to load while there is nothing else to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmUpOrder {
    /// The model.
    pub model: String,
    /// Models that may be given up for it, the least wanted first. No others are: without room it is not loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evict: Vec<String>,
}

/// Everything a worker needs to run one attempt; nothing is left to look up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The job.
    pub job: JobId,
    /// The attempt: the fencing token of every later call.
    pub attempt: Attempt,
    /// What to make.
    pub request: ResolvedRequest,
    /// By when the next renew must have been heard.
    pub lease_end: Timestamp,
    /// How long a lease lasts, in milliseconds; renew at a third of it.
    pub lease_ms: u64,
    /// Where to put each picture: one signed PUT for each, in order.
    pub outputs: Vec<UploadTarget>,
    /// Where to read the pictures the request names: store key to signed GET.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// Where the attempt puts its checkpoint, and where an earlier attempt left one; absent where none are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointPlan>,
    /// Whether somebody watches the job: then previews are worth making. Each renewal's answer says it again.
    #[serde(default)]
    pub watched: bool,
    /// What the attempt is part of, where the job is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Traceparent>,
}

/// Where checkpoints of a job go and come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointPlan {
    /// Signed URL of this attempt's checkpoint; each PUT replaces the one before.
    pub put_url: String,
    /// Signed GET of the newest checkpoint an earlier attempt left. One that cannot be used is no failure: the attempt
    /// starts from the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_url: Option<String>,
}

/// A checkpoint that is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointLeft {
    /// Steps done, over all pictures.
    pub step: u32,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, 64 lower-case hex digits.
    pub sha256: String,
}

/// Where one picture goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadTarget {
    /// Key in the store.
    pub key: String,
    /// Signed URL for one PUT.
    pub put_url: String,
}

/// Body of the empty (204-like) answer to a claim, sent as 200 with `assignment` absent.
///
/// HTTP's 204 has no body, so the counts travel in this wrapper instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimAnswer {
    /// The work, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// A model to load ahead of jobs, where there is no work and the worker said that it takes those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUpOrder>,
    /// Why waiting jobs were not given to this worker: reason to count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u32>,
}

/// A sign of life of one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renew {
    /// Who runs it.
    pub worker: WorkerId,
    /// Which start of it.
    pub boot_id: BootId,
    /// Steps done, over all pictures.
    pub step: u32,
    /// Steps in all, over all pictures.
    pub steps: u32,
    /// The GPUs now.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// How the pictures look now, where somebody watches: of each picture one at most, each new since the last renewal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previews: Vec<Preview>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum RenewAnswer {
    /// Go on; the lease now ends here.
    #[serde(rename_all = "camelCase")]
    Continue {
        /// By when the next renew must have been heard.
        lease_end: Timestamp,
        /// Whether somebody watches the job now.
        #[serde(default)]
        watched: bool,
    },
    /// Stop at the next step, keep a checkpoint.
    Preempt,
    /// Stop at the next step, throw the work away.
    Cancel {
        /// Why, for the log.
        reason: FailureReason,
    },
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finish {
    /// Who ran it.
    pub worker: WorkerId,
    /// Which start of it.
    pub boot_id: BootId,
    /// How it ended.
    pub outcome: Outcome,
    /// Time the GPU was held, in milliseconds.
    pub gpu_ms: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Outcome {
    /// Pictures are uploaded.
    Done {
        /// What is in the store.
        outputs: Vec<Output>,
    },
    /// The attempt stopped between two steps because it was asked to; the job goes on with another attempt.
    Preempted {
        /// What it left; none if it had done nothing yet, or could not be stored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<CheckpointLeft>,
    },
    /// No picture.
    Failed {
        /// Why.
        reason: FailureReason,
        /// A sentence for people: what happened, why, what to do next. Holds no prompt.
        message: String,
        /// Whether another attempt could end otherwise.
        retryable: bool,
    },
}
