//! Tariffs the server has priced jobs by. What is charged is decided elsewhere.

use sqlx::types::Json;
use tintype_types::Timestamp;

use crate::clock::to_ms;
use crate::database::Db;
use crate::price::Tariff;

/// Says that jobs are priced by this one from now on, and by no other any more.
pub(crate) async fn adopt(pool: &Db, tariff: &Tariff, now: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "with ended as (update tariff set until_ms = $3 where until_ms is null and name <> $1)
        insert into tariff as there (name, body, since_ms) values ($1, $2, $3)
        on conflict (name) do update set until_ms = null,
            since_ms = case when there.until_ms is null then there.since_ms else $3 end";
    sqlx::query(SQL).bind(tariff.name()).bind(Json(tariff)).bind(to_ms(now)).execute(pool).await.map(drop)
}

/// The tariff of that name, and when it ended, if it has.
pub(crate) async fn find(pool: &Db, name: &str) -> sqlx::Result<Option<(Tariff, Option<i64>)>> {
    const SQL: &str = "select body, until_ms from tariff where name = $1";
    let found: Option<(Json<Tariff>, Option<i64>)> = sqlx::query_as(SQL).bind(name).fetch_optional(pool).await?;
    Ok(found.map(|(Json(tariff), until)| (tariff, until)))
}
