//! How our things look on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_scheduler::Estimate;
use tintype_types::{FailureReason, JobState, ResolvedRequest};

use crate::records::generation::Generation;
use crate::records::key::KeyRow;
use crate::records::person::Person;
use crate::scope::{Scope, Scopes};

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobView {
    /// Its id.
    pub(crate) id: String,
    /// Where it stands.
    pub(crate) state: JobState,
    /// What it makes, with nothing left to choose.
    pub(crate) request: ResolvedRequest,
    /// What it costs in milli-credits: held now, captured if it completes, given back if it fails.
    pub(crate) price_millis: i64,
    /// The current attempt; 0 before the first.
    pub(crate) attempt: u32,
    /// Attempts that failed so far.
    pub(crate) failed_attempts: u32,
    /// Steps done in this attempt, over all pictures, as last written down.
    pub(crate) step: u32,
    /// Steps of this attempt, over all pictures; 0 while unknown.
    pub(crate) steps: u32,
    /// The pictures, once the job is complete.
    pub(crate) outputs: Vec<OutputView>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<FailureReason>,
    /// The same, or why its last attempt did, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// Whether its owner has cancelled it.
    pub(crate) cancelled: bool,
    /// By when it should be done, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_ms: Option<u64>,
    /// When it was to end as it was given to a worker, if its deadline was promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) promised_ms: Option<u64>,
    /// When it should start and end: in the answer to who asks for it with a deadline, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) estimate: Option<EstimateView>,
    /// When it was made, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// When its first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_ms: Option<u64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finished_ms: Option<u64>,
}

/// When a job should start and end, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EstimateView {
    /// As likely before as after this it starts.
    pub(crate) starts_ms: u64,
    /// As likely before as after this it ends.
    pub(crate) ends_ms: u64,
    /// Nine times in ten it ends before this.
    pub(crate) ends_p90_ms: u64,
    /// Jobs that go before it, on workers it could use.
    pub(crate) ahead: u32,
}

impl From<Estimate> for EstimateView {
    fn from(Estimate { starts_p50, ends_p50, ends_p90, ahead, run_ms: _, load_ms: _ }: Estimate) -> Self {
        Self { starts_ms: starts_p50.0, ends_ms: ends_p50.0, ends_p90_ms: ends_p90.0, ahead }
    }
}

/// One picture.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutputView {
    /// Where to get it, with the same key: answers with a redirect to a signed URL.
    pub(crate) url: String,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
    /// The seed this very picture can be made again with.
    pub(crate) seed: u64,
}

impl From<&Generation> for JobView {
    fn from(job: &Generation) -> Self {
        let id = job.id.to_string();
        let output = |(n, output): (usize, &tintype_types::Output)| OutputView {
            url: format!("/api/v1/jobs/{id}/images/{n}"),
            sha256: output.sha256.clone(),
            bytes: output.bytes,
            width: output.width,
            height: output.height,
            seed: output.seed,
        };
        Self {
            state: job.state,
            request: job.request.clone(),
            price_millis: job.price,
            attempt: job.attempt.0,
            failed_attempts: job.failed_attempts,
            step: job.step,
            steps: job.steps,
            outputs: job.outputs.iter().enumerate().map(output).collect(),
            failure: job.failure,
            message: job.message.clone(),
            cancelled: job.cancelled.is_some(),
            deadline_ms: job.deadline.map(|due| due.at.0),
            promised_ms: job.promised.map(|at| at.0),
            estimate: None,
            created_ms: job.created.0,
            started_ms: job.started.map(|at| at.0),
            finished_ms: job.finished.map(|at| at.0),
            id,
        }
    }
}

/// A page of jobs, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobPage {
    /// The jobs.
    pub(crate) data: Vec<JobView>,
    /// Pass as `before` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// The caller's account, and the person if one is signed in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Me {
    /// The account.
    pub(crate) account: AccountView,
    /// Its credits.
    pub(crate) credits: Credits,
    /// Who is signed in; absent when the caller is an API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<UserView>,
}

/// Somebody who is signed in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserView {
    /// Their id.
    pub(crate) id: String,
    /// Their e-mail address, as they typed it; null while it is not known.
    pub(crate) email: Option<String>,
    /// Whether it was seen that mail to it reaches them.
    pub(crate) email_verified: bool,
    /// Whether they can sign in with a password.
    pub(crate) has_password: bool,
    /// Whether they may do what the administrator's token may.
    pub(crate) admin: bool,
    /// Whether they want a letter when pictures are ready.
    pub(crate) notify_ready: bool,
    /// Whether they want a letter each week about what they made and spent.
    pub(crate) digest: bool,
}

impl From<Person> for UserView {
    fn from(person: Person) -> Self {
        Self {
            id: person.id.to_string(),
            email: person.email,
            email_verified: person.email_verified_ms.is_some(),
            has_password: person.password.is_some(),
            admin: person.admin,
            notify_ready: person.notify_ready,
            digest: person.digest,
        }
    }
}

/// An account.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccountView {
    /// Its id.
    pub(crate) id: String,
    /// `user` or `org`.
    pub(crate) kind: String,
    /// For people.
    pub(crate) name: String,
}

/// Credits in thousandths.
#[expect(clippy::struct_field_names, reason = "on the wire each number says its unit")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Credits {
    /// Can be spent.
    pub(crate) available_millis: i64,
    /// Set aside for jobs that have not ended.
    pub(crate) held_millis: i64,
    /// Captured so far.
    pub(crate) spent_millis: i64,
}

/// A key, without its secret.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyView {
    /// The part of the key that names it.
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    /// When it was made.
    pub(crate) created_ms: i64,
    /// When it was last used, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_used_ms: Option<i64>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked_ms: Option<i64>,
    /// What it may do.
    pub(crate) scopes: Vec<Scope>,
    /// From when on it is worthless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_ms: Option<i64>,
    /// What it may spend in all, in milli-credits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget_millis: Option<i64>,
    /// What it has spent of its budget, what is held included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used_millis: Option<i64>,
}

impl From<KeyRow> for KeyView {
    fn from(row: KeyRow) -> Self {
        let KeyRow { id, name, created_ms, last_used_ms, revoked_ms, scopes, expires_ms, budget, used } = row;
        let scopes = scopes.map_or(Scopes::WHOLE, |names| Scopes::named(names.iter().map(String::as_str))).list();
        let used_millis = budget.map(|_| used);
        Self { id, name, created_ms, last_used_ms, revoked_ms, scopes, expires_ms, budget_millis: budget, used_millis }
    }
}

/// A list of keys.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct KeyList {
    /// The keys, oldest first.
    pub(crate) data: Vec<KeyView>,
}

/// A new key. The secret is shown this once.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewKey {
    /// The part of the key that names it.
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    /// The whole key.
    pub(crate) api_key: String,
}

/// A new user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewUser {
    /// The account.
    pub(crate) account: AccountView,
    /// Its credits.
    pub(crate) credits: Credits,
    /// Its first key, shown this once.
    pub(crate) api_key: String,
}
