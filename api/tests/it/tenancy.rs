//! The second net: queries that name no account, on connections of requests, find and change one account's rows alone.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgPool};
use tintype_api::tenancy::{as_account, connect};
use uuid::Uuid;

use crate::rig::{Rig, User};

/// Tables with an account in them that are not bound, and why.
const UNBOUND: [(&str, &str); 6] = [
    ("account", "names of organisations are seen by who is invited to them"),
    ("audit_event", "only ever added to, and some of it is of no account"),
    ("membership", "a person's, over all their accounts"),
    ("invitation", "read by who has its token, whatever account they act for"),
    ("person", "read before it is known who asks"),
    ("session", "read before it is known who asks"),
];

/// Every table that is bound by its own column.
async fn bound(pool: &PgPool) -> Vec<String> {
    let sql = "select table_name::text from information_schema.columns
        where table_schema = 'public' and column_name = 'account' order by 1";
    let all: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await.unwrap();
    all.into_iter().filter(|name| UNBOUND.iter().all(|(unbound, _)| unbound != name)).collect()
}

async fn accounts(pool: &PgPool, table: &str) -> BTreeSet<Uuid> {
    let sql = format!("select distinct account from {table}");
    sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap().into_iter().collect()
}

/// Two tenants with jobs, pictures and credits, and the pool their requests would have.
async fn tenants() -> (Rig, [User; 2], PgPool) {
    let rig = Rig::start().await;
    let _worker = rig.serve("w");
    let (ada, eve) = (rig.user().await, rig.user().await);
    for user in [&ada, &eve] {
        let id = user.submit().await;
        user.job_in(&id, "Complete").await;
        user.settled().await;
    }
    let pool = connect(rig.database_url()).await.unwrap();
    (rig, [ada, eve], pool)
}

#[tokio::test]
async fn a_query_that_forgets_its_filter_leaks_nothing() {
    let (rig, [ada, eve], requests) = tenants().await;
    let mut full = 0;
    for table in bound(&rig.pool).await {
        let all = accounts(&rig.pool, &table).await;
        let seen = as_account(ada.account, accounts(&requests, &table)).await;
        assert!(seen.iter().all(|account| *account == ada.account), "{table} shows {seen:?}");
        assert_eq!(seen.len(), usize::from(all.contains(&ada.account)), "{table} shows what is one's own");
        // Nobody's request, such as the administrator's, sees all.
        assert_eq!(accounts(&requests, &table).await, all, "{table}");
        full += usize::from(all.len() == 2);
    }
    assert!(full >= 8, "both had something in {full} tables");
    let sql = "select count(*) from generation g join image i on i.generation = g.id join hold h on h.id = g.id";
    let joined: i64 = as_account(eve.account, sqlx::query_scalar(sql).fetch_one(&requests)).await.unwrap();
    assert_eq!(joined, 1);
}

#[tokio::test]
async fn a_change_that_forgets_its_filter_changes_nothing_of_anybody_elses() {
    let (rig, [ada, eve], requests) = tenants().await;
    let star = "update image set starred_ms = 1";
    assert_eq!(as_account(ada.account, sqlx::query(star).execute(&requests)).await.unwrap().rows_affected(), 1);
    let starred: Vec<Uuid> =
        sqlx::query_scalar("select account from image where starred_ms = 1").fetch_all(&rig.pool).await.unwrap();
    assert_eq!(starred, [ada.account]);
    let remove = "delete from image";
    assert_eq!(as_account(ada.account, sqlx::query(remove).execute(&requests)).await.unwrap().rows_affected(), 1);
    assert_eq!(accounts(&rig.pool, "image").await, BTreeSet::from([eve.account]));
    let foreign = "insert into collection (id, account, name, created_ms) values (gen_random_uuid(), $1, 'x', 0)";
    let refused = as_account(ada.account, sqlx::query(foreign).bind(eve.account).execute(&requests)).await;
    assert!(refused.unwrap_err().to_string().contains("row-level security"));
    let own = as_account(ada.account, sqlx::query(foreign).bind(ada.account).execute(&requests)).await;
    assert_eq!(own.unwrap().rows_affected(), 1);
    let moved = "update collection set account = $1";
    let refused = as_account(ada.account, sqlx::query(moved).bind(eve.account).execute(&requests)).await;
    assert!(refused.unwrap_err().to_string().contains("row-level security"));
}

#[tokio::test]
async fn where_nothing_is_said_nothing_is_seen_and_every_table_is_bound() {
    let (rig, _, _) = tenants().await;
    let mut conn = rig.pool.acquire().await.unwrap();
    sqlx::query("set role tintype_tenant").execute(&mut *conn).await.unwrap();
    for table in bound(&rig.pool).await {
        let sql = format!("select count(*) from {table}");
        let seen: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *conn).await.unwrap();
        assert_eq!(seen, 0, "{table}: a new table with an account needs a policy like those of migration 18");
    }
    conn.close().await.unwrap();
}

/// The net is under the API itself: with the policy of jobs gone, its own, right query finds none.
#[tokio::test]
async fn requests_run_under_the_net() {
    let (rig, [ada, _], _) = tenants().await;
    let jobs = async || ada.get("/api/v1/jobs").await.body["data"].as_array().unwrap().len();
    assert_eq!(jobs().await, 1);
    sqlx::query("drop policy tenant on generation").execute(&rig.pool).await.unwrap();
    assert_eq!(jobs().await, 0);
}
