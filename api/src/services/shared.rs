//! What replicas share in Redis or Valkey: how fast accounts may ask, and for a few seconds who a session belongs to and what
//! an account has. Without it, or while it is away, each replica counts and asks the database by itself.
//!
//! What is kept is never older than [`KEPT`]: before something of a person or an account changes, it is muted for longer than
//! that ([`Shared::changes`]), and of what is muted nothing is kept or found. So an answer that was read before the change and
//! is slow to be kept is refused. Where the muting itself is lost, with the server it was told to, [`KEPT`] is the bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, Script, ScriptInvocation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tintype_types::Timestamp;
use tokio::time::timeout;
use uuid::Uuid;

use crate::rate::{Rate, Standing, Verdict};

/// Longest one question may take before it is answered here.
const TIMEOUT: Duration = Duration::from_millis(100);
/// Longest a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long nothing is asked after a question that failed: only the first of many requests waits in vain.
const REST: Duration = Duration::from_secs(1);
/// How long something is kept.
const KEPT: Duration = Duration::from_secs(10);
/// How long nothing is kept of what changes: longer than what was kept lives and the slowest answer of the database takes.
const MUTED: Duration = Duration::from_secs(25);
/// Where ours lies in a server that others may use too.
const PREFIX: &str = "tintype";

/// The same as [`Rate::take`]. Microseconds since 1970 are whole numbers in Lua's doubles until 2255.
const TAKE: &str = "
    local now, interval, full = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
    local before = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
    local after = before + interval
    if after - now > full then return {0, before - now} end
    redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
    return {1, after - now}";
/// What is kept, unless it or its owner is muted.
const FIND: &str = "
    local owner = redis.call('HGET', KEYS[1], 'owner')
    if not owner or redis.call('EXISTS', ARGV[1] .. owner, ARGV[1] .. KEYS[1]) > 0 then return false end
    return redis.call('HGET', KEYS[1], 'text')";
/// Keeps it, unless it or its owner is muted.
const KEEP: &str = "
    if redis.call('EXISTS', ARGV[1] .. ARGV[2], ARGV[1] .. KEYS[1]) > 0 then return 0 end
    redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'text', ARGV[3])
    return redis.call('PEXPIRE', KEYS[1], ARGV[4])";
/// Mutes owners, or something kept.
const MUTE: &str = "
    for _, owner in ipairs(KEYS) do redis.call('SET', owner, '1', 'PX', ARGV[1]) end
    return #KEYS";

/// What may be kept, by its name in keys and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who a session belongs to; owned by its person.
    Session,
    /// What an account has; owned by the account.
    Balance,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Balance => "balance",
        }
    }

    fn key(self, id: &str) -> String {
        format!("{PREFIX}:{}:{id}", self.as_str())
    }
}

/// What replicas share; nothing without a server. Cloning is cheap; clones are the same.
#[derive(Clone, Default)]
pub struct Shared {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    connection: ConnectionManager,
    scripts: Scripts,
    calls: IntCounterVec,
    up: IntGauge,
    /// Nothing is asked until then, in milliseconds since `start`.
    rests_until: AtomicU64,
    /// What is kept is not believed until then: that it changes could not be said.
    doubts_until: AtomicU64,
    start: Instant,
}

struct Scripts {
    take: Script,
    find: Script,
    keep: Script,
    mute: Script,
}

impl Shared {
    /// The server at this address, which need not be there yet.
    ///
    /// # Errors
    /// The address is none.
    pub fn open(url: Option<&str>, registry: &Registry) -> anyhow::Result<Self> {
        let Some(url) = url else { return Ok(Self::default()) };
        // Its text would show a password.
        let client = Client::open(url).map_err(|_| anyhow::anyhow!("TINTYPE_REDIS_URL is no address"));
        let client = client.context("name Redis or Valkey as redis://host:6379/0")?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(TIMEOUT))
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client, config).context("cannot set up Redis")?;
        let calls =
            Opts::new("tintype_api_shared_calls_total", "Questions to Redis, by what was asked and how it went");
        let calls = IntCounterVec::new(calls, &["operation", "outcome"])?;
        let up = IntGauge::new(
            "tintype_api_shared_up",
            "Whether Redis answered when it was last asked; else limits are this replica's own",
        )?;
        registry.register(Box::new(calls.clone()))?;
        registry.register(Box::new(up.clone()))?;
        let scripts = Scripts {
            take: Script::new(TAKE),
            find: Script::new(FIND),
            keep: Script::new(KEEP),
            mute: Script::new(MUTE),
        };
        let (rests_until, doubts_until) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self {
            inner: Some(Arc::new(Inner {
                connection,
                scripts,
                calls,
                up,
                rests_until,
                doubts_until,
                start: Instant::now(),
            })),
        })
    }

    /// A request of theirs, counted over all replicas; none when it has to be counted here.
    pub async fn take(&self, rate: Rate, who: Uuid, now: Timestamp) -> Option<Standing> {
        let inner = self.inner.as_deref()?;
        let mut call = inner.scripts.take.key(format!("{PREFIX}:rate:{who}"));
        call.arg(now.0.saturating_mul(1_000)).arg(rate.interval()).arg(rate.full());
        let (passed, owed): (u8, u64) = inner.ask("take", &call).await?;
        Some(rate.standing(owed, if passed == 1 { Verdict::Passed } else { Verdict::Refused }))
    }

    /// What is kept under an id.
    pub async fn find<T: DeserializeOwned>(&self, kind: Kind, id: &str) -> Option<T> {
        let inner = self.inner.as_deref()?;
        if inner.elapsed() < inner.doubts_until.load(Ordering::Relaxed) {
            return None;
        }
        let mut call = inner.scripts.find.key(kind.key(id));
        call.arg(muted(""));
        let text: Option<String> = inner.ask(kind.as_str(), &call).await?;
        // Of another version: as if it were not there.
        serde_json::from_str(&text?).ok()
    }

    /// Keeps what the database has just said of somebody's.
    pub async fn keep<T: Serialize + Sync>(&self, kind: Kind, id: &str, owner: Uuid, what: &T) {
        let Some(inner) = self.inner.as_deref() else { return };
        let Ok(text) = serde_json::to_string(what) else { return };
        let mut call = inner.scripts.keep.key(kind.key(id));
        call.arg(muted("")).arg(owner.to_string()).arg(text).arg(millis(KEPT));
        // Not kept is not found.
        let _: Option<i64> = inner.ask("keep", &call).await;
    }

    /// Something of these persons or accounts is about to change: nothing of theirs is found for a while. To be called before
    /// the change is made.
    pub async fn changes(&self, owners: &[Uuid]) {
        self.mute(owners.iter().map(Uuid::to_string)).await;
    }

    /// What is kept under an id is about to end.
    pub async fn ends(&self, kind: Kind, id: &str) {
        self.mute(std::iter::once(kind.key(id))).await;
    }

    async fn mute(&self, whom: impl ExactSizeIterator<Item = String>) {
        let (Some(inner), true) = (self.inner.as_deref(), whom.len() > 0) else { return };
        let mut call = inner.scripts.mute.prepare_invoke();
        for owner in whom {
            call.key(muted(&owner));
        }
        call.arg(millis(MUTED));
        let said: Option<i64> = inner.ask("mute", &call).await;
        if said.is_none() {
            // What others keep ends by itself; here nobody is told what they have just changed.
            inner.doubts_until.store(inner.elapsed().saturating_add(millis(KEPT)), Ordering::Relaxed);
        }
    }
}

impl Inner {
    /// None when it does not answer, now or a moment ago.
    async fn ask<T: FromRedisValue>(&self, operation: &'static str, call: &ScriptInvocation<'_>) -> Option<T> {
        let count = |outcome| self.calls.with_label_values(&[operation, outcome]).inc();
        if self.elapsed() < self.rests_until.load(Ordering::Relaxed) {
            count("resting");
            return None;
        }
        let mut connection = self.connection.clone();
        let outcome = match timeout(TIMEOUT, Box::pin(call.invoke_async(&mut connection))).await {
            Ok(Ok(answer)) => {
                count("ok");
                if self.up.get() == 0 {
                    tracing::info!("Redis answers; limits are shared");
                    self.up.set(1);
                }
                return Some(answer);
            }
            Ok(Err(_)) => "failed",
            Err(_) => "timeout",
        };
        count(outcome);
        self.rests_until.store(self.elapsed().saturating_add(millis(REST)), Ordering::Relaxed);
        if self.up.get() == 1 {
            tracing::warn!(outcome, "Redis does not answer; limits are this replica's own meanwhile");
            self.up.set(0);
        }
        None
    }

    fn elapsed(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

/// Where it stands that somebody is muted.
fn muted(owner: &str) -> String {
    format!("{PREFIX}:muted:{owner}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
