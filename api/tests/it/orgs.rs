//! Organisations: their roles, who may change whom, invitations, and that whoever is no member learns nothing. And the
//! administrator's people, and the book of what was done.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::browser::{Browser, PASSWORD};
use crate::rig::{ADMIN_TOKEN, Rig, User, until};

const REFUSED: (u16, &str, &str) = (403, "permission_denied", "");
const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

impl Browser {
    async fn id(&mut self) -> String {
        self.get("/api/v1/me").await.body["user"]["id"].as_str().unwrap().to_owned()
    }

    async fn patch(&mut self, path: &str, body: Value) -> crate::rig::Reply {
        self.send(Method::PATCH, path, Some(body)).await
    }

    async fn act_for(&mut self, account: &str) -> crate::rig::Reply {
        self.send(Method::PUT, "/api/v1/me/account", Some(json!({ "account": account }))).await
    }
}

/// An organisation with an owner, and somebody invited with a role.
struct Org {
    rig: Rig,
    owner: Browser,
    id: String,
}

impl Org {
    async fn new() -> Self {
        let rig = Rig::start().await;
        let mut owner = Browser::signed_up(&rig, "owner@example.org").await;
        let made = owner.post("/api/v1/orgs", json!({ "name": "The Guild" })).await;
        assert_eq!((made.status, &made.body["role"]), (StatusCode::CREATED, &json!("owner")), "{}", made.body);
        let id = made.body["id"].as_str().unwrap().to_owned();
        Self { rig, owner, id }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/orgs/{}{rest}", self.id)
    }

    async fn invited(&mut self, role: &str) -> String {
        let body = json!({ "email": format!("{role}@example.org"), "role": role });
        let made = self.owner.post(&self.path("/invitations"), body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let url = made.body["url"].as_str().unwrap();
        url.split("#invite=").nth(1).unwrap().to_owned()
    }

    /// A member with this role, acting for the organisation.
    async fn member(&mut self, role: &str) -> Browser {
        let token = self.invited(role).await;
        let mut browser = Browser::signed_up(&self.rig, &format!("{role}@example.org")).await;
        let joined = browser.post("/api/v1/invitations/accept", json!({ "token": token })).await;
        assert_eq!((joined.status, &joined.body["role"]), (StatusCode::OK, &json!(role)), "{}", joined.body);
        assert_eq!(browser.act_for(&self.id).await.status, StatusCode::OK);
        browser
    }
}

async fn give(rig: &Rig, account: &str, millis: i64) {
    let admin = admin(rig).await;
    let body = json!({ "amountMillis": millis, "reference": "budget" });
    assert_eq!(admin.post(&format!("/api/v1/accounts/{account}/grants"), body).await.status, StatusCode::OK);
}

async fn admin(rig: &Rig) -> User {
    rig.user().await.with_key(ADMIN_TOKEN)
}

#[tokio::test]
async fn members_spend_the_organisations_credits_as_their_role_allows() {
    let mut org = Org::new().await;
    let me = org.owner.act_for(&org.id.clone()).await;
    assert_eq!(
        (&me.body["account"]["kind"], &me.body["credits"]["availableMillis"]),
        (&json!("org"), &json!(0)),
        "{}",
        me.body
    );
    give(&org.rig, &org.id, 1_000).await;
    let job = json!({ "model": "tintype/shapes", "prompt": "a red circle" });
    for (role, draws, makes_keys) in
        [("admin", true, true), ("member", true, false), ("billing", false, false), ("viewer", false, false)]
    {
        let mut browser = org.member(role).await;
        assert_eq!(browser.get("/api/v1/jobs").await.status, StatusCode::OK, "{role} looks");
        let made = browser.post("/api/v1/jobs", job.clone()).await;
        assert_eq!(made.status == StatusCode::ACCEPTED, draws, "{role}: {}", made.body);
        let key = browser.post("/api/v1/keys", json!({ "name": role })).await;
        assert_eq!(key.status == StatusCode::CREATED, makes_keys, "{role}: {}", key.body);
        // In their own account they may do everything.
        let person = browser.id().await;
        let account: uuid::Uuid = sqlx::query_scalar("select account from person where id = $1::uuid")
            .bind(person)
            .fetch_one(&org.rig.pool)
            .await
            .unwrap();
        assert_eq!(browser.act_for(&account.to_string()).await.status, StatusCode::OK);
        assert_eq!(browser.post("/api/v1/jobs", job.clone()).await.status, StatusCode::ACCEPTED);
    }
    let jobs = org.owner.get("/api/v1/jobs").await.body;
    assert_eq!(jobs["data"].as_array().unwrap().len(), 2, "of the organisation, whoever asked for them");
    org.rig.audit().await;
}

#[tokio::test]
async fn whoever_leaves_or_is_removed_acts_for_it_no_more() {
    let mut org = Org::new().await;
    let mut member = org.member("member").await;
    let id = member.id().await;
    assert_eq!(member.get("/api/v1/me").await.body["account"]["id"], org.id);
    assert_eq!(org.owner.delete(&org.path(&format!("/members/{id}"))).await.status, StatusCode::NO_CONTENT);
    assert_ne!(member.get("/api/v1/me").await.body["account"]["id"], org.id, "the very next request");
    assert_eq!(member.act_for(&org.id).await.error(), (404, "not_found", ""));
    let mut viewer = org.member("viewer").await;
    let path = org.path(&format!("/members/{}", viewer.id().await));
    assert_eq!(viewer.delete(&path).await.status, StatusCode::NO_CONTENT, "everybody may go");
    assert_eq!(viewer.get("/api/v1/orgs").await.body, json!({ "data": [] }));
}

#[tokio::test]
async fn nobody_rises_above_whoever_is_above_them_and_an_owner_stays() {
    let mut org = Org::new().await;
    let mut admin = org.member("admin").await;
    let mut member = org.member("member").await;
    let (owner, admin_id, member_id) = (org.owner.id().await, admin.id().await, member.id().await);
    let at = |id: &str| org.path(&format!("/members/{id}"));
    let role = |role: &str| json!({ "role": role });
    assert_eq!(admin.patch(&at(&admin_id), role("owner")).await.error(), REFUSED);
    assert_eq!(admin.patch(&at(&owner), role("viewer")).await.error(), REFUSED);
    assert_eq!(admin.delete(&at(&owner)).await.error(), REFUSED);
    assert_eq!(member.patch(&at(&member_id), role("admin")).await.error(), REFUSED);
    assert_eq!(member.get(&org.path("/invitations")).await.error(), REFUSED);
    assert_eq!(admin.patch(&at(&member_id), role("billing")).await.status, StatusCode::NO_CONTENT);
    let last = org.owner.clone().patch(&at(&owner), role("admin")).await;
    assert_eq!(last.error(), REFUSED, "the last owner");
    assert_eq!(org.owner.clone().delete(&at(&owner)).await.error(), REFUSED);
    assert_eq!(org.owner.clone().patch(&at(&admin_id), role("owner")).await.status, StatusCode::NO_CONTENT);
    // Two owners who both leave at the same moment: one of them stays.
    let (mut one, mut two) = (org.owner.clone(), admin.clone());
    let (first, second) = (at(&owner), at(&admin_id));
    let (left, other) = tokio::join!(one.delete(&first), two.delete(&second));
    let mut both = [left.status, other.status];
    both.sort();
    assert_eq!(both, [StatusCode::NO_CONTENT, StatusCode::FORBIDDEN]);
}

#[tokio::test]
async fn a_foreign_organisation_is_like_none() {
    let mut org = Org::new().await;
    let open = org.invited("viewer").await;
    let list = org.owner.get(&org.path("/invitations")).await.body;
    let invitation = list["data"][0]["id"].as_str().unwrap().to_owned();
    assert!(list["data"][0]["url"].is_null(), "the way in is shown once");
    let owner = org.owner.id().await;
    let mut stranger = Browser::signed_up(&org.rig, "stranger@example.org").await;
    for (method, rest, body) in [
        (Method::GET, "/members".to_owned(), None),
        (Method::PATCH, format!("/members/{owner}"), Some(json!({ "role": "viewer" }))),
        (Method::DELETE, format!("/members/{owner}"), None),
        (Method::GET, "/invitations".to_owned(), None),
        (Method::POST, "/invitations".to_owned(), Some(json!({ "email": "x@example.org", "role": "admin" }))),
        (Method::DELETE, format!("/invitations/{invitation}"), None),
    ] {
        let foreign = stranger.send(method.clone(), &org.path(&rest), body.clone()).await;
        let missing = stranger.send(method, &format!("/api/v1/orgs/{NOBODY}{rest}"), body).await;
        assert_eq!((foreign.status, &foreign.body), (missing.status, &missing.body), "{rest}");
        assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{rest}: {}", foreign.body);
    }
    assert_eq!(org.owner.delete(&org.path(&format!("/invitations/{invitation}"))).await.status, StatusCode::NO_CONTENT);
    let late = stranger.post("/api/v1/invitations/accept", json!({ "token": open })).await;
    assert_eq!(late.error(), (400, "invalid_request", "token"), "it was taken back");
    let twice = org.invited("viewer").await;
    assert_eq!(stranger.post("/api/v1/invitations/accept", json!({ "token": twice })).await.status, StatusCode::OK);
    let again = Browser::signed_up(&org.rig, "third@example.org")
        .await
        .post("/api/v1/invitations/accept", json!({ "token": twice }))
        .await;
    assert_eq!(again.error(), (400, "invalid_request", "token"), "once");
    let body = json!({ "email": "x@example.org", "role": "owner" });
    assert_eq!(org.owner.post(&org.path("/invitations"), body).await.error(), (400, "invalid_request", "role"));
}

#[tokio::test]
async fn what_was_done_is_written_down_for_good() {
    let mut org = Org::new().await;
    let mut viewer = org.member("viewer").await;
    assert_eq!(org.owner.act_for(&org.id.clone()).await.status, StatusCode::OK);
    let key = org.owner.post("/api/v1/keys", json!({ "name": "a secret name" })).await.body;
    let (id, secret) = (key["id"].as_str().unwrap(), key["apiKey"].as_str().unwrap());
    assert_eq!(org.owner.delete(&format!("/api/v1/keys/{id}")).await.status, StatusCode::NO_CONTENT);
    let told = org.owner.get("/api/v1/audit").await.body;
    let events = told["data"].as_array().unwrap();
    let actions: Vec<&str> = events.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["key.revoke", "key.create", "invitation.accept", "invitation.create", "org.create"]);
    let owner = org.owner.id().await;
    assert_eq!(
        (&events[0]["actorKind"], &events[0]["actor"], &events[0]["target"]),
        (&json!("person"), &json!(owner), &json!(id))
    );
    let text = told.to_string();
    assert!(!text.contains(secret) && !text.contains("secret name") && !text.contains('@'), "{text}");
    assert_eq!(viewer.get("/api/v1/audit").await.error(), REFUSED);
    for change in ["delete from audit_event", "update audit_event set actor = 'x'", "truncate audit_event"] {
        assert!(sqlx::query(change).execute(&org.rig.pool).await.is_err(), "{change}");
    }
    let admin = admin(&org.rig).await;
    let all = admin.get("/api/v1/admin/audit").await.body;
    assert!(all["data"].as_array().unwrap().len() > events.len(), "{all}");
    assert_eq!(org.owner.get("/api/v1/admin/audit").await.error(), REFUSED);
}

#[tokio::test]
async fn whoever_is_shut_out_is_out_at_once_with_every_key() {
    let rig = Rig::start().await;
    let admin = admin(&rig).await;
    let mut ada = Browser::signed_up(&rig, "ada@example.org").await;
    let key = ada.post("/api/v1/keys", json!({ "name": "mine" })).await.body["apiKey"].as_str().unwrap().to_owned();
    let by_key = admin.with_key(&key);
    until("the key is known by heart", || async {
        let before = rig.metric("tintype_api_key_checks_total{source=\"memory\"}").await;
        assert_eq!(by_key.get("/api/v1/me").await.status, StatusCode::OK);
        (rig.metric("tintype_api_key_checks_total{source=\"memory\"}").await > before).then_some(())
    })
    .await;
    let people = admin.get("/api/v1/admin/people?email=ADA@example.org").await.body;
    let path = format!("/api/v1/admin/people/{}", people["data"][0]["id"].as_str().unwrap());
    let change = async |body: Value| admin.send(Method::PATCH, &path, &[], Some(body)).await;
    assert!(change(json!({ "suspended": true })).await.body["suspendedMs"].is_number());
    assert_eq!(ada.get("/api/v1/me").await.error(), (401, "invalid_session", ""));
    assert_eq!(Browser::new(&rig).sign_in("ada@example.org", PASSWORD).await.error(), REFUSED);
    until("the key is dead", || async {
        (by_key.get("/api/v1/me").await.error() == (401, "invalid_api_key", "")).then_some(())
    })
    .await;
    assert_eq!(change(json!({ "suspended": false })).await.status, StatusCode::OK);
    until("the key lives again", || async { (by_key.get("/api/v1/me").await.status == StatusCode::OK).then_some(()) })
        .await;
    assert_eq!(ada.sign_in("ada@example.org", PASSWORD).await.status, StatusCode::OK);
    // An administrator at a browser may do what the token may, from our own pages.
    assert_eq!(ada.get("/api/v1/admin/people").await.error(), REFUSED);
    assert_eq!(change(json!({ "admin": true })).await.status, StatusCode::OK);
    assert_eq!(ada.get("/api/v1/admin/people").await.status, StatusCode::OK);
    let mut page = ada.saying(&[("sec-fetch-site", "cross-site")]);
    assert_eq!(page.delete(&format!("{path}/sessions")).await.error(), REFUSED);
    assert_eq!(ada.delete(&format!("{path}/sessions")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ada.get("/api/v1/me").await.error(), (401, "invalid_session", ""));
}

#[tokio::test]
async fn the_person_at_this_machine_needs_no_password() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let admin = admin(&rig).await;
    let path = format!("/api/v1/accounts/{}/sign-in-links", user.account);
    assert_eq!(user.post(&path, json!({ "admin": true })).await.error(), (401, "invalid_api_key", ""));
    let mut people = Vec::new();
    for _ in 0..2 {
        let made = admin.post(&path, json!({ "admin": true })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let url = made.body["url"].as_str().unwrap();
        assert!(url.starts_with(&format!("{}/auth/link#sign_in=", rig.url)), "{url}");
        let token = url.split('=').nth(1).unwrap();
        let mut browser = Browser::new(&rig);
        let redeemed = browser.post("/api/v1/auth/magic-links/redeem", json!({ "token": token })).await;
        assert_eq!(redeemed.status, StatusCode::OK, "{}", redeemed.body);
        assert_eq!(redeemed.body["account"]["id"], user.account.to_string());
        assert_eq!(redeemed.body["user"]["admin"], true);
        assert_eq!(browser.get("/api/v1/admin/people").await.status, StatusCode::OK);
        people.push(browser.id().await);
    }
    assert_eq!(people[0], people[1], "one person");
    assert_eq!(user.get("/api/v1/me").await.status, StatusCode::OK, "and the key stays good");
    let unknown = admin.post(&format!("/api/v1/accounts/{NOBODY}/sign-in-links"), json!({})).await;
    assert_eq!(unknown.error(), (404, "not_found", ""));
}
