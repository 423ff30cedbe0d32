//! Jobs: object to observation, and the one rule that keeps a lagging watch from taking our own write back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tintype_crds::{GenerationJob, WhenLate};
use tintype_scheduler::{JobSeen, Observation, Place, Shape};
use tintype_types::{JobId, JobState, PoolName, QueueKey, Timestamp, WorkerId};

use super::Event;
use super::models::Models;
use crate::convert::{from_time, version_number};

/// Steps a request is counted with when neither it nor its model says: the order of magnitude is all that matters.
const STEPS_UNKNOWN: u32 = 30;

/// Every job, by UID.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    by_id: BTreeMap<JobId, Arc<GenerationJob>>,
}

/// Which ended jobs are to be deleted.
#[derive(Clone, Debug, Default)]
pub struct Expiring {
    /// Those whose time has come, oldest first.
    pub due: Vec<Arc<GenerationJob>>,
    /// When the next one's time comes.
    pub next: Option<Timestamp>,
}

impl Jobs {
    pub(super) fn change(&mut self, event: Event<GenerationJob>, models: &Models) -> Vec<Observation> {
        match event {
            Event::Apply(job) => self.apply(*job, models).into_iter().collect(),
            Event::Delete(job) => {
                let id = job_id(&job);
                self.by_id.remove(&id).map(|_| Observation::JobGone(id)).into_iter().collect()
            }
            Event::Replace(jobs) => self.replace(jobs, models),
        }
    }

    /// `None` when what came is older than what is known.
    fn apply(&mut self, job: GenerationJob, models: &Models) -> Option<Observation> {
        let id = job_id(&job);
        if self.by_id.get(&id).is_some_and(|known| version(known) > version(&job)) {
            return None;
        }
        let seen = seen(&job, models);
        self.by_id.insert(id, Arc::new(job));
        Some(Observation::Job(Box::new(seen)))
    }

    fn replace(&mut self, jobs: Vec<GenerationJob>, models: &Models) -> Vec<Observation> {
        let mut before = std::mem::take(&mut self.by_id);
        let mut observations = Vec::new();
        for job in jobs {
            let id = job_id(&job);
            // A list is as of one moment; a write of ours may have landed after it.
            if let Some(known) = before.remove(&id) {
                self.by_id.insert(id, known);
            }
            observations.extend(self.apply(job, models));
        }
        observations.extend(before.into_keys().map(Observation::JobGone));
        observations
    }

    /// Only a job that is still known: the answer to a write may come after the news that the job is gone.
    pub(super) fn written(&mut self, job: GenerationJob) {
        if let Some(known) = self.by_id.get_mut(&job_id(&job))
            && version(known) < version(&job)
        {
            *known = Arc::new(job);
        }
    }

    /// Who has a job that is not over.
    pub(super) fn workers(&self) -> BTreeMap<WorkerId, Option<PoolName>> {
        let running =
            self.by_id.values().filter_map(|job| job.status.as_ref()).filter(|status| !status.state.is_terminal());
        let had = running.filter_map(|status| status.assignment.as_ref());
        had.map(|assignment| (assignment.worker.clone(), assignment.pool.clone())).collect()
    }

    pub(super) fn get(&self, id: &JobId) -> Option<Arc<GenerationJob>> {
        self.by_id.get(id).cloned()
    }

    pub(super) fn seen(&self, models: &Models) -> Vec<JobSeen> {
        self.by_id.values().filter(|job| !job.state().is_terminal()).map(|job| seen(job, models)).collect()
    }

    /// Waiting jobs that name LoRAs or ControlNets, told again: which of those are known has changed.
    pub(super) fn with_adapters(&self, models: &Models) -> Vec<Observation> {
        let waiting = self.by_id.values().filter(|job| {
            let request = &job.spec.request;
            let names = !request.loras.is_empty() || !request.controls.is_empty();
            names && matches!(job.state(), JobState::Queued | JobState::Preempted)
        });
        waiting.map(|job| Observation::Job(Box::new(seen(job, models)))).collect()
    }

    pub(super) fn highest_epoch(&self) -> u64 {
        self.by_id.values().filter_map(|job| job.status.as_ref()?.leader_epoch).max().unwrap_or(0)
    }

    pub(super) fn count_states(&self) -> BTreeMap<JobState, u64> {
        let mut counts = BTreeMap::new();
        for job in self.by_id.values() {
            *counts.entry(job.state()).or_insert(0) += 1;
        }
        counts
    }

    pub(super) fn expiring(&self, default_ttl: Option<Duration>, now: Timestamp) -> Expiring {
        let mut ends: Vec<_> = self
            .by_id
            .values()
            .filter_map(|job| Some((expires(job, default_ttl)?, job)))
            .filter(|(_, job)| job.metadata.deletion_timestamp.is_none())
            .collect();
        ends.sort_by_key(|(end, _)| *end);
        let next = ends.iter().map(|(end, _)| *end).find(|end| *end > now);
        let due = ends.into_iter().take_while(|(end, _)| *end <= now).map(|(_, job)| Arc::clone(job)).collect();
        Expiring { due, next }
    }
}

/// When an ended job is to be deleted.
fn expires(job: &GenerationJob, default_ttl: Option<Duration>) -> Option<Timestamp> {
    let status = job.status.as_ref().filter(|status| status.state.is_terminal())?;
    let own = job.spec.ttl_seconds_after_finished.map(|seconds| Duration::from_secs(u64::from(seconds)));
    Some(from_time(status.finished_at.as_ref()?).plus(own.or(default_ttl)?))
}

/// The name the scheduler and the workers know a job by: its UID, because a name can be used again.
pub fn job_id(job: &GenerationJob) -> JobId {
    JobId(job.metadata.uid.clone().unwrap_or_default())
}

fn version(job: &GenerationJob) -> u128 {
    version_number(job.metadata.resource_version.as_deref())
}

fn seen(job: &GenerationJob, models: &Models) -> JobSeen {
    let status = job.status_or_new();
    let request = &job.spec.request;
    // The scheduler fails a job whose model nobody knows, once it has waited for it; a LoRA or ControlNet nobody knows
    // stands in for the model until it is known.
    let waits = matches!(status.state, JobState::Queued | JobState::Preempted);
    let missing = models.missing(request).filter(|_| waits);
    let steps = request.steps.or_else(|| models.defaults(&request.model).map(|defaults| defaults.steps));
    JobSeen {
        id: job_id(job),
        queue: QueueKey(format!("{}/{}", job.metadata.namespace.as_deref().unwrap_or_default(), job.spec.queue)),
        priority: job.spec.priority,
        model: missing.unwrap_or(&request.model).to_owned(),
        pool: job.spec.pool.clone(),
        work_steps: steps.unwrap_or(STEPS_UNKNOWN).saturating_mul(request.images.unwrap_or(1)),
        submitted: job.metadata.creation_timestamp.as_ref().map(from_time).unwrap_or_default(),
        place: match status.state {
            JobState::Queued | JobState::Preempted => Place::Queued,
            JobState::Assigned | JobState::Running => Place::Assigned(
                status.assignment.as_ref().map_or_else(WorkerId::default, |assignment| assignment.worker.clone()),
            ),
            JobState::Complete | JobState::Failed => Place::Ended,
        },
        shape: Shape {
            pixels: request.width.unwrap_or_default().saturating_mul(request.height.unwrap_or_default()),
            images: u16::try_from(request.images.unwrap_or(1)).unwrap_or(u16::MAX),
            adapters: u16::try_from(request.loras.len() + request.controls.len()).unwrap_or(u16::MAX),
        },
        deadline: job.spec.deadline.as_ref().map(from_time),
        refuse_late: job.spec.when_late == WhenLate::Refuse,
        attempt: status.attempt,
        failed_attempts: status.failed_attempts,
        not_before: status.not_before.as_ref().map(from_time),
        cancelled: job.metadata.deletion_timestamp.is_some(),
        promised: status.promise.as_ref().map(|promise| from_time(&promise.ends)),
    }
}

#[cfg(test)]
mod tests {
    use tintype_crds::{GenerationJobSpec, JobAssignment, JobPromise};
    use tintype_types::{Attempt, GenerationRequest};

    use super::*;
    use crate::convert::to_time;

    fn job(uid: &str, version: u32) -> GenerationJob {
        let mut job = GenerationJob::new(uid, GenerationJobSpec::new(GenerationRequest::new("m", "p")));
        job.metadata.uid = Some(uid.to_owned());
        job.metadata.namespace = Some("team".to_owned());
        job.metadata.resource_version = Some(version.to_string());
        job
    }

    fn assigned(uid: &str, version: u32, worker: &str) -> GenerationJob {
        let mut job = job(uid, version);
        let mut status = job.status_or_new();
        status.state = JobState::Assigned;
        status.attempt = Attempt(1);
        status.leader_epoch = Some(3);
        status.assignment = Some(JobAssignment {
            worker: worker.into(),
            pool: None,
            attempt: Attempt(1),
            leader_epoch: 3,
            assigned_at: None,
        });
        job.status = Some(status);
        job
    }

    #[test]
    fn a_lora_nobody_knows_is_what_the_job_waits_for() {
        let model = |object: &str, kind: &str| -> tintype_crds::DiffusionModel {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": object },
                "spec": { "kind": kind, "family": "sd15", "defaults":
                    { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3.0, "sampler": "euler" } }
            }))
            .unwrap()
        };
        let names = |told: Vec<Observation>| -> Vec<String> {
            let job = |seen| if let Observation::Job(job) = seen { Some(job.model) } else { None };
            told.into_iter().filter_map(job).collect()
        };
        let index = super::super::Index::default();
        let tell = |change| names(index.change(change));
        tell(super::super::Change::Models(Event::Apply(Box::new(model("m", "checkpoint")))));
        let mut asking = job("a", 1);
        asking.spec.request.loras = vec![tintype_types::LoraUse { name: "night".to_owned(), weight: 1.0 }];
        assert_eq!(tell(super::super::Change::Jobs(Event::Apply(Box::new(asking)))), ["night"]);
        let as_controlnet = Event::Apply(Box::new(model("night", "controlnet")));
        assert_eq!(tell(super::super::Change::Models(as_controlnet)), ["night"], "of another kind is not known");
        let as_lora = Event::Apply(Box::new(model("night", "lora")));
        assert_eq!(tell(super::super::Change::Models(as_lora)), ["m"]);
        let gone = Event::Delete(Box::new(model("night", "lora")));
        assert_eq!(tell(super::super::Change::Models(gone)), ["night"]);
    }

    #[test]
    fn an_event_older_than_our_own_write_is_not_told() {
        let mut jobs = Jobs::default();
        let models = Models::default();
        assert_eq!(jobs.change(Event::Apply(Box::new(job("a", 5))), &models).len(), 1);
        jobs.written(assigned("a", 9, "w"));
        assert_eq!(jobs.change(Event::Apply(Box::new(job("a", 7))), &models), []);
        assert_eq!(jobs.get(&"a".into()).unwrap().state(), JobState::Assigned);
        assert_eq!(jobs.highest_epoch(), 3);
        // The write itself, coming back, is told: that is what the scheduler waits for.
        let [Observation::Job(seen)] = &jobs.change(Event::Apply(Box::new(assigned("a", 9, "w"))), &models)[..] else {
            panic!("the write was not told")
        };
        assert_eq!(seen.place, Place::Assigned("w".into()));
        assert_eq!(seen.queue, "team/default".into());
    }

    #[test]
    fn a_deadline_is_told_with_what_becomes_of_a_late_job() {
        let told = |job: &GenerationJob| {
            let seen = seen(job, &Models::default());
            (seen.deadline, seen.refuse_late)
        };
        let mut late = job("a", 1);
        assert_eq!(told(&late), (None, false));
        late.spec.deadline = Some(to_time(Timestamp(90_000)));
        late.spec.when_late = WhenLate::Refuse;
        assert_eq!(told(&late), (Some(Timestamp(90_000)), true));
        assert_eq!(seen(&late, &Models::default()).promised, None);
        let promise = JobPromise { ends: to_time(Timestamp(80_000)), by: to_time(Timestamp(90_000)) };
        late.status = Some(tintype_crds::GenerationJobStatus { promise: Some(promise), ..late.status_or_new() });
        assert_eq!(seen(&late, &Models::default()).promised, Some(Timestamp(80_000)));
    }

    #[test]
    fn a_list_removes_what_is_not_on_it_and_keeps_what_is_newer() {
        let mut jobs = Jobs::default();
        let models = Models::default();
        jobs.change(Event::Replace(vec![job("a", 1), job("b", 2)]), &models);
        jobs.written(assigned("a", 9, "w"));
        let told = jobs.change(Event::Replace(vec![job("a", 1)]), &models);
        assert_eq!(told, [Observation::JobGone("b".into())]);
        assert_eq!(jobs.get(&"a".into()).unwrap().state(), JobState::Assigned);
    }

    #[test]
    fn the_answer_to_a_write_does_not_bring_a_deleted_job_back() {
        let mut jobs = Jobs::default();
        let models = Models::default();
        jobs.change(Event::Apply(Box::new(job("a", 1))), &models);
        jobs.change(Event::Delete(Box::new(job("a", 2))), &models);
        jobs.written(assigned("a", 9, "w"));
        assert!(jobs.get(&"a".into()).is_none());
    }

    #[test]
    fn ended_jobs_expire_by_their_own_ttl_or_the_default() {
        let ended = |uid: &str, at: u64, ttl: Option<u32>| {
            let mut job = job(uid, 1);
            job.spec.ttl_seconds_after_finished = ttl;
            let mut status = job.status_or_new();
            status.state = JobState::Complete;
            status.finished_at = Some(to_time(Timestamp(at * 1_000)));
            job.status = Some(status);
            job
        };
        let mut jobs = Jobs::default();
        let all = vec![ended("own", 100, Some(5)), ended("usual", 100, None), job("waiting", 1)];
        jobs.change(Event::Replace(all), &Models::default());
        let names = |expiring: &Expiring| expiring.due.iter().map(|job| job_id(job).0).collect::<Vec<_>>();
        let day = Some(Duration::from_mins(1));
        let at = |second: u64| Timestamp(second * 1_000);
        assert_eq!(jobs.expiring(day, at(104)).next, Some(at(105)));
        assert_eq!(names(&jobs.expiring(day, at(105))), ["own"]);
        assert_eq!(names(&jobs.expiring(day, at(160))), ["own", "usual"]);
        assert_eq!(names(&jobs.expiring(None, at(9_999))), ["own"]);
    }
}
