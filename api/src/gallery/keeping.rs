//! What an owner does with pictures: star, collect, delete and take the deletion back; and their end in the store.
//!
//! Each statement names the account, and those of the ids that are not its own are as if they were not there.

use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use super::{RESTORE_MS, SWEEP_AFTER_MS};
use crate::clock::to_ms;
use crate::database::Db;

/// Something done to many pictures at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Star them.
    Star,
    /// Take the star off.
    Unstar,
    /// Delete them: hidden at once, out of the store a little later.
    Delete,
    /// Take back a deletion of the last minute.
    Restore,
    /// Put them in a collection.
    Collect(Uuid),
    /// Take them out of a collection.
    Uncollect(Uuid),
}

/// Makes the change; how many pictures it changed. A collection must be the account's: see [`super::collection::lock`].
pub async fn change(
    conn: &mut PgConnection,
    account: Uuid,
    ids: &[Uuid],
    change: Change,
    at: Timestamp,
) -> sqlx::Result<u64> {
    const STAR: &str = "update image set starred_ms = $3
        where account = $1 and id = any($2) and starred_ms is null and deleting_ms is null";
    const UNSTAR: &str = "update image set starred_ms = null
        where account = $1 and id = any($2) and starred_ms is not null and deleting_ms is null and $3 > 0";
    const DELETE: &str = "update image set deleting_ms = $3
        where account = $1 and id = any($2) and deleting_ms is null";
    const RESTORE: &str = "update image set deleting_ms = null
        where account = $1 and id = any($2) and deleting_ms > $3";
    const COLLECT: &str = "insert into collection_image (collection, image, added_ms)
        select $4, id, $3 from image where account = $1 and id = any($2) and deleting_ms is null
        on conflict do nothing";
    const UNCOLLECT: &str = "delete from collection_image c using image i
        where c.collection = $4 and c.image = i.id and i.account = $1 and i.id = any($2) and $3 > 0";
    let now = to_ms(at);
    let (sql, moment, collection) = match change {
        Change::Star => (STAR, now, None),
        Change::Unstar => (UNSTAR, now, None),
        Change::Delete => (DELETE, now, None),
        Change::Restore => (RESTORE, now - RESTORE_MS, None),
        Change::Collect(collection) => (COLLECT, now, Some(collection)),
        Change::Uncollect(collection) => (UNCOLLECT, now, Some(collection)),
    };
    let mut query = sqlx::query(sql).bind(account).bind(ids).bind(moment);
    if let Some(collection) = collection {
        query = query.bind(collection);
    }
    Ok(query.execute(conn).await?.rows_affected())
}

/// Who sees a picture beside its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Audience {
    /// Nobody: a link there was leads nowhere any more, and the next one is another.
    Nobody,
    /// Whoever has its link sees the picture alone.
    Picture,
    /// Whoever has its link sees how it was made too: model, prompt and settings.
    Settings,
}

/// Shares a picture, or takes its link back.
pub async fn share(conn: &mut PgConnection, account: Uuid, id: Uuid, audience: Audience) -> sqlx::Result<()> {
    const SHARE: &str = "insert into shared_image (image, settings)
        select id, $3 from image where account = $1 and id = $2 and deleting_ms is null
        on conflict (image) do update set settings = excluded.settings";
    const UNSHARE: &str = "delete from shared_image s using image i
        where s.image = i.id and i.account = $1 and i.id = $2";
    let query = match audience {
        Audience::Nobody => sqlx::query(UNSHARE).bind(account).bind(id),
        Audience::Picture | Audience::Settings => {
            sqlx::query(SHARE).bind(account).bind(id).bind(audience == Audience::Settings)
        }
    };
    query.execute(conn).await?;
    Ok(())
}

/// Puts a picture in these collections of the account and in no others; false when one of them is not there.
pub async fn set_collections(
    conn: &mut PgConnection,
    account: Uuid,
    id: Uuid,
    collections: &[Uuid],
    at: Timestamp,
) -> sqlx::Result<bool> {
    const LOCK: &str = "select id from collection where account = $1 and id = any($2) order by id for share";
    const LEAVE: &str = "delete from collection_image where image = $1 and collection <> all($2)";
    const JOIN: &str = "insert into collection_image (collection, image, added_ms)
        select unnest($2::uuid[]), $1, $3 on conflict do nothing";
    let own: Vec<Uuid> = sqlx::query_scalar(LOCK).bind(account).bind(collections).fetch_all(&mut *conn).await?;
    if collections.iter().any(|collection| !own.contains(collection)) {
        return Ok(false);
    }
    sqlx::query(LEAVE).bind(id).bind(&own).execute(&mut *conn).await?;
    sqlx::query(JOIN).bind(id).bind(&own).bind(to_ms(at)).execute(conn).await?;
    Ok(true)
}

/// Pictures that were deleted long enough ago: id and key, oldest deletion first.
pub async fn deleted(pool: &Db, at: Timestamp, limit: i64) -> sqlx::Result<Vec<(Uuid, String)>> {
    const SQL: &str = "select id, key from image where deleting_ms <= $1 order by deleting_ms limit $2";
    sqlx::query_as(SQL).bind(to_ms(at) - SWEEP_AFTER_MS).bind(limit).fetch_all(pool).await
}

/// The file is gone: the row goes too.
pub async fn forget(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("delete from image where id = $1 and deleting_ms is not null").bind(id).execute(conn).await?;
    Ok(())
}
