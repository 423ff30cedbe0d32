//! The gallery over real HTTP: pictures of completed jobs, newest first, starred, collected, deleted, restored, swept; and
//! nobody sees or changes another's.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{Reply, Rig, User, until};
use crate::worker::client;

/// Makes a job of some pictures and waits for its end.
pub(crate) async fn draw(rig: &Rig, user: &User, request: Value) -> Value {
    let mut body = json!({ "model": "tintype/shapes", "prompt": "a red circle" });
    body.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    let made = user.post("/api/v1/jobs", body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    rig.worker("w1").work().await;
    user.job_in(made.body["id"].as_str().unwrap(), "Complete").await
}

async fn patch(user: &User, path: &str, body: Value) -> Reply {
    user.send(Method::PATCH, path, &[], Some(body)).await
}

pub(crate) fn ids(reply: &Reply) -> Vec<String> {
    let data = reply.body["data"].as_array().unwrap_or_else(|| panic!("no list: {}", reply.body));
    data.iter().map(|image| image["id"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn listed(user: &User, query: &str) -> Vec<String> {
    ids(&user.get(&format!("/api/v1/images?{query}")).await)
}

#[tokio::test]
async fn every_picture_is_listed_with_what_it_takes_to_make_it_again() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    assert_eq!(listed(&user, "").await, Vec::<String>::new());
    let job = draw(&rig, &user, json!({ "images": 3, "seed": 40, "negativePrompt": "blur", "steps": 7 })).await;
    let page = user.get("/api/v1/images").await;
    let image = &page.body["data"][1];
    for (name, value) in [
        ("jobId", job["id"].clone()),
        ("n", json!(1)),
        ("seed", json!(41)),
        ("prompt", json!("a red circle")),
        ("negativePrompt", json!("blur")),
        ("model", json!("tintype/shapes")),
        ("format", json!("png")),
        ("width", json!(64)),
        ("height", json!(64)),
        ("starred", json!(false)),
        ("collections", json!([])),
        ("sha256", job["outputs"][1]["sha256"].clone()),
        ("createdMs", job["finishedMs"].clone()),
    ] {
        assert_eq!(image[name], value, "{name} of {image}");
    }
    let order: Vec<_> = page.body["data"].as_array().unwrap().iter().map(|image| image["n"].as_u64()).collect();
    assert_eq!(order, [Some(0), Some(1), Some(2)], "pictures of a job stand in their order");
    let got = client().get(image["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::OK, "the URL needs no key");
    let bytes = got.bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, image["bytes"].as_u64().unwrap());
    let file = user.get(image["file"].as_str().unwrap()).await;
    assert_eq!(client().get(file.header("location")).send().await.unwrap().bytes().await.unwrap(), bytes);

    let again = user.post("/api/v1/jobs", image["settings"].clone()).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.body);
    let (asked, was) = (&again.body["request"], &job["request"]);
    assert_eq!((&asked["seed"], &asked["images"], &asked["steps"]), (&json!(41), &json!(1), &was["steps"]));
}

#[tokio::test]
async fn pages_are_stable_while_new_pictures_come() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    draw(&rig, &user, json!({ "images": 5 })).await;
    let all = listed(&user, "").await;
    let first = user.get("/api/v1/images?limit=2").await;
    assert_eq!(ids(&first), all[..2]);
    draw(&rig, &user, json!({ "images": 2 })).await;
    let second = user.get(&format!("/api/v1/images?limit=2&cursor={}", first.body["next"].as_str().unwrap())).await;
    assert_eq!(ids(&second), all[2..4]);
    let third = user.get(&format!("/api/v1/images?limit=2&cursor={}", second.body["next"].as_str().unwrap())).await;
    assert_eq!((ids(&third), third.body.get("next")), (all[4..].to_vec(), None));
    for (query, param) in [("limit=0", "limit"), ("limit=201", "limit"), ("cursor=x", "query"), ("page=2", "query")] {
        assert_eq!(user.get(&format!("/api/v1/images?{query}")).await.error(), (400, "invalid_request", param));
    }
}

#[tokio::test]
async fn filters_narrow_the_list_together() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    draw(&rig, &user, json!({ "prompt": "A white Star on purple" })).await;
    draw(&rig, &user, json!({ "prompt": "a green star" })).await;
    let newest = user.get("/api/v1/images").await.body["data"][0].clone();
    let (new, old) = {
        let all = listed(&user, "").await;
        (all[0].clone(), all[1].clone())
    };
    patch(&user, &format!("/api/v1/images/{old}"), json!({ "starred": true })).await;
    let created = newest["createdMs"].as_u64().unwrap();
    for (query, expected) in [
        ("q=star", vec![&new, &old]),
        ("q=purple%20star", vec![&old]),
        ("q=star&starred=true", vec![&old]),
        ("starred=false", vec![&new]),
        ("q=circle", vec![]),
        ("model=tintype/shapes", vec![&new, &old]),
        ("model=another", vec![]),
        (&format!("from={created}"), vec![&new]),
        (&format!("to={created}"), vec![&old]),
        (&format!("from={}", created + 1), vec![]),
    ] {
        let found = listed(&user, query).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }
}

#[tokio::test]
async fn collections_group_pictures_and_lose_none() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    draw(&rig, &user, json!({ "images": 3 })).await;
    let images = listed(&user, "").await;
    let make = async |name: &str| {
        let made = user.post("/api/v1/collections", json!({ "name": name })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        made.body["id"].as_str().unwrap().to_owned()
    };
    let (cats, dogs) = (make("cats").await, make("dogs").await);
    let bulk = |action: &str, of: &str| json!({ "ids": images, "action": action, "collection": of });
    assert_eq!(user.post("/api/v1/images/bulk", bulk("collect", &cats)).await.body["changed"], 3);
    assert_eq!(user.post("/api/v1/images/bulk", bulk("collect", &cats)).await.body["changed"], 0, "twice is once");
    let moved = patch(&user, &format!("/api/v1/images/{}", images[1]), json!({ "collections": [dogs] })).await;
    assert_eq!(moved.body["collections"], json!([dogs]));
    assert_eq!(listed(&user, &format!("collection={cats}")).await, [images[0].clone(), images[2].clone()]);
    assert_eq!(listed(&user, &format!("collection={dogs}")).await, images[1..2]);

    let list = user.get("/api/v1/collections").await.body;
    let facts: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|c| (c["name"].clone(), c["images"].clone())).collect();
    assert_eq!(facts, [(json!("cats"), json!(2)), (json!("dogs"), json!(1))]);
    let cover = client().get(list["data"][1]["cover"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(cover.status(), StatusCode::OK);

    let renamed = patch(&user, &format!("/api/v1/collections/{cats}"), json!({ "name": "kittens" })).await;
    assert_eq!((&renamed.body["name"], &renamed.body["images"]), (&json!("kittens"), &json!(2)));
    assert_eq!(user.delete(&format!("/api/v1/collections/{cats}")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(user.get(&format!("/api/v1/collections/{cats}")).await.error(), (404, "not_found", ""));
    assert_eq!(listed(&user, "").await, images, "a collection's end is not its pictures'");
    assert_eq!(
        user.post("/api/v1/collections", json!({ "name": " " })).await.error(),
        (400, "invalid_request", "name")
    );
}

#[tokio::test]
async fn a_deleted_picture_is_hidden_can_be_restored_for_a_minute_and_then_leaves_the_store() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let job = draw(&rig, &user, json!({ "images": 2 })).await;
    let images = listed(&user, "").await;
    let path = format!("/api/v1/images/{}", images[0]);
    let in_job = format!("/api/v1/jobs/{}/images/0", job["id"].as_str().unwrap());
    let file = rig.folder.path().join("images/jobs").join(job["id"].as_str().unwrap()).join("1/0.png");
    assert!(file.exists());
    assert_eq!(user.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(user.get(&path).await.error(), (404, "not_found", ""));
    assert_eq!(user.get(&in_job).await.error(), (404, "not_found", ""));
    assert_eq!(user.delete(&path).await.error(), (404, "not_found", ""));
    assert_eq!(listed(&user, "").await, images[1..]);
    let restore = json!({ "ids": images, "action": "restore" });
    assert_eq!(user.post("/api/v1/images/bulk", restore.clone()).await.body["changed"], 1);
    assert_eq!(user.get(&path).await.status, StatusCode::OK);

    let all = json!({ "ids": [images[0]], "action": "delete" });
    assert_eq!(user.post("/api/v1/images/bulk", all).await.body["changed"], 1);
    sqlx::query("update image set deleting_ms = deleting_ms - 120000 where deleting_ms is not null")
        .execute(&rig.pool)
        .await
        .unwrap();
    assert_eq!(user.post("/api/v1/images/bulk", restore).await.body["changed"], 0, "the minute is over");
    until("the file is gone", || async { (!file.exists()).then_some(()) }).await;
    let rows = || async {
        let left: i64 = sqlx::query_scalar("select count(*) from image").fetch_one(&rig.pool).await.unwrap();
        (left == 1).then_some(())
    };
    until("the row is gone", rows).await;
    assert_eq!(listed(&user, "").await, images[1..]);
}

/// What somebody without an account gets.
async fn stranger(rig: &Rig, path: &str) -> reqwest::Response {
    client().get(format!("{}{path}", rig.url)).send().await.unwrap()
}

async fn link_of(user: &User, own: &str, audience: &str) -> String {
    let shared = patch(user, own, json!({ "shared": audience })).await.body["shared"].clone();
    assert_eq!(shared["settings"], json!(audience == "settings"));
    format!("/api/v1/shared/{}", shared["token"].as_str().unwrap())
}

#[tokio::test]
async fn a_shared_picture_is_seen_by_who_has_its_link_until_it_is_taken_back() {
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    draw(&rig, &user, json!({ "prompt": "a white star on purple", "images": 2 })).await;
    let images = listed(&user, "").await;
    let own = format!("/api/v1/images/{}", images[0]);
    assert_eq!(user.get(&own).await.body.get("shared"), None, "private until its owner says");
    let link = link_of(&user, &own, "picture").await;
    assert!(images.iter().all(|id| !link.contains(&id[19..])), "an id tells no link");
    let answer = stranger(&rig, &link).await;
    assert_eq!((answer.status(), &answer.headers()["cache-control"]), (StatusCode::OK, &"no-store".parse().unwrap()));
    let file = format!("{link}/file");
    let alone = json!({ "token": link[15..], "file": file, "width": 64, "height": 64, "format": "png" });
    assert_eq!(answer.json::<Value>().await.unwrap(), alone, "the picture and nothing else");
    assert_eq!(other.get(&link).await.body, alone, "whoever is signed in sees the same");
    let sent = stranger(&rig, &file).await;
    assert_eq!((sent.status(), &sent.headers()["cache-control"]), (StatusCode::OK, &"no-store".parse().unwrap()));
    assert_eq!(&sent.bytes().await.unwrap()[1..4], b"PNG");
    for closed in [&images[0], &images[1]] {
        assert_eq!(stranger(&rig, &format!("/api/v1/shared/{closed}")).await.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(stranger(&rig, &own).await.status(), StatusCode::UNAUTHORIZED, "the link opens nothing else");

    assert_eq!(link_of(&user, &own, "settings").await, link, "the same link shows more");
    let seen: Value = stranger(&rig, &link).await.json().await.unwrap();
    assert_eq!(seen["settings"]["prompt"], "a white star on purple");

    assert_eq!(patch(&user, &own, json!({ "shared": "nobody" })).await.body.get("shared"), None);
    for path in [&link, &file] {
        assert_eq!(stranger(&rig, path).await.status(), StatusCode::NOT_FOUND, "taken back: {path}");
    }
    let next = link_of(&user, &own, "picture").await;
    assert_ne!(next, link, "what was taken back stays back");
    user.delete(&own).await;
    assert_eq!(stranger(&rig, &next).await.status(), StatusCode::NOT_FOUND, "deleted");
}

#[tokio::test]
async fn a_shared_collection_shows_its_pictures_alone_until_its_link_is_taken_back() {
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    draw(&rig, &user, json!({ "prompt": "a white star on purple", "images": 3 })).await;
    let images = listed(&user, "").await;
    let made = user.post("/api/v1/collections", json!({ "name": "stars" })).await.body;
    let own = format!("/api/v1/collections/{}", made["id"].as_str().unwrap());
    let put = json!({ "ids": images[..2], "action": "collect", "collection": made["id"] });
    assert_eq!(user.post("/api/v1/images/bulk", put).await.body["changed"], 2);
    assert_eq!(user.get(&own).await.body.get("shared"), None, "private until its owner says");
    let token = patch(&user, &own, json!({ "shared": true })).await.body["shared"].as_str().unwrap().to_owned();
    assert_eq!(patch(&user, &own, json!({ "shared": true })).await.body["shared"], json!(token), "one link");
    let link = format!("/api/v1/shared-collections/{token}");

    let answer = stranger(&rig, &link).await;
    assert_eq!((answer.status(), &answer.headers()["cache-control"]), (StatusCode::OK, &"no-store".parse().unwrap()));
    let text = answer.text().await.unwrap();
    assert!(!text.contains("purple") && images.iter().all(|id| !text.contains(&id[19..])), "no prompt, no id: {text}");
    let seen: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&seen["name"], &seen["images"], seen.get("next")), (&json!("stars"), &json!(2), None));
    let files: Vec<&str> = seen["data"].as_array().unwrap().iter().map(|one| one["file"].as_str().unwrap()).collect();
    assert_eq!(files.len(), 2, "the third is in no collection");
    for file in &files {
        assert_eq!(&stranger(&rig, file).await.bytes().await.unwrap()[1..4], b"PNG");
    }
    let after = format!("{link}?cursor={}", seen["data"][0]["key"].as_str().unwrap());
    let rest: Value = stranger(&rig, &after).await.json().await.unwrap();
    assert_eq!(rest["data"], json!([seen["data"][1]]), "the page after the first picture");
    let foreign = format!("{link}/{}/file", images[0]);
    assert_eq!(stranger(&rig, &foreign).await.status(), StatusCode::NOT_FOUND, "an id is no key");
    assert_eq!(patch(&other, &own, json!({ "shared": true })).await.error().0, 404, "its owner alone shares it");

    let out = json!({ "ids": images[..1], "action": "uncollect", "collection": made["id"] });
    user.post("/api/v1/images/bulk", out).await;
    assert_eq!(stranger(&rig, files[0]).await.status(), StatusCode::NOT_FOUND, "taken out of it");
    sqlx::query("update account set suspended_ms = 1 where id = $1")
        .bind(user.account)
        .execute(&rig.pool)
        .await
        .unwrap();
    assert_eq!(stranger(&rig, &link).await.status(), StatusCode::NOT_FOUND, "its owner is shut out");
    sqlx::query("update account set suspended_ms = null").execute(&rig.pool).await.unwrap();
    assert_eq!(stranger(&rig, files[1]).await.status(), StatusCode::OK);

    assert_eq!(patch(&user, &own, json!({ "shared": false })).await.body.get("shared"), None);
    for path in [link.as_str(), files[1]] {
        assert_eq!(stranger(&rig, path).await.status(), StatusCode::NOT_FOUND, "taken back: {path}");
    }
    let next = patch(&user, &own, json!({ "shared": true })).await.body["shared"].clone();
    assert_ne!(next, json!(token), "what was taken back stays back");
}

#[tokio::test]
async fn pictures_are_found_by_their_seed() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    draw(&rig, &user, json!({ "seed": 7, "images": 2 })).await;
    let images = listed(&user, "").await;
    let seeds = user.get("/api/v1/images").await.body;
    for (n, id) in images.iter().enumerate() {
        assert_eq!(listed(&user, &format!("seed={}", seeds["data"][n]["seed"])).await, std::slice::from_ref(id));
    }
    assert_eq!(listed(&user, &format!("seed={}", u64::MAX)).await, Vec::<String>::new());
    assert_eq!(user.get("/api/v1/images?seed=x").await.error(), (400, "invalid_request", "query"));
}

#[tokio::test]
async fn pictures_are_found_by_the_ratio_that_is_nearest_to_their_shape() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    // A little off 3:2, as sides in steps are.
    draw(&rig, &user, json!({ "width": 640, "height": 448, "images": 3 })).await;
    draw(&rig, &user, json!({ "width": 64, "height": 64 })).await;
    let all = listed(&user, "").await;
    assert_eq!(listed(&user, "ratio=3:2").await, all[1..], "as in the whole list: newest first");
    let mut found = Vec::new();
    let mut page = user.get("/api/v1/images?ratio=3:2&limit=1").await.body;
    while let Some(next) = page["next"].as_str() {
        found.push(page["data"][0]["id"].clone());
        page = user.get(&format!("/api/v1/images?ratio=3:2&limit=1&cursor={next}")).await.body;
    }
    found.push(page["data"][0]["id"].clone());
    assert_eq!(json!(found), json!(all[1..]), "page by page");
    assert_eq!(listed(&user, "ratio=1:1").await, all[..1]);
    assert_eq!(listed(&user, "ratio=2:3").await, Vec::<String>::new());
    assert_eq!(user.get("/api/v1/images/days?ratio=3:2").await.body["data"][0]["images"], 3);
    assert_eq!(user.get("/api/v1/images?ratio=7:5").await.error(), (400, "invalid_request", "ratio"));
}

#[tokio::test]
async fn the_database_knows_each_ratio_by_its_name() {
    let rig = Rig::start().await;
    for name in tintype_api::gallery::image::RATIOS {
        let (wide, high) = name.split_once(':').unwrap();
        let called: String = sqlx::query_scalar("select image_ratio($1::int * 64, $2::int * 64)")
            .bind(wide.parse::<i32>().unwrap())
            .bind(high.parse::<i32>().unwrap())
            .fetch_one(&rig.pool)
            .await
            .unwrap();
        assert_eq!(called, name);
    }
}

#[tokio::test]
async fn links_of_who_is_suspended_or_erased_lead_nowhere() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    draw(&rig, &user, json!({})).await;
    let link = link_of(&user, &format!("/api/v1/images/{}", listed(&user, "").await[0]), "picture").await;
    for column in ["suspended_ms", "erased_ms"] {
        for (moment, status) in [("1", StatusCode::NOT_FOUND), ("null", StatusCode::OK)] {
            let sql = format!("update account set {column} = {moment} where id = $1");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user.account).execute(&rig.pool).await.unwrap();
            assert_eq!(stranger(&rig, &link).await.status(), status, "{column} = {moment}");
        }
    }
}

#[tokio::test]
async fn what_is_anothers_is_as_what_is_not_there() {
    let rig = Rig::start().await;
    let (owner, other) = (rig.user().await, rig.user().await);
    draw(&rig, &owner, json!({})).await;
    let image = listed(&owner, "").await.remove(0);
    let mine =
        owner.post("/api/v1/collections", json!({ "name": "mine" })).await.body["id"].as_str().unwrap().to_owned();
    let nobody = uuid::Uuid::now_v7().to_string();
    assert_eq!(listed(&other, "").await, Vec::<String>::new());
    assert_eq!(listed(&other, &format!("collection={mine}")).await, Vec::<String>::new());
    for (what, method, body) in [
        ("", Method::GET, None),
        ("/file", Method::GET, None),
        ("", Method::DELETE, None),
        ("", Method::PATCH, Some(json!({ "starred": true }))),
        ("", Method::PATCH, Some(json!({ "shared": "settings" }))),
    ] {
        let ask =
            async |id: &str| other.send(method.clone(), &format!("/api/v1/images/{id}{what}"), &[], body.clone()).await;
        let (foreign, missing) = (ask(&image).await, ask(&nobody).await);
        assert_eq!((foreign.status, &foreign.body), (missing.status, &missing.body), "{method} {what}");
        assert_eq!(foreign.error().0, 404, "{method} {what}");
    }
    for action in ["star", "delete", "restore"] {
        let reply = other.post("/api/v1/images/bulk", json!({ "ids": [image], "action": action })).await;
        assert_eq!((reply.status, &reply.body["changed"]), (StatusCode::OK, &json!(0)), "{action}");
    }
    let theirs =
        other.post("/api/v1/collections", json!({ "name": "theirs" })).await.body["id"].as_str().unwrap().to_owned();
    for (id, into) in [(&image, &mine), (&image, &nobody)] {
        let body = json!({ "ids": [id], "action": "collect", "collection": into });
        assert_eq!(other.post("/api/v1/images/bulk", body).await.error(), (404, "not_found", "collection"));
    }
    let body = json!({ "ids": [image], "action": "collect", "collection": theirs });
    assert_eq!(other.post("/api/v1/images/bulk", body).await.body["changed"], 0);
    let path = format!("/api/v1/images/{image}");
    assert_eq!(
        patch(&owner, &path, json!({ "collections": [theirs] })).await.error(),
        (404, "not_found", "collections")
    );
    assert_eq!(patch(&owner, &path, json!({ "colour": 1 })).await.error(), (400, "invalid_request", "colour"));
    assert_eq!(owner.get(&path).await.body["starred"], false);
    for method in [Method::PATCH, Method::DELETE] {
        let body = Some(json!({ "name": "stolen" }));
        assert_eq!(other.send(method, &format!("/api/v1/collections/{mine}"), &[], body).await.error().0, 404);
    }
}

#[tokio::test]
async fn pictures_from_before_there_were_rows_are_filled_in_once() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    draw(&rig, &user, json!({ "images": 3 })).await;
    let before = user.get("/api/v1/images").await.body;
    sqlx::query("delete from image").execute(&rig.pool).await.unwrap();
    let backfill = include_str!("../../../migrations/0007_images_backfill.sql");
    for _ in 0..2 {
        let mut tx = rig.pool.begin().await.unwrap();
        sqlx::raw_sql(backfill).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    let after = user.get("/api/v1/images").await.body;
    let facts = |page: &Value| {
        let strip = |image: &Value| {
            let mut image = image.clone();
            for name in ["url", "urlExpiresMs"] {
                image.as_object_mut().unwrap().remove(name);
            }
            image
        };
        page["data"].as_array().unwrap().iter().map(strip).collect::<Vec<_>>()
    };
    assert_eq!(facts(&after), facts(&before), "the same pictures under the same ids");
}
