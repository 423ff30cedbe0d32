//! What searching for words of prompts costs, among 200,000 pictures of one account beside as many of a thousand others: one JSON
//! line a figure, each the slowest of a hundred beside reading every prompt. Run with `make bench-search`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench stops where it breaks, and prints its figures")]

use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tintype_api::database::{self, Db};
use tintype_api::gallery::image::{self, Filter};
use tintype_api::gallery::prompts;
use tintype_api::tenancy;
use uuid::Uuid;

/// Pictures of the account that searches, and as many of the others together.
const PICTURES: usize = 200_000;
const OTHERS: u128 = 1_000;
/// Words there are, and in one prompt. The n-th is used a n-th as often as the first.
const WORDS: usize = 20_000;
const IN_A_PROMPT: usize = 20;
/// Searches of one kind.
const SEARCHES: usize = 200;
/// Longest one may take, in milliseconds, as the slowest of a hundred.
const GOAL: f64 = 50.0;
/// Pictures of a page, and one more that tells whether there is another.
const PAGE: i64 = 51;
const SEED: u64 = 7;

#[tokio::main]
async fn main() {
    let url = tokio::task::spawn_blocking(tintype_pg::testing::fresh_database).await.unwrap();
    let owner = database::connect(&url).await.unwrap();
    database::migrate(&owner).await.unwrap();
    let mut rng = StdRng::seed_from_u64(SEED);
    let words = vocabulary(&mut rng);
    let ada = fill(&owner, &words, &mut rng).await;
    let pool = Db::from(owner.clone());
    let started = Instant::now();
    let mut indexed = 0;
    loop {
        let pictures = prompts::index_waiting(&pool, 1_000).await.unwrap();
        indexed += pictures;
        if pictures == 0 {
            break;
        }
    }
    report("search_indexed_pictures", indexed as f64 / started.elapsed().as_secs_f64(), "1/s", None);
    sqlx::raw_sql("vacuum analyze").execute(&owner).await.unwrap();

    let tenant = tenancy::connect(&url).await.unwrap();
    let scan = slowest(
        SEARCHES / 10,
        &mut rng,
        |rng| vec![words[rng.random_range(5_000..WORDS)].clone()],
        async |asked| {
            const SCAN: &str = "select i.id from image i join generation g on g.id = i.generation where i.account = $1
            and i.deleting_ms is null and position($2 in lower(g.request->>'prompt')) > 0 order by i.id desc limit 51";
            let found: Vec<Uuid> = sqlx::query_scalar(SCAN).bind(ada).bind(&asked[0]).fetch_all(&owner).await.unwrap();
            found.len()
        },
    )
    .await;
    report("search_reading_every_prompt", scan, "ms", None);
    let list = async |asked: Vec<String>| {
        let filter = Filter { words: asked, ..Filter::default() };
        tenancy::as_account(ada, image::list(&tenant, ada, &filter, PAGE)).await.unwrap().len()
    };
    let days = async |asked: Vec<String>| {
        let filter = Filter { words: asked, ..Filter::default() };
        tenancy::as_account(ada, image::days(&tenant, ada, &filter)).await.unwrap().len()
    };
    let word = |ranks: std::ops::Range<usize>| {
        let words = &words;
        move |rng: &mut StdRng| vec![words[rng.random_range(ranks.clone())].clone()]
    };
    let kinds = [
        ("search_common_word", slowest(SEARCHES, &mut rng, word(0..20), list).await),
        ("search_middling_word", slowest(SEARCHES, &mut rng, word(200..2_000), list).await),
        ("search_rare_word", slowest(SEARCHES, &mut rng, word(5_000..WORDS), list).await),
        (
            "search_two_words",
            slowest(SEARCHES, &mut rng, |rng| [word(50..200)(rng), word(500..2_000)(rng)].concat(), list).await,
        ),
        ("search_part_of_a_word", slowest(SEARCHES, &mut rng, |rng| vec![part(&word(0..WORDS)(rng)[0])], list).await),
        (
            "search_misspelt_word",
            slowest(SEARCHES, &mut rng, |rng| vec![misspelt(&word(0..5_000)(rng)[0], rng)], list).await,
        ),
        ("search_unknown_word", slowest(SEARCHES, &mut rng, |_| vec!["qqqqwwww".to_owned()], list).await),
        ("search_days_of_a_word", slowest(SEARCHES, &mut rng, word(200..2_000), days).await),
    ];
    for (name, millis) in kinds {
        report(name, millis, "ms", Some(scan));
    }
}

fn report(name: &str, value: f64, unit: &str, anchor: Option<f64>) {
    let goal = anchor.map(|_| GOAL);
    println!(
        "{}",
        serde_json::json!({ "name": name, "value": value, "unit": unit, "anchor": anchor,
            "ratio": anchor.map(|anchor| value / anchor), "goal": goal, "ok": goal.is_none_or(|goal| value <= goal) })
    );
}

/// The slowest of a hundred, in milliseconds.
async fn slowest(
    searches: usize,
    rng: &mut StdRng,
    ask: impl Fn(&mut StdRng) -> Vec<String>,
    search: impl AsyncFn(Vec<String>) -> usize,
) -> f64 {
    let mut times = Vec::new();
    for _ in 0..searches {
        let asked = ask(rng);
        let started = Instant::now();
        std::hint::black_box(search(asked).await);
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

fn vocabulary(rng: &mut StdRng) -> Vec<String> {
    const SYLLABLES: [&str; 32] = [
        "ba", "con", "der", "el", "fi", "gar", "ho", "in", "ju", "kal", "lu", "mor", "ne", "os", "pre", "qua", "ri",
        "ster", "ti", "un", "vel", "wo", "xi", "yar", "zo", "ard", "ble", "cha", "dra", "ess", "flo", "gon",
    ];
    let mut known = std::collections::HashSet::new();
    let mut words = Vec::new();
    while words.len() < WORDS {
        let syllables = rng.random_range(2..=4);
        let word: String = (0..syllables).map(|_| *SYLLABLES.choose(rng).unwrap()).collect();
        if known.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

fn part(word: &str) -> String {
    word.chars().skip(1).take(5).collect()
}

/// Two letters in the midst of it change places.
fn misspelt(word: &str, rng: &mut StdRng) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let at = rng.random_range(1..letters.len() - 1);
    letters.swap(at, at - 1);
    letters.into_iter().collect()
}

/// Jobs that have ended with a picture each; the account that will search.
async fn fill(pool: &sqlx::PgPool, words: &[String], rng: &mut StdRng) -> Uuid {
    const ACCOUNTS: &str = "insert into account (id, kind, name, created_ms)
        select id, 'user', 'bench', 0 from unnest($1::uuid[]) id";
    const JOBS: &str = "insert into generation (id, account, request, body_sha256, price, state, finished_ms, settled_ms,
            submitted_ms, released_ms, answered_ms, created_ms)
        select id, account, jsonb_build_object('model', 'tintype/shapes', 'prompt', prompt, 'negativePrompt', 'blurry, low quality',
            'width', 512, 'height', 512, 'steps', 30, 'guidanceScale', 7.5, 'sampler', 'dpmpp-2m', 'seed', 1, 'images', 1,
            'embedParameters', true), sha256('x'), 1, 'Complete', at, at, at, at, at, at
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) as t(id, account, prompt, at)";
    const PICTURES_OF: &str = "insert into image (id, account, generation, n, key, model, width, height, bytes, sha256, seed, created_ms)
        select image_id(finished_ms, 0, id), account, id, 0, 'outputs/' || id || '/0.png', 'tintype/shapes', 512, 512, 300000,
            repeat('a', 64), 1, finished_ms from generation where id = any($1)";
    let accounts: Vec<Uuid> =
        (0..=OTHERS).map(Uuid::from_u128).map(|id| Uuid::from_u128(id.as_u128() | 7 << 76)).collect();
    sqlx::query(ACCOUNTS).bind(&accounts).execute(pool).await.unwrap();
    let (ada, others) = accounts.split_first().unwrap();
    let many = (WORDS as f64).ln();
    let rows: Vec<usize> = (0..2 * PICTURES).collect();
    for chunk in rows.chunks(5_000) {
        let ids: Vec<Uuid> = chunk.iter().map(|_| Uuid::from_u128(rng.random())).collect();
        let owners: Vec<Uuid> =
            chunk.iter().map(|n| if n % 2 == 0 { *ada } else { *others.choose(rng).unwrap() }).collect();
        let prompts = chunk.iter().map(|_| {
            let of_prompt = (0..IN_A_PROMPT).map(|_| words[(rng.random::<f64>() * many).exp() as usize - 1].as_str());
            of_prompt.collect::<Vec<_>>().join(" ")
        });
        let prompts: Vec<String> = prompts.collect();
        let times: Vec<i64> = chunk.iter().map(|n| 1_700_000_000_000 + *n as i64 * 60_000).collect();
        let jobs = sqlx::query(JOBS).bind(&ids).bind(owners).bind(prompts).bind(times);
        jobs.execute(pool).await.unwrap();
        sqlx::query(PICTURES_OF).bind(&ids).execute(pool).await.unwrap();
    }
    *ada
}
