//! Migrations: they get out of the way of whoever holds a lock and say so, come to the same schema from every version, and
//! run while others write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, Executor, PgConnection, PgPool};
use tintype_api::migrations::{NotMigrated, Patience, migrate, migrate_to, versions};
use uuid::Uuid;

use crate::rig::until;

/// Little, so that a test is soon over.
const LITTLE: Patience =
    Patience { lock_wait: Duration::from_millis(300), tries: 3, pause: Duration::from_millis(100) };

/// A database without a schema.
async fn bare() -> PgPool {
    let url = tokio::task::spawn_blocking(tintype_pg::testing::fresh_database).await.unwrap();
    tintype_api::database::connect(&url).await.unwrap()
}

/// Everything a schema is, as lines.
async fn dump(pool: &PgPool) -> Vec<String> {
    const SQL: &str = "
        with ours as (select oid from pg_namespace where nspname = 'public')
        select format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                pg_get_expr(d.adbin, d.adrelid))
            from pg_attribute a join pg_class c on c.oid = a.attrelid
            left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where c.relnamespace in (select oid from ours) and c.relkind in ('r', 'v', 'p') and a.attnum > 0 and not a.attisdropped
        union all select format('table %s %s %s', relname, relrowsecurity, relforcerowsecurity) from pg_class
            where relnamespace in (select oid from ours) and relkind = 'r'
        union all select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
            where connamespace in (select oid from ours)
        union all select format('index %s %s', pg_get_indexdef(i.indexrelid), i.indisvalid) from pg_index i
            join pg_class c on c.oid = i.indexrelid where c.relnamespace in (select oid from ours)
        union all select format('trigger %s', pg_get_triggerdef(t.oid)) from pg_trigger t join pg_class c on c.oid = t.tgrelid
            where c.relnamespace in (select oid from ours) and not t.tgisinternal
        union all select format('function %s', pg_get_functiondef(oid)) from pg_proc where pronamespace in (select oid from ours)
            and prokind = 'f'
        union all select format('policy %s %s %s %s %s', tablename, policyname, cmd, qual, with_check) from pg_policies
        union all select format('applied %s %s', version, encode(checksum, 'hex')) from _sqlx_migrations
        order by 1";
    sqlx::query_scalar(SQL).fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_comes_to_the_schema_of_a_fresh_database() {
    let fresh = bare().await;
    migrate(&fresh).await.unwrap();
    let wanted = dump(&fresh).await;
    assert!(wanted.len() > 500 && wanted.iter().all(|line| !line.starts_with("index") || line.ends_with(" t")));
    for version in versions() {
        let pool = bare().await;
        migrate_to(&pool, version, Patience::default()).await.unwrap();
        let half: i64 = sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(&pool).await.unwrap();
        assert_eq!(half, version);
        migrate(&pool).await.unwrap();
        let come_to = dump(&pool).await;
        let differ: Vec<_> = come_to.iter().filter(|line| !wanted.contains(line)).collect();
        assert!(come_to == wanted, "from {version} on: {differ:#?}");
        pool.close().await;
    }
}

/// A table is locked by a transaction that stays open. Writers who come meanwhile wait for no longer than the migration does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_of_a_locked_table_gives_up_clearly_and_blocks_nobody_meanwhile() {
    let pool = bare().await;
    // The step after it makes an index of `generation` in a transaction, which no writer may be at.
    migrate_to(&pool, 28, Patience::default()).await.unwrap();
    let mut holder = pool.acquire().await.unwrap().detach();
    holder.execute("begin; lock table generation in row exclusive mode").await.unwrap();
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writer = tokio::spawn({
        let (pool, stop, written) = (pool.clone(), Arc::clone(&stop), Arc::clone(&written));
        async move {
            let mut conn = pool.acquire().await?.detach();
            // Whoever had to wait as long as the holder holds would end here.
            conn.execute("set lock_timeout = '5s'").await?;
            while !stop.load(Ordering::SeqCst) {
                conn.execute("begin; lock table generation in row exclusive mode; commit").await?;
                written.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
            Ok::<(), sqlx::Error>(())
        }
    });
    let begun = Instant::now();
    let gave_up = tokio::time::timeout(Duration::from_secs(20), migrate_to(&pool, i64::MAX, LITTLE)).await;
    let gave_up = gave_up.expect("it gives up by itself").unwrap_err();
    // Three waits and two pauses, and what a busy machine adds.
    assert!(
        begun.elapsed() >= 3 * LITTLE.lock_wait && begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert!(matches!(gave_up, NotMigrated::Locked { version: 29, tries: 3, .. }), "{gave_up:?}");
    assert!(gave_up.to_string().contains("migration 29 did not get a lock within 300ms, 3 times"), "{gave_up}");
    let before = written.load(Ordering::SeqCst);
    until("writers go on", || async { (written.load(Ordering::SeqCst) > before + 10).then_some(()) }).await;

    // The lock goes: so does everybody else, and nothing was left behind.
    holder.execute("commit").await.unwrap();
    migrate_to(&pool, i64::MAX, Patience { tries: 50, ..LITTLE }).await.unwrap();
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap().unwrap();
    let last: i64 = sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(&pool).await.unwrap();
    assert_eq!(Some(&last), versions().last());
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database
        where datname = current_database())";
    let locks: i64 = sqlx::query_scalar(locks).fetch_one(&pool).await.unwrap();
    assert_eq!(locks, 0, "the migrator's own lock went with its connection");
}

/// An index that was being built beside writers and did not come to its end is built anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_left_half_built_is_built_anew() {
    let pool = bare().await;
    migrate_to(&pool, 29, Patience::default()).await.unwrap();
    let insert = "insert into stripe_event (id, type, payload, created_s, received_ms, next_ms, state)
        select n::text, 'x', '{}', 0, 0, 0, 'dead' from generate_series(1, 2) n";
    sqlx::query(insert).execute(&pool).await.unwrap();
    // Two rows of one key: a unique index of this name fails, and stays behind as no index.
    let mut conn: PgConnection = pool.acquire().await.unwrap().detach();
    let failed = conn.execute("create unique index concurrently stripe_event_dead on stripe_event (received_ms)").await;
    assert!(failed.is_err());
    conn.close().await.unwrap();
    migrate(&pool).await.unwrap();
    let sql = "select pg_get_indexdef(indexrelid) from pg_index where indexrelid = 'stripe_event_dead'::regclass and indisvalid";
    let made: String = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
    assert!(!made.contains("UNIQUE") && made.contains("'dead'"), "{made}");
}

/// The last steps run while others write: nobody is refused, and nobody waits for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_steps_run_while_others_write() {
    let pool = bare().await;
    let all = versions();
    migrate_to(&pool, all[all.len() - 4], Patience::default()).await.unwrap();
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (pool, stop, written) = (pool.clone(), Arc::clone(&stop), Arc::clone(&written));
            tokio::spawn(async move {
                let mut conn = pool.acquire().await?.detach();
                conn.execute("set statement_timeout = '2s'").await?;
                while !stop.load(Ordering::SeqCst) {
                    let id = Uuid::now_v7();
                    let mut tx = conn.begin().await?;
                    let account = "insert into account (id, kind, name, created_ms) values ($1, 'user', 'w', 0)";
                    sqlx::query(account).bind(id).execute(&mut *tx).await?;
                    let event = "insert into stripe_event (id, type, payload, created_s, received_ms, next_ms)
                        values ($1, 'x', '{}', 0, 0, 0)";
                    sqlx::query(event).bind(id.to_string()).execute(&mut *tx).await?;
                    sqlx::query("update generation set finished_ms = 1 where id = $1")
                        .bind(id)
                        .execute(&mut *tx)
                        .await?;
                    tx.commit().await?;
                    written.fetch_add(1, Ordering::SeqCst);
                }
                Ok::<(), sqlx::Error>(())
            })
        })
        .collect();
    until("all write", || async { (written.load(Ordering::SeqCst) > 20).then_some(()) }).await;
    migrate(&pool).await.unwrap();
    let before = written.load(Ordering::SeqCst);
    until("all go on", || async { (written.load(Ordering::SeqCst) > before + 20).then_some(()) }).await;
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap().expect("nobody is refused");
    }
    let kept: i64 = sqlx::query_scalar("select count(*) from stripe_event").fetch_one(&pool).await.unwrap();
    assert_eq!(usize::try_from(kept).unwrap(), written.load(Ordering::SeqCst));
}
