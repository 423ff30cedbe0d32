//! One machine: `tintype up`, the command line, the unmodified OpenAI client, faults, bad input.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tintype_worker::testing::shapes::decode_png;

use crate::support::picture::{Shown, assert_shows};
use crate::support::programs::{program, send_signal};
use crate::support::up::Up;
use crate::support::wait::until;
use crate::support::{cache, copy_dir, root};

/// How long one small job may take beside other tests.
const JOB_LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_newcomer_gets_a_picture_and_a_second_start_keeps_data_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]).await;
    let key = up.rest.key.clone();
    let mode = std::fs::metadata(up.data.join("api-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the key file is for its owner alone");

    let output = Command::new(program("tintype"))
        .args(["generate", "a red circle on a blue background", "--seed", "1"])
        .env("TINTYPE_URL", &up.rest.url)
        .env("TINTYPE_API_KEY", &key)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let file = folder.path().join("a-red-circle-on-a-blue-background.png");
    let picture = std::fs::read(&file).unwrap();
    assert_shows(&picture, Shown { colour: "red", shape: "circle", ground: "blue" });
    assert!(said.contains("seed 1"), "{said}");

    let doctor = Command::new(program("tintype"))
        .args(["doctor", "--data-dir"])
        .arg(&up.data)
        .env("TINTYPE_URL", &up.rest.url)
        .current_dir(root())
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.success() && found.contains("knows the key"), "{found}");

    let jobs = up.rest.get("/api/v1/jobs").await;
    up.stop().await;
    let again = Up::start(folder.path(), &[]).await;
    assert_eq!(again.rest.key, key, "the key is kept");
    assert_eq!(again.rest.get("/api/v1/jobs").await, jobs, "the data is kept");
    again.stop().await;
}

#[tokio::test]
async fn the_openai_package_works_unmodified() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]).await;
    let python = std::fs::read_dir(cache().join("clients"))
        .expect("scripts/setup.sh has installed the clients")
        .map(|entry| entry.unwrap().path().join("bin/python"))
        .find(|python| python.exists())
        .expect("scripts/setup.sh has installed the clients");
    // OpenAI's masks are redrawn where they are transparent.
    std::fs::write(folder.path().join("mask.png"), half_transparent(64)).unwrap();
    let output = Command::new(python)
        .arg(root().join("tests/clients/openai_images.py"))
        .arg(folder.path())
        .env("OPENAI_BASE_URL", format!("{}/v1", up.rest.url))
        .env("OPENAI_API_KEY", &up.rest.key)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for (file, shown) in [
        ("0.png", Shown { colour: "red", shape: "circle", ground: "blue" }),
        ("1.png", Shown { colour: "green", shape: "square", ground: "white" }),
        ("2.png", Shown { colour: "white", shape: "triangle", ground: "black" }),
    ] {
        assert_shows(&std::fs::read(folder.path().join(file)).unwrap(), shown);
    }
    let picture = |file: &str| decode_png(&std::fs::read(folder.path().join(file)).unwrap()).expect("it is a PNG");
    let (before, edited) = (picture("0.png"), picture("edited.png"));
    let same = |side: std::ops::Range<usize>| {
        let places = (0..64).flat_map(|y| side.clone().map(move |x| (y * 64 + x) * 3));
        places.filter(|at| before.pixels[*at..at + 3] == edited.pixels[*at..at + 3]).count()
    };
    assert_eq!(same(32..64), 32 * 64, "what the mask keeps has changed");
    assert!(same(0..32) < 32 * 64 / 4, "what the mask opens was not redrawn");
    up.stop().await;
}

#[tokio::test]
async fn a_copy_of_the_database_is_put_back_in_another_folder() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let up = Up::start(first.path(), &[]).await;
    up.pictures(vec![json!({ "model": "tintype/shapes", "prompt": "a red circle", "steps": 4 })]).await;
    let jobs = up.rest.get("/api/v1/jobs").await;
    let file = first.path().join("copy.dump");
    let db = |data: &std::path::Path, arguments: &[&str]| {
        let output =
            Command::new(program("tintype")).arg("db").args(arguments).env("TINTYPE_DATA", data).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let count = ["psql", "--", "-At", "-c", "select 'jobs ' || count(*) from generation"];
    let path = file.to_str().unwrap();

    // Beside the running server, which cannot be put another database under.
    let copied = db(&up.data, &["backup", path]);
    assert!(copied.0 && copied.1.contains("copy.dump") && copied.1.contains("api-key"), "{}", copied.1);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it is for its owner alone");
    let again = db(&up.data, &["backup", path]);
    assert!(!again.0 && again.1.contains("is there already"), "{}", again.1);
    let running = db(&up.data, &["restore", path]);
    assert!(!running.0 && running.1.contains("stop it first"), "{}", running.1);
    assert_eq!(db(&up.data, &count), (true, "jobs 1\n".to_owned()));
    let (data, key) = (up.data.clone(), std::fs::read(up.data.join("api-key")).unwrap());
    up.stop().await;
    assert_eq!(db(&data, &count), (true, "jobs 1\n".to_owned()), "it is started for as long as it is asked");

    // What is no copy changes nothing; a copy takes the place of what is there, which is kept.
    std::fs::write(first.path().join("junk"), "no copy").unwrap();
    let junk = db(&data, &["restore", first.path().join("junk").to_str().unwrap()]);
    assert!(!junk.0 && junk.1.contains("nothing was changed"), "{}", junk.1);
    assert!(db(&data, &["psql", "--", "-c", "drop table webhook_delivery cascade"]).0);
    let put_back = db(&data, &["restore", path]);
    assert!(put_back.0 && put_back.1.contains("tintype_before_"), "{}", put_back.1);
    assert_eq!(db(&data, &count), (true, "jobs 1\n".to_owned()));
    assert!(db(&data, &["psql", "--", "-c", "select from webhook_delivery"]).0, "what the copy had is there");

    let nowhere = db(&second.path().join("none"), &["backup", second.path().join("none.dump").to_str().unwrap()]);
    assert!(!nowhere.0 && nowhere.1.contains("no private database"), "{}", nowhere.1);
    assert!(!second.path().join("none.dump.part").exists(), "nothing is left of what could not be copied");

    // And in a folder where nothing ever ran, with the key that belongs to it.
    let elsewhere = second.path().join("data");
    let put_back = db(&elsewhere, &["restore", path]);
    assert!(put_back.0 && !put_back.1.contains("tintype_before_"), "{}", put_back.1);
    std::fs::write(elsewhere.join("api-key"), key).unwrap();
    let up = Up::start(second.path(), &[]).await;
    assert_eq!(up.rest.get("/api/v1/jobs").await, jobs);
    up.stop().await;
}

/// A PNG of this side whose left half is transparent.
fn half_transparent(side: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Rgba);
    let alpha = |at: u32| if at % side < side / 2 { 0 } else { 255 };
    let pixels: Vec<u8> = (0..side * side).flat_map(|at| [0, 0, 0, alpha(at)]).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    file
}

#[tokio::test]
async fn a_worker_killed_in_mid_job_costs_one_attempt_and_one_capture() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &["--lease-seconds", "5"]).await;
    let (before, _) = up.rest.credits().await;
    let job = up.rest.post("/api/v1/jobs", long_job()).await;
    let id = job["id"].as_str().unwrap().to_owned();
    let price = job["priceMillis"].as_i64().unwrap();
    running(&up, &id).await;

    let worker = child_of(up.running.id(), "worker");
    send_signal(worker, libc::SIGKILL);

    let done = finished(&up, &id).await;
    assert_eq!((done["state"].as_str(), done["attempt"].as_i64()), (Some("Complete"), Some(2)), "{done}");
    settled(&up, before - price).await;
    up.stop().await;
}

#[tokio::test]
async fn everything_killed_at_once_loses_no_job_and_no_credit() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &["--lease-seconds", "5"]).await;
    let (before, _) = up.rest.credits().await;
    let job = up.rest.post("/api/v1/jobs", long_job()).await;
    let id = job["id"].as_str().unwrap().to_owned();
    let price = job["priceMillis"].as_i64().unwrap();
    running(&up, &id).await;

    up.running.kill_9();
    drop(up);

    let up = Up::start(folder.path(), &["--lease-seconds", "5"]).await;
    let done = finished(&up, &id).await;
    assert_eq!(done["state"], "Complete", "{done}");
    settled(&up, before - price).await;
    up.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    copy_dir(&crate::support::models().join("shapes"), &models.join("shapes"));
    copy_dir(&crate::support::models().join("shapes"), &models.join("broken"));
    std::fs::remove_file(models.join("broken/tintype.json")).unwrap();
    std::fs::write(
        models.join("broken/unet/diffusion_pytorch_model.safetensors"),
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{",
    )
    .unwrap();
    let up = Up::start(folder.path(), &["--models-dir", models.to_str().unwrap()]).await;
    let before = up.rest.credits().await;

    let good = json!({ "model": "tintype/shapes", "prompt": "a red circle on a blue background", "seed": 1 });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let cases = [
        (with("model", json!("nobody/knows")), StatusCode::NOT_FOUND, "model_not_found", "model"),
        (with("size", json!("7x64")), StatusCode::BAD_REQUEST, "invalid_request", "size"),
        (with("prompt", json!("x".repeat(10_000))), StatusCode::BAD_REQUEST, "invalid_request", "prompt"),
        (with("steps", json!(-4)), StatusCode::BAD_REQUEST, "invalid_request", "steps"),
        (with("n", json!(11)), StatusCode::BAD_REQUEST, "invalid_request", "n"),
        (with("stepz", json!(4)), StatusCode::BAD_REQUEST, "invalid_request", "stepz"),
    ];
    for (body, status, code, param) in cases {
        let (got, answer) = up.rest.send(Method::POST, "/v1/images/generations", Some(body)).await;
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{param}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{answer}");
    }

    let (status, answer) =
        up.rest.send(Method::POST, "/v1/images/generations", Some(with("model", json!("broken")))).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("generation_failed")));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("diffusion_pytorch_model.safetensors"), "{message}");

    let mut stranger = up.rest.clone();
    stranger.key = "tt_00000000_not-a-key".to_owned();
    let (status, answer) = stranger.send(Method::GET, "/api/v1/me", None).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!("invalid_api_key")));

    settled(&up, before.0).await;
    let picture = up.rest.post("/v1/images/generations", good).await;
    let url = picture["data"][0]["url"].as_str().unwrap();
    assert_shows(&up.rest.bytes(url).await, Shown { colour: "red", shape: "circle", ground: "blue" });
    up.stop().await;
}

/// A job that takes long enough to be killed in its middle, within ten free credits.
fn long_job() -> Value {
    json!({
        "model": "tintype/shapes", "prompt": "a red circle on a blue background",
        "steps": 150, "images": 4, "seed": 1
    })
}

async fn running(up: &Up, id: &str) {
    until("the job to be under way", JOB_LIMIT, || async {
        let job = up.rest.job(id).await;
        (job["step"].as_i64().unwrap_or(0) > 0 && job["state"] != "Complete").then_some(())
    })
    .await;
}

async fn finished(up: &Up, id: &str) -> Value {
    let seen = LastSeen::default();
    until("the job to end", JOB_LIMIT, || async {
        let job = up.rest.job(id).await;
        *seen.0.lock().unwrap() = job.clone();
        matches!(job["state"].as_str(), Some("Complete" | "Failed")).then_some(job)
    })
    .await
}

/// A job that was waited for: told where the wait ends in a panic.
#[derive(Default)]
struct LastSeen(std::sync::Mutex<Value>);

impl Drop for LastSeen {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the job as it was seen last: {}", self.0.lock().unwrap());
        }
    }
}

/// Waits until nothing is held, then checks what is left.
async fn settled(up: &Up, available: i64) {
    let credits = until("holds to be settled", JOB_LIMIT, || async {
        let credits = up.rest.credits().await;
        (credits.1 == 0).then_some(credits)
    })
    .await;
    assert_eq!(credits, (available, 0), "credits in thousandths: available, held");
}

/// The child of a process whose command line holds a word.
fn child_of(parent: i32, word: &str) -> i32 {
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Ok(id) = name.parse::<i32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let of: Option<i32> = after_name.split_whitespace().nth(1).and_then(|field| field.parse().ok());
        let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        if of == Some(parent) && line.split('\0').any(|argument| argument == word) {
            return id;
        }
    }
    panic!("process {parent} has no child `{word}`");
}
