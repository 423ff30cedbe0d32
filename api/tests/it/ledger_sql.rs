//! The ledger in real PostgreSQL: many tasks at once, the invariants as SQL, and the database's own refusals.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, PgPool};
use tintype_api::database::Db;
use tintype_api::ledger::post::{End, Stamp, TakeBack};
use tintype_api::ledger::sql::{self, LedgerSqlError, NewHold};
use tintype_api::ledger::{Grant, HoldState, LedgerError, Source};
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::support::{account, database, gift, ledger_faults, now};

const TASKS: u64 = 12;
const OPS: usize = 40;
const BURSTS: u64 = 3;

fn stamp() -> Stamp {
    Stamp { txn: Uuid::now_v7(), at: now() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once_keep_every_invariant() {
    let seed: u64 = std::env::var("TINTYPE_TEST_SEED").map_or_else(|_| rand::rng().next_u64(), |s| s.parse().unwrap());
    println!("TINTYPE_TEST_SEED={seed}");
    let (pool, _) = database().await;
    let mut accounts = Vec::new();
    for _ in 0..3 {
        accounts.push(account(&pool).await);
    }
    // Few job ids, shared by all tasks: two tasks holding or ending the same one is the point.
    let jobs: Vec<Uuid> = (0..60).map(|_| Uuid::now_v7()).collect();
    let mut ended = 0;
    for burst in 0..BURSTS {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let rng = StdRng::seed_from_u64(seed ^ (burst << 32) ^ task);
                tokio::spawn(work(pool.clone(), accounts.clone(), jobs.clone(), rng))
            })
            .collect();
        for task in tasks {
            ended += task.await.unwrap();
        }
        assert_eq!(ledger_faults(&pool).await, Vec::<String>::new(), "seed {seed}");
    }
    let in_database: i64 =
        sqlx::query_scalar("select count(*) from hold where state <> 'held'").fetch_one(&pool).await.unwrap();
    assert_eq!(ended, in_database, "each end was told to exactly one task; seed {seed}");
    assert!(ended > 20, "the burst did something; seed {seed}");
}

/// Random operations; answers how many holds this task was told it ended.
async fn work(pool: PgPool, accounts: Vec<Uuid>, jobs: Vec<Uuid>, mut rng: StdRng) -> i64 {
    let mut ended = 0;
    for _ in 0..OPS {
        let which = rng.random_range(0..jobs.len());
        // A job belongs to one account; now and then a task asks for it on another's book and must be refused.
        let stranger = rng.random_ratio(1, 20);
        let account = accounts[(which + usize::from(stranger)) % accounts.len()];
        let amount = rng.random_range(1..40);
        let mut tx = pool.begin().await.unwrap();
        let result = match rng.random_range(0..12) {
            0..2 => {
                let source = Source::ALL[rng.random_range(0..Source::ALL.len())];
                let expires = rng.random_bool(0.5).then(|| now().plus(Duration::from_millis(rng.random_range(1..400))));
                let grant = Grant { source, expires, ..gift(amount, &rng.random_range(0..400).to_string()) };
                sql::grant(&mut tx, account, &grant, stamp()).await.map(drop)
            }
            10 => {
                let lot = sqlx::query_scalar("select id from lot where account = $1 order by random() limit 1");
                let lot: Option<Uuid> = lot.bind(account).fetch_optional(&mut *tx).await.unwrap();
                let lot = lot.unwrap_or(account);
                let what = TakeBack { lot, amount, key: format!("back:{}", rng.random_range(0..400)) };
                sql::take_back(&mut tx, account, what, stamp()).await.map(drop)
            }
            11 => {
                let lapsing = sql::lapsing(&Db::from(pool.clone()), now(), 1).await.unwrap();
                match lapsing.first() {
                    Some((account, lot)) => sql::lapse(&mut tx, *account, *lot, stamp()).await.map(drop),
                    None => Ok(()),
                }
            }
            2..6 => {
                let new = NewHold { account, id: jobs[which], amount, expires: now() };
                sql::hold(&mut tx, new, stamp()).await.map(drop)
            }
            kind => {
                let how = match kind {
                    6..8 => End::Capture(rng.random_range(0..40)),
                    8 => End::Void,
                    _ => End::Expire,
                };
                sql::end(&mut tx, account, jobs[which], how, stamp()).await.map(|before| {
                    ended += i64::from(before.is_none());
                })
            }
        };
        match result {
            Ok(()) => tx.commit().await.unwrap(),
            Err(LedgerSqlError::Refused(_) | LedgerSqlError::NoHold(_)) => tx.rollback().await.unwrap(),
            // Two tasks on two books took the same job or grant key at once: the unique key lets one through.
            Err(LedgerSqlError::Database(error)) if is_unique_violation(&error) => tx.rollback().await.unwrap(),
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
    ended
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

#[tokio::test]
async fn each_step_moves_what_it_says_and_twice_is_once() {
    let (pool, _) = database().await;
    let account = account(&pool).await;
    let job = Uuid::now_v7();
    let conn = &mut *pool.acquire().await.unwrap();
    let new = NewHold { account, id: job, amount: 70, expires: now() };

    assert!(matches!(
        sql::hold(conn, new, stamp()).await,
        Err(LedgerSqlError::Refused(LedgerError::Insufficient { available: 0, needed: 70 }))
    ));
    assert!(sql::grant(conn, account, &gift(100, "signup"), stamp()).await.unwrap());
    assert!(!sql::grant(conn, account, &gift(100, "signup"), stamp()).await.unwrap());
    assert!(sql::hold(conn, new, stamp()).await.unwrap());
    assert!(!sql::hold(conn, new, stamp()).await.unwrap());
    let book = sql::balance(conn, account).await.unwrap();
    assert_eq!((book.available, book.held, book.spent), (30, 70, 0));

    assert_eq!(sql::end(conn, account, job, End::Capture(50), stamp()).await.unwrap(), None);
    assert_eq!(sql::end(conn, account, job, End::Void, stamp()).await.unwrap(), Some(HoldState::Captured));
    assert_eq!(sql::end(conn, account, job, End::Expire, stamp()).await.unwrap(), Some(HoldState::Captured));
    let book = sql::balance(conn, account).await.unwrap();
    assert_eq!((book.granted, book.available, book.held, book.spent), (-100, 50, 0, 50));
    assert_eq!(ledger_faults(&pool).await, Vec::<String>::new());
}

/// Code that goes round the ledger meets the database.
#[tokio::test]
async fn the_database_refuses_what_the_code_would_never_do() {
    let (pool, _) = database().await;
    let account = account(&pool).await;
    let job = Uuid::now_v7();
    let mut conn = pool.acquire().await.unwrap();
    sql::grant(&mut conn, account, &gift(100, "signup"), stamp()).await.unwrap();
    let new = NewHold { account, id: job, amount: 70, expires: now() };
    sql::hold(&mut conn, new, stamp()).await.unwrap();
    sql::end(&mut conn, account, job, End::Void, stamp()).await.unwrap();
    drop(conn);

    for refused in [
        "update ledger_entry set amount = amount + 1",
        "delete from ledger_entry",
        "truncate ledger_entry",
        "update ledger_txn set at_ms = 0",
        "delete from ledger_txn",
        "truncate ledger_txn cascade",
        "delete from hold",
        "delete from ledger_account",
        "update hold set state = 'held', ended_ms = null",
        "update hold set state = 'captured', captured = 70",
        "update ledger_account set available = available + 1",
        "update ledger_account set available = -1, spent = 101",
        "update ledger_account set held = -1, spent = 1",
        "update ledger_account set owed = -1, granted = granted + 1",
        "update lot set amount = amount + 1",
        "update lot set remaining = amount + 1",
        "update lot set reserved = -1",
        "update lot set expires_ms = 5",
        "delete from lot",
        "truncate lot",
        "insert into lot (id, account, source, source_ref, amount, remaining, reserved, created_ms)
            select gen_random_uuid(), account, source, source_ref, 5, 5, 0, 0 from lot",
        "insert into hold (id, account, amount, state, created_ms, expires_ms, ended_ms)
            select gen_random_uuid(), account, 5, 'voided', 0, 0, 0 from ledger_account",
        "insert into ledger_entry (txn, line, account, bucket, amount, balance_after)
            select id, 9, account, 'available', 5, 105 from ledger_txn limit 1",
        // With its lot: that it does not sum to zero is all there is against it.
        "insert into ledger_entry (txn, line, account, bucket, amount, balance_after, lot)
            select t.id, 9, t.account, 'available', 5, 105, l.id from ledger_txn t, lot l limit 1",
        "insert into ledger_txn (id, account, seq, kind, key, at_ms, prev_hash, hash)
            select gen_random_uuid(), account, 99, 'void', key, 0, prev_hash, hash from ledger_txn where kind = 'void'",
    ] {
        assert!(sqlx::query(refused).execute(&pool).await.is_err(), "not refused: {refused}");
    }
    assert_eq!(ledger_faults(&pool).await, Vec::<String>::new());
}

/// Rows are looked at together, once a statement: one that names what is not there spoils it, wherever it stands.
#[tokio::test]
async fn what_a_row_names_is_there_and_stays() {
    let (pool, _) = database().await;
    let (ada, eve) = (account(&pool).await, account(&pool).await);
    let job = "insert into generation (id, account, api_key, request, body_sha256, price, created_ms)
        select gen_random_uuid(), t.account, t.api_key, '{}', sha256(''), 1, 0";
    let key = "insert into api_key (id, account, name, secret_sha256, created_ms) values ('00000001', $1, 'k', sha256(''), 0)";
    sqlx::query(key).bind(ada).execute(&pool).await.unwrap();
    let made = format!("{job} from (values ('{ada}'::uuid, '00000001'), ('{eve}', null)) as t (account, api_key)");
    sqlx::query(AssertSqlSafe(made)).execute(&pool).await.unwrap();
    let nobody = Uuid::now_v7();
    let missing = [
        format!("{job} from (values ('{ada}'::uuid, null), ('{nobody}', null)) as t (account, api_key)"),
        format!("{job} from (values ('{ada}'::uuid, '00000001'), ('{ada}', '00000002')) as t (account, api_key)"),
        format!(
            "insert into idempotency (account, route, key, body_sha256, generation, created_ms)
                select '{ada}', 'r', g.id::text, sha256(''), g.id, 0 from generation g"
        ),
        format!(
            "insert into idempotency (account, route, key, body_sha256, generation, created_ms)
                values ('{ada}', 'r', 'k', sha256(''), '{nobody}', 0)"
        ),
        format!(
            "insert into ledger_txn (id, account, seq, kind, key, at_ms, prev_hash, hash)
                select gen_random_uuid(), t.account, 1, 'grant', t.account::text, 0, sha256(''), sha256('')
                from (values ('{ada}'::uuid), ('{nobody}')) as t (account)"
        ),
        format!(
            "insert into hold (id, account, amount, state, created_ms, expires_ms)
                select gen_random_uuid(), t.account, 1, 'held', 0, 0 from (values ('{ada}'::uuid), ('{nobody}')) as t (account)"
        ),
    ];
    for sql in missing {
        let refused = sqlx::query(AssertSqlSafe(sql.clone())).execute(&pool).await.unwrap_err();
        let code =
            refused.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned);
        assert_eq!(code.as_deref(), Some("23503"), "{sql}: {refused}");
    }
    for removal in [
        "delete from account",
        "delete from generation",
        "delete from api_key",
        "update api_key set id = '00000009'",
        "update generation set api_key = null where api_key is not null",
        "update ledger_account set account = gen_random_uuid()",
        "truncate generation cascade",
        "truncate api_key cascade",
        "truncate account cascade",
    ] {
        let refused = sqlx::query(removal).execute(&pool).await.unwrap_err();
        let code =
            refused.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned);
        assert_eq!(code.as_deref(), Some("23001"), "{removal}: {refused}");
    }
}

/// What a version that does not know the count writes is counted all the same.
#[tokio::test]
async fn holds_are_counted_whoever_writes_the_book() {
    let (pool, _) = database().await;
    let account = account(&pool).await;
    let mut conn = pool.acquire().await.unwrap();
    sql::grant(&mut conn, account, &gift(100, "signup"), stamp()).await.unwrap();
    let jobs = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    for (open, id) in (1..).zip(jobs) {
        sql::hold(&mut conn, NewHold { account, id, amount: 20, expires: now() }, stamp()).await.unwrap();
        assert_eq!(open_holds(&pool, account).await, open);
    }
    for (left, (id, how)) in [2, 1, 0].into_iter().zip(jobs.into_iter().zip([End::Capture(20), End::Void, End::Expire]))
    {
        sql::end(&mut conn, account, id, how, stamp()).await.unwrap();
        // Twice is once.
        sql::end(&mut conn, account, id, how, stamp()).await.unwrap();
        assert_eq!(open_holds(&pool, account).await, left);
    }
}

async fn open_holds(pool: &PgPool, account: Uuid) -> i64 {
    sqlx::query_scalar("select open_holds from ledger_account where account = $1")
        .bind(account)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// The checks above can fail: with the guards taken away, each kind of damage is seen.
#[tokio::test]
async fn damage_is_seen_by_the_invariants() {
    let (pool, _) = database().await;
    let account = account(&pool).await;
    let mut conn = pool.acquire().await.unwrap();
    sql::grant(&mut conn, account, &gift(100, "signup"), stamp()).await.unwrap();
    let new = NewHold { account, id: Uuid::now_v7(), amount: 70, expires: Timestamp(0) };
    sql::hold(&mut conn, new, stamp()).await.unwrap();
    drop(conn);
    assert_eq!(ledger_faults(&pool).await, Vec::<String>::new());
    for damage in [
        "update ledger_entry set amount = amount + 1 where bucket = 'held'",
        "update ledger_txn set at_ms = at_ms + 1 where kind = 'grant'",
        "update ledger_account set available = available + 1, spent = spent - 1",
        "update hold set state = 'voided', ended_ms = 1",
        "update ledger_account set seq = seq + 1",
        "update lot set remaining = remaining - 1, reserved = reserved + 1",
        "update lot set expires_ms = 0",
    ] {
        let mut tx = pool.begin().await.unwrap();
        for guard in [
            "set local session_replication_role = replica",
            "alter table ledger_account drop constraint ledger_account_spent_check",
        ] {
            sqlx::query(guard).execute(&mut *tx).await.unwrap();
        }
        sqlx::query(damage).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_ne!(ledger_faults(&pool).await, Vec::<String>::new(), "not seen: {damage}");
        // Undo by the opposite, again without guards, so that the next damage stands alone.
        restore(&pool, damage).await;
        assert_eq!(ledger_faults(&pool).await, Vec::<String>::new(), "not undone: {damage}");
    }
}

async fn restore(pool: &PgPool, damage: &str) {
    let undo = match damage.split(" where").next().unwrap() {
        "update ledger_entry set amount = amount + 1" => {
            "update ledger_entry set amount = amount - 1 where bucket = 'held'"
        }
        "update ledger_txn set at_ms = at_ms + 1" => "update ledger_txn set at_ms = at_ms - 1 where kind = 'grant'",
        "update hold set state = 'voided', ended_ms = 1" => "update hold set state = 'held', ended_ms = null",
        "update ledger_account set seq = seq + 1" => "update ledger_account set seq = seq - 1",
        "update lot set remaining = remaining - 1, reserved = reserved + 1" => {
            "update lot set remaining = remaining + 1, reserved = reserved - 1"
        }
        "update lot set expires_ms = 0" => "update lot set expires_ms = null",
        _ => "update ledger_account set available = available - 1, spent = spent + 1",
    };
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("set local session_replication_role = replica").execute(&mut *tx).await.unwrap();
    sqlx::query(undo).execute(&mut *tx).await.unwrap();
    sqlx::query("alter table ledger_account add constraint ledger_account_spent_check check (spent >= 0)")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// The lock on a book is what makes tasks wait for one another instead of failing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_hold_waits_for_the_first_and_sees_its_balance() {
    let (pool, _) = database().await;
    let account = account(&pool).await;
    let mut first = pool.begin().await.unwrap();
    sql::grant(&mut first, account, &gift(100, "g"), stamp()).await.unwrap();
    let second = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut tx = pool.begin().await.unwrap();
            let new = NewHold { account, id: Uuid::now_v7(), amount: 100, expires: Timestamp(0) };
            sql::hold(&mut tx, new, stamp()).await.unwrap();
            tx.commit().await.unwrap();
        }
    });
    let waits = async {
        const SQL: &str =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        while sqlx::query_scalar::<_, i64>(SQL).fetch_one(&pool).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waits).await.unwrap();
    first.commit().await.unwrap();
    second.await.unwrap();
    assert_eq!(ledger_faults(&pool).await, Vec::<String>::new());
}

/// A book from before there were lots: everything in it is one lot, open holds end as they would have, and the chain
/// goes on.
#[tokio::test]
async fn a_book_from_before_there_were_lots_goes_on() {
    let (pool, _) = database().await;
    let account = account(&pool).await;
    let mut conn = pool.acquire().await.unwrap();
    sql::grant(&mut conn, account, &gift(100, "signup"), stamp()).await.unwrap();
    let job = Uuid::now_v7();
    let new = NewHold { account, id: job, amount: 70, expires: Timestamp(0) };
    sql::hold(&mut conn, new, stamp()).await.unwrap();
    drop(conn);
    let old = "begin; set local session_replication_role = replica;
        alter table ledger_entry drop constraint ledger_entry_names_its_lot;
        update ledger_entry set lot = null; delete from lot;
        insert into lot (id, account, source, source_ref, amount, remaining, reserved, created_ms)
            select account, account, 'admin', 'before-lots:' || account, -granted, available, held, 0 from ledger_account;
        with rehashed as (select t.id, sha256(convert_to(concat_ws('|', repeat('0', 64), t.id, t.account, t.seq, t.kind, t.key, t.at_ms,
            (select string_agg(bucket || ':' || amount || ':' || balance_after, ',' order by line) from ledger_entry where txn = t.id)), 'UTF8')) as hash
            from ledger_txn t where seq = 1)
        update ledger_txn t set hash = r.hash from rehashed r where r.id = t.id;
        update ledger_txn t set prev_hash = (select hash from ledger_txn where seq = 1) where seq = 2;
        update ledger_txn t set hash = sha256(convert_to(concat_ws('|', encode(t.prev_hash, 'hex'), t.id, t.account, t.seq, t.kind, t.key, t.at_ms,
            (select string_agg(bucket || ':' || amount || ':' || balance_after, ',' order by line) from ledger_entry where txn = t.id)), 'UTF8'))
            where seq = 2;
        update ledger_account set head = (select hash from ledger_txn where seq = 2); commit";
    sqlx::raw_sql(old).execute(&pool).await.unwrap();
    assert_eq!(sql::verify(&Db::from(pool.clone()), account).await.unwrap(), (2, Ok(())));

    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(sql::end(&mut conn, account, job, End::Capture(50), stamp()).await.unwrap(), None);
    let new = NewHold { account, id: Uuid::now_v7(), amount: 50, expires: Timestamp(0) };
    assert!(sql::hold(&mut conn, new, stamp()).await.unwrap());
    drop(conn);
    assert_eq!(ledger_faults(&pool).await, Vec::<String>::new());
    assert_eq!(sql::verify(&Db::from(pool.clone()), account).await.unwrap(), (4, Ok(())));
}

/// C4, C2 and C6 in the database, step by step.
#[tokio::test]
async fn lots_lapse_and_payments_are_taken_back() {
    let (pool, _) = database().await;
    let account = account(&pool).await;
    let conn = &mut *pool.acquire().await.unwrap();
    let at = |ms: u64| Stamp { txn: Uuid::now_v7(), at: Timestamp(ms) };
    let bought = at(1);
    let lot = Grant { source: Source::Purchase, expires: None, ..gift(150_000, "pack") };
    sql::grant(conn, account, &lot, bought).await.unwrap();
    let promo = at(2);
    let lot = Grant { expires: Some(Timestamp(100)), ..gift(1_000, "promo") };
    sql::grant(conn, account, &lot, promo).await.unwrap();
    let (before, after) = (Uuid::now_v7(), Uuid::now_v7());
    let hold = |id, amount| NewHold { account, id, amount, expires: Timestamp(0) };
    sql::hold(conn, hold(before, 400), at(99)).await.unwrap();
    sql::hold(conn, hold(after, 140_000), at(100)).await.unwrap();
    let left = async || -> Vec<(i64, i64)> {
        let sql = "select remaining, reserved from lot order by created_ms";
        sqlx::query_as(sql).fetch_all(&pool).await.unwrap()
    };
    assert_eq!(left().await, [(10_000, 140_000), (600, 400)], "the one from after took nothing that had lapsed");

    assert!(!sql::lapse(conn, account, promo.txn, at(99)).await.unwrap(), "its time has not come");
    assert_eq!(sql::lapsing(&Db::from(pool.clone()), Timestamp(100), 9).await.unwrap(), [(account, promo.txn)]);
    assert!(sql::lapse(conn, account, promo.txn, at(100)).await.unwrap());
    assert!(!sql::lapse(conn, account, promo.txn, at(100)).await.unwrap());
    sql::end(conn, account, before, End::Capture(300), at(150)).await.unwrap();
    assert_eq!(left().await[1], (100, 0), "captured after its time; what came back lapses in its turn");
    assert!(sql::lapse(conn, account, promo.txn, at(151)).await.unwrap());

    // The whole pack is taken back while most of it is set aside: ten credits remain, a hundred are owed, forty lost.
    let what = || TakeBack { lot: bought.txn, amount: 150_000, key: "refund:pack".to_owned() };
    assert!(sql::take_back(conn, account, what(), at(200)).await.unwrap());
    assert!(!sql::take_back(conn, account, what(), at(201)).await.unwrap(), "once");
    let book = sql::balance(conn, account).await.unwrap();
    assert_eq!((book.available, book.held, book.owed, book.lost), (0, 140_000, -100_000, -40_000));
    let broke = sql::hold(conn, hold(Uuid::now_v7(), 1), at(202)).await;
    assert!(matches!(broke, Err(LedgerSqlError::Refused(LedgerError::Insufficient { available: 0, needed: 1 }))));
    // What the job does not use pays: first what was lost of this very lot, then what is owed.
    sql::end(conn, account, after, End::Capture(50_000), at(203)).await.unwrap();
    let book = sql::balance(conn, account).await.unwrap();
    assert_eq!((book.available, book.held, book.owed, book.lost, book.spent), (0, 0, -50_000, 0, 50_300));
    // New credits pay what is owed before they can be spent.
    let lot = Grant { source: Source::Purchase, ..gift(60_000, "pack 2") };
    sql::grant(conn, account, &lot, at(204)).await.unwrap();
    let book = sql::balance(conn, account).await.unwrap();
    assert_eq!((book.available, book.owed), (10_000, 0));

    sql::set_stopped(conn, account, sql::Stopped::Yes).await.unwrap();
    let stopped = sql::hold(conn, hold(Uuid::now_v7(), 1), at(205)).await;
    assert!(matches!(stopped, Err(LedgerSqlError::Refused(LedgerError::Stopped))));
    sql::set_stopped(conn, account, sql::Stopped::No).await.unwrap();
    assert!(sql::hold(conn, hold(Uuid::now_v7(), 1), at(206)).await.unwrap());
    assert_eq!(ledger_faults(&pool).await, Vec::<String>::new());
    assert_eq!(sql::verify(&Db::from(pool.clone()), account).await.unwrap().1, Ok(()));
}
