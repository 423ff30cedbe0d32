//! Taking everything with one, and being erased: what is in the archive, and that nothing is left but books that name nobody.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tintype_api::privacy::tables::{Export, NOBODYS, TABLES};
use uuid::Uuid;

use crate::browser::{Browser, PASSWORD};
use crate::payments::Shop;
use crate::rig::{Rig, until};
use crate::worker::{client, picture, sha256_hex};

/// In everything somebody wrote, and nowhere when they are erased.
const CANARY: &str = "canarybird";

/// Somebody with one of nearly everything, all of it with the canary in it.
async fn somebody(rig: &Rig, canary: &str) -> (Browser, Uuid, String) {
    let mut browser = Browser::signed_up(rig, &format!("{canary}@example.org")).await;
    let me = browser.get("/api/v1/me").await.body;
    let account = me["account"]["id"].as_str().unwrap().parse().unwrap();
    let key = browser.post("/api/v1/keys", json!({ "name": canary })).await.body;
    let key = key["apiKey"].as_str().unwrap().to_owned();
    let uploaded = client().post(format!("{}/api/v1/assets", rig.url)).bearer_auth(&key);
    let uploaded = uploaded.header("content-type", "image/png").body(picture(64, 64, canary.len() as u64));
    let uploaded: Value = uploaded.send().await.unwrap().json().await.unwrap();
    let init = uploaded["key"].as_str().unwrap_or_else(|| panic!("no key in {uploaded}"));
    let body = json!({ "model": "tintype/shapes", "prompt": format!("a {canary}"), "negativePrompt": canary,
        "init": { "image": init, "strength": 0.5 } });
    let headers = [("idempotency-key", canary)];
    let user = rig.user().await.with_key(&key);
    let made = user.send(Method::POST, "/api/v1/jobs", &headers, Some(body)).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    user.job_in(made.body["id"].as_str().unwrap(), "Complete").await;
    user.settled().await;
    assert_eq!(browser.post("/api/v1/collections", json!({ "name": canary })).await.status, StatusCode::CREATED);
    let hook = json!({ "url": format!("{}/{canary}", rig.url), "description": canary });
    let hooked = browser.post("/api/v1/webhooks", hook).await;
    assert!(hooked.status.is_success(), "{}", hooked.body);
    (browser, account, key)
}

/// Unpacks an archive with the machine's own `tar`; the files in it.
fn unpack(folder: &Path, archive: &[u8]) -> Vec<PathBuf> {
    let (file, out) = (folder.join("export.tar"), folder.join("export"));
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(&file, archive).unwrap();
    let done = std::process::Command::new("tar").arg("-xvf").arg(&file).arg("-C").arg(&out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(|name| out.join(name)).collect()
}

#[tokio::test]
async fn every_table_is_classified() {
    let (pool, _url) = crate::support::database().await;
    let there: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    let known: BTreeSet<&str> = TABLES.iter().map(|table| table.name).chain(NOBODYS).collect();
    assert_eq!(there, known, "each table is in `privacy::tables`, which says what of it is exported and erased");
    // A column that is left out has to be there.
    for table in TABLES {
        let Export::Without(hidden) = table.export else { continue };
        for column in hidden {
            let sql = "select count(*) from information_schema.columns where table_name = $1 and column_name = $2";
            let count: i64 = sqlx::query_scalar(sql).bind(table.name).bind(column).fetch_one(&pool).await.unwrap();
            assert_eq!(count, 1, "{}.{column}", table.name);
        }
    }
}

#[tokio::test]
async fn an_archive_holds_everything_of_ones_own_and_nothing_of_anybody_elses() {
    let rig = Rig::start().await;
    let _worker = rig.serve("w");
    let (ada, account, key) = somebody(&rig, CANARY).await;
    somebody(&rig, "strangefish").await;
    let by_browser =
        client().get(format!("{}/api/v1/me/export", rig.url)).header("cookie", ada.cookie.clone().unwrap());
    let by_browser = by_browser.header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!(by_browser.headers()["content-type"], "application/x-tar");
    let archive = by_browser.bytes().await.unwrap();
    let files = unpack(rig.folder.path(), &archive);
    let texts: Vec<(String, Vec<u8>)> =
        files.iter().map(|file| (file.display().to_string(), std::fs::read(file).unwrap())).collect();

    // As many lines as rows, for every table that is exported.
    for table in TABLES {
        let Export::Without(_) = table.export else { continue };
        let lines = |(name, content): &(String, Vec<u8>)| {
            let own = name.contains(&format!("/{}/", table.name));
            if own { std::str::from_utf8(content).unwrap().lines().count() } else { 0 }
        };
        let sql = format!(
            "select count(*) from {} t, (select $1::uuid as account, (select id from person where account = $1) as person) subject where {}",
            table.name, table.owned
        );
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(account).fetch_one(&rig.pool).await.unwrap();
        assert_eq!(texts.iter().map(lines).sum::<usize>(), rows as usize, "{}", table.name);
    }
    for (folder, sql) in [
        ("/images/", "select sha256 from image where account = $1"),
        ("/uploads/", "select encode(sha256, 'hex') from asset where account = $1"),
    ] {
        let kept: Vec<String> = sqlx::query_scalar(sql).bind(account).fetch_all(&rig.pool).await.unwrap();
        let found: Vec<String> =
            texts.iter().filter(|(name, _)| name.contains(folder)).map(|(_, bytes)| sha256_hex(bytes)).collect();
        assert_eq!((found.len(), &found), (1, &kept), "{folder}");
    }
    let holds = |what: &str| archive.windows(what.len()).any(|part| part == what.as_bytes());
    assert!(holds(CANARY));
    let hash = sha256_hex(key.rsplit('_').next().unwrap_or_default().as_bytes());
    for secret in ["strangefish", "$argon2id$", "_sha256\"", "\"secret\"", &key, &hash] {
        assert!(!holds(secret), "{secret}");
    }
    // A key takes what is its account's, and nothing of the person.
    let by_key = client().get(format!("{}/api/v1/me/export", rig.url)).bearer_auth(&key).send().await.unwrap();
    let names = unpack(&rig.folder.path().join("export"), &by_key.bytes().await.unwrap());
    let has = |table: &str| names.iter().any(|name| name.display().to_string().contains(table));
    assert!(has("/generation/") && !has("/person/") && !has("/session/"));
}

/// Rows of any table with these letters in them, and files of the store.
async fn traces(rig: &Rig, canary: &str) -> Vec<String> {
    let tables: Vec<&str> = TABLES.iter().map(|table| table.name).chain(NOBODYS).collect();
    let mut traces = Vec::new();
    for table in tables {
        let sql = format!("select x::text from {table} x where x::text ilike '%' || $1 || '%'");
        let found: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(canary).fetch_all(&rig.pool).await.unwrap();
        traces.extend(found.into_iter().map(|row| format!("{table}: {row}")));
    }
    traces
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

async fn count(pool: &PgPool, sql: &'static str, account: Uuid) -> i64 {
    sqlx::query_scalar(sql).bind(account).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn of_whoever_is_erased_nothing_is_left_but_books_that_name_nobody() {
    let rig = Rig::start().await;
    let worker = rig.serve("w");
    let (mut ada, account, key) = somebody(&rig, CANARY).await;
    let lines = count(&rig.pool, "select count(*) from ledger_entry where account = $1", account).await;
    // One more job, which nobody works on: it has to be ended first.
    drop(worker);
    let user = rig.user().await.with_key(&key);
    user.submit().await;
    assert!(!traces(&rig, CANARY).await.is_empty() && files_below(&rig.folder.path().join("images")) > 0);

    let erasure = |account: Uuid, password: &str| json!({ "account": account, "currentPassword": password });
    for (refused, status) in [
        (json!({}), StatusCode::BAD_REQUEST),
        (erasure(Uuid::nil(), PASSWORD), StatusCode::BAD_REQUEST),
        (erasure(account, "not the password"), StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(ada.send(Method::DELETE, "/api/v1/me", Some(refused)).await.status, status);
    }
    let by_key = user.send(Method::DELETE, "/api/v1/me", &[], Some(erasure(account, PASSWORD))).await;
    assert_eq!(by_key.status, StatusCode::FORBIDDEN, "a key that leaked erases nobody");
    let cookie = ada.cookie.clone();
    let gone = ada.send(Method::DELETE, "/api/v1/me", Some(erasure(account, PASSWORD))).await;
    assert_eq!(gone.status, StatusCode::ACCEPTED, "{}", gone.body);

    // At once: nobody signs in, no key opens anything, the address is free.
    assert_eq!(ada.cookie, None);
    ada.cookie = cookie;
    assert_eq!(ada.get("/api/v1/me").await.status, StatusCode::UNAUTHORIZED);
    until("the key is dead", || async {
        (user.get("/api/v1/me").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    until("the erasure has ended", || async {
        let waiting: i64 = sqlx::query_scalar("select count(*) from errand where lane = 'erasure'")
            .fetch_one(&rig.pool)
            .await
            .unwrap();
        (waiting == 0).then_some(())
    })
    .await;
    assert_eq!(traces(&rig, CANARY).await, Vec::<String>::new());
    assert_eq!(files_below(&rig.folder.path().join("images")), 0);
    let open = "select count(*) from generation where account = $1 and (settled_ms is null or erased_ms is null)";
    assert_eq!(count(&rig.pool, open, account).await, 0);
    // The books are whole, with the last job's hold and end in them.
    assert!(count(&rig.pool, "select count(*) from ledger_entry where account = $1", account).await > lines);
    rig.audit().await;
    Browser::signed_up(&rig, &format!("{CANARY}@example.org")).await;
}

#[tokio::test]
async fn who_alone_owns_an_organisation_finds_it_an_owner_first() {
    let rig = Rig::start().await;
    let mut ada = Browser::signed_up(&rig, "ada@example.org").await;
    let me = ada.get("/api/v1/me").await.body;
    let org = ada.post("/api/v1/orgs", json!({ "name": "Engines" })).await.body;
    let erasure = json!({ "account": me["account"]["id"], "currentPassword": PASSWORD });
    let refused = ada.send(Method::DELETE, "/api/v1/me", Some(erasure.clone())).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body.to_string().contains("only owner of Engines"), "{}", refused.body);
    let owner = "update membership set role = 'member' where account = $1";
    let id: Uuid = org["id"].as_str().unwrap().parse().unwrap();
    sqlx::query(owner).bind(id).execute(&rig.pool).await.unwrap();
    assert_eq!(ada.send(Method::DELETE, "/api/v1/me", Some(erasure)).await.status, StatusCode::ACCEPTED);
}

/// Stripe is away at first: everything else is erased all the same, and Stripe is asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripe_forgets_who_is_erased_as_soon_as_it_can_be_told() {
    let shop = Shop::open().await;
    let rig = &shop.rig;
    let mut ada = Browser::signed_up(rig, "ada@example.org").await;
    let account: Uuid = ada.get("/api/v1/me").await.body["account"]["id"].as_str().unwrap().parse().unwrap();
    let begun = ada.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100" })).await;
    assert!(begun.status.is_success(), "{}", begun.body);
    let customer: String = sqlx::query_scalar("select customer from billing where account = $1")
        .bind(account)
        .fetch_one(&rig.pool)
        .await
        .unwrap();
    let path = format!("/v1/customers/{customer}");
    let known =
        async || client().get(format!("{}{path}", shop.stripe)).bearer_auth("sk_test_x").send().await.unwrap().status();
    assert_eq!(known().await, StatusCode::OK);
    shop.twin("faults", json!({ "path": path, "when": "before", "times": 3 })).await;
    let erasure = json!({ "account": account, "currentPassword": PASSWORD });
    assert_eq!(ada.send(Method::DELETE, "/api/v1/me", Some(erasure)).await.status, StatusCode::ACCEPTED);
    until("Stripe could not be told", || async {
        let sql = "select error from errand where lane = 'erasure' and error like 'stripe did not answer%'";
        sqlx::query_scalar::<_, String>(sql).fetch_optional(&rig.pool).await.unwrap()
    })
    .await;
    assert_eq!(known().await, StatusCode::OK);
    let left = async |sql| count(&rig.pool, sql, account).await;
    assert_eq!(
        left("select count(*) from api_key where account = $1 and name <> 'erased'").await,
        0,
        "the rest is done"
    );
    assert_eq!(left("select count(*) from billing where account = $1").await, 1, "by which Stripe is told");
    until("Stripe is told", || async {
        // The pause before the next try is not waited for.
        sqlx::query("update errand set due_ms = 0 where lane = 'erasure' and claimed_ms is null")
            .execute(&rig.pool)
            .await
            .unwrap();
        (left("select count(*) from billing where account = $1").await == 0).then_some(())
    })
    .await;
    assert_eq!(known().await, StatusCode::NOT_FOUND);
}
