//! Making jobs one by one and in batches: the same orders, with ids and times given, leave the same books to the byte.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use tintype_api::creation::sql::create;
use tintype_api::creation::{Deadline, NewJob, Outcome};
use tintype_api::database::Db;
use tintype_api::ledger::post::Stamp;
use tintype_api::ledger::{Grant, Source};
use tintype_api::records::idempotency;
use tintype_crds::WhenLate;
use tintype_types::{GenerationRequest, ModelDefaults, Sampler, Timestamp, Traceparent};
use uuid::Uuid;

use crate::support::{database, gift, ledger_faults};

const ACCOUNTS: u128 = 5;

/// Accounts with a fixed id, a fixed key and a fixed grant.
async fn prepare(pool: &PgPool) {
    for n in 1..=ACCOUNTS {
        let id = Uuid::from_u128(n);
        sqlx::query("insert into account (id, kind, name, created_ms) values ($1, 'user', 'test', 0)")
            .bind(id)
            .execute(pool)
            .await
            .unwrap();
        sqlx::query(
            "insert into api_key (id, account, name, secret_sha256, created_ms) values ($1, $2, 'k', sha256(''), 0)",
        )
        .bind(format!("{n:08}"))
        .bind(id)
        .execute(pool)
        .await
        .unwrap();
        let mut conn = pool.acquire().await.unwrap();
        tintype_api::ledger::sql::open_account(&mut conn, id).await.unwrap();
        let stamp = Stamp { txn: Uuid::from_u128(900 + n), at: Timestamp(1) };
        // In two lots, so that some holds span both.
        tintype_api::ledger::sql::grant(&mut conn, id, &gift(1_100, &format!("a{n}")), stamp).await.unwrap();
        let (stamp, expires) = (Stamp { txn: Uuid::from_u128(950 + n), ..stamp }, Some(Timestamp(1_000_000)));
        let bought = Grant { source: Source::Purchase, expires, ..gift(900, &format!("b{n}")) };
        tintype_api::ledger::sql::grant(&mut conn, id, &bought, stamp).await.unwrap();
    }
}

/// Orders of several accounts with keys that repeat, and more than the accounts can pay.
fn orders(seed: u64, count: u128) -> Vec<NewJob> {
    let mut rng = StdRng::seed_from_u64(seed);
    let defaults = ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Euler };
    let mut order = |n: u128| {
        let account = rng.random_range(1..=ACCOUNTS);
        NewJob {
            id: Uuid::from_u128(1_000_000 + n),
            account: Uuid::from_u128(account),
            api_key: Some(format!("{account:08}").as_str().into()),
            request: GenerationRequest::new("m", format!("prompt {n}")).resolve(&defaults, 7),
            body_sha256: [n as u8; 32],
            repeat: rng.random_bool(0.5).then(|| ("POST /x", format!("key-{}", rng.random_range(0..40)))),
            price: rng.random_range(1..120),
            stamp: Stamp { txn: Uuid::from_u128(2_000_000 + n), at: Timestamp(10 + n as u64) },
            deadline: n.is_multiple_of(5).then_some(Deadline { at: Timestamp(n as u64), when_late: WhenLate::Refuse }),
            open_max: 1_000,
            submitted: n.is_multiple_of(3).then_some(Timestamp(10)),
            traceparent: n.is_multiple_of(4).then_some(Traceparent { trace_id: n + 1, span_id: 7, sampled: true }),
        }
    };
    (0..count).map(&mut order).collect()
}

/// Everything creation writes, as one digest.
async fn digest(pool: &PgPool) -> String {
    const TABLES: [&str; 7] = [
        "select md5(coalesce(string_agg(t::text, E'\\n' order by t.id), '')) from generation t",
        "select md5(coalesce(string_agg(t::text, E'\\n' order by t.account, t.route, t.key), '')) from idempotency t",
        "select md5(coalesce(string_agg(t::text, E'\\n' order by t.id), '')) from hold t",
        "select md5(coalesce(string_agg(t::text, E'\\n' order by t.account, t.seq), '')) from ledger_txn t",
        "select md5(coalesce(string_agg(t::text, E'\\n' order by t.txn, t.line), '')) from ledger_entry t",
        "select md5(coalesce(string_agg(t::text, E'\\n' order by t.account), '')) from ledger_account t",
        "select md5(coalesce(string_agg(t::text, E'\\n' order by t.id), '')) from lot t",
    ];
    let mut digests = Vec::new();
    for sql in TABLES {
        digests.push(sqlx::query_scalar::<_, String>(sql).fetch_one(pool).await.unwrap());
    }
    digests.join(" ")
}

async fn outcome_of(sizes: &[usize], orders: &[NewJob]) -> (Vec<Outcome>, String) {
    let (pool, _url) = database().await;
    prepare(&pool).await;
    let (mut outcomes, mut rest, mut turn) = (Vec::new(), orders, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = turn.next().unwrap().min(&rest.len()).to_owned();
        let (batch, after) = rest.split_at(size);
        outcomes.extend(create(&Db::from(pool.clone()), batch).await.unwrap());
        rest = after;
    }
    assert_eq!(ledger_faults(&pool).await, Vec::<String>::new());
    (outcomes, digest(&pool).await)
}

#[tokio::test]
async fn batches_of_any_size_leave_the_books_of_one_by_one() {
    let orders = orders(1, 400);
    let alone = outcome_of(&[1], &orders).await;
    let count = |wanted: fn(&Outcome) -> bool| alone.0.iter().filter(|outcome| wanted(outcome)).count();
    let (made, keys) = (count(|o| matches!(o, Outcome::Made)), count(|o| matches!(o, Outcome::KeyTaken)));
    let short = count(|o| matches!(o, Outcome::Insufficient { .. }));
    assert!(made > 50 && keys > 20 && short > 50, "the orders try every outcome: {made} {keys} {short}");
    for sizes in [&[128][..], &[400], &[2, 17, 1, 64]] {
        assert_eq!(outcome_of(sizes, &orders).await, alone, "in batches of {sizes:?}");
    }
}

/// One order names a key nobody has: the database refuses the batch, and nothing of it is there.
#[tokio::test]
async fn a_bad_row_leaves_nothing_of_its_batch() {
    let (pool, _url) = database().await;
    prepare(&pool).await;
    let before = digest(&pool).await;
    let mut batch = orders(2, 10);
    batch[5].api_key = Some("nobodys!".into());
    batch[5].price = 1;
    batch[5].repeat = None;
    create(&Db::from(pool.clone()), &batch).await.unwrap_err();
    assert_eq!(digest(&pool).await, before);
    assert_eq!(create(&Db::from(pool.clone()), &batch[..5]).await.unwrap().len(), 5);
}

#[tokio::test]
async fn keys_older_than_a_day_are_all_forgotten_in_one_pass_and_younger_ones_are_not() {
    const SQL: &str = "insert into idempotency (account, route, key, body_sha256, generation, created_ms)
        select gen_random_uuid(), 'POST /x', 'k', sha256(''), gen_random_uuid(), case n when 1 then $1 else 0 end
        from generate_series(1, 2501) n";
    let (pool, _) = database().await;
    let now = Timestamp(100_000_000);
    let mut tx = pool.begin().await.unwrap();
    // Of no jobs there are.
    sqlx::query("set local session_replication_role = replica").execute(&mut *tx).await.unwrap();
    sqlx::query(SQL).bind(now.0 as i64 - idempotency::KEPT_MS).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let db = Db::from(pool.clone());
    let mut goes = 1;
    while idempotency::forget_old(&db, now).await.unwrap() {
        goes += 1;
    }
    let left: i64 = sqlx::query_scalar("select count(*) from idempotency").fetch_one(&pool).await.unwrap();
    assert_eq!((left, goes), (1, 3));
}
