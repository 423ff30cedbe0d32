//! What people are told of a job: one watch channel a job, each value a whole snapshot. It never goes backwards: what
//! the record tells late is older than what was decided here, and is dropped.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use prometheus::IntGauge;
use tintype_types::{JobEvent, JobId, JobState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Ended jobs whose last event is kept for those who ask late.
const ENDED_KEPT_MAX: usize = 4_096;
/// Jobs kept in all, unended ones included; the scheduler takes in no more either. Beyond it events are dropped.
const JOBS_KEPT_MAX: usize = 250_000;
/// Streams open at a time.
pub(crate) const WATCHERS_MAX: usize = 4_096;

/// As many streams of events as are served at a time are open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{WATCHERS_MAX} event streams are open, which is all there may be; close some or try later")]
pub struct TooManyWatchers;

/// All jobs' events. Cloning is cheap; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    inner: Arc<Mutex<Inner>>,
    permits: Arc<Semaphore>,
    open: IntGauge,
}

#[derive(Debug, Default)]
struct Inner {
    slots: BTreeMap<JobId, Slot>,
    /// Jobs that ended, oldest first.
    ended: VecDeque<JobId>,
    running: i64,
    closed: bool,
}

/// Absent when the job ended in a way nobody here knows: streams of it end at once.
type Slot = Option<watch::Sender<Option<Numbered>>>;

#[derive(Clone, Debug)]
struct Numbered {
    number: u64,
    event: JobEvent,
}

impl Events {
    pub(crate) fn new(open: IntGauge) -> Self {
        Self { inner: Arc::default(), permits: Arc::new(Semaphore::new(WATCHERS_MAX)), open }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete before anything can panic, so a poisoned lock holds a good state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the job's watchers, unless they know this or newer already.
    pub(crate) fn publish(&self, event: JobEvent) {
        self.lock().publish(event);
    }

    /// The job ended, and how is not known here: its streams end without a last event.
    pub(crate) fn end_unknown(&self, job: &JobId) {
        self.lock().end_unknown(job);
    }

    /// The job is not there any more.
    pub(crate) fn forget(&self, job: &JobId) {
        self.lock().drop_slot(job);
    }

    /// The job's last event.
    pub(crate) fn last(&self, job: &JobId) -> Option<JobEvent> {
        let inner = self.lock();
        inner.slots.get(job)?.as_ref()?.borrow().as_ref().map(|last| last.event.clone())
    }

    /// Whether a stream of the job's events is open.
    pub(crate) fn is_watched(&self, job: &JobId) -> bool {
        let inner = self.lock();
        inner.slots.get(job).and_then(Option::as_ref).is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Attempts that are out, as far as the events say.
    pub(crate) fn running(&self) -> i64 {
        self.lock().running
    }

    /// Ends all streams; they start anew from the next events. For a replica that leads no more.
    pub(crate) fn reset(&self) {
        let mut inner = self.lock();
        *inner = Inner { closed: inner.closed, ..Inner::default() };
    }

    /// Ends all streams for good.
    pub(crate) fn close(&self) {
        *self.lock() = Inner { closed: true, ..Inner::default() };
    }

    /// A stream of the job's events: where it stands now, if that is known, then every change.
    pub(crate) fn watch(&self, job: &JobId) -> Result<JobWatch, TooManyWatchers> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| TooManyWatchers)?;
        let receiver = self.lock().subscribe(job);
        self.open.inc();
        Ok(JobWatch { job: job.clone(), receiver, events: self.clone(), _permit: permit })
    }
}

impl Inner {
    fn publish(&mut self, mut event: JobEvent) {
        let room = self.slots.len() < JOBS_KEPT_MAX;
        if self.closed || !(room || self.slots.contains_key(&event.job)) {
            return;
        }
        let (job, now_out, ends) = (event.job.clone(), is_out(&event), event.state.is_terminal());
        let Some(sender) = self.slots.entry(job.clone()).or_insert_with(new_slot) else { return };
        let mut was_out = false;
        let news = sender.send_if_modified(|last| {
            was_out = last.as_ref().is_some_and(|last| is_out(&last.event));
            let newer = last.as_ref().is_none_or(|last| match rank(&event).cmp(&rank(&last.event)) {
                Ordering::Greater => true,
                // A look at a step that was told of already.
                Ordering::Equal => !event.previews.is_empty(),
                Ordering::Less => false,
            });
            if newer {
                keep_steps(&mut event, last.as_ref().map(|last| &last.event));
                let number = last.as_ref().map_or(1, |last| last.number + 1);
                *last = Some(Numbered { number, event });
            }
            newer
        });
        if news {
            self.running += i64::from(now_out) - i64::from(was_out);
            if ends {
                self.remember_end(job);
            }
        }
    }

    fn end_unknown(&mut self, job: &JobId) {
        let ended = |slot: &Slot| slot.as_ref().is_none_or(|sender| ended(sender.borrow().as_ref()));
        if self.closed || self.slots.get(job).is_some_and(ended) {
            return;
        }
        self.drop_slot(job);
        self.slots.insert(job.clone(), None);
        self.remember_end(job.clone());
    }

    fn remember_end(&mut self, job: JobId) {
        self.ended.push_back(job);
        if self.ended.len() > ENDED_KEPT_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.drop_slot(&oldest);
        }
    }

    fn drop_slot(&mut self, job: &JobId) {
        if let Some(Some(sender)) = self.slots.remove(job) {
            let was_out = sender.borrow().as_ref().is_some_and(|last| is_out(&last.event));
            self.running -= i64::from(was_out);
        }
    }

    fn subscribe(&mut self, job: &JobId) -> Option<watch::Receiver<Option<Numbered>>> {
        if self.closed {
            return None;
        }
        let sender = self.slots.entry(job.clone()).or_insert_with(new_slot).as_ref()?;
        let mut receiver = sender.subscribe();
        if receiver.borrow().is_some() {
            receiver.mark_changed();
        }
        Some(receiver)
    }

    /// A slot that only a watcher made is not kept for nobody.
    fn tidy(&mut self, job: &JobId) {
        let idle = |slot: &Slot| slot.as_ref().is_some_and(|s| s.borrow().is_none() && s.receiver_count() == 0);
        if self.slots.get(job).is_some_and(idle) {
            self.slots.remove(job);
        }
    }
}

/// One stream of one job's events.
#[derive(Debug)]
pub struct JobWatch {
    job: JobId,
    receiver: Option<watch::Receiver<Option<Numbered>>>,
    events: Events,
    _permit: OwnedSemaphorePermit,
}

impl JobWatch {
    /// The next event: first where the job stands (as soon as that is known), then each change; changes that come
    /// faster than they are asked for are skipped, the newest stays. None after a terminal event, and when the stream
    /// ends for another reason (shutdown, leadership lost, the job vanished): then the record knows more.
    pub async fn next(&mut self) -> Option<JobEvent> {
        self.next_numbered().await.map(|(_, event)| event)
    }

    /// The same with a number that grows from event to event.
    pub(crate) async fn next_numbered(&mut self) -> Option<(u64, JobEvent)> {
        let receiver = self.receiver.as_mut()?;
        loop {
            let changed = receiver.changed().await;
            let current = changed.is_ok().then(|| receiver.borrow_and_update().clone());
            match current {
                Some(None) => {}
                Some(Some(Numbered { number, event })) => {
                    if event.state.is_terminal() {
                        self.receiver = None;
                    }
                    return Some((number, event));
                }
                None => {
                    self.receiver = None;
                    return None;
                }
            }
        }
    }

    /// The events as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = JobEvent> + Send + 'static {
        futures::stream::unfold(self, |mut watch| async move { watch.next().await.map(|event| (event, watch)) })
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        self.receiver = None;
        self.events.lock().tidy(&self.job);
        self.events.open.dec();
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape the map's entry wants")]
fn new_slot() -> Slot {
    Some(watch::Sender::new(None))
}

/// What does not come from the worker says nothing of steps; what is known of them stays true within the attempt.
fn keep_steps(event: &mut JobEvent, last: Option<&JobEvent>) {
    if let Some(last) = last.filter(|last| last.attempt == event.attempt && event.steps == 0) {
        event.steps = last.steps;
        event.step = if event.state == JobState::Complete { last.steps } else { last.step };
    }
}

fn is_out(event: &JobEvent) -> bool {
    matches!(event.state, JobState::Assigned | JobState::Running)
}

fn ended(last: Option<&Numbered>) -> bool {
    last.is_some_and(|last| last.event.state.is_terminal())
}

/// Orders what can be told of one job: an attempt is assigned, runs, perhaps waits again; an end is final.
fn rank(event: &JobEvent) -> (u32, u32, u32) {
    let attempt = event.attempt.0;
    match event.state {
        JobState::Assigned => (attempt, 0, 0),
        JobState::Running => (attempt, 1, event.step),
        JobState::Queued => (attempt, 2, 0),
        // Says more than that the job waits again, which the record may have told already.
        JobState::Preempted => (attempt, 3, 0),
        JobState::Complete | JobState::Failed => (u32::MAX, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use tintype_types::{Attempt, ImageFormat, Preview};

    use super::*;

    #[tokio::test]
    async fn a_watcher_sees_where_the_job_stands_then_each_change_then_the_end() {
        let events = events();
        events.publish(event("a", JobState::Queued, 0, 0));
        let mut watch = events.watch(&"a".into()).unwrap();
        assert_eq!(watch.next().await.unwrap().state, JobState::Queued);
        events.publish(event("a", JobState::Assigned, 1, 0));
        assert_eq!(watch.next().await.unwrap().state, JobState::Assigned);
        for step in [1, 2, 3] {
            events.publish(event("a", JobState::Running, 1, step));
        }
        assert_eq!(watch.next().await.unwrap().step, 3);
        assert_eq!(events.running(), 1);
        events.publish(event("a", JobState::Complete, 1, 3));
        assert_eq!(watch.next().await.unwrap().state, JobState::Complete);
        assert_eq!(watch.next().await, None);
        assert_eq!(events.running(), 0);
        let late: Vec<_> = events.watch(&"a".into()).unwrap().into_stream().collect().await;
        assert_eq!(late.len(), 1);
    }

    #[tokio::test]
    async fn late_news_is_dropped() {
        let events = events();
        let order = [
            (JobState::Queued, 0, 0, true),
            (JobState::Assigned, 1, 0, true),
            (JobState::Queued, 0, 0, false),
            (JobState::Running, 1, 5, true),
            (JobState::Running, 1, 4, false),
            (JobState::Assigned, 1, 0, false),
            (JobState::Queued, 1, 0, true),
            (JobState::Running, 1, 6, false),
            (JobState::Assigned, 2, 0, true),
            (JobState::Failed, 2, 0, true),
            (JobState::Complete, 2, 0, false),
            (JobState::Assigned, 3, 0, false),
        ];
        for (state, attempt, step, news) in order {
            let told = event("a", state, attempt, step);
            events.publish(told.clone());
            assert_eq!(events.last(&"a".into()) == Some(told.clone()), news, "{told:?}");
        }
    }

    #[test]
    fn an_end_keeps_the_steps_that_were_told() {
        let events = events();
        events.publish(event("a", JobState::Running, 1, 4));
        events.publish(JobEvent { steps: 0, ..event("a", JobState::Complete, 1, 0) });
        let last = events.last(&"a".into()).unwrap();
        assert_eq!((last.step, last.steps), (10, 10));
    }

    #[tokio::test]
    async fn previews_go_to_who_watches_and_are_not_kept_once_the_job_has_ended() {
        let (events, job) = (events(), JobId::from("a"));
        let shown = |step, look: &str| {
            let preview = Preview { image: 0, step, format: ImageFormat::Jpeg, data: look.to_owned() };
            JobEvent { previews: vec![preview], ..event("a", JobState::Running, 1, step) }
        };
        events.publish(event("a", JobState::Running, 1, 1));
        assert!(!events.is_watched(&job));
        let mut watch = events.watch(&job).unwrap();
        assert!(events.is_watched(&job));
        assert!(watch.next().await.unwrap().previews.is_empty());
        // Of the step told already, then of one before it.
        events.publish(shown(1, "first"));
        assert_eq!(watch.next().await.unwrap().previews[0].data, "first");
        events.publish(shown(0, "late"));
        assert!(watch.next().now_or_never().is_none());
        events.publish(shown(2, "second"));
        assert!(!format!("{:?}", events.last(&job)).contains("second"), "a picture would be logged");
        events.publish(event("a", JobState::Complete, 1, 2));
        assert!(events.last(&job).unwrap().previews.is_empty());
        drop(watch);
        assert!(!events.is_watched(&job));
    }

    #[tokio::test]
    async fn a_stream_opened_before_the_job_is_known_waits_and_leaves_nothing_behind() {
        let events = events();
        let mut watch = events.watch(&"a".into()).unwrap();
        assert!(watch.next().now_or_never().is_none());
        events.publish(event("a", JobState::Queued, 0, 0));
        assert_eq!(watch.next().await.unwrap().state, JobState::Queued);
        drop(events.watch(&"b".into()).unwrap());
        assert!(!events.lock().slots.contains_key(&"b".into()));
        assert_eq!(events.open.get(), 1);
    }

    #[tokio::test]
    async fn streams_end_when_the_end_is_unknown_the_job_is_gone_or_everything_closes() {
        let events = events();
        let ends: [fn(&Events); 4] =
            [|e| e.end_unknown(&"a".into()), |e| e.forget(&"a".into()), Events::reset, Events::close];
        for end in ends {
            events.forget(&"a".into());
            events.publish(event("a", JobState::Assigned, 1, 0));
            let mut watch = events.watch(&"a".into()).unwrap();
            assert!(watch.next().await.is_some());
            end(&events);
            assert_eq!(watch.next().await, None);
            assert_eq!(events.running(), 0);
        }
        assert_eq!(events.watch(&"a".into()).unwrap().next().await, None);
    }

    #[tokio::test]
    async fn the_number_of_streams_and_of_ended_jobs_is_limited() {
        let events = events();
        let held: Vec<_> = (0..WATCHERS_MAX).map(|_| events.watch(&"a".into()).unwrap()).collect();
        assert_eq!(events.watch(&"a".into()).unwrap_err(), TooManyWatchers);
        drop(held);
        assert!(events.watch(&"a".into()).is_ok());
        for n in 0..=ENDED_KEPT_MAX {
            events.publish(event(&format!("j{n}"), JobState::Failed, 1, 0));
        }
        assert_eq!(events.last(&"j0".into()), None);
        assert!(events.last(&"j1".into()).is_some());
    }

    fn events() -> Events {
        Events::new(IntGauge::new("watchers", "open streams").unwrap())
    }

    fn event(job: &str, state: JobState, attempt: u32, step: u32) -> JobEvent {
        let (failure, message, outputs, previews) = (None, None, Vec::new(), Vec::new());
        JobEvent {
            job: job.into(),
            state,
            attempt: Attempt(attempt),
            step,
            steps: 10,
            failure,
            message,
            outputs,
            previews,
        }
    }
}
