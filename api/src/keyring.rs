//! API keys in memory: a request with a known key costs no look into the database, and a revoked key leaves every
//! program's memory as soon as the database can tell it.
//!
//! What is in memory counts only while the way such news come by is known to work: each program sends itself a beat
//! through the very channel, and when none has come for [`TRUST`] it asks the database about every key. So a broken
//! connection, or a pooler that swallows notifications, makes requests slower and never makes a revoked key good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sqlx::postgres::PgListener;
use sqlx::{ConnectOptions, Connection};
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::database::Db;
use crate::keys::ApiKey;
use crate::scope::Scopes;
use crate::services::shared::Shared;

/// Where the trigger on `api_key` tells of changes.
const CHANNEL: &str = "tintype_keys";
/// Where the triggers on sessions and their persons tell of changes.
const SESSIONS: &str = "tintype_sessions";
/// What a beat says. No key has an id of this length.
const BEAT: &str = "beat";
/// How often a beat is sent.
const BEAT_INTERVAL: Duration = Duration::from_millis(500);
/// How long after the last beat the memory still counts.
const TRUST: Duration = Duration::from_secs(2);
/// Pause before a channel that broke is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// Most keys kept in memory, some 200 bytes each; beyond it all are dropped and read anew as they come.
const KEPT_MAX: usize = 100_000;

/// Who a key belongs to, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The account it acts for.
    pub account: Uuid,
    /// What it may do.
    pub scopes: Scopes,
    /// From when on it is worthless.
    pub expires: Option<Timestamp>,
    /// Whether what it spends is counted against a budget of its own.
    pub budgeted: bool,
}

impl Holder {
    /// A key without a limit.
    pub fn unlimited(account: Uuid) -> Self {
        Self { account, scopes: Scopes::WHOLE, expires: None, budgeted: false }
    }

    /// Whether anything is kept from it.
    pub fn is_limited(&self) -> bool {
        self.scopes != Scopes::WHOLE || self.expires.is_some() || self.budgeted
    }
}

/// The memory. Cloning is cheap; clones are the same.
#[derive(Clone, Debug)]
pub struct Keyring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kept: RwLock<BTreeMap<String, Kept>>,
    /// Counts the news. What was read from the database before some news may be older than they are.
    epoch: AtomicU64,
    /// When the last beat came, in milliseconds since `start`; 0 is never.
    heard_ms: AtomicU64,
    start: Instant,
    /// Keys used since this was last asked, and when.
    used: Mutex<BTreeMap<String, Timestamp>>,
}

#[derive(Debug)]
struct Kept {
    sha256: [u8; 32],
    holder: Holder,
}

/// Permission to keep what the database is about to say, unless there are news in between.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(u64);

impl Default for Keyring {
    fn default() -> Self {
        let inner = Inner {
            kept: RwLock::default(),
            epoch: AtomicU64::new(0),
            heard_ms: AtomicU64::new(0),
            start: Instant::now(),
            used: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Keyring {
    /// Whose key this is, if that is known here and now.
    pub fn find(&self, key: &ApiKey) -> Option<Holder> {
        if !self.is_trusted() {
            return None;
        }
        let kept = self.inner.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(key.id()).filter(|kept| key.matches(&kept.sha256)).map(|kept| kept.holder.clone())
    }

    /// Before the database is asked; none while its answer must not be kept.
    pub fn ticket(&self) -> Option<Ticket> {
        self.is_trusted().then(|| Ticket(self.inner.epoch.load(Ordering::SeqCst)))
    }

    /// Keeps what the database said.
    pub fn keep(&self, ticket: Ticket, key: &ApiKey, holder: Holder) {
        let mut kept = self.inner.kept.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: news take it too.
        if self.inner.epoch.load(Ordering::SeqCst) != ticket.0 {
            return;
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key.id().to_owned(), Kept { sha256: key.sha256(), holder });
    }

    /// News: this key has changed.
    pub fn forget(&self, id: &str) {
        let mut kept = self.inner.kept.write().unwrap_or_else(PoisonError::into_inner);
        self.inner.epoch.fetch_add(1, Ordering::SeqCst);
        kept.remove(id);
    }

    /// The channel works.
    pub fn beat(&self) {
        let now = u64::try_from(self.inner.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.inner.heard_ms.store(now, Ordering::SeqCst);
    }

    /// The channel broke: news may have been lost.
    pub fn distrust(&self) {
        self.inner.heard_ms.store(0, Ordering::SeqCst);
        let mut kept = self.inner.kept.write().unwrap_or_else(PoisonError::into_inner);
        self.inner.epoch.fetch_add(1, Ordering::SeqCst);
        kept.clear();
    }

    /// Notes that a key was used.
    pub fn used(&self, id: &str, at: Timestamp) {
        let mut used = self.inner.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = used.get_mut(id) {
            *last = at;
        } else if used.len() < KEPT_MAX {
            used.insert(id.to_owned(), at);
        }
    }

    /// Keys used since this was last asked, and when.
    pub fn take_used(&self) -> BTreeMap<String, Timestamp> {
        std::mem::take(&mut *self.inner.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether news come.
    pub fn is_trusted(&self) -> bool {
        let heard = self.inner.heard_ms.load(Ordering::SeqCst);
        heard > 0 && self.inner.start.elapsed() < Duration::from_millis(heard) + TRUST
    }
}

/// Listens for news as long as the program runs: of keys, and of persons whose sessions may be kept in `shared`.
pub async fn listen(pool: Db, keyring: Keyring, shared: Shared) {
    let mut failing = false;
    loop {
        let ended = follow(&pool, &keyring, &shared, &mut failing).await;
        keyring.distrust();
        // Once when it begins: the next tries would say the same twice a second.
        if let (Err(error), false) = (ended, std::mem::replace(&mut failing, true)) {
            tracing::warn!(%error, "no news of revoked keys come; every key is asked of the database meanwhile");
        }
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

async fn follow(pool: &Db, keyring: &Keyring, shared: &Shared, failing: &mut bool) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool.direct()).await?;
    listener.listen_all([CHANNEL, SESSIONS]).await?;
    // Its own connection: beats must not wait behind requests for one of the pool's.
    let mut sender =
        pool.direct().connect_options().as_ref().clone().application_name("tintype-api-beat").connect().await?;
    let beats = async {
        loop {
            sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(BEAT).execute(&mut sender).await?;
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    };
    let news = async {
        // None: the connection was lost, and with it whatever was told since.
        while let Some(news) = listener.try_recv().await? {
            if news.channel() == SESSIONS {
                let person: Option<Uuid> = news.payload().parse().ok();
                shared.changes(person.as_slice()).await;
            } else if news.payload() == BEAT {
                *failing = false;
                keyring.beat();
            } else {
                keyring.forget(news.payload());
            }
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = beats => ended,
        ended = news => ended,
    };
    // It may be broken; then it closes itself.
    let _ = sender.close_hard().await;
    ended
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn key(seed: u64) -> ApiKey {
        ApiKey::generate(&mut StdRng::seed_from_u64(seed))
    }

    fn holder(n: u128) -> Holder {
        Holder::unlimited(Uuid::from_u128(n))
    }

    #[test]
    fn a_key_is_found_while_the_channel_beats_and_by_its_whole_secret_only() {
        let ring = Keyring::default();
        assert!(ring.ticket().is_none(), "nothing may be kept before the first beat");
        ring.beat();
        ring.keep(ring.ticket().unwrap(), &key(1), holder(1));
        assert_eq!(ring.find(&key(1)), Some(holder(1)));
        assert_eq!(ring.find(&key(2)), None);
        let forged = ApiKey::with_id_of(&key(2), key(1).id());
        assert_eq!((forged.id(), ring.find(&forged)), (key(1).id(), None), "the id is not the secret");
        ring.distrust();
        assert_eq!(ring.find(&key(1)), None);
        ring.beat();
        assert_eq!(ring.find(&key(1)), None, "what was kept before the channel broke is gone");
    }

    /// The database is read, the key is revoked, the news come, and only then is the old answer kept: it must not be.
    #[test]
    fn an_answer_older_than_the_news_is_not_kept() {
        let ring = Keyring::default();
        ring.beat();
        let before = ring.ticket().unwrap();
        ring.forget(key(1).id());
        ring.keep(before, &key(1), holder(1));
        assert_eq!(ring.find(&key(1)), None);
        ring.keep(ring.ticket().unwrap(), &key(1), holder(1));
        ring.forget(key(1).id());
        assert_eq!(ring.find(&key(1)), None);
    }

    #[test]
    fn uses_are_handed_over_once() {
        let ring = Keyring::default();
        ring.used("a", Timestamp(1));
        ring.used("a", Timestamp(5));
        assert_eq!(ring.take_used(), BTreeMap::from([("a".to_owned(), Timestamp(5))]));
        assert!(ring.take_used().is_empty());
    }
}
