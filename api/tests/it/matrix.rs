//! Who may do what, as a table of every operation in the OpenAPI document and everybody who might try: nobody, whoever has a
//! key that ran out or was revoked or is mistyped, another tenant, a lesser key, a lesser role, an administrator. What is
//! asked for is real and belongs to somebody; none but its owner may see, change or delete it, and to all others it is as if
//! there were none of that id.

use std::collections::BTreeMap;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::assets::upload;
use crate::browser::Browser;
use crate::rig::{ADMIN_TOKEN, Reply, Rig, User};
use crate::worker::{client, picture};

const MISSING: &str = "00000000-0000-7000-8000-000000000000";
/// Open to everybody, on purpose; a new one is added here by whoever means it.
const OPEN: &[&str] = &[
    "/api/v1/auth/",
    "/api/v1/plans",
    // Its token is the secret.
    "/api/v1/shared/{token}",
    "/api/v1/shared-collections/{token}",
    "/api/v1/status",
    "/api/v1/studio",
    "/auth/link",
    "/healthz",
    "/hooks/",
    "/metrics",
    "/openapi.json",
    "/readyz",
    // Its URL holds a secret of its own: Replicate's client for Node sends no key there.
    "/replicate/v1/predictions/{id}/stream",
];

/// An operation of the document.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    security: Vec<String>,
}

impl Operation {
    pub(crate) fn takes(&self, scheme: &str) -> bool {
        self.security.iter().any(|name| name == scheme)
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Its path with these ids in it.
    pub(crate) fn at(&self, ids: &BTreeMap<&str, String>) -> String {
        let fill = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            None => part.to_owned(),
            Some(name) => self.id(name, ids),
        };
        self.path.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    /// What it is about: the first word of its path.
    fn kind(&self) -> &str {
        let path = self.path.trim_start_matches("/api/v1/").trim_start_matches("/replicate/v1/");
        path.trim_start_matches("admin/").split('/').next().unwrap_or("")
    }

    /// Whether a person's browser comes there by itself: it answers with pages, or by sending them on.
    pub(crate) fn is_for_people(&self) -> bool {
        self.path.starts_with("/auth/") || self.path.starts_with("/api/v1/auth/oauth/")
    }

    /// Whether its ids are of what belongs to nobody.
    fn is_of_nobodys(&self) -> bool {
        ["models", "deployments"].contains(&self.kind())
    }

    fn id(&self, name: &str, ids: &BTreeMap<&str, String>) -> String {
        let kind = match name {
            "n" => return "0".to_owned(),
            "provider" => return "google".to_owned(),
            "member" | "invitation" => name,
            "delivery" => "deliveries",
            _ => self.kind(),
        };
        ids.get(kind).cloned().unwrap_or_else(|| MISSING.to_owned())
    }
}

/// The OpenAPI document, as it is served.
pub(crate) async fn document(rig: &Rig) -> Value {
    let url = format!("{}/openapi.json", rig.url);
    let text = client().get(url).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

/// All that the document lists.
pub(crate) async fn operations(rig: &Rig) -> Vec<Operation> {
    let document = document(rig).await;
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            found.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                security: security.iter().flat_map(|one| one.as_object().unwrap().keys().cloned()).collect(),
            });
        }
    }
    assert!(found.len() > 40, "{} operations", found.len());
    found
}

/// Somebody who tries.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Nobody,
    Bearer(String),
    Cookie(String),
}

impl Who {
    /// The request as this one makes it.
    pub(crate) fn as_from(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nobody => request,
            Self::Bearer(key) => request.bearer_auth(key),
            Self::Cookie(cookie) => {
                let same = HeaderValue::from_static("same-origin");
                request.header("cookie", cookie).header(HeaderName::from_static("sec-fetch-site"), same)
            }
        }
    }
}

async fn ask(rig: &Rig, who: &Who, method: &Method, path: &str) -> Reply {
    let mut request = who.as_from(client().request(method.clone(), format!("{}{path}", rig.url)));
    if *method != Method::GET && *method != Method::DELETE {
        request = request.body(body(path));
    }
    Reply::of(request.send().await.unwrap()).await
}

/// What is sent there: as little as it takes to be asked whether one may.
fn body(path: &str) -> &'static str {
    match path {
        _ if path.ends_with("/invitations") => r#"{ "email": "else@example.org", "role": "viewer" }"#,
        _ if path.contains("/members/") => r#"{ "role": "viewer" }"#,
        _ => "{}",
    }
}

/// A tenant with one of everything.
pub(crate) struct Tenant {
    browser: Browser,
    key: String,
    pub(crate) ids: BTreeMap<&'static str, String>,
}

impl Tenant {
    pub(crate) async fn new(rig: &Rig, email: &str) -> Self {
        let mut browser = Browser::signed_up(rig, email).await;
        let me = browser.get("/api/v1/me").await.body;
        let key = browser.post("/api/v1/keys", json!({ "name": "k" })).await.body;
        let secret = key["apiKey"].as_str().unwrap().to_owned();
        let spare = browser.post("/api/v1/keys", json!({ "name": "spare" })).await.body;
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no id in {value}")).to_owned();
        let job = json!({ "model": "tintype/shapes", "prompt": "a red circle" });
        let by_key = rig.user().await.with_key(&secret);
        let made = by_key.post("/v1/images/generations", job).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
        let images = browser.get("/api/v1/images").await.body;
        let jobs = browser.get("/api/v1/jobs").await.body;
        let collection = browser.post("/api/v1/collections", json!({ "name": "c" })).await.body;
        let org = browser.post("/api/v1/orgs", json!({ "name": "o" })).await.body;
        let org_id = text(&org["id"]);
        let invite = json!({ "email": "someone@example.org", "role": "viewer" });
        let invitation = browser.post(&format!("/api/v1/orgs/{org_id}/invitations"), invite).await.body;
        let sessions = browser.get("/api/v1/sessions").await.body;
        let asset = upload(rig, &by_key, picture(64, 64, 1)).await.body;
        let batch = json!({ "jobs": [{ "model": "tintype/shapes", "prompt": "a red circle" }] });
        let batch = by_key.post("/api/v1/batches", batch).await.body;
        let input = json!({ "version": "tintype/shapes", "input": { "prompt": "a red circle" } });
        let prediction = by_key.post("/replicate/v1/predictions", input).await.body;
        // Nobody listens there: what is told is kept all the same.
        let hook = browser.post("/api/v1/webhooks", json!({ "url": "http://127.0.0.1:9/" })).await.body;
        let hook_id = text(&hook["id"]);
        browser.post(&format!("/api/v1/webhooks/{hook_id}/test"), Value::Null).await;
        let told = browser.get(&format!("/api/v1/webhooks/{hook_id}/deliveries")).await.body;
        let ids = BTreeMap::from([
            ("assets", text(&asset["id"])),
            ("files", text(&asset["id"])),
            ("batches", text(&batch["id"])),
            ("predictions", text(&prediction["id"])),
            ("webhooks", hook_id),
            ("deliveries", text(&told["data"][0]["id"])),
            ("jobs", text(&jobs["data"][0]["id"])),
            ("images", text(&images["data"][0]["id"])),
            ("collections", text(&collection["id"])),
            ("keys", text(&spare["id"])),
            ("sessions", text(&sessions["data"][0]["id"])),
            ("orgs", org_id),
            ("member", text(&me["user"]["id"])),
            ("invitation", text(&invitation["id"])),
            ("people", text(&me["user"]["id"])),
            ("accounts", text(&me["account"]["id"])),
        ]);
        // What is under way changes by itself, and tests count.
        by_key.settled().await;
        Self { browser, key: secret, ids }
    }

    pub(crate) fn cookie(&self) -> Who {
        Who::Cookie(self.browser.cookie.clone().unwrap())
    }

    pub(crate) fn bearer(&self) -> Who {
        Who::Bearer(self.key.clone())
    }
}

/// What somebody else's thing and no thing have in common: the answer.
fn same(one: &Reply, other: &Reply) -> bool {
    one.status == other.status && one.body == other.body
}

#[tokio::test]
async fn nobody_without_a_good_key_gets_in_anywhere() {
    let rig = Rig::start().await;
    let _worker = rig.serve("w");
    let owner = Tenant::new(&rig, "owner@example.org").await;
    let as_owner = rig.user().await.with_key(&owner.key);
    let short =
        as_owner.post("/api/v1/keys", json!({ "name": "x", "expiresMs": crate::support::now().0 + 60_000 })).await.body;
    let gone = as_owner.post("/api/v1/keys", json!({ "name": "x" })).await.body;
    let key_of = |made: &Value| made["apiKey"].as_str().unwrap().to_owned();
    sqlx::query("update api_key set expires_ms = 1 where id = $1")
        .bind(short["id"].as_str().unwrap())
        .execute(&rig.pool)
        .await
        .unwrap();
    assert_eq!(
        as_owner.delete(&format!("/api/v1/keys/{}", gone["id"].as_str().unwrap())).await.status,
        StatusCode::NO_CONTENT
    );
    let mut left = Browser::new(&rig);
    left.sign_in("owner@example.org", crate::browser::PASSWORD).await;
    let ended = left.cookie.clone().unwrap();
    assert_eq!(left.post("/api/v1/auth/logout", json!({})).await.status, StatusCode::NO_CONTENT);
    let tries = [
        ("nobody", Who::Nobody),
        ("a key that ran out", Who::Bearer(key_of(&short))),
        ("a key that was revoked", Who::Bearer(key_of(&gone))),
        ("a mistyped key", Who::Bearer(format!("{}x", owner.key))),
        ("nonsense", Who::Bearer("x".repeat(200))),
        ("a session that ended", Who::Cookie(ended)),
        ("no session", Who::Cookie("tintype_session=x".to_owned())),
    ];
    let (mut cells, mut leaks) = (0, Vec::new());
    for operation in operations(&rig).await {
        let open = operation.security.is_empty();
        let meant = OPEN.iter().any(|root| operation.path.starts_with(root));
        assert_eq!(open, meant && open, "{} is open to everybody: is that meant?", operation.name());
        if open {
            continue;
        }
        for (name, who) in &tries {
            let reply = ask(&rig, who, &operation.method, &operation.at(&owner.ids)).await;
            cells += 1;
            if reply.status != StatusCode::UNAUTHORIZED {
                leaks.push(format!("{name}: {}: {} {}", operation.name(), reply.status, reply.body));
            }
        }
    }
    assert!(cells > 200, "{cells} cells");
    assert_eq!(leaks, Vec::<String>::new());
}

#[tokio::test]
async fn another_tenants_things_are_like_none_for_keys_browsers_and_admins_of_nothing() {
    let rig = Rig::start().await;
    let _worker = rig.serve("w");
    let owner = Tenant::new(&rig, "owner@example.org").await;
    let other = Tenant::new(&rig, "other@example.org").await;
    let before = state(&rig).await;
    let nothing = BTreeMap::new();
    let (mut cells, mut leaks, mut unknown) = (0, Vec::new(), Vec::new());
    for operation in operations(&rig).await.iter().filter(|operation| operation.path.contains('{')) {
        let tenants = operation.takes("apiKey") || operation.takes("session");
        if tenants && !operation.is_of_nobodys() && operation.at(&owner.ids).contains(MISSING) {
            unknown.push(operation.name());
        }
        for (scheme, who) in [("apiKey", other.bearer()), ("session", other.cookie()), ("adminToken", other.cookie())] {
            if !operation.takes(scheme) {
                continue;
            }
            let foreign = ask(&rig, &who, &operation.method, &operation.at(&owner.ids)).await;
            let missing = ask(&rig, &who, &operation.method, &operation.at(&nothing)).await;
            cells += 1;
            let refused = [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN];
            if !same(&foreign, &missing) || !refused.contains(&foreign.status) {
                leaks.push(format!(
                    "{}: {} {} but {} {}",
                    operation.name(),
                    foreign.status,
                    foreign.body,
                    missing.status,
                    missing.body
                ));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new(), "the owner has one of everything that has an id");
    assert!(cells > 60, "{cells} cells");
    assert_eq!(leaks, Vec::<String>::new());
    assert_eq!(state(&rig).await, before, "and nothing was changed");
    // What belongs to the owner is there, for the owner: the ids above were real.
    let reads = |operation: &&Operation| operation.method == Method::GET && operation.path.contains('{');
    let mut lost = Vec::new();
    for operation in operations(&rig).await.iter().filter(reads).filter(|o| o.takes("session") && !o.is_of_nobodys()) {
        let reply = ask(&rig, &owner.cookie(), &operation.method, &operation.at(&owner.ids)).await;
        if reply.status == StatusCode::NOT_FOUND {
            lost.push(operation.name());
        }
    }
    assert_eq!(lost, Vec::<String>::new());
}

#[tokio::test]
async fn lesser_keys_and_roles_and_users_do_not_do_what_is_above_them() {
    let rig = Rig::start().await;
    let _worker = rig.serve("w");
    let owner = Tenant::new(&rig, "owner@example.org").await;
    let as_owner: User = rig.user().await.with_key(&owner.key);
    let reader = as_owner.post("/api/v1/keys", json!({ "name": "r", "scopes": ["read"] })).await.body;
    let reader = Who::Bearer(reader["apiKey"].as_str().unwrap().to_owned());
    let viewer = in_role(&rig, &owner, "viewer").await;
    let member = in_role(&rig, &owner, "member").await;
    let billing = in_role(&rig, &owner, "billing").await;
    let admin = Who::Bearer(ADMIN_TOKEN.to_owned());
    let before = state(&rig).await;
    let (mut cells, mut leaks) = (0, Vec::new());
    let mut expect = |what: &str, operation: &Operation, reply: &Reply, wanted: StatusCode| {
        cells += 1;
        if reply.status != wanted {
            leaks.push(format!("{what}: {}: {} {}", operation.name(), reply.status, reply.body));
        }
    };
    for operation in &operations(&rig).await {
        let path = operation.at(&owner.ids);
        let changes = operation.method != Method::GET;
        if operation.takes("adminToken") {
            let reply = ask(&rig, &owner.bearer(), &operation.method, &path).await;
            expect("a user's key for the administrator's", operation, &reply, StatusCode::UNAUTHORIZED);
            let reply = ask(&rig, &owner.cookie(), &operation.method, &path).await;
            expect("a user's browser for the administrator's", operation, &reply, StatusCode::FORBIDDEN);
        }
        if operation.takes("apiKey") {
            let reply = ask(&rig, &admin, &operation.method, &path).await;
            expect("the administrator's token for a key", operation, &reply, StatusCode::UNAUTHORIZED);
            if changes {
                let reply = ask(&rig, &reader, &operation.method, &path).await;
                expect("a key that reads", operation, &reply, StatusCode::FORBIDDEN);
                let reply = ask(&rig, &viewer, &operation.method, &path).await;
                expect("a viewer", operation, &reply, StatusCode::FORBIDDEN);
                let of_money = operation.path.starts_with("/api/v1/wallet");
                if of_money || ["keys", "webhooks"].contains(&operation.kind()) {
                    let reply = ask(&rig, &member, &operation.method, &path).await;
                    expect("a member, who makes pictures", operation, &reply, StatusCode::FORBIDDEN);
                }
                if !of_money {
                    let reply = ask(&rig, &billing, &operation.method, &path).await;
                    expect("whoever sees to bills", operation, &reply, StatusCode::FORBIDDEN);
                }
            }
        } else if operation.takes("session") {
            let reply = ask(&rig, &owner.bearer(), &operation.method, &path).await;
            expect("a key for a person", operation, &reply, StatusCode::FORBIDDEN);
            if changes && operation.kind() == "orgs" && operation.path.contains('{') {
                for (what, who) in [("viewer", &viewer), ("member", &member), ("billing", &billing)] {
                    let reply = ask(&rig, who, &operation.method, &path).await;
                    expect(what, operation, &reply, StatusCode::FORBIDDEN);
                }
            }
        }
    }
    assert!(cells > 80, "{cells} cells");
    assert_eq!(leaks, Vec::<String>::new());
    assert_eq!(state(&rig).await, before, "and nothing was changed");
}

/// A browser of somebody with this role in the owner's organisation, who acts for it.
async fn in_role(rig: &Rig, owner: &Tenant, role: &str) -> Who {
    let mut owners = owner.browser.clone();
    let org = &owner.ids["orgs"];
    let email = format!("{role}@example.org");
    let invite = json!({ "email": email, "role": role });
    let made = owners.post(&format!("/api/v1/orgs/{org}/invitations"), invite).await.body;
    let token = made["url"].as_str().unwrap().split("#invite=").nth(1).unwrap();
    let mut browser = Browser::signed_up(rig, &email).await;
    assert_eq!(browser.post("/api/v1/invitations/accept", json!({ "token": token })).await.status, StatusCode::OK);
    let switched = browser.send(Method::PUT, "/api/v1/me/account", Some(json!({ "account": org }))).await;
    assert_eq!(switched.status, StatusCode::OK, "{}", switched.body);
    Who::Cookie(browser.cookie.unwrap())
}

/// How much there is of everything that could be changed.
pub(crate) async fn state(rig: &Rig) -> Vec<(String, i64)> {
    const SQL: &str = "select 'key', count(*) from api_key where revoked_ms is null
        union all select 'session', count(*) from session
        union all select 'job', count(*) from generation where cancelled_ms is null
        union all select 'image', count(*) from image where deleting_ms is null and starred_ms is null
        union all select 'collection', count(*) from collection
        union all select 'asset', count(*) from asset
        union all select 'batch', count(*) from batch
        union all select 'webhook', count(*) from webhook_endpoint
        union all select 'member', count(*) from membership
        union all select 'invitation', count(*) from invitation
        union all select 'person', count(*) from person where suspended_ms is null
        union all select 'credits', sum(available)::bigint from ledger_account";
    sqlx::query_as(SQL).fetch_all(&rig.pool).await.unwrap()
}
