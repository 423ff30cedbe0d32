//! Everything through a real PgBouncer in transaction mode, with two connections for all that happens at once: what one
//! transaction was told is not known in the next, and nobody sees what another prepared or is.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use tintype_api::database::Db;
use tintype_api::tenancy::{as_account, connect_behind_pooler};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::browser::{Browser, PASSWORD};
use crate::clients;
use crate::lifecycle::Events;
use crate::rig::{Options, PRICE, Rig, User, until};
use crate::support::database;

/// PgBouncer's usual port; on a socket it is part of the file's name.
const PORT: u16 = 6_432;
/// Connections it has to the database.
const SIZE: u16 = 2;

/// A pooler for every database of the tests' server.
pub(crate) struct Pooler {
    folder: tempfile::TempDir,
    _process: Child,
}

impl Pooler {
    /// In front of the server of this URL.
    pub(crate) async fn start(direct: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options: PgConnectOptions = direct.parse().unwrap();
        let sockets = options.get_socket().unwrap().clone();
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={} user={}\n[pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\nauth_type = any\n\
             unix_socket_dir = {}\npool_mode = transaction\ndefault_pool_size = {SIZE}\nmax_client_conn = 200\n",
            sockets.display(),
            options.get_port(),
            options.get_username(),
            folder.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let process = launch(folder.path(), &file, &sockets);
        let pooler = Self { folder, _process: process };
        let url = pooler.url(direct);
        until("PgBouncer answers", || async {
            let options: PgConnectOptions = url.parse().unwrap();
            sqlx::ConnectOptions::connect(&options.extra_float_digits(None)).await.ok()
        })
        .await;
        pooler
    }

    /// The same database by way of it.
    pub(crate) fn url(&self, direct: &str) -> String {
        let options: PgConnectOptions = direct.parse().unwrap();
        let (user, name) = (options.get_username().to_owned(), options.get_database().unwrap());
        format!("postgres://{user}@localhost:{PORT}/{name}?host={}", self.folder.path().display())
    }
}

/// It will not be root, and the sockets are their owner's: it runs as that one, from where that one can reach it.
fn launch(folder: &Path, file: &Path, sockets: &Path) -> Child {
    let program: PathBuf = clients::tool("pgbouncer", "pgbouncer");
    let here = folder.join("program");
    std::fs::create_dir(&here).unwrap();
    for part in std::fs::read_dir(program.parent().unwrap()).unwrap() {
        let part = part.unwrap();
        std::fs::copy(part.path(), here.join(part.file_name())).unwrap();
    }
    let (owner, own) = (std::fs::metadata(sockets).unwrap().uid(), std::fs::metadata(folder).unwrap().uid());
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(here.join("pgbouncer"));
    command.arg("-q").arg(file).env("LD_LIBRARY_PATH", &here);
    if owner != own {
        std::os::unix::fs::chown(folder, Some(owner), Some(owner)).unwrap();
        command.uid(owner).gid(owner);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Command::from(command).kill_on_drop(true).spawn().unwrap()
}

async fn rig() -> Rig {
    Rig::with(Options { pooled: true, ..Options::default() }).await
}

#[tokio::test]
async fn orders_credits_and_events_go_through_it_for_many_at_once() {
    let rig = rig().await;
    let _workers = [rig.serve("w1"), rig.serve("w2")];
    let users: Vec<User> = futures::future::join_all((0..8).map(|_| rig.user())).await;
    let busy = users.iter().map(|user| async {
        let mut events = Events::open_at(&rig, user, "/api/v1/events").await;
        let ids = futures::future::join_all((0..5).map(|n| order(user, n))).await;
        let mut complete = 0;
        while complete < ids.len() {
            let event = events.next().await.unwrap();
            complete += usize::from(event["job"]["state"] == "Complete");
        }
        assert_eq!(user.settled().await, (10_000 - 5 * PRICE, 5 * PRICE));
        let listed = user.get("/api/v1/jobs").await.body["data"].as_array().unwrap().len();
        let pictures = user.get("/api/v1/images").await.body["data"].as_array().unwrap().len();
        assert_eq!((listed, pictures), (5, 5));
    });
    futures::future::join_all(busy).await;
    rig.audit().await;
}

/// An order, twice with one idempotency key; its job.
async fn order(user: &User, n: usize) -> String {
    let key = format!("order-{n}");
    let send = async || {
        let body = json!({ "model": "tintype/shapes", "prompt": "a red circle" });
        let sent = user.send(Method::POST, "/api/v1/jobs", &[("idempotency-key", key.as_str())], Some(body)).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.body);
        sent.body["id"].as_str().unwrap().to_owned()
    };
    let first = send().await;
    assert_eq!(send().await, first);
    first
}

#[tokio::test]
async fn people_sign_in_hold_organisations_and_take_keys_back_through_it() {
    let rig = rig().await;
    let mut ada = Browser::signed_up(&rig, "ada@example.org").await;
    let mut again = Browser::new(&rig);
    assert_eq!(again.sign_in("ada@example.org", PASSWORD).await.status, StatusCode::OK);
    assert_eq!(again.get("/api/v1/me").await.body["credits"]["availableMillis"], 10_000);
    assert_eq!(again.post("/api/v1/auth/logout", json!({})).await.status, StatusCode::NO_CONTENT);
    let org = ada.post("/api/v1/orgs", json!({ "name": "guild" })).await;
    assert_eq!(org.status, StatusCode::CREATED, "{}", org.body);
    let key = ada.post("/api/v1/keys", json!({ "name": "k" })).await.body;
    let user = rig.user().await.with_key(key["apiKey"].as_str().unwrap());
    assert_eq!(user.get("/api/v1/me").await.status, StatusCode::OK);
    let id = key["key"]["id"].as_str().or(key["id"].as_str()).unwrap();
    assert_eq!(ada.delete(&format!("/api/v1/keys/{id}")).await.status, StatusCode::NO_CONTENT);
    until("the key is worthless", || async {
        (user.get("/api/v1/me").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    assert_eq!(ada.delete(&format!("/api/v1/jobs/{}", Uuid::now_v7())).await.status, StatusCode::NOT_FOUND);
}

/// Two tenants take turns on two connections: neither ever sees the other's rows, and where nothing is said nothing stays.
#[tokio::test]
async fn each_transaction_is_its_tenants_alone() {
    let (pool, direct) = database().await;
    let accounts = [crate::support::account(&pool).await, crate::support::account(&pool).await];
    for account in accounts {
        sqlx::query("insert into collection (id, account, name, created_ms) values ($1, $2, 'c', 0)")
            .bind(Uuid::now_v7())
            .bind(account)
            .execute(&pool)
            .await
            .unwrap();
    }
    let pooler = Pooler::start(&direct).await;
    let requests = connect_behind_pooler(&pooler.url(&direct), &Db::from(pool)).await.unwrap();
    let looks = (0..400).map(|n| {
        let (account, requests) = (accounts[n % 2], &requests);
        as_account(account, async move {
            let seen: Vec<Uuid> =
                sqlx::query_scalar("select account from collection").fetch_all(requests).await.unwrap();
            assert_eq!(seen, [account]);
            let name: Option<String> = sqlx::query_scalar("update collection set name = $1 returning account::text")
                .bind(n.to_string())
                .fetch_optional(requests)
                .await
                .unwrap();
            assert_eq!(name, Some(account.to_string()));
            let mut reader = requests.reader().await.unwrap();
            let write = sqlx::query("update collection set name = 'x'").execute(&mut *reader).await;
            assert!(write.unwrap_err().to_string().contains("read-only"));
        })
    });
    futures::future::join_all(looks).await;
    // A client of the pooler that says nothing is not left anybody's role.
    let options: PgConnectOptions = pooler.url(&direct).parse().unwrap();
    for _ in 0..2 * SIZE {
        let mut plain = sqlx::ConnectOptions::connect(&options.clone().extra_float_digits(None)).await.unwrap();
        let said = "select current_user::text || ' ' || coalesce(current_setting('app.account', true), '')";
        let row = sqlx::Executor::fetch_one(&mut plain, sqlx::raw_sql(said)).await.unwrap();
        assert_eq!(sqlx::Row::get::<String, _>(&row, 0).trim(), options.get_username());
    }
}
