//! Reading pictures: one, or pages of them, newest first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder};
use tintype_types::{GenerationRequest, ResolvedRequest, Timestamp};
use uuid::Uuid;

use super::prompts;
use crate::clock::from_ms;
use crate::database::Db;

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its id: a UUID version 7, so that ids sort by age.
    pub id: Uuid,
    /// The job that made it.
    pub generation: Uuid,
    /// Which of the job's pictures it is.
    pub n: u32,
    /// Where its file lies in the store.
    pub key: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// The seed this very picture can be made again with.
    pub seed: u64,
    /// When it was starred.
    pub starred: Option<Timestamp>,
    /// The link it is shared by.
    pub link: Option<Link>,
    /// The collections it is in.
    pub collections: Vec<Uuid>,
    /// What the job asked for.
    pub request: ResolvedRequest,
    /// When the job ended.
    pub created: Timestamp,
}

/// What shows a picture to whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The secret in it: random, for ids of a job's pictures can be told from one another.
    pub token: Uuid,
    /// Whether the prompt and the settings are shown too.
    pub settings: bool,
}

impl Image {
    /// The request that makes this very picture again, alone.
    pub fn settings(&self) -> GenerationRequest {
        GenerationRequest::from(ResolvedRequest { seed: self.seed, images: 1, ..self.request.clone() })
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    generation: Uuid,
    n: i32,
    key: String,
    width: i32,
    height: i32,
    bytes: i64,
    sha256: String,
    seed: i64,
    starred_ms: Option<i64>,
    token: Option<Uuid>,
    shows_settings: Option<bool>,
    collections: Vec<Uuid>,
    request: Json<ResolvedRequest>,
    created_ms: i64,
}

impl From<Row> for Image {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            generation: row.generation,
            n: row.n.unsigned_abs(),
            key: row.key,
            width: row.width.unsigned_abs(),
            height: row.height.unsigned_abs(),
            bytes: row.bytes.unsigned_abs(),
            sha256: row.sha256,
            seed: row.seed.unsigned_abs(),
            starred: row.starred_ms.map(from_ms),
            link: row.token.zip(row.shows_settings).map(|(token, settings)| Link { token, settings }),
            collections: row.collections,
            request: row.request.0,
            created: from_ms(row.created_ms),
        }
    }
}

/// The columns of [`Row`], of `image i`, with others before them and tables joined.
macro_rules! select {
    ($columns:literal, $joined:literal) => {
        concat!(
            "select ",
            $columns,
            "i.id, i.generation, i.n, i.key, i.width, i.height, i.bytes, i.sha256, i.seed, i.starred_ms,
                s.token, s.settings as shows_settings, i.created_ms, g.request,
                array(select c.collection from collection_image c where c.image = i.id order by c.collection) as collections
            from image i join generation g on g.id = i.generation left join shared_image s on s.image = i.id ",
            $joined,
            " where i.deleting_ms is null and "
        )
    };
}

const SELECT: &str = select!("", "");

/// What a picture's shape may be called: the nearest of these, as the function `image_ratio` of the database has it.
pub const RATIOS: [&str; 9] = ["9:21", "9:16", "2:3", "3:4", "1:1", "4:3", "3:2", "16:9", "21:9"];

/// Which pictures. The default is all of them.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only older ones than this picture.
    pub before: Option<Uuid>,
    /// Only starred ones, or only those that are not.
    pub starred: Option<bool>,
    /// Only those in this collection.
    pub collection: Option<Uuid>,
    /// Only those this model made.
    pub model: Option<String>,
    /// Only those that this seed makes.
    pub seed: Option<u64>,
    /// Only those of about this shape.
    pub ratio: Option<&'static str>,
    /// Only those made at this moment or later.
    pub from: Option<Timestamp>,
    /// Only those made before this moment.
    pub to: Option<Timestamp>,
    /// Only those whose prompt holds each of these words, or parts of words; what is no part of any word the account has used
    /// is taken for those it is nearly the same as.
    pub words: Vec<String>,
    /// Only these.
    pub among: Option<Vec<Uuid>>,
}

impl Filter {
    /// Whether Postgres may keep a plan for statements like this. Of words it may not: a plan for any word is one for rare
    /// ones, and for a word that every other picture has it gathers and sorts them all (a second instead of a millisecond
    /// among 200,000).
    fn plan_is_kept(&self) -> bool {
        self.words.is_empty()
    }

    /// Adds its conditions, but for its words. Only those that are asked for: each combination is a statement of its own,
    /// planned for what it does.
    fn narrow(&self, sql: &mut QueryBuilder<Postgres>) {
        let Self { before, starred, collection, model, seed, ratio, from, to, words: _, among } = self;
        if let Some(among) = among {
            sql.push(" and i.id = any(").push_bind(among.clone()).push(")");
        }
        for at in [before, &to.map(first_id)].into_iter().flatten() {
            sql.push(" and i.id < ").push_bind(*at);
        }
        if let Some(from) = from {
            sql.push(" and i.id >= ").push_bind(first_id(*from));
        }
        match starred {
            Some(true) => drop(sql.push(" and i.starred_ms is not null")),
            Some(false) => drop(sql.push(" and i.starred_ms is null")),
            None => {}
        }
        if let Some(collection) = collection {
            sql.push(" and i.id in (select c.image from collection_image c where c.collection = ");
            sql.push_bind(*collection).push(")");
        }
        if let Some(model) = model {
            sql.push(" and i.model = ").push_bind(model.clone());
        }
        if let Some(seed) = seed {
            // No picture has one that the column cannot hold.
            sql.push(" and i.seed = ").push_bind(i64::try_from(*seed).unwrap_or(-1));
        }
        if let Some(ratio) = ratio {
            sql.push(" and image_ratio(i.width, i.height) = ").push_bind(*ratio);
        }
    }
}

/// The least id of a picture made at this moment or later: ids begin with the moment, in 48 bits.
pub(super) fn first_id(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::from(at.0.min((1 << 48) - 1)) << 80)
}

/// An account's pictures, newest first.
pub async fn list(pool: &Db, account: Uuid, filter: &Filter, limit: i64) -> sqlx::Result<Vec<Image>> {
    let (sought, places) = prompts::sought(pool, account, &filter.words).await?;
    let mut found = Vec::new();
    for place in &places {
        let mut sql = QueryBuilder::new(SELECT);
        // The pictures first, and then what belongs to them: of thousands that are found, a page's are shown.
        let pictures_first = !sought.is_empty() && !prompts::reads_prompts(&sought, *place);
        if pictures_first {
            sql.push("i.id in (select i.id from image i where i.deleting_ms is null and ");
        }
        sql.push("i.account = ").push_bind(account);
        filter.narrow(&mut sql);
        prompts::narrow(&mut sql, &sought, *place);
        if pictures_first {
            sql.push(" order by i.id desc limit ").push_bind(limit).push(")");
        }
        sql.push(" order by i.id desc limit ").push_bind(limit);
        let rows: Vec<Row> = sql.build_query_as().persistent(filter.plan_is_kept()).fetch_all(pool).await?;
        found.extend(rows.into_iter().map(Image::from));
    }
    if places.len() > 1 {
        found.sort_unstable_by_key(|image| Reverse(image.id));
        found.truncate(usize::try_from(limit).unwrap_or(0));
    }
    Ok(found)
}

/// How many pictures of an account each day has, in UTC, newest first: a day is its first moment.
pub async fn days(pool: &Db, account: Uuid, filter: &Filter) -> sqlx::Result<Vec<(Timestamp, u64)>> {
    const DAY_MS: &str = "86400000";
    let (sought, places) = prompts::sought(pool, account, &filter.words).await?;
    let mut found = BTreeMap::new();
    for place in places {
        let mut sql =
            QueryBuilder::new(format!("select i.created_ms - i.created_ms % {DAY_MS} as day, count(*) from image i "));
        if prompts::reads_prompts(&sought, place) {
            sql.push("join generation g on g.id = i.generation ");
        }
        sql.push("where i.deleting_ms is null and i.account = ").push_bind(account);
        filter.narrow(&mut sql);
        prompts::narrow(&mut sql, &sought, place);
        sql.push(" group by day");
        let rows: Vec<(i64, i64)> = sql.build_query_as().persistent(filter.plan_is_kept()).fetch_all(pool).await?;
        for (day, count) in rows {
            *found.entry(day).or_default() += count.unsigned_abs();
        }
    }
    Ok(found.into_iter().rev().map(|(day, count)| (from_ms(day), count)).collect())
}

/// An account's picture.
pub async fn find(pool: &Db, account: Uuid, id: Uuid) -> sqlx::Result<Option<Image>> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push("i.account = ").push_bind(account).push(" and i.id = ").push_bind(id);
    let row: Option<Row> = sql.build_query_as().fetch_optional(pool).await?;
    Ok(row.map(Image::from))
}

/// The picture its owner shows to whoever has this link, while they may be here at all.
pub async fn shared(pool: &Db, token: Uuid) -> sqlx::Result<Option<Image>> {
    const WELCOME: &str = " and not exists (select 1 from account a where a.id = i.account
            and (a.suspended_ms is not null or a.erased_ms is not null))
        and not exists (select 1 from person p where p.account = i.account and p.suspended_ms is not null)";
    let mut sql = QueryBuilder::new(SELECT);
    sql.push("s.token = ").push_bind(token).push(WELCOME);
    let row: Option<Row> = sql.build_query_as().fetch_optional(pool).await?;
    Ok(row.map(Image::from))
}

/// Pictures of a shared collection, newest first, each by the key it is shown under; those after `before`.
pub async fn shown(pool: &Db, collection: Uuid, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<(Uuid, Image)>> {
    const AFTER: &str =
        " and i.id < (select b.image from collection_image b where b.collection = m.collection and b.shown = ";
    let mut sql = shown_of(collection);
    if let Some(before) = before {
        sql.push(AFTER).push_bind(before).push(")");
    }
    sql.push(" order by i.id desc limit ").push_bind(limit);
    let rows: Vec<ShownRow> = sql.build_query_as().fetch_all(pool).await?;
    Ok(rows.into_iter().map(|ShownRow { shown, row }| (shown, row.into())).collect())
}

/// The picture of a shared collection that is shown under this key.
pub async fn find_shown(pool: &Db, collection: Uuid, key: Uuid) -> sqlx::Result<Option<Image>> {
    let mut sql = shown_of(collection);
    sql.push(" and m.shown = ").push_bind(key);
    let row: Option<ShownRow> = sql.build_query_as().fetch_optional(pool).await?;
    Ok(row.map(|ShownRow { row, .. }| row.into()))
}

#[derive(sqlx::FromRow)]
struct ShownRow {
    shown: Uuid,
    #[sqlx(flatten)]
    row: Row,
}

fn shown_of(collection: Uuid) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(select!("m.shown, ", "join collection_image m on m.image = i.id"));
    sql.push("m.collection = ").push_bind(collection);
    sql
}

/// Whether a job's picture is still there for its owner.
pub async fn is_kept(pool: &Db, generation: Uuid, n: usize) -> sqlx::Result<bool> {
    const SQL: &str = "select exists (select 1 from image where generation = $1 and n = $2 and deleting_ms is null)";
    sqlx::query_scalar(SQL).bind(generation).bind(i32::try_from(n).unwrap_or(i32::MAX)).fetch_one(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_moment_lie_between_it_and_the_next() {
        let id = Uuid::parse_str("0190a1b2-c3d4-7fff-8000-000000000001").unwrap();
        let at = Timestamp(0x0190_a1b2_c3d4);
        assert!(first_id(at) <= id && id < first_id(Timestamp(at.0 + 1)));
        assert!(first_id(Timestamp(u64::MAX)) > id, "a moment that no id can hold is after all of them");
    }
}
