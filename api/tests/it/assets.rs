//! Uploaded pictures over real HTTP: kept once, found by their owner alone, read by jobs, edited in OpenAI's dialect, and
//! swept when nobody needs them.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{Reply, Rig, User, until};
use crate::worker::{client, picture, sha256_hex};

/// Sends bytes as a picture.
pub(crate) async fn upload(rig: &Rig, user: &User, content: Vec<u8>) -> Reply {
    let request = client().post(format!("{}/api/v1/assets", rig.url)).bearer_auth(&user.key);
    Reply::of(request.header("content-type", "text/plain").body(content).send().await.unwrap()).await
}

fn start_from(key: &str) -> Value {
    json!({ "model": "tintype/shapes", "prompt": "a red circle", "init": { "image": key, "strength": 0.5 } })
}

fn files(rig: &Rig) -> usize {
    let count = |folder: std::path::PathBuf| std::fs::read_dir(folder).map_or(0, Iterator::count);
    let Ok(accounts) = std::fs::read_dir(rig.folder.path().join("images/inputs")) else { return 0 };
    accounts.map(|account| count(account.unwrap().path())).sum()
}

#[tokio::test]
async fn a_picture_is_kept_once_and_is_what_its_bytes_say() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let bytes = picture(64, 32, 7);
    let made = upload(&rig, &user, bytes.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let expected = json!({ "mediaType": "image/png", "width": 64, "height": 32, "bytes": bytes.len(),
        "sha256": sha256_hex(&bytes) });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&made.body[name], value, "{name}");
    }
    let key = made.body["key"].as_str().unwrap();
    assert!(key.starts_with(&format!("inputs/{}/", user.account)), "{key}");
    let week = 7 * 24 * 60 * 60 * 1_000;
    let (created, expires) = (made.body["createdMs"].as_u64().unwrap(), made.body["expiresMs"].as_u64().unwrap());
    assert!((created + week..created + week + 60_000).contains(&expires));

    assert_eq!(upload(&rig, &user, bytes.clone()).await.body["id"], made.body["id"], "the same file is the same asset");
    assert_eq!(files(&rig), 1);
    let path = format!("/api/v1/assets/{}", made.body["id"].as_str().unwrap());
    assert_eq!(user.get(&path).await.body["key"], key);
    let file = user.get(&format!("{path}/file")).await;
    let got = client().get(file.header("location")).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "image/png");
    assert_eq!(got.bytes().await.unwrap(), bytes);

    let second = upload(&rig, &user, picture(64, 64, 1)).await;
    let page = user.get("/api/v1/assets?limit=1").await;
    assert_eq!((&page.body["data"][0]["id"], &page.body["next"]), (&second.body["id"], &second.body["id"]));
    let next = user.get(&format!("/api/v1/assets?before={}", page.body["next"].as_str().unwrap())).await;
    assert_eq!((&next.body["data"][0]["id"], next.body.get("next")), (&made.body["id"], None));

    assert_eq!(user.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(user.get(&path).await.error(), (404, "not_found", ""));
    until("the file is gone", || async { (files(&rig) == 1).then_some(()) }).await;
    assert_eq!(user.delete(&path).await.error(), (404, "not_found", ""));
}

#[tokio::test]
async fn what_is_no_picture_or_too_large_is_refused() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let mut wide = picture(64, 64, 1);
    wide[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 1]);
    for (content, status, code) in [
        (b"GIF89a".to_vec(), 400, "invalid_request"),
        (Vec::new(), 400, "invalid_request"),
        (picture(64, 64, 1)[..20].to_vec(), 400, "invalid_request"),
        (wide, 400, "invalid_request"),
        (vec![0; (16 << 20) + 1], 413, "payload_too_large"),
    ] {
        let reply = upload(&rig, &user, content).await;
        assert_eq!((reply.status.as_u16(), reply.error().1), (status, code), "{}", reply.body);
    }
    assert_eq!(files(&rig), 0);
    let stranger = user.with_key("tt_00000000_nobody");
    assert_eq!(upload(&rig, &stranger, picture(64, 64, 1)).await.status, StatusCode::UNAUTHORIZED);
    // The account is full when its limit of files is reached, whoever put them there.
    sqlx::query(
        "insert into asset (id, account, key, media_type, width, height, bytes, sha256, created_ms, expires_ms)
         select gen_random_uuid(), $1, 'inputs/x/' || n, 'image/png', 1, 1, 1, sha256(n::text::bytea), 0, 9e15::bigint
         from generate_series(1, 1000) n",
    )
    .bind(user.account)
    .execute(&rig.pool)
    .await
    .unwrap();
    assert_eq!(upload(&rig, &user, picture(64, 64, 1)).await.error(), (403, "permission_denied", ""));
}

#[tokio::test]
async fn a_request_reads_only_pictures_of_its_own_account() {
    let rig = Rig::start().await;
    let (owner, other) = (rig.user().await, rig.user().await);
    let made = upload(&rig, &owner, picture(64, 64, 1)).await;
    let key = made.body["key"].as_str().unwrap();
    let unknown = format!("inputs/{}/{}.png", other.account, uuid::Uuid::now_v7());
    let (foreign, missing) =
        (other.post("/api/v1/jobs", start_from(key)).await, other.post("/api/v1/jobs", start_from(&unknown)).await);
    assert_eq!(foreign.error(), (404, "not_found", "init.image"));
    assert_eq!((foreign.status, &foreign.body), (missing.status, &missing.body), "a foreign picture is a missing one");
    for (body, param) in [
        (json!({ "image": key, "mask": unknown }), "init.mask"),
        (json!({ "image": "https://example.org/a.png" }), "init"),
        (json!({ "image": "data:image/png;base64,AAAA" }), "init"),
        (json!({ "image": "jobs/a/1/0.png" }), "init"),
    ] {
        let body = json!({ "model": "tintype/shapes", "prompt": "p", "init": body });
        let refused = owner.post("/v1/images/generations", body).await;
        assert_eq!(refused.error().2, param, "{}", refused.body);
    }
    assert_eq!(other.credits().await, (10_000, 0, 0));

    let placed = owner.post("/api/v1/jobs", start_from(key)).await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.body);
    assert_eq!(placed.body["priceMillis"], 10, "half of the steps are taken");
    let work = rig.worker("w1").claim().await;
    assert_eq!(work.request.init.as_ref().unwrap().image, key);
    let read = client().get(&work.inputs[key]).send().await.unwrap();
    assert_eq!(sha256_hex(&read.bytes().await.unwrap()), made.body["sha256"]);
}

#[tokio::test]
async fn a_picture_stays_while_an_open_job_reads_it_and_is_swept_afterwards() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let kept = upload(&rig, &user, picture(64, 64, 1)).await;
    let (id, key) = (kept.body["id"].as_str().unwrap(), kept.body["key"].as_str().unwrap());
    assert_eq!(user.post("/api/v1/jobs", start_from(key)).await.status, StatusCode::ACCEPTED);
    assert_eq!(user.delete(&format!("/api/v1/assets/{id}")).await.error(), (409, "asset_in_use", ""));
    sqlx::query("update asset set expires_ms = 1").execute(&rig.pool).await.unwrap();
    assert_eq!(user.post("/api/v1/jobs", start_from(key)).await.error(), (404, "not_found", "init.image"));

    // Deleting another makes the sweep look.
    let sweep = || async {
        let other = upload(&rig, &user, picture(64, 64, 2)).await;
        user.delete(&format!("/api/v1/assets/{}", other.body["id"].as_str().unwrap())).await;
        until("the sweep has been here", || async {
            let left: i64 = sqlx::query_scalar("select count(*) from asset where deleting_ms is not null")
                .fetch_one(&rig.pool)
                .await
                .unwrap();
            (left == 0).then_some(())
        })
        .await;
    };
    sweep().await;
    assert_eq!(files(&rig), 1, "the job still reads it");
    rig.worker("w1").work().await;
    user.settled().await;
    sweep().await;
    assert_eq!(files(&rig), 0);
    let rows: i64 = sqlx::query_scalar("select count(*) from asset").fetch_one(&rig.pool).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn an_edit_is_a_job_that_starts_from_the_forms_picture() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let _worker = rig.serve("w1");
    let mut mask = Vec::new();
    let mut encoder = png::Encoder::new(&mut mask, 2, 1);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().unwrap().write_image_data(&[0, 0, 0, 0, 0, 0, 0, 255]).unwrap();

    let plain =
        edit(&rig, &user, &[("prompt", "a red circle"), ("n", "2"), ("seed", "5")], &[("image", picture(64, 64, 1))])
            .await;
    assert_eq!(plain.status, StatusCode::OK, "{}", plain.body);
    assert_eq!((plain.body["data"].as_array().unwrap().len(), &plain.body["data"][1]["seed"]), (2, &json!(6)));
    let init = user.job(plain.header("x-tintype-job")).await["request"]["init"].clone();
    assert_eq!((&init["strength"], init.get("mask")), (&json!(0.8), None));

    let fields = [("prompt", "a red circle"), ("response_format", "b64_json"), ("strength", "0.9")];
    let masked = edit(&rig, &user, &fields, &[("image[]", picture(64, 64, 1)), ("mask", mask.clone())]).await;
    assert_eq!(masked.status, StatusCode::OK, "{}", masked.body);
    let init = user.job(masked.header("x-tintype-job")).await["request"]["init"].clone();
    assert_eq!(init["strength"], 0.9);
    let white: Vec<u8> = stored_grey(&rig, init["mask"].as_str().unwrap());
    assert_eq!(white, [255, 0], "transparent is what is redrawn");

    let own = edit(&rig, &user, &[("prompt", "p")], &[("image", mask.clone())]).await;
    let init = user.job(own.header("x-tintype-job")).await["request"]["init"].clone();
    assert_eq!((init["strength"].as_f64(), init["mask"].is_string()), (Some(1.0), true), "its own transparency");

    let picture_only = || vec![("image", picture(64, 64, 1))];
    for (fields, files, param) in [
        (vec![("prompt", "p")], vec![], "image"),
        (vec![("n", "1")], picture_only(), "prompt"),
        (vec![("prompt", "p"), ("n", "two")], picture_only(), "n"),
        (vec![("prompt", "p"), ("strength", "2")], picture_only(), "strength"),
        (vec![("prompt", "p"), ("size", "7x7")], picture_only(), "size"),
        (vec![("prompt", "p"), ("stepz", "7")], picture_only(), "stepz"),
        (vec![("prompt", "p"), ("init", "{}")], picture_only(), "init"),
        (vec![("prompt", "p")], vec![("image", b"rubbish".to_vec())], "image"),
        (vec![("prompt", "p")], vec![("image", mask.clone()), ("image", mask.clone())], "image"),
        (vec![("prompt", "p")], vec![("image", mask.clone()), ("mask", picture(64, 64, 1))], "mask"),
    ] {
        let refused = edit(&rig, &user, &fields, &files).await;
        assert_eq!((refused.status, refused.error().2), (StatusCode::BAD_REQUEST, param), "{}", refused.body);
    }
    let no_form = user.post("/v1/images/edits", json!({ "prompt": "p" })).await;
    assert_eq!(no_form.error(), (400, "invalid_request", "body"));
    user.settled().await;
    rig.audit().await;
}

async fn edit(rig: &Rig, user: &User, fields: &[(&str, &str)], files: &[(&str, Vec<u8>)]) -> Reply {
    const EDGE: &str = "the-edge-of-a-part";
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(head.as_bytes());
    }
    for (name, content) in files {
        let head = format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    body.extend_from_slice(format!("--{EDGE}--\r\n").as_bytes());
    let request = client().request(Method::POST, format!("{}/v1/images/edits", rig.url)).bearer_auth(&user.key);
    let kind = format!("multipart/form-data; boundary={EDGE}");
    Reply::of(request.header("content-type", kind).body(body).send().await.unwrap()).await
}

fn stored_grey(rig: &Rig, key: &str) -> Vec<u8> {
    let file = std::fs::read(rig.folder.path().join("images").join(key)).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}

#[tokio::test]
async fn loras_and_controlnets_are_held_against_what_is_there() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let kinds = user.get("/api/v1/models").await.body;
    let kind = |name: &str| {
        kinds["data"].as_array().unwrap().iter().find(|card| card["name"] == name).unwrap()["kind"].clone()
    };
    assert_eq!((kind("tintype/night"), kind("tintype/shapes")), (json!("lora"), json!("checkpoint")));
    let models = user.get("/v1/models").await.body;
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(ids, ["tintype/shapes"], "a LoRA is not offered as a model");

    let ask = |more: Value| {
        let mut body = json!({ "model": "tintype/shapes", "prompt": "p" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, expected) in [
        (json!({ "loras": [{ "name": "nobody/knows" }] }), (404, "model_not_found", "loras[0].name")),
        (json!({ "loras": [{ "name": "tintype/shapes" }] }), (400, "invalid_request", "loras[0].name")),
        (json!({ "model": "tintype/night" }), (400, "invalid_request", "model")),
    ] {
        for path in ["/api/v1/jobs", "/v1/images/generations"] {
            assert_eq!(user.post(path, ask(more.clone())).await.error(), expected, "{path}");
        }
    }
    let placed = user.post("/api/v1/jobs", ask(json!({ "loras": [{ "name": "tintype/night", "weight": 0.5 }] }))).await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.body);
    let work = rig.worker("w1").claim().await;
    assert_eq!((work.request.loras[0].name.as_str(), work.request.loras[0].weight), ("tintype/night", 0.5));
}
