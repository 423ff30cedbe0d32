//! `GenerationJob`: one request for pictures, one outcome.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::{Attempt, FailureReason, GenerationRequest, JobState, Output, PoolName, Timestamp, WorkerId};

/// The queue of a job that names none.
pub const DEFAULT_QUEUE: &str = "default";

/// What to make and where it waits. Nothing in it can be changed once the job is there: make another job instead.
#[expect(clippy::duplicated_attributes, reason = "each printer column names the same parts")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tintype.dev",
    version = "v1alpha1",
    kind = "GenerationJob",
    namespaced,
    doc = "One request for pictures. It is placed on a GPU worker and ends Complete or Failed.",
    status = "GenerationJobStatus",
    derive = "PartialEq",
    shortname = "gjob",
    category = "tintype",
    selectable = ".status.state",
    selectable = ".status.assignment.worker",
    selectable = ".spec.queue",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.state", description = "Where the job stands"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.failure.reason",
        description = "Why the job, or its last attempt, failed"
    ),
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.request.model"),
    printcolumn(name = "Queue", type_ = "string", json_path = ".spec.queue"),
    printcolumn(name = "Prio", type_ = "integer", json_path = ".spec.priority", description = "Higher goes first"),
    printcolumn(
        name = "Step",
        type_ = "integer",
        json_path = ".status.progress.step",
        description = "Denoising steps done, written every few seconds at most"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Deadline", type_ = "date", json_path = ".spec.deadline", priority = 1),
    printcolumn(name = "Worker", type_ = "string", json_path = ".status.assignment.worker", priority = 1),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempt", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct GenerationJobSpec {
    /// What to make.
    pub request: GenerationRequest,
    /// Name of the GenerationQueue in this namespace where the job waits. A queue nobody made has weight 1 and no quota.
    #[serde(default = "default_queue")]
    #[schemars(length(min = 1, max = 253))]
    pub queue: String,
    /// Higher goes first.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// Name of the GpuPool it must run in. Left out, any pool will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pool: Option<PoolName>,
    /// By when it should be done. Jobs are ordered by it, and it is promised where that is sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// What becomes of the job when its deadline cannot be met.
    #[serde(default, skip_serializing_if = "is_run")]
    pub when_late: WhenLate,
    /// Seconds after its end when the job is deleted. Left out, the operator's own setting holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<u32>,
}

/// What becomes of a job whose deadline cannot be met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenLate {
    /// It runs late.
    #[default]
    Run,
    /// It fails at once with `DeadlineExceeded`, and the message names the cheapest change that would meet the deadline.
    Refuse,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
fn is_run(when: &WhenLate) -> bool {
    *when == WhenLate::Run
}

fn default_queue() -> String {
    DEFAULT_QUEUE.to_owned()
}

impl GenerationJobSpec {
    /// A job that says nothing but what to make.
    pub fn new(request: GenerationRequest) -> Self {
        Self {
            request,
            queue: default_queue(),
            priority: 0,
            pool: None,
            deadline: None,
            when_late: WhenLate::Run,
            ttl_seconds_after_finished: None,
        }
    }

    /// The same with a deadline, told in whole seconds: a part of one is left out, so that it comes no later.
    #[must_use]
    pub fn due(self, at: Timestamp, when_late: WhenLate) -> Self {
        let second = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
        let deadline = Time(jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX));
        Self { deadline: Some(deadline), when_late, ..self }
    }
}

/// What became of it. Written by the leading operator alone, always whole, under the field manager `scheduler`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationJobStatus {
    /// Summary of where the job stands, derived from the rest.
    #[serde(default = "queued")]
    pub state: JobState,
    /// The generation of the spec this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The last attempt given out, from 1. It only grows.
    #[serde(default, skip_serializing_if = "no_attempt")]
    pub attempt: Attempt,
    /// Attempts that failed so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_attempts: u32,
    /// Term of the leader that wrote this. It only grows: a leader of an earlier term is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub leader_epoch: Option<u64>,
    /// Who has the job, or had it last when it is over. Absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<JobAssignment>,
    /// Not to be tried again before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// What was promised of its deadline, when it was given out. Binds every later leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<JobPromise>,
    /// How far the attempt has come. Written every few seconds at most; a short job never has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The pictures, once the job is Complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub outputs: Vec<Output>,
    /// Time the GPU was held by the attempt that made the pictures, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub gpu_milliseconds: Option<u64>,
    /// Why the job failed, or why its last attempt did while the job waits for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the first attempt was given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the job became Complete or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Assigned, Complete, Failed. Their reasons are documented in REASONS.md.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl Default for GenerationJobStatus {
    /// A job nobody has touched: waiting, no attempt given out.
    fn default() -> Self {
        Self {
            state: JobState::Queued,
            observed_generation: None,
            attempt: Attempt(0),
            failed_attempts: 0,
            leader_epoch: None,
            assignment: None,
            not_before: None,
            promise: None,
            progress: None,
            outputs: Vec::new(),
            gpu_milliseconds: None,
            failure: None,
            started_at: None,
            finished_at: None,
            conditions: Vec::new(),
        }
    }
}

fn queued() -> JobState {
    JobState::Queued
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn no_attempt(attempt: &Attempt) -> bool {
    attempt.0 == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Who has the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobAssignment {
    /// The worker.
    #[schemars(length(min = 1, max = 253))]
    pub worker: WorkerId,
    /// Its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pool: Option<PoolName>,
    /// The attempt it runs.
    pub attempt: Attempt,
    /// Term of the leader that gave it.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub leader_epoch: u64,
    /// When it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<Time>,
}

/// A deadline that was promised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPromise {
    /// When the job should end, as it was when it was promised.
    pub ends: Time,
    /// By when it will: its deadline.
    pub by: Time,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Denoising steps done, over all pictures.
    pub step: u32,
    /// Denoising steps in all, over all pictures.
    pub steps: u32,
}

/// Why a job or an attempt failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The documented reason.
    pub reason: FailureReason,
    /// A sentence for people: what happened, why, what to do next.
    #[schemars(length(max = 1024))]
    pub message: String,
}

impl GenerationJob {
    /// The status, or that of a job nobody has touched.
    pub fn status_or_new(&self) -> GenerationJobStatus {
        self.status.clone().unwrap_or_default()
    }

    /// Where the job stands.
    pub fn state(&self) -> JobState {
        self.status.as_ref().map_or(JobState::Queued, |status| status.state)
    }
}
