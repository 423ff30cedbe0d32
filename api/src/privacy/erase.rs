//! Erasing somebody. [`begin`] shuts the account for good in one transaction: nobody signs in, no key opens anything, the
//! address is free. What is left, files first, goes by an errand that is done again until nothing is left; each step may be
//! done twice. Books stay, and name an account and nobody.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};
use tintype_types::Timestamp;
use uuid::Uuid;

use super::tables::{Erase, SUBJECT, TABLES};
use crate::clock::{self, to_ms};
use crate::cluster::Cluster;
use crate::database::Db;
use crate::gallery::index::{self, Changed};
use crate::lanes::{Again, Errand, Failed, Lane, NewErrand, Rules, errand};
use crate::payments::Payments;
use crate::reconcile::Bells;
use crate::records::person::Person;
use crate::records::{account, key, payment};

/// The lane's name.
const LANE: &str = "erasure";
/// Pauses between tries: a store that is away comes back.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_mins(1),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
    Duration::from_hours(24),
];
/// How soon jobs that were cancelled are looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longest one try may take; what it has not come to is left to the next.
const LEASE: Duration = Duration::from_mins(10);
/// Jobs blotted out in one transaction.
const BATCH: i64 = 100;
/// What goes at another time than the rest: the person at once, what names Stripe's customer when Stripe has forgotten them.
const LATER: [&str; 2] = ["person", "billing"];
/// What an erased account, and what was named in it, is called.
const NAME: &str = "erased";

/// What the errand holds.
#[derive(Serialize, Deserialize)]
struct Payload {
    erase: Uuid,
}

/// What keeps somebody from being erased.
pub(crate) enum Held {
    /// They alone own this organisation, by its name: its credits could not be reached any more.
    OnlyOwner(String),
    /// A subscription of theirs is being paid.
    Subscription,
}

/// What keeps them from being erased, if anything does.
pub(crate) async fn held_by(conn: &mut PgConnection, person: &Person) -> sqlx::Result<Option<Held>> {
    const ALONE: &str = "select a.name from membership m join account a on a.id = m.account
        where m.person = $1 and m.role = 'owner' and not exists (select 1 from membership o
            where o.account = m.account and o.role = 'owner' and o.person <> m.person) order by a.name limit 1";
    const PAYS: &str = "select exists (select 1 from subscription where account = $1
        and status not in ('canceled', 'incomplete_expired'))";
    let alone: Option<String> = sqlx::query_scalar(ALONE).bind(person.id).fetch_optional(&mut *conn).await?;
    if let Some(name) = alone {
        return Ok(Some(Held::OnlyOwner(name)));
    }
    let pays: bool = sqlx::query_scalar(PAYS).bind(person.account).fetch_one(conn).await?;
    Ok(pays.then_some(Held::Subscription))
}

/// Shuts the account and sends the errand that erases it, in the caller's transaction.
pub(crate) async fn begin(conn: &mut PgConnection, person: &Person, at: Timestamp) -> anyhow::Result<()> {
    const CLOSE: &str = "update account set name = $2, erased_ms = $3 where id = $1";
    // Links and invitations to the address, and letters that wait for it.
    const BY_ADDRESS: [&str; 3] = [
        "delete from link where lower(email) = lower($1)",
        "delete from invitation where lower(email) = lower($1)",
        "delete from errand where lane = 'mail' and lower(payload->>'email') = lower($1)",
    ];
    key::revoke_all(conn, person.account, at).await?;
    account::suspend(conn, person.account, Some(at)).await?;
    sqlx::query(CLOSE).bind(person.account).bind(NAME).bind(to_ms(at)).execute(&mut *conn).await?;
    if let Some(email) = &person.email {
        for sql in BY_ADDRESS {
            sqlx::query(sql).bind(email).execute(&mut *conn).await?;
        }
    }
    // Sessions, links, identities and memberships go with it.
    sqlx::query("delete from person where id = $1").bind(person.id).execute(&mut *conn).await?;
    let payload = serde_json::to_value(Payload { erase: person.account })?;
    let new = NewErrand { key: Some(person.account.to_string()), payload, due: at };
    errand::send(conn, LANE, &[new], at).await?;
    Ok(())
}

/// The lane that ends what was begun.
pub(crate) struct Erasing {
    pub(crate) pool: Db,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) bells: Bells,
    pub(crate) payments: Option<Payments>,
    /// Whether pictures are in an index too.
    pub(crate) indexed: bool,
}

impl Lane for Erasing {
    fn name(&self) -> &'static str {
        LANE
    }

    fn rules(&self) -> Rules {
        Rules { lease: LEASE, at_a_time: 1, pauses: &PAUSES, every: None }
    }

    fn run<'a>(&'a self, errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            let payload = serde_json::from_value(errand.payload.clone());
            let Payload { erase } = payload.map_err(|_| Failed::never("it does not say whom"))?;
            self.erase(erase).await
        })
    }
}

impl Erasing {
    async fn erase(&self, account: Uuid) -> Result<(), Failed> {
        self.end_jobs(account).await?;
        let mut done = Some(Uuid::nil());
        while let Some(last) = done {
            done = self.blot_jobs(account, last).await?;
        }
        self.delete_uploads(account).await?;
        self.blot_rows(account).await?;
        self.delete_rows(account).await?;
        self.forget_customer(account).await
    }

    /// Jobs that run are cancelled, and waited for: their credits are settled like any other's.
    async fn end_jobs(&self, account: Uuid) -> Result<(), Failed> {
        const CANCEL: &str = "update generation set cancelled_ms = $2
            where account = $1 and finished_ms is null and cancelled_ms is null";
        const OPEN: &str = "select count(*) from generation where account = $1 and settled_ms is null";
        sqlx::query(CANCEL).bind(account).bind(to_ms(clock::now())).execute(&self.pool).await?;
        self.bells.submit.notify_one();
        let open: i64 = sqlx::query_scalar(OPEN).bind(account).fetch_one(&self.pool).await?;
        if open == 0 {
            return Ok(());
        }
        Err(Failed { error: format!("{open} jobs have not ended"), again: Again::Postponed(LOOK_AGAIN) })
    }

    /// Takes what the next jobs after one left in the store, then what they asked for; the last of them.
    async fn blot_jobs(&self, account: Uuid, after: Uuid) -> Result<Option<Uuid>, Failed> {
        const NEXT: &str = "select id, array(select output->>'key' from jsonb_array_elements(outputs) output)
            from generation where account = $1 and id > $3 and erased_ms is null order by id limit $2";
        const BLOT: &str = "update generation set erased_ms = $2, message = null, body_sha256 = sha256(gen_random_uuid()::text::bytea),
                request = (request || '{\"prompt\": \"\", \"negativePrompt\": \"\"}') - 'init' - 'controls'
            where id = any($1) and erased_ms is null";
        let jobs: Vec<(Uuid, Vec<String>)> =
            sqlx::query_as(NEXT).bind(account).bind(BATCH).bind(after).fetch_all(&self.pool).await?;
        for (job, outputs) in &jobs {
            for key in outputs {
                self.delete_object(key).await?;
            }
            // Checkpoints, and pictures of attempts that were lost.
            self.delete_object(&format!("{}{job}", tintype_store::OUTPUT_KEY_PREFIX)).await?;
        }
        let ids: Vec<Uuid> = jobs.iter().map(|(id, _)| *id).collect();
        let mut tx = self.pool.begin().await?;
        sqlx::query("delete from image where generation = any($1)").bind(&ids).execute(&mut *tx).await?;
        sqlx::query(BLOT).bind(&ids).bind(to_ms(clock::now())).execute(&mut *tx).await?;
        if self.indexed && !ids.is_empty() {
            let told = index::send(&mut tx, Changed::Erased(account), clock::now()).await;
            told.map_err(|error| Failed::later(format!("{error:#}")))?;
        }
        tx.commit().await?;
        Ok(ids.last().copied())
    }

    async fn delete_uploads(&self, account: Uuid) -> Result<(), Failed> {
        let keys: Vec<String> =
            sqlx::query_scalar("select key from asset where account = $1").bind(account).fetch_all(&self.pool).await?;
        for key in keys {
            self.delete_object(&key).await?;
        }
        Ok(())
    }

    async fn delete_object(&self, key: &str) -> Result<(), Failed> {
        let deleted = self.cluster.delete_object(key).await;
        deleted.map_err(|error| Failed::later(format!("a file could not be deleted: {error}")))
    }

    /// What stays and says who it was.
    async fn blot_rows(&self, account: Uuid) -> Result<(), Failed> {
        const KEYS: &str = "update api_key set name = $2, secret_sha256 = sha256(gen_random_uuid()::text::bytea)
            where account = $1";
        sqlx::query(KEYS).bind(account).bind(NAME).execute(&self.pool).await?;
        let events = TABLES.iter().find(|table| table.name == "stripe_event").map_or("false", |table| table.owned);
        // What waits to be applied is needed: the next look finds it applied.
        let sql = format!(
            "update stripe_event t set payload = '{{}}' from {SUBJECT} where t.state <> 'received' and {events}"
        );
        sqlx::query(AssertSqlSafe(sql)).bind(account).bind(None::<Uuid>).execute(&self.pool).await?;
        let sql =
            format!("select exists (select 1 from stripe_event t, {SUBJECT} where t.state = 'received' and {events})");
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(account).bind(None::<Uuid>);
        if query.fetch_one(&self.pool).await? {
            let error = "events of Stripe's wait to be applied".to_owned();
            return Err(Failed { error, again: Again::Postponed(LOOK_AGAIN) });
        }
        Ok(())
    }

    /// Stripe forgets them, then so do we: last, so that a Stripe that is away keeps nothing else from being erased.
    async fn forget_customer(&self, account: Uuid) -> Result<(), Failed> {
        let Some((customer, _)) = payment::customer(&self.pool, account).await? else { return Ok(()) };
        let Some(payments) = &self.payments else {
            return Err(Failed::later("Stripe knows them, and this server has no key to have it forget them"));
        };
        payments.stripe.delete_customer(&customer).await.map_err(|fault| Failed::later(fault.to_string()))?;
        sqlx::query("delete from billing where account = $1").bind(account).execute(&self.pool).await?;
        Ok(())
    }

    async fn delete_rows(&self, account: Uuid) -> Result<(), Failed> {
        for table in TABLES.iter().filter(|table| table.erase == Erase::Delete && !LATER.contains(&table.name)) {
            // Names and conditions are constants of ours.
            let sql = format!("delete from {} t using {SUBJECT} where {}", table.name, table.owned);
            sqlx::query(AssertSqlSafe(sql)).bind(account).bind(None::<Uuid>).execute(&self.pool).await?;
        }
        Ok(())
    }
}
