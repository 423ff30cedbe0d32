//! Collections: named groups of an account's pictures. A picture may be in several.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use super::COLLECTIONS_MAX;
use crate::clock::{from_ms, to_ms};
use crate::database::Db;

/// A collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Its id.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// How many pictures it holds.
    pub images: u64,
    /// The key of its newest picture.
    pub cover: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// The secret in the link it is shared by.
    pub link: Option<Uuid>,
}

type Row = (Uuid, String, i64, Option<String>, i64, Option<Uuid>);

/// The columns of [`Row`].
macro_rules! select {
    () => {
        "select c.id, c.name,
            (select count(*) from collection_image m join image i on i.id = m.image
                where m.collection = c.id and i.deleting_ms is null),
            (select i.key from collection_image m join image i on i.id = m.image
                where m.collection = c.id and i.deleting_ms is null order by m.image desc limit 1),
            c.created_ms, (select s.token from shared_collection s where s.collection = c.id)
         from collection c where c.account = $1"
    };
}

fn collection((id, name, images, cover, created_ms, link): Row) -> Collection {
    Collection { id, name, images: images.unsigned_abs(), cover, created: from_ms(created_ms), link }
}

/// An account's collections, oldest first: as many as there may be.
pub async fn list(pool: &Db, account: Uuid) -> sqlx::Result<Vec<Collection>> {
    const SQL: &str = concat!(select!(), " order by c.id limit $2");
    let rows: Vec<Row> = sqlx::query_as(SQL).bind(account).bind(COLLECTIONS_MAX).fetch_all(pool).await?;
    Ok(rows.into_iter().map(collection).collect())
}

/// An account's collection.
pub async fn find(pool: &Db, account: Uuid, id: Uuid) -> sqlx::Result<Option<Collection>> {
    const SQL: &str = concat!(select!(), " and c.id = $2");
    let row: Option<Row> = sqlx::query_as(SQL).bind(account).bind(id).fetch_optional(pool).await?;
    Ok(row.map(collection))
}

/// Makes a collection; false when the account has as many as it may.
pub async fn create(conn: &mut PgConnection, account: Uuid, id: Uuid, name: &str, at: Timestamp) -> sqlx::Result<bool> {
    const LOCK: &str = "select id from account where id = $1 for no key update";
    const NEW: &str = "insert into collection (id, account, name, created_ms)
        select $2, $1, $3, $4 where (select count(*) from collection where account = $1) < $5";
    // The account is locked, so that two at once cannot pass the limit.
    sqlx::query(LOCK).bind(account).execute(&mut *conn).await?;
    let made = sqlx::query(NEW).bind(account).bind(id).bind(name).bind(to_ms(at)).bind(COLLECTIONS_MAX);
    Ok(made.execute(conn).await?.rows_affected() == 1)
}

/// Gives it another name; false when it is not there.
pub async fn rename(pool: &Db, account: Uuid, id: Uuid, name: &str) -> sqlx::Result<bool> {
    const SQL: &str = "update collection set name = $3 where account = $1 and id = $2";
    Ok(sqlx::query(SQL).bind(account).bind(id).bind(name).execute(pool).await?.rows_affected() == 1)
}

/// Makes the link it is shared by, or takes it back: the next one is another. False when it is not there.
pub async fn share(pool: &Db, account: Uuid, id: Uuid, shared: bool) -> sqlx::Result<bool> {
    const SHARE: &str = "insert into shared_collection (collection)
        select id from collection where account = $1 and id = $2 on conflict (collection) do nothing";
    const UNSHARE: &str = "delete from shared_collection s using collection c
        where s.collection = c.id and c.account = $1 and c.id = $2";
    let sql = if shared { SHARE } else { UNSHARE };
    let mut tx = pool.begin().await?;
    let there = lock(&mut tx, account, id).await?;
    sqlx::query(sql).bind(account).bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(there)
}

/// The collection its owner shows to whoever has this link, while they may be here at all: its id, its name and how many
/// pictures it holds.
pub async fn shown(pool: &Db, token: Uuid) -> sqlx::Result<Option<(Uuid, String, u64)>> {
    const SQL: &str = "select c.id, c.name,
            (select count(*) from collection_image m join image i on i.id = m.image
                where m.collection = c.id and i.deleting_ms is null)
        from shared_collection s join collection c on c.id = s.collection
        where s.token = $1
            and not exists (select 1 from account a where a.id = c.account
                and (a.suspended_ms is not null or a.erased_ms is not null))
            and not exists (select 1 from person p where p.account = c.account and p.suspended_ms is not null)";
    let row: Option<(Uuid, String, i64)> = sqlx::query_as(SQL).bind(token).fetch_optional(pool).await?;
    Ok(row.map(|(id, name, images)| (id, name, images.unsigned_abs())))
}

/// Deletes it, and none of its pictures; false when it is not there.
pub async fn delete(pool: &Db, account: Uuid, id: Uuid) -> sqlx::Result<bool> {
    const SQL: &str = "delete from collection where account = $1 and id = $2";
    Ok(sqlx::query(SQL).bind(account).bind(id).execute(pool).await?.rows_affected() == 1)
}

/// Whether it is the account's; if so, it stays until the transaction ends.
pub async fn lock(conn: &mut PgConnection, account: Uuid, id: Uuid) -> sqlx::Result<bool> {
    const SQL: &str = "select id from collection where account = $1 and id = $2 for share";
    let found: Option<Uuid> = sqlx::query_scalar(SQL).bind(account).bind(id).fetch_optional(conn).await?;
    Ok(found.is_some())
}
