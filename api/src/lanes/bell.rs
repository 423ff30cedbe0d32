//! Who wakes the lanes: this process when it has sent errands, and other replicas by one notification for as many errands
//! as came in a tenth of a second. `NOTIFY` takes a lock on the whole database as it commits, so it never stands in the
//! transactions that send. Where there is none (behind a transaction pooler), lanes look by themselves.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::watch;
use uuid::Uuid;

use crate::database::Db;

/// Where replicas tell each other.
const CHANNEL: &str = "tintype_errands";
/// How much of telling is one telling.
const TELL_PAUSE: Duration = Duration::from_millis(100);
/// Pause before the channel is opened again.
const REOPEN_PAUSE: Duration = Duration::from_secs(5);

/// Rung when errands were sent and their transaction has committed. Cloning is cheap; clones are the same bell.
#[derive(Clone, Debug)]
pub struct Bell {
    lanes: watch::Sender<()>,
    others: watch::Sender<()>,
}

impl Default for Bell {
    fn default() -> Self {
        Self { lanes: watch::channel(()).0, others: watch::channel(()).0 }
    }
}

impl Bell {
    /// There is something to do, here and on every replica.
    pub fn ring(&self) {
        self.lanes.send_replace(());
        self.others.send_replace(());
    }

    /// Hears every ring from now on, several as one.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.lanes.subscribe()
    }

    /// Tells other replicas, and hears them. Never ends.
    pub(super) async fn relay(self, pool: Db) {
        let me = Uuid::now_v7().to_string();
        let mut failing = false;
        loop {
            let heard = async {
                let mut listener = PgListener::connect_with(pool.direct()).await?;
                listener.listen(CHANNEL).await?;
                failing = false;
                // What was told before we listened is not heard: look once.
                self.lanes.send_replace(());
                while let Some(told) = listener.try_recv().await? {
                    if told.payload() != me {
                        self.lanes.send_replace(());
                    }
                }
                sqlx::Result::Ok(())
            };
            let ended = tokio::select! {
                ended = heard => ended,
                ended = self.tell(&pool, &me) => ended,
            };
            if let (Err(error), false) = (ended, std::mem::replace(&mut failing, true)) {
                tracing::warn!(%error, "replicas cannot tell each other of errands; each looks by itself");
            }
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
    }

    async fn tell(&self, pool: &Db, me: &str) -> sqlx::Result<()> {
        let mut rung = self.others.subscribe();
        // The sender is our own, so this only ends when telling fails.
        while rung.changed().await.is_ok() {
            sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(me).execute(pool).await?;
            tokio::time::sleep(TELL_PAUSE).await;
        }
        Ok(())
    }
}
