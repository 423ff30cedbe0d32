//! The database's own search for words of prompts: an index over whole words, and every account's vocabulary, by which parts
//! of words and misspelt ones become whole words before the index is asked.
//!
//! `image_words` has a row for each picture, without its words until a reconciler has come to it ([`index_waiting`]): jobs do
//! not wait for it, and pictures of before there was an index come to it the same way. Until then a picture is found by its
//! prompt's text.

use std::collections::{BTreeSet, HashMap};

use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::words::{mark, meant, mistakes, words};
use crate::database::Db;

/// Most words of a vocabulary that one asked for stands for: those that begin with it first, then the shortest.
const STANDS_FOR_MAX: i64 = 128;
/// A part of a word this short is the beginning of one.
const PART_CHARS_MIN: usize = 3;
/// Most words of a vocabulary that a misspelt one is compared with.
const COMPARED_MAX: i64 = 50_000;

/// What of a prompt is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// A word, in small letters, and the marks of the whole words it stands for.
    Word { text: String, marks: Vec<i64> },
    /// What has no word in it, such as `++`.
    Letters(String),
}

/// Where pictures are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// Among all: no word is asked for.
    Everywhere,
    /// Among those in the index.
    Indexed,
    /// Among those that wait for it.
    Waiting,
}

/// What is asked for, as the index has it, and where there may be pictures with it.
pub(super) async fn sought(pool: &Db, account: Uuid, asked: &[String]) -> sqlx::Result<(Vec<Sought>, Vec<Where>)> {
    const WAITING: &str = "select exists (select 1 from image_words where words is null)";
    if asked.is_empty() {
        return Ok((Vec::new(), vec![Where::Everywhere]));
    }
    let mut conn = pool.reader().await?;
    let mut sought = Vec::new();
    let mut texts = BTreeSet::new();
    for asked in asked {
        let words = words(asked);
        if words.is_empty() {
            sought.push(Sought::Letters(asked.to_lowercase()));
        }
        texts.extend(words);
    }
    let texts: Vec<String> = texts.into_iter().collect();
    let mut known = containing(&mut conn, account, &texts).await?;
    for text in texts {
        let mut whole = known.remove(&text).unwrap_or_default();
        if whole.is_empty() {
            whole = neighbours(&mut conn, account, &text).await?;
        }
        let marks = whole.iter().map(|word| mark(account, word)).collect();
        sought.push(Sought::Word { text, marks });
    }
    if !sought.iter().any(|sought| matches!(sought, Sought::Word { .. })) {
        return Ok((sought, vec![Where::Everywhere]));
    }
    let mut places = Vec::new();
    if sought.iter().all(|sought| !matches!(sought, Sought::Word { marks, .. } if marks.is_empty())) {
        places.push(Where::Indexed);
    }
    if sqlx::query_scalar(WAITING).fetch_one(&mut *conn).await? {
        places.push(Where::Waiting);
    }
    Ok((sought, places))
}

/// Words of an account that these are, begin or are a part of.
async fn containing(
    conn: &mut sqlx::PgConnection,
    account: Uuid,
    texts: &[String],
) -> sqlx::Result<HashMap<String, Vec<String>>> {
    const SQL: &str = "select asked.text, found.word from unnest($2::text[], $3::int[]) as asked(text, most)
        cross join lateral (select w.word from prompt_word w
            where w.account = $1 and position(asked.text in w.word) between 1 and asked.most
            order by position(asked.text in w.word) > 1, char_length(w.word), w.word limit $4) found";
    let most = texts.iter().map(|text| if text.chars().count() < PART_CHARS_MIN { 1 } else { i32::MAX });
    let query = sqlx::query_as(SQL).bind(account).bind(texts).bind(most.collect::<Vec<_>>()).bind(STANDS_FOR_MAX);
    let rows: Vec<(String, String)> = query.fetch_all(conn).await?;
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for (text, word) in rows {
        found.entry(text).or_default().push(word);
    }
    Ok(found)
}

/// Words of an account that may be meant by one that it does not have.
async fn neighbours(conn: &mut sqlx::PgConnection, account: Uuid, text: &str) -> sqlx::Result<Vec<String>> {
    // One row: rows of a word each cost more than finding them.
    const SQL: &str = "select coalesce(array_agg(word), '{}') from (select word from prompt_word
        where account = $1 and char_length(word) between $2 and $3 limit $4) w";
    let most = mistakes(text);
    if most == 0 {
        return Ok(Vec::new());
    }
    let length = text.chars().count();
    let [least, longest] = [length - most, length + most].map(|chars| i32::try_from(chars).unwrap_or(i32::MAX));
    let query = sqlx::query_scalar(SQL).bind(account).bind(least).bind(longest).bind(COMPARED_MAX);
    let words: Vec<String> = query.fetch_one(conn).await?;
    Ok(meant(text, words))
}

/// Whether [`narrow`] looks at the prompts themselves, and so at `generation g`.
pub(super) fn reads_prompts(sought: &[Sought], place: Where) -> bool {
    !sought.is_empty() && (place != Where::Indexed || sought.iter().any(|sought| matches!(sought, Sought::Letters(_))))
}

/// Adds the conditions to a statement over `image i` and, where it [reads prompts](reads_prompts), `generation g`.
pub(super) fn narrow(sql: &mut QueryBuilder<Postgres>, sought: &[Sought], place: Where) {
    let mut letters: Vec<&String> = Vec::new();
    let mut marks = Vec::new();
    for sought in sought {
        match sought {
            Sought::Word { marks: of_word, .. } if place == Where::Indexed => marks.push(of_word),
            Sought::Word { text, .. } | Sought::Letters(text) => letters.push(text),
        }
    }
    match place {
        Where::Everywhere => {}
        Where::Indexed => {
            sql.push(" and i.id in (select w.image from image_words w where true");
            for marks in marks {
                sql.push(" and w.words && ").push_bind(marks.clone());
            }
            sql.push(")");
        }
        Where::Waiting => {
            sql.push(" and i.id in (select w.image from image_words w where w.words is null)");
        }
    }
    for text in letters {
        sql.push(" and position(").push_bind(text.clone()).push(" in lower(g.request->>'prompt')) > 0");
    }
}

/// Puts the next pictures that wait into the index; how many there were.
///
/// # Errors
/// The database could not be asked.
pub async fn index_waiting(pool: &Db, most: i64) -> sqlx::Result<usize> {
    // Newest first: what was made just now is what is looked for.
    const WAITING: &str = "select w.image, i.account, coalesce(g.request->>'prompt', '')
        from image_words w join image i on i.id = w.image join generation g on g.id = i.generation
        where w.words is null order by w.image desc limit $1 for update of w skip locked";
    // In one order, so that two replicas at it do not wait for one another in a circle.
    const VOCABULARY: &str = "insert into prompt_word (account, word)
        select account, word from unnest($1::uuid[], $2::text[]) as t(account, word) order by account, word
        on conflict do nothing";
    const WORDS: &str = "update image_words w set words = coalesce(n.words, '{}')
        from unnest($1::uuid[]) as t(image) left join
            (select image, array_agg(mark) as words from unnest($2::uuid[], $3::bigint[]) as m(image, mark) group by image) n
            using (image)
        where w.image = t.image";
    let mut tx = pool.begin().await?;
    let rows: Vec<(Uuid, Uuid, String)> = sqlx::query_as(WAITING).bind(most).fetch_all(&mut *tx).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let mut vocabulary = BTreeSet::new();
    let (mut images, mut marks) = (Vec::new(), Vec::new());
    for (image, account, prompt) in &rows {
        for word in words(prompt) {
            images.push(*image);
            marks.push(mark(*account, &word));
            vocabulary.insert((*account, word));
        }
    }
    let (accounts, known): (Vec<Uuid>, Vec<String>) = vocabulary.into_iter().unzip();
    sqlx::query(VOCABULARY).bind(accounts).bind(known).execute(&mut *tx).await?;
    let all: Vec<Uuid> = rows.iter().map(|(image, ..)| *image).collect();
    sqlx::query(WORDS).bind(all).bind(images).bind(marks).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(rows.len())
}
