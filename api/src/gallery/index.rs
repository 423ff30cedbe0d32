//! Keeps Typesense's index of pictures true, by the lane `search`. An errand says what may have changed, never how: the lane
//! reads the database and has the index agree with it, so the order of errands does not matter and each may be done twice.
//!
//! A pass goes over all pictures, a page an errand, and takes out what it did not meet: when the index is new or was lost, and
//! once a day.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::{self, to_ms};
use crate::database::Db;
use crate::lanes::{Bell, Errand, Failed, Lane, NewErrand, Rules, errand};
use crate::services::typesense::{Document, TellError, Typesense, place};

/// The lane's name.
const LANE: &str = "search";
/// The lane that begins a pass by the clock.
const CLOCK_LANE: &str = "search-pass";
/// How often a pass begins.
const PASS_PERIOD: Duration = Duration::from_hours(24);
/// The key of a pass's errand: there is one pass at a time.
const PASS_KEY: &str = "pass";
/// Pictures in one page of a pass.
const PAGE: i64 = 1_000;
/// Longest one try may take.
const LEASE: Duration = Duration::from_mins(1);
/// Errands done at a time.
const AT_A_TIME: usize = 4;
/// Pauses between tries. After the last the errand is dead, and the next pass does what it should have.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_mins(1),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
];

/// What may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Changed {
    /// A job's pictures.
    Job(Uuid),
    /// A picture.
    Image(Uuid),
    /// All of an account's, which is being erased.
    Erased(Uuid),
    /// Everything: this pass goes on after the picture.
    Everything {
        /// When the pass began.
        pass: i64,
        /// The last picture it has met.
        after: Option<Uuid>,
    },
}

/// Sends it down the lane, in the caller's transaction.
pub(crate) async fn send(conn: &mut PgConnection, changed: Changed, at: Timestamp) -> anyhow::Result<()> {
    let payload = serde_json::to_value(changed)?;
    let key = matches!(changed, Changed::Everything { .. }).then(|| PASS_KEY.to_owned());
    errand::send(conn, LANE, &[NewErrand { key, payload, due: at }], at).await?;
    Ok(())
}

/// The lane that does the errands.
pub(crate) struct Indexing {
    /// What is true.
    pub(crate) pool: Db,
    /// What is to agree with it.
    pub(crate) typesense: Typesense,
    /// Wakes the lane for the next page.
    pub(crate) bell: Bell,
}

impl Indexing {
    async fn agree(&self, changed: Changed) -> Result<(), Failed> {
        match changed {
            Changed::Job(job) => {
                const SQL: &str = "i.generation = $1";
                self.write(&self.documents(SQL, job).await?).await
            }
            Changed::Image(image) => {
                const SQL: &str = "i.id = $1";
                let documents = self.documents(SQL, image).await?;
                if documents.is_empty() {
                    return told(self.typesense.remove_images(&[image]).await);
                }
                self.write(&documents).await
            }
            Changed::Erased(account) => told(self.typesense.remove_account(account).await),
            Changed::Everything { pass, after } => self.page(pass, after).await,
        }
    }

    async fn documents(&self, which: &str, id: Uuid) -> sqlx::Result<Vec<Document>> {
        let sql = format!("{SELECT} where {which}");
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| document(row, to_ms(clock::now()))).collect())
    }

    /// Where there is no index yet, a pass makes it.
    async fn write(&self, documents: &[Document]) -> Result<(), Failed> {
        match self.typesense.import(documents).await {
            Err(TellError::NoCollection) => self.begin_pass().await,
            written => told(written),
        }
    }

    async fn begin_pass(&self) -> Result<(), Failed> {
        let now = clock::now();
        let mut tx = self.pool.begin().await?;
        let pass = Changed::Everything { pass: to_ms(now), after: None };
        send(&mut tx, pass, now).await.map_err(|error| Failed::later(format!("{error:#}")))?;
        tx.commit().await?;
        self.bell.ring();
        Ok(())
    }

    async fn page(&self, pass: i64, after: Option<Uuid>) -> Result<(), Failed> {
        let sql = format!("{SELECT} where i.id > $1 order by i.id limit {PAGE}");
        let query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(after.unwrap_or(Uuid::nil()));
        let rows: Vec<Row> = query.fetch_all(&self.pool).await?;
        let last = rows.last().map(|row| row.0);
        if after.is_none() {
            told(self.typesense.make_collection().await)?;
        }
        let now = to_ms(clock::now());
        let documents: Vec<Document> = rows.into_iter().map(|row| document(row, now)).collect();
        match self.typesense.import(&documents).await {
            // Lost in the midst of it: from the beginning.
            Err(TellError::NoCollection) => return self.go_on(to_ms(clock::now()), None).await,
            written => told(written)?,
        }
        if let Some(last) = last {
            return self.go_on(pass, Some(last)).await;
        }
        told(self.typesense.remove_older(pass).await)?;
        told(self.typesense.open_to_searches().await)
    }

    /// The next page. This errand has the pass's key until it is done, so the next one's is the picture it begins after.
    async fn go_on(&self, pass: i64, after: Option<Uuid>) -> Result<(), Failed> {
        let now = clock::now();
        let payload = serde_json::to_value(Changed::Everything { pass, after });
        let payload = payload.map_err(|error| Failed::never(error.to_string()))?;
        let key = format!("{PASS_KEY}:{}", after.unwrap_or(Uuid::nil()));
        let mut tx = self.pool.begin().await?;
        errand::send(&mut tx, LANE, &[NewErrand { key: Some(key), payload, due: now }], now).await?;
        tx.commit().await?;
        self.bell.ring();
        Ok(())
    }
}

type Row = (Uuid, Uuid, String, String);

/// Pictures that are there, whether their owner may still take a deletion back or not.
const SELECT: &str = "select i.id, i.account, coalesce(g.request->>'prompt', ''), i.model
    from image i join generation g on g.id = i.generation";

fn document((id, account, prompt, model): Row, pass: i64) -> Document {
    Document { id, account, prompt, model, place: place(id), pass }
}

/// An index that is not there has nothing to take out.
fn told(told: Result<(), TellError>) -> Result<(), Failed> {
    match told {
        Ok(()) | Err(TellError::NoCollection) => Ok(()),
        Err(error @ TellError::Away(_)) => Err(Failed::later(error.to_string())),
        Err(error @ TellError::Refused(_)) => Err(Failed::never(error.to_string())),
    }
}

impl Lane for Indexing {
    fn name(&self) -> &'static str {
        LANE
    }

    fn rules(&self) -> Rules {
        Rules { lease: LEASE, at_a_time: AT_A_TIME, pauses: &PAUSES, every: None }
    }

    fn run<'a>(&'a self, errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>> {
        async move {
            let changed = serde_json::from_value(errand.payload.clone())
                .map_err(|_| Failed::never("the errand is of a kind that this version does not know"))?;
            self.agree(changed).await
        }
        .boxed()
    }
}

/// Begins a pass by the clock, the first as soon as Typesense is named.
pub(crate) struct Passes {
    /// See [`Indexing`].
    pub(crate) indexing: std::sync::Arc<Indexing>,
}

impl Lane for Passes {
    fn name(&self) -> &'static str {
        CLOCK_LANE
    }

    fn rules(&self) -> Rules {
        Rules { lease: LEASE, at_a_time: 1, pauses: &PAUSES[..1], every: Some(PASS_PERIOD) }
    }

    fn run<'a>(&'a self, _errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>> {
        self.indexing.begin_pass().boxed()
    }
}
