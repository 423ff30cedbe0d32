//! The store over real HTTP on a loopback port: what a worker, a browser and an attacker meet.
#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tintype_store::{FolderConfig, Secret, Store, StoreError, image_key};
use tintype_types::limits::IMAGE_BYTES_MAX;
use tintype_types::{Attempt, ErrorBody, ErrorCode, ImageFormat, JobId, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_picture_goes_in_and_comes_out_with_safe_headers() {
    let served = Served::start().await;
    let key = image_key(&JobId::from("j1"), Attempt(1), 0, ImageFormat::Png);
    let put = served.store.sign_put(&key, now(), MINUTE).unwrap();
    assert!(put.starts_with(&format!("http://{}/store/v1/jobs/j1/1/0.png?expires=", served.address)));
    assert_eq!(served.put(&put, b"pixels").await.0, 200);
    assert_eq!(served.store.stat(&key).await.unwrap().unwrap().bytes, 6);
    assert_eq!(served.store.read(&key).await.unwrap(), "pixels");

    let get = served.store.sign_get(&key, now(), MINUTE).unwrap();
    let answer = served.http.get(&get).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "image/png");
    assert_eq!(headers["content-length"], "6");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(answer.bytes().await.unwrap(), "pixels");

    let head = served.http.head(&get).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "6"));
    assert_eq!(head.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn a_large_picture_survives_the_way() {
    let served = Served::start().await;
    let picture: Vec<u8> = (0..3_000_017_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(served.put(&served.store.sign_put("big.png", now(), MINUTE).unwrap(), &picture).await.0, 200);
    let get = served.store.sign_get("big.png", now(), MINUTE).unwrap();
    assert!(served.http.get(get).send().await.unwrap().bytes().await.unwrap() == picture);
}

#[tokio::test]
async fn only_the_very_url_that_was_signed_opens_anything() {
    let served = Served::start().await;
    let put = served.store.sign_put("a/b.png", now(), MINUTE).unwrap();
    let get = served.store.sign_get("a/b.png", now(), MINUTE).unwrap();
    let expired = served.store.sign_put("a/b.png", Timestamp(now().0 - 60_001), MINUTE).unwrap();
    let (base, query) = put.split_once('?').unwrap();
    let (expires, signature) = query.split_once('&').unwrap();
    let flipped = if put.ends_with('0') { '1' } else { '0' };
    let tampered = format!("{}{flipped}", &put[..put.len() - 1]);
    let longer_life = format!("{base}?expires={}&{signature}", now().0 + 86_400_000);
    let refused = [
        get.clone(),
        expired,
        tampered,
        longer_life,
        put.replace("a/b.png", "a/c.png"),
        base.to_owned(),
        format!("{base}?{expires}"),
        format!("{base}?{expires}&signature="),
        format!("{base}?{expires}&signature=zz"),
        format!("{base}?expires=-1&{signature}"),
    ];
    for url in refused {
        let (status, body) = served.put(&url, b"evil").await;
        assert_eq!((status, code(&body)), (403, ErrorCode::InvalidSignature), "{url}");
    }
    assert_eq!(served.store.stat("a/b.png").await.unwrap(), None);
    assert_eq!(served.put(&put, b"good").await.0, 200);
    assert_eq!(served.http.get(&put).send().await.unwrap().status(), 403, "a PUT URL must not read");
    assert_eq!(served.http.get(&get).send().await.unwrap().status(), 200);
    assert_eq!(served.http.delete(&put).send().await.unwrap().status(), 405);
    let absent = served.store.sign_get("a/none.png", now(), MINUTE).unwrap();
    assert_eq!(served.http.get(absent).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_learns_why_it_was_refused() {
    let served = Served::start().await;
    let get = served.store.sign_get("a.png", now(), MINUTE).unwrap();
    let path = get.split_once("/store").unwrap().1;
    let body = vec![7; 4_000_000];
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head =
        format!("PUT /store{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.expect("the body must be taken, if only to be thrown away");
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    reading.await.expect("the answer must end").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 403"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn no_key_leads_out_of_the_folder() {
    let served = Served::start().await;
    std::fs::write(served.folder.path().join("outside"), "secret").unwrap();
    for key in ["../outside", "..", "a/../../outside", "/outside", "a//b", ".drafts/x", "", "a/", "a\0b"] {
        assert!(matches!(served.store.sign_get(key, now(), MINUTE), Err(StoreError::InvalidKey { .. })), "{key:?}");
        assert!(served.store.stat(key).await.is_err());
        assert!(served.store.read(key).await.is_err());
    }
    // Raw requests, as an HTTP client would tidy the path up first. The signature is one of ours for another key.
    let query = served.store.sign_get("outside", now(), MINUTE).unwrap().split_once('?').unwrap().1.to_owned();
    for path in
        ["../outside", "%2e%2e/outside", "..%2foutside", "a/%2e%2e/%2e%2e/outside", "/outside", "%2Foutside", "%00"]
    {
        let answer = served.raw(format!("GET /store/v1/{path}?{query} HTTP/1.1\r\n").as_bytes()).await;
        assert!(!answer.contains("secret"), "{path}");
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_first_write_wins_and_the_same_bytes_are_welcome_again() {
    let served = Served::start().await;
    let put = served.store.sign_put("x.png", now(), MINUTE).unwrap();
    assert_eq!(served.put(&put, b"one").await.0, 200);
    assert_eq!(served.put(&put, b"one").await.0, 200);
    assert_eq!(served.put(&put, b"two").await.0, 409);
    assert_eq!(served.store.read("x.png").await.unwrap(), "one");
}

#[tokio::test]
async fn of_many_writers_at_once_one_wins_and_nothing_is_mixed() {
    let served = Served::start().await;
    let put = served.store.sign_put("race.png", now(), MINUTE).unwrap();
    let writers = (0..16_u8).map(|n| {
        let content = vec![n % 4; 200_000];
        let request = served.http.put(&put).body(content.clone());
        tokio::spawn(async move { (request.send().await.unwrap().status().as_u16(), content) })
    });
    let mut answers = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        answers.push(writer.await.unwrap());
    }
    let kept = served.store.read("race.png").await.unwrap();
    for (status, content) in &answers {
        assert_eq!(*status, if *content == kept { 200 } else { 409 });
    }
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 4);
    assert_eq!(served.drafts(), 0);
}

#[tokio::test]
async fn too_large_a_picture_is_refused_before_it_is_read() {
    let served = Served::start().await;
    let put = served.store.sign_put("huge.png", now(), MINUTE).unwrap();
    let path = put.split_once("/store").unwrap().1;
    let request = format!("PUT /store{path} HTTP/1.1\r\ncontent-length: {}\r\n", IMAGE_BYTES_MAX + 1);
    let answer = served.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!((served.store.stat("huge.png").await.unwrap(), served.drafts()), (None, 0));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let served = Served::start().await;
    let put = served.store.sign_put("part.png", now(), MINUTE).unwrap();
    let path = put.split_once("/store").unwrap().1;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let request = format!("PUT /store{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nonly a part");
    stream.write_all(request.as_bytes()).await.unwrap();
    wait_until(|| served.drafts() == 1).await;
    drop(stream);
    wait_until(|| served.drafts() == 0).await;
    assert_eq!(served.store.stat("part.png").await.unwrap(), None);
    assert_eq!(served.put(&put, b"all of it").await.0, 200);
}

#[tokio::test]
async fn retention_deletes_a_job_and_no_other() {
    let served = Served::start().await;
    for key in ["jobs/a/1/0.png", "jobs/a/2/0.png", "jobs/ab/1/0.png"] {
        assert_eq!(served.put(&served.store.sign_put(key, now(), MINUTE).unwrap(), b"x").await.0, 200);
    }
    assert_eq!(served.store.delete_prefix("jobs/a/").await.unwrap(), 2);
    assert!(served.store.stat("jobs/ab/1/0.png").await.unwrap().is_some());
    assert!(matches!(served.store.delete_prefix("").await, Err(StoreError::InvalidKey { .. })));
    assert!(matches!(served.store.read("jobs/a/1/0.png").await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn a_public_url_that_is_no_url_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let secret = Secret::from_bytes(vec![9; 32]).unwrap();
    let config = FolderConfig { root: folder.path().to_owned(), secret, public_url: "127.0.0.1:80".to_owned() };
    assert!(matches!(Store::folder(config), Err(StoreError::PublicUrl(_))));
}

/// A store served on a loopback port, in a folder of its own.
struct Served {
    store: Store,
    address: SocketAddr,
    http: reqwest::Client,
    folder: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let secret = Secret::from_file_or_create(&folder.path().join("secret")).unwrap();
        let config = FolderConfig { root: folder.path().join("root"), secret, public_url: format!("http://{address}") };
        let store = Store::folder(config).unwrap();
        let router = store.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        // The client wants a TLS provider even for plain HTTP; a second install is refused, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        Self { store, address, http, folder, server }
    }

    async fn put(&self, url: &str, content: &[u8]) -> (u16, Vec<u8>) {
        let answer = self.http.put(url).body(content.to_vec()).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// Sends a request line and headers as they are; answers everything that comes back.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.write_all(b"host: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
        reading.await.expect("the answer must end").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn drafts(&self) -> usize {
        count(&self.folder.path().join("root/.drafts"))
    }
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

async fn wait_until(condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "the condition did not come true within 30 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn code(body: &[u8]) -> ErrorCode {
    serde_json::from_slice::<ErrorBody>(body).unwrap().error.code
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap())
}
