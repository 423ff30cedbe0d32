//! The second net: queries that name no account, on connections of requests, find and change one account's rows alone.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgExecutor, PgPool};
use tintype_api::database::Db;
use tintype_api::tenancy::{as_account, as_accounts, connect};
use uuid::Uuid;

use crate::browser::Browser;
use crate::lifecycle::Events;
use crate::rig::{PRICE, Rig, User};
use crate::worker::client;

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

async fn accounts(pool: impl PgExecutor<'_>, table: &str) -> BTreeSet<Uuid> {
    let sql = format!("select distinct account from {table}");
    sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap().into_iter().collect()
}

/// Two tenants with jobs, pictures and credits, and the pool their requests would have.
async fn tenants() -> (Rig, [User; 2], Db) {
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

#[tokio::test]
async fn a_person_with_several_accounts_sees_those_and_no_other() {
    let (rig, [ada, eve], requests) = tenants().await;
    let other = rig.user().await;
    let both = [ada.account, eve.account];
    let seen = as_accounts(&both, accounts(&requests, "ledger_account")).await;
    assert_eq!(seen, BTreeSet::from(both));
    assert_eq!(as_accounts(&[], accounts(&requests, "ledger_account")).await, BTreeSet::new());
    assert!(accounts(&requests, "ledger_account").await.contains(&other.account));
}

/// Rows of a table are for those requests alone that say whose they are.
async fn hide_from_anybody(rig: &Rig, table: &str) {
    let sql = format!(
        "drop policy tenant on {table};
        create policy tenant on {table} using (current_setting('app.account', true) <> '*' and tenant_sees(account))"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&rig.pool).await.unwrap();
}

#[tokio::test]
async fn streams_say_whose_they_are_as_long_as_they_last() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let id = user.submit().await;
    let mut all = Events::open_at(&rig, &user, "/api/v1/events").await;
    let mut one = Events::open(&rig, &user, &id).await;
    let made = user.post(
        "/replicate/v1/predictions",
        json!({ "version": "tintype/shapes", "input": { "prompt": "p" }, "stream": true }),
    );
    let made = made.await;
    let stream =
        made.body["urls"]["stream"].as_str().unwrap_or_else(|| panic!("no stream in {}", made.body)).to_owned();
    // Who has a stream's URL needs no key; that it is theirs is found out as it opens.
    let stream = client().get(stream).send().await.unwrap();
    for table in ["generation", "ledger_account"] {
        hide_from_anybody(&rig, table).await;
    }
    let _worker = rig.serve("w");
    let mut spent = 0;
    while spent < 2 * PRICE {
        let event = all.next().await.unwrap();
        spent = event["credits"]["spentMillis"].as_i64().unwrap_or(spent);
    }
    one.until("Complete").await;
    let told = stream.text().await.unwrap();
    assert!(told.contains("event: output") && told.contains("event: done"), "{told}");
}

#[tokio::test]
async fn routes_about_a_person_say_which_accounts_are_theirs() {
    let rig = Rig::start().await;
    let mut ada = Browser::signed_up(&rig, "ada@example.org").await;
    for table in ["ledger_account", "api_key", "subscription"] {
        hide_from_anybody(&rig, table).await;
    }
    let me = ada.get("/api/v1/me").await;
    assert_eq!(me.body["credits"]["availableMillis"], 10_000, "{}", me.body);
    let org = ada.post("/api/v1/orgs", json!({ "name": "guild" })).await;
    assert_eq!(org.status, StatusCode::CREATED, "{}", org.body);
    let org = org.body["id"].as_str().unwrap().to_owned();
    let acting = ada.send(Method::PUT, "/api/v1/me/account", Some(json!({ "account": org }))).await;
    assert_eq!((acting.status, &acting.body["account"]["id"]), (StatusCode::OK, &json!(org)), "{}", acting.body);
    assert_eq!(acting.body["credits"]["availableMillis"], 0);
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
