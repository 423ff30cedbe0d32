//! What is small on the wire and large once it is read, and what is large without end: many of it at once, sent to the API
//! as a program of its own, whose memory is watched.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::crash::spawn_with;
use crate::rig::{ADMIN_TOKEN, Reply, User, prepare};
use crate::support::database;
use crate::worker::{client, picture};

/// How much more memory it may take at its highest than before, in KiB: four uploads at a time with two pictures of 16 MiB, a
/// picture of 4,096 x 4,096 points of four bytes and a mask of one each, which is 450 MiB, and room for the rest.
const MORE_KIB_MAX: u64 = 640 << 10;
/// Of each kind at a time.
const AT_ONCE: usize = 24;
const EDGE: &str = "the-edge-of-a-part";

/// A kind of thing that is sent.
#[derive(Clone)]
struct Bomb {
    what: &'static str,
    path: &'static str,
    media_type: String,
    body: Vec<u8>,
    /// Whether it is a thing that may be taken when there is room.
    honest: bool,
}

fn part(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), format!("--{EDGE}--\r\n").into_bytes()].concat()
}

/// A few kilobytes that are `side` x `side` points without colour once they are read.
fn transparent(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![0; side as usize * side as usize * 4]).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The same with a text in it that is a gibibyte once it is read.
fn with_long_text(picture: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 64, 64);
    encoder.add_ztxt_chunk("Comment".to_owned(), "x".repeat(64 << 20)).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0; 64 * 64]).unwrap();
    writer.finish().unwrap();
    // Its own header, then the other's text, then the rest.
    let (start, rest) = picture.split_at(33);
    let text_bytes = u32::from_be_bytes(bytes[33..37].try_into().unwrap()) as usize + 12;
    [start, &bytes[33..33 + text_bytes], rest].concat()
}

/// The same with sides that are no sides.
fn as_if_larger(picture: &[u8], side: u32) -> Vec<u8> {
    let mut larger = picture.to_vec();
    larger[16..20].copy_from_slice(&side.to_be_bytes());
    larger[20..24].copy_from_slice(&side.to_be_bytes());
    larger
}

fn bombs() -> Vec<Bomb> {
    let prompt = part("prompt", b"a red circle");
    let edit = |what, parts: &[Vec<u8>], honest| Bomb {
        what,
        path: "/v1/images/edits",
        media_type: format!("multipart/form-data; boundary={EDGE}"),
        body: form(parts),
        honest,
    };
    let json = |what, path, body| Bomb { what, path, media_type: "application/json".to_owned(), body, honest: false };
    let upload =
        |what, body| Bomb { what, path: "/api/v1/assets", media_type: "image/png".to_owned(), body, honest: false };
    let (large, small) = (transparent(4_096), picture(64, 64, 1));
    let huge = as_if_larger(&small, 0x7fff_ffff);
    vec![
        edit("two pictures of 64 MiB", &[prompt.clone(), part("image", &large), part("mask", &large)], true),
        edit("a long text in a picture", &[prompt.clone(), part("image", &with_long_text(&large))], true),
        edit("sides without end", &[prompt.clone(), part("image", &small), part("mask", &huge)], false),
        edit("a thousand fields", &vec![part("x", b"y"); 1_000], false),
        edit("a form too large", &[prompt, part("image", &vec![0; 40 << 20])], false),
        upload("a file too large", vec![0; 40 << 20]),
        upload("sides without end in an upload", huge),
        json("nesting without end", "/api/v1/jobs", vec![b'['; 200_000]),
        json("blanks without end", "/api/v1/jobs", vec![b' '; 8 << 20]),
        json(
            "a list of a hundred thousand",
            "/api/v1/batches",
            format!("{{\"jobs\":[{}0]}}", "0,".repeat(100_000)).into(),
        ),
    ]
}

/// The most memory the process has had at a time, in KiB.
fn most_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_and_memory_stays_within_its_bound() {
    let (_pool, database_url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let quick = [("TINTYPE_WAIT_SECONDS", "1")];
    let (mut api, url) = spawn_with(folder.path(), &database_url, 0, &quick).await;
    let made = User::new(&url, ADMIN_TOKEN).post("/api/v1/users", json!({ "name": "x" })).await;
    let user = User::new(&url, made.body["apiKey"].as_str().unwrap());
    let pid = api.id().unwrap();
    let before = most_kib(pid);
    let mut faults = Vec::new();
    for bomb in bombs() {
        let mut sent = JoinSet::new();
        for _ in 0..AT_ONCE {
            let request = client().post(format!("{url}{}", bomb.path)).bearer_auth(&user.key);
            let request = request.header("content-type", &bomb.media_type).body(bomb.body.clone());
            sent.spawn(async move { Some(Reply::of(request.send().await.ok()?).await) });
        }
        // A server that has seen enough answers and hangs up; who is still sending may hear the second before the first.
        let replies: Vec<_> = sent.join_all().await.into_iter().flatten().collect();
        let refused =
            |reply: &&Reply| reply.status.is_client_error() || reply.status == StatusCode::SERVICE_UNAVAILABLE;
        let taken =
            |reply: &&Reply| bomb.honest && (reply.status.is_success() || reply.status == StatusCode::GATEWAY_TIMEOUT);
        let wrong = replies.iter().filter(|reply| !refused(reply) && !taken(reply));
        faults.extend(wrong.map(|reply| format!("{}: {} {}", bomb.what, reply.status, reply.body)));
        if !bomb.honest && replies.iter().any(|reply| reply.body["error"]["message"] == Value::Null) {
            faults.push(format!("{}: refused without a word", bomb.what));
        }
        println!("{}: {} answers, {} MiB", bomb.what, replies.len(), most_kib(pid) >> 10);
    }
    let after = most_kib(pid);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(User::new(&url, &user.key).get("/api/v1/me").await.status, StatusCode::OK, "and it goes on");
    let more = after - before;
    assert!(more <= MORE_KIB_MAX, "{} MiB, then {} MiB more", before >> 10, more >> 10);
    api.kill().await.unwrap();
}
