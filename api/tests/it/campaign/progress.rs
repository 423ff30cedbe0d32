//! How far a campaign has come, what it waits for, and whether anything still moves: a wait ends when nothing has moved for
//! long, however long it has taken by then. It must not know what is waited for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::PgPool;

/// Looks at the ledger without anything new after which a campaign is stuck: they are a second apart, of time in which this
/// process runs. Longer than PostgreSQL and the API take to come back on a busy machine.
const QUIET_LOOKS_MAX: u64 = 180;
/// How often the ledger is looked at, and how long a look may take.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two lines about how far it is.
const TOLD_EVERY: u64 = 10;
/// Waits a report names, the longest first.
const NAMED: usize = 5;
/// How often an answer is asked for.
const PAUSE: Duration = Duration::from_millis(20);

/// One of them for a whole campaign. Cloning is cheap; clones are the same.
#[derive(Clone)]
pub(super) struct Progress {
    inner: Arc<Inner>,
}

struct Inner {
    begun: Instant,
    operations: u64,
    done: AtomicU64,
    /// Counts whatever moves.
    moved: AtomicU64,
    /// Looks since anything did.
    quiet: AtomicU64,
    waits: Mutex<BTreeMap<u64, Wait>>,
    next: AtomicU64,
}

struct Wait {
    what: String,
    since: Instant,
    /// What was heard last.
    heard: String,
}

/// Something that is waited for, until it is dropped.
pub(super) struct Waiting {
    progress: Progress,
    id: u64,
}

impl Progress {
    /// Of so many operations.
    pub(super) fn of(operations: u64) -> Self {
        let inner = Inner {
            begun: Instant::now(),
            operations,
            done: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            quiet: AtomicU64::new(0),
            waits: Mutex::default(),
            next: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// An operation was answered.
    pub(super) fn done(&self) {
        self.inner.done.fetch_add(1, Ordering::Relaxed);
        self.moved();
    }

    /// Something has come further.
    pub(super) fn moved(&self) {
        self.inner.moved.fetch_add(1, Ordering::Relaxed);
        self.inner.quiet.store(0, Ordering::Relaxed);
    }

    /// Looks at the ledger from now on: each of its transactions is a move, whoever made it. Says how far it is.
    #[expect(clippy::print_stdout, reason = "how far it is, for who waits for it")]
    pub(super) async fn watch(self, pool: PgPool) {
        let (mut known, mut seen) = (0_i64, 0);
        for look in 1_u64.. {
            tokio::time::sleep(LOOK).await;
            self.look(&mut seen);
            let posted = sqlx::query_scalar("select coalesce(sum(seq), 0)::bigint from ledger_account");
            // Nothing while the database is away.
            if let Ok(Ok(posted)) = tokio::time::timeout(LOOK, posted.fetch_one(&pool)).await
                && std::mem::replace(&mut known, posted) != posted
            {
                self.moved();
            }
            if look.is_multiple_of(TOLD_EVERY) {
                println!("{}, {known} transactions", self.report(1));
            }
        }
    }

    /// Waits for something, of which this is told until it is dropped.
    pub(super) fn waiting(&self, what: String) -> Waiting {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let wait = Wait { what, since: Instant::now(), heard: "nothing yet".to_owned() };
        self.inner.waits.lock().unwrap().insert(id, wait);
        Waiting { progress: self.clone(), id }
    }

    /// Asks until there is an answer, or nothing moves any more.
    pub(super) async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, mut ask: impl FnMut() -> F) -> T {
        let waiting = self.waiting(what.to_owned());
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            waiting.pause("not yet").await;
        }
    }

    /// One more look; `seen` is what had moved by the last.
    fn look(&self, seen: &mut u64) {
        let moved = self.inner.moved.load(Ordering::Relaxed);
        if std::mem::replace(seen, moved) == moved {
            self.inner.quiet.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn report(&self, named: usize) -> String {
        let Inner { begun, operations, done, quiet, waits, .. } = &*self.inner;
        let (done, elapsed) = (done.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
        let mut text = format!("{done} of {operations} operations, {:.0} a second", done as f64 / elapsed);
        let quiet = quiet.load(Ordering::Relaxed);
        if quiet > 0 {
            let _ = write!(text, ", nothing new for {quiet} s");
        }
        let waits = waits.lock().unwrap();
        let mut longest: Vec<&Wait> = waits.values().collect();
        longest.sort_by_key(|wait| wait.since);
        for Wait { what, since, heard } in longest.into_iter().take(named) {
            let _ = write!(text, "; waits {:.0} s for {what} ({heard})", since.elapsed().as_secs_f64());
        }
        text
    }
}

impl Waiting {
    /// Not yet, and why; returns after a moment.
    pub(super) async fn pause(&self, heard: &str) {
        if let Some(wait) = self.progress.inner.waits.lock().unwrap().get_mut(&self.id) {
            heard.clone_into(&mut wait.heard);
        }
        let quiet = self.progress.inner.quiet.load(Ordering::Relaxed);
        assert!(quiet < QUIET_LOOKS_MAX, "stuck: {}", self.progress.report(NAMED));
        tokio::time::sleep(PAUSE).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // After a panic of another's there is nothing left to tell.
        if let Ok(mut waits) = self.progress.inner.waits.lock() {
            waits.remove(&self.id);
        }
    }
}

/// What moves now and then is waited for however long it takes; where nothing does, it is said for what and what was heard.
#[tokio::test]
async fn a_campaign_that_is_stuck_says_for_what_it_waits() {
    let (progress, mut seen) = (Progress::of(10), 0);
    let waiting = progress.waiting("an answer to POST /x".to_owned());
    for look in 0..3 * QUIET_LOOKS_MAX {
        if look.is_multiple_of(QUIET_LOOKS_MAX / 2) {
            progress.moved();
        }
        progress.look(&mut seen);
    }
    waiting.pause("503: the database is away").await;
    for _ in 0..QUIET_LOOKS_MAX {
        progress.look(&mut seen);
    }
    let asked = tokio::spawn(async move { waiting.pause("503: the database is away").await });
    let said = asked.await.unwrap_err().into_panic().downcast::<String>().unwrap();
    assert!(said.contains("for an answer to POST /x (503: the database is away)"), "{said}");
}
