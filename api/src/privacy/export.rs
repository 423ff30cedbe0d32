//! An archive of everything that is somebody's: their rows as JSON lines, one snapshot of the database, and their files.
//!
//! It is written as fast as it is read and never held as a whole.

use std::io;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use uuid::Uuid;

use super::tables::{Export, SUBJECT, TABLES, Table};
use super::tar;
use crate::clock;
use crate::state::App;

/// Archives written at a time: each holds a connection of the pool.
pub(crate) const EXPORTS_MAX: usize = 2;
/// JSON lines in one file of the archive, in bytes: what is held in memory.
const PART_BYTES: usize = 1 << 20;
/// Longest a reader may let us wait.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest one archive may take: a snapshot that is held keeps the database from tidying up.
const EXPORT_MAX: Duration = Duration::from_mins(30);
/// What the archive says of itself.
const README: &str = "What this server keeps of you.\n\n\
    <table>/<part>.jsonl  the rows, one JSON object a line; times are milliseconds since 1970, credits are thousandths\n\
    images/, uploads/     your pictures\n\
    missing.txt           pictures that could not be read just now, if there are any\n\n\
    Passwords, keys and what they are checked with are left out.\n";

/// Who takes something with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// Whose jobs, pictures and credits.
    pub(crate) account: Uuid,
    /// Who signs in to it, if that is who asks.
    pub(crate) person: Option<Uuid>,
}

/// The archive, as the body of an answer; `room` is given back at its end. Where something fails the body breaks off.
pub(crate) fn stream(app: App, subject: Subject, room: OwnedSemaphorePermit) -> Body {
    let (to, from) = mpsc::channel(2);
    tokio::spawn(async move {
        let _room = room;
        let mut archive = Archive { to: to.clone(), at_s: clock::now().0 / 1_000 };
        let written = timeout(EXPORT_MAX, write(&app, subject, &mut archive)).await;
        if let Err(error) = written.map_err(anyhow::Error::from).flatten() {
            tracing::warn!(error = format!("{error:#}"), "an export broke off");
            // Who reads sees an answer that broke off; or reads no more, and need not be told.
            drop(to.send(Err(io::Error::other("the export broke off"))).await);
        }
    });
    Body::from_stream(stream::unfold(from, |mut from| async move { Some((from.recv().await?, from)) }))
}

async fn write(app: &App, subject: Subject, archive: &mut Archive) -> anyhow::Result<()> {
    archive.file("README.txt", README.as_bytes().into()).await?;
    let mut tx = app.pool.begin().await?;
    // One moment for all tables, for as long as the reader takes.
    for sql in ["set transaction isolation level repeatable read, read only", "set local statement_timeout = 0"] {
        sqlx::query(sql).execute(&mut *tx).await?;
    }
    let mut files = Vec::new();
    for table in &TABLES {
        if let Export::Without(hidden) = table.export {
            write_table(&mut tx, subject, (table, hidden), archive, &mut files).await?;
        }
    }
    tx.commit().await?;
    let mut missing = Vec::new();
    for File { name, key } in files {
        match app.cluster.object(&key).await {
            Ok(content) => archive.file(&name, content).await?,
            Err(error) => {
                tracing::warn!(%error, "a picture could not be put into an export");
                missing.push(name);
            }
        }
    }
    if !missing.is_empty() {
        archive.file("missing.txt", (missing.join("\n") + "\n").into()).await?;
    }
    archive.send(Bytes::from_static(tar::end())).await
}

/// A file in the store that belongs into the archive.
struct File {
    name: String,
    key: String,
}

async fn write_table(
    conn: &mut PgConnection,
    subject: Subject,
    (table, hidden): (&Table, &[&str]),
    archive: &mut Archive,
    files: &mut Vec<File>,
) -> anyhow::Result<()> {
    let Table { name, owned, .. } = table;
    // Names and conditions are constants of ours.
    let sql = AssertSqlSafe(format!("select to_jsonb(t) - $3::text[] from {SUBJECT}, {name} t where {owned}"));
    let query = sqlx::query_scalar::<_, Value>(sql).bind(subject.account).bind(subject.person).bind(hidden);
    let mut rows = query.fetch(conn);
    let (mut part, mut lines) = (1, Vec::new());
    while let Some(row) = rows.next().await {
        let row = row.with_context(|| format!("reading {name}"))?;
        files.extend(file_of(name, &row));
        serde_json::to_writer(&mut lines, &row).context("writing a row")?;
        lines.push(b'\n');
        if lines.len() >= PART_BYTES {
            archive.file(&format!("{name}/{part:04}.jsonl"), std::mem::take(&mut lines).into()).await?;
            part += 1;
        }
    }
    if !lines.is_empty() {
        archive.file(&format!("{name}/{part:04}.jsonl"), lines.into()).await?;
    }
    Ok(())
}

/// The file a row is about.
fn file_of(table: &str, row: &Value) -> Option<File> {
    let folder = match table {
        "image" => "images",
        "asset" => "uploads",
        _ => return None,
    };
    let text = |field: &str| row[field].as_str();
    let key = text("key")?.to_owned();
    let ending = key.rsplit_once('.').map_or("png", |(_, ending)| ending);
    Some(File { name: format!("{folder}/{}.{ending}", text("id")?), key })
}

/// An archive on its way.
struct Archive {
    to: mpsc::Sender<io::Result<Bytes>>,
    at_s: u64,
}

impl Archive {
    async fn file(&mut self, name: &str, content: Bytes) -> anyhow::Result<()> {
        let bytes = content.len() as u64;
        self.send(Bytes::copy_from_slice(&tar::header(name, bytes, self.at_s))).await?;
        self.send(content).await?;
        self.send(Bytes::from_static(tar::padding(bytes))).await
    }

    async fn send(&mut self, chunk: Bytes) -> anyhow::Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        let sent = timeout(PATIENCE, self.to.send(Ok(chunk))).await.context("nobody reads it")?;
        sent.context("who read it has gone")
    }
}
