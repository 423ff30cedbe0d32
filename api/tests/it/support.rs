//! What the tests share: a fresh database with the schema, ids and times, the ledger's invariants as SQL.

use sqlx::PgPool;
use tintype_types::Timestamp;
use uuid::Uuid;

/// A new database with the schema in it, and its URL.
pub(crate) async fn database() -> (PgPool, String) {
    let url = tokio::task::spawn_blocking(tintype_pg::testing::fresh_database).await.unwrap();
    let pool = tintype_api::database::connect(&url).await.unwrap();
    tintype_api::database::migrate(&pool).await.unwrap();
    (pool, url)
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(since_epoch.as_millis() as u64)
}

/// A row in `account`, with an empty book.
pub(crate) async fn account(pool: &PgPool) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query("insert into account (id, kind, name, created_ms) values ($1, 'user', 'test', 0)")
        .bind(id)
        .execute(pool)
        .await
        .unwrap();
    tintype_api::ledger::sql::open_account(&mut pool.acquire().await.unwrap(), id).await.unwrap();
    id
}

/// Every invariant of the ledger, as a query that names what breaks it. An empty list is a sound ledger.
pub(crate) async fn ledger_faults(pool: &PgPool) -> Vec<String> {
    const CHECKS: [(&str, &str); 9] = [
        ("entries of a transaction sum to zero", "select txn::text from ledger_entry group by txn having sum(amount) <> 0"),
        ("every transaction has entries", "select id::text from ledger_txn t where not exists (select 1 from ledger_entry where txn = t.id)"),
        (
            "each column is the sum of its entries",
            "select a.account::text from ledger_account a
             left join lateral (select
                coalesce(sum(amount) filter (where bucket = 'granted'), 0) as granted,
                coalesce(sum(amount) filter (where bucket = 'available'), 0) as available,
                coalesce(sum(amount) filter (where bucket = 'held'), 0) as held,
                coalesce(sum(amount) filter (where bucket = 'spent'), 0) as spent
                from ledger_entry e where e.account = a.account) s on true
             where (a.granted, a.available, a.held, a.spent) is distinct from (s.granted, s.available, s.held, s.spent)",
        ),
        ("no column below zero", "select account::text from ledger_account where available < 0 or held < 0 or spent < 0"),
        (
            "held is the sum of open holds",
            "select account::text from ledger_account a where held <> (select coalesce(sum(amount), 0) from hold h where h.account = a.account and state = 'held')",
        ),
        (
            "spent is the sum of captures",
            "select account::text from ledger_account a where spent <> (select coalesce(sum(captured), 0) from hold h where h.account = a.account)",
        ),
        (
            "a hold has one start, and one end exactly when it has ended",
            "select h.id::text from hold h
             where (select count(*) from ledger_txn where key = 'hold:' || h.id || ':start') <> 1
                or (select count(*) from ledger_txn where key = 'hold:' || h.id || ':end') <> (h.state <> 'held')::int
                or (select count(*) from ledger_txn where kind in ('capture', 'void', 'expire') and key like 'hold:' || h.id || ':%') <> (h.state <> 'held')::int",
        ),
        (
            "the chain has no gap and ends at the head",
            "select a.account::text from ledger_account a
             left join lateral (select max(seq) as last, count(*) as n from ledger_txn t where t.account = a.account) s on true
             where a.seq <> s.n or a.seq <> coalesce(s.last, 0)
                or a.head <> coalesce((select hash from ledger_txn t where t.account = a.account and t.seq = a.seq), decode(repeat('00', 32), 'hex'))",
        ),
        (
            "every hash is the hash of its transaction and the one before",
            "select t.id::text from ledger_txn t
             where t.prev_hash <> coalesce((select hash from ledger_txn p where p.account = t.account and p.seq = t.seq - 1), decode(repeat('00', 32), 'hex'))
                or t.hash <> sha256(convert_to(concat_ws('|', encode(t.prev_hash, 'hex'), t.id, t.account, t.seq, t.kind, t.key, t.at_ms,
                    (select string_agg(bucket || ':' || amount || ':' || balance_after, ',' order by line) from ledger_entry where txn = t.id)), 'UTF8'))",
        ),
    ];
    let mut faults = Vec::new();
    for (name, sql) in CHECKS {
        let broken: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await.unwrap();
        faults.extend(broken.into_iter().map(|what| format!("{name}: {what}")));
    }
    faults
}
