//! Assets: one row an uploaded picture. The row comes before the file and goes after it, so no file is ever without one.
//!
//! A job that names an asset locks its row to share; whoever begins its deletion locks it for himself and only then looks
//! for jobs. So one of the two always sees the other.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::{from_ms, to_ms};
use crate::database::Db;

/// Assets one account may have.
pub const ASSETS_MAX: i64 = 1_000;
/// Bytes the assets of one account may have together.
pub const ASSET_BYTES_MAX: i64 = 2 << 30;
/// How long an upload may take from its row to its file; afterwards the row is swept.
const STORING_MS: i64 = 10 * 60 * 1_000;
/// How long an asset is kept after it was last uploaded. Jobs that have not ended keep theirs longer.
const KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// An uploaded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its id.
    pub id: Uuid,
    /// Where its file lies in the store, and what requests name it by.
    pub key: String,
    /// What kind of file it is.
    pub media_type: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Vec<u8>,
    /// When it was first uploaded.
    pub created: Timestamp,
    /// When it may be swept.
    pub expires: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    key: String,
    media_type: String,
    width: i32,
    height: i32,
    bytes: i64,
    sha256: Vec<u8>,
    created_ms: i64,
    expires_ms: i64,
}

impl From<Row> for Asset {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            key: row.key,
            media_type: row.media_type,
            width: row.width.unsigned_abs(),
            height: row.height.unsigned_abs(),
            bytes: row.bytes.unsigned_abs(),
            sha256: row.sha256,
            created: from_ms(row.created_ms),
            expires: from_ms(row.expires_ms),
        }
    }
}

/// A picture on its way in.
#[derive(Clone, Debug)]
pub struct NewAsset {
    /// Its id, unless the same file is there already.
    pub id: Uuid,
    /// Whose.
    pub account: Uuid,
    /// See [`Asset::key`].
    pub key: String,
    /// See [`Asset::media_type`].
    pub media_type: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// Writes the row of a file that is about to be stored, or finds that of the same file; none when the account is full.
/// The account is locked, so that two at once cannot pass the limits.
pub async fn begin(conn: &mut PgConnection, new: &NewAsset, at: Timestamp) -> sqlx::Result<Option<Asset>> {
    const SAME: &str = "update asset set expires_ms = greatest(expires_ms, $3)
        where account = $1 and sha256 = $2 and deleting_ms is null
        returning id, key, media_type, width, height, bytes, sha256, created_ms, expires_ms";
    const USED: &str = "select count(*), coalesce(sum(bytes), 0)::bigint from asset where account = $1";
    const NEW: &str =
        "insert into asset (id, account, key, media_type, width, height, bytes, sha256, created_ms, expires_ms)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        returning id, key, media_type, width, height, bytes, sha256, created_ms, expires_ms";
    sqlx::query("select 1 from account where id = $1 for update").bind(new.account).execute(&mut *conn).await?;
    let storing_until = to_ms(at) + STORING_MS;
    let same: Option<Row> = sqlx::query_as(SAME)
        .bind(new.account)
        .bind(&new.sha256[..])
        .bind(storing_until)
        .fetch_optional(&mut *conn)
        .await?;
    if let Some(same) = same {
        return Ok(Some(same.into()));
    }
    let (count, bytes): (i64, i64) = sqlx::query_as(USED).bind(new.account).fetch_one(&mut *conn).await?;
    if count >= ASSETS_MAX || bytes.saturating_add_unsigned(new.bytes) > ASSET_BYTES_MAX {
        return Ok(None);
    }
    let row: Row = sqlx::query_as(NEW)
        .bind(new.id)
        .bind(new.account)
        .bind(&new.key)
        .bind(new.media_type)
        .bind(new.width as i32)
        .bind(new.height as i32)
        .bind(new.bytes as i64)
        .bind(&new.sha256[..])
        .bind(to_ms(at))
        .bind(storing_until)
        .fetch_one(conn)
        .await?;
    Ok(Some(row.into()))
}

/// The file is in the store: the asset can be named, for a week. None when it is being deleted after all.
pub async fn stored(pool: &Db, id: Uuid, at: Timestamp) -> sqlx::Result<Option<Asset>> {
    const SQL: &str = "update asset set stored_ms = coalesce(stored_ms, $2), expires_ms = $2 + $3
        where id = $1 and deleting_ms is null
        returning id, key, media_type, width, height, bytes, sha256, created_ms, expires_ms";
    let row: Option<Row> = sqlx::query_as(SQL).bind(id).bind(to_ms(at)).bind(KEPT_MS).fetch_optional(pool).await?;
    Ok(row.map(Asset::from))
}

/// An account's asset.
pub async fn find_own(pool: &Db, account: Uuid, id: Uuid) -> sqlx::Result<Option<Asset>> {
    const SQL: &str = "select id, key, media_type, width, height, bytes, sha256, created_ms, expires_ms from asset
        where id = $2 and account = $1 and stored_ms is not null and deleting_ms is null";
    let row: Option<Row> = sqlx::query_as(SQL).bind(account).bind(id).fetch_optional(pool).await?;
    Ok(row.map(Asset::from))
}

/// An account's assets, newest first, from before a given one.
pub async fn list(pool: &Db, account: Uuid, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Asset>> {
    const SQL: &str = "select id, key, media_type, width, height, bytes, sha256, created_ms, expires_ms from asset
        where account = $1 and stored_ms is not null and deleting_ms is null and ($2::uuid is null or id < $2)
        order by id desc limit $3";
    let rows: Vec<Row> = sqlx::query_as(SQL).bind(account).bind(before).bind(limit).fetch_all(pool).await?;
    Ok(rows.into_iter().map(Asset::from).collect())
}

/// Those of the keys that name assets of the account, locked so that none is deleted before the transaction ends.
pub async fn lock_named(
    conn: &mut PgConnection,
    account: Uuid,
    keys: &[&str],
    at: Timestamp,
) -> sqlx::Result<Vec<(Uuid, String)>> {
    const SQL: &str = "select id, key from asset
        where account = $1 and key = any($2) and stored_ms is not null and deleting_ms is null and expires_ms > $3
        order by id for share";
    sqlx::query_as(SQL).bind(account).bind(keys).bind(to_ms(at)).fetch_all(conn).await
}

/// Notes that a job reads these assets.
pub async fn link(conn: &mut PgConnection, generation: Uuid, assets: &[Uuid]) -> sqlx::Result<()> {
    const SQL: &str = "insert into generation_asset (generation, asset) select $1, unnest($2::uuid[])";
    sqlx::query(SQL).bind(generation).bind(assets).execute(conn).await?;
    Ok(())
}

/// What came of the wish to delete an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// There is no such asset, or it is being deleted.
    Absent,
    /// A job that has not ended reads it.
    InUse,
    /// Nobody can name it any more.
    Begun,
}

/// Begins the deletion of an account's asset; or, without an account, of one that has expired.
pub async fn begin_deletion(
    conn: &mut PgConnection,
    account: Option<Uuid>,
    id: Uuid,
    at: Timestamp,
) -> sqlx::Result<Deletion> {
    const LOCK: &str = "select id from asset where id = $1 and deleting_ms is null
        and case when $2::uuid is null then expires_ms <= $3 else account = $2 end for update";
    // Its own statement: it must see the jobs that came while the lock was waited for.
    const USED: &str = "select exists (select 1 from generation_asset a join generation g on g.id = a.generation
        where a.asset = $1 and g.finished_ms is null)";
    let locked: Option<Uuid> =
        sqlx::query_scalar(LOCK).bind(id).bind(account).bind(to_ms(at)).fetch_optional(&mut *conn).await?;
    if locked.is_none() {
        return Ok(Deletion::Absent);
    }
    if sqlx::query_scalar::<_, bool>(USED).bind(id).fetch_one(&mut *conn).await? {
        return Ok(Deletion::InUse);
    }
    sqlx::query("update asset set deleting_ms = $2 where id = $1").bind(id).bind(to_ms(at)).execute(conn).await?;
    Ok(Deletion::Begun)
}

/// Assets whose time has come and that no open job reads, oldest first.
pub async fn expired(pool: &Db, at: Timestamp, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    const SQL: &str = "select id from asset where deleting_ms is null and expires_ms <= $1
        and not exists (select 1 from generation_asset a join generation g on g.id = a.generation
            where a.asset = asset.id and g.finished_ms is null)
        order by expires_ms limit $2";
    sqlx::query_scalar(SQL).bind(to_ms(at)).bind(limit).fetch_all(pool).await
}

/// Assets whose deletion has begun: id and key.
pub async fn deleting(pool: &Db, limit: i64) -> sqlx::Result<Vec<(Uuid, String)>> {
    sqlx::query_as("select id, key from asset where deleting_ms is not null order by id limit $1")
        .bind(limit)
        .fetch_all(pool)
        .await
}

/// The file is gone: the row goes too.
pub async fn forget(pool: &Db, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("delete from asset where id = $1 and deleting_ms is not null").bind(id).execute(pool).await?;
    Ok(())
}
