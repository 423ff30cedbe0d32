//! Pictures in a bucket, against a real S3 server: what the store does itself, what its signed URLs allow and refuse, and
//! reading by way of a CDN.
#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tintype_store::testing::Bucket;
use tintype_store::{ObjectMeta, S3Config, Secret, Store, StoreError};
use tintype_types::Timestamp;
use tokio::net::TcpListener;

const MINUTE: Duration = Duration::from_mins(1);
const KEY: &str = "jobs/j1/1/0.png";

struct Served {
    store: Store,
    bucket: Bucket,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let bucket = tokio::task::spawn_blocking(move || Bucket::start(&root)).await.unwrap();
        let bucket = bucket.expect("scripts/setup.sh has built s3s-fs");
        // An error means that another test was first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let store = open(bucket.config());
        Self { store, bucket, http: reqwest::Client::new(), _folder: folder }
    }

    async fn status(&self, method: &str, url: &str) -> u16 {
        let request = self.http.request(method.parse().unwrap(), url).body("pixels");
        request.send().await.unwrap().status().as_u16()
    }
}

fn open(config: S3Config) -> Store {
    Store::s3(config, Secret::from_bytes(vec![7; 32]).unwrap(), "http://api.test").unwrap()
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

#[tokio::test]
async fn a_bucket_keeps_what_a_folder_keeps() {
    let served = Served::start().await;
    let store = &served.store;
    assert!(matches!(store.read(KEY).await, Err(StoreError::NotFound)));
    assert_eq!(store.stat(KEY).await.unwrap(), None);
    store.put(KEY, Bytes::from_static(b"one")).await.unwrap();
    store.put(KEY, Bytes::from_static(b"one")).await.unwrap();
    assert!(matches!(store.put(KEY, Bytes::from_static(b"two")).await, Err(StoreError::Conflict)));
    assert_eq!(store.read(KEY).await.unwrap(), "one");
    assert_eq!(store.stat(KEY).await.unwrap(), Some(ObjectMeta { bytes: 3 }));
    let checkpoint = "jobs/j1/1/checkpoint";
    for content in ["one", "two"] {
        store.put(checkpoint, Bytes::from_static(content.as_bytes())).await.unwrap();
        assert_eq!(store.read(checkpoint).await.unwrap(), content, "a checkpoint may be replaced");
    }
    // Whole segments alone.
    store.put("jobs/j11/1/0.png", Bytes::from_static(b"other")).await.unwrap();
    assert_eq!(store.delete_prefix("jobs/j1").await.unwrap(), 2);
    assert_eq!(store.delete_prefix("jobs/j2").await.unwrap(), 0);
    assert_eq!(store.read("jobs/j11/1/0.png").await.unwrap(), "other");
    assert_eq!(store.delete_prefix("jobs/j11/1/0.png").await.unwrap(), 1);
    // Not one byte more than a picture may have.
    assert!(matches!(store.put(KEY, vec![0; (64 << 20) + 1].into()).await, Err(StoreError::TooLarge { .. })));
}

#[tokio::test]
async fn only_the_very_url_that_was_signed_opens_the_bucket() {
    let served = Served::start().await;
    let (put, get) =
        (served.store.sign_put(KEY, now(), MINUTE).unwrap(), served.store.sign_get(KEY, now(), MINUTE).unwrap());
    assert_eq!(served.status("PUT", &get).await, 403, "who may read may not write");
    assert_eq!(served.status("PUT", &put).await, 200);
    let answer = served.http.get(&get).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, "image/png"));
    assert_eq!(answer.headers()["content-disposition"], "inline");
    assert_eq!(answer.bytes().await.unwrap(), "pixels");

    let bare = get.split('?').next().unwrap();
    let flipped = if get.ends_with('0') { "1" } else { "0" };
    for (what, url) in [
        ("no signature", bare.to_owned()),
        ("another signature", format!("{}{flipped}", &get[..get.len() - 1])),
        ("another object", get.replace("/0.png", "/1.png")),
        ("a longer life", get.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
        ("another type", get.replace("image%2Fpng", "text%2Fhtml")),
    ] {
        assert_ne!(url, get, "{what} is another URL");
        let status = served.status("GET", &url).await;
        assert!((400..404).contains(&status), "{what}: {status}");
    }
    let stranger = open(S3Config { secret_access_key: "guessed".to_owned(), ..served.bucket.config() });
    assert_eq!(served.status("GET", &stranger.sign_get(KEY, now(), MINUTE).unwrap()).await, 403);
}

#[tokio::test]
async fn a_url_dies_when_its_time_has_come() {
    let served = Served::start().await;
    served.store.put(KEY, Bytes::from_static(b"pixels")).await.unwrap();
    let get = served.store.sign_get(KEY, now(), Duration::from_secs(1)).unwrap();
    let dead = async {
        while served.status("GET", &get).await == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        served.status("GET", &get).await
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), dead).await.unwrap(), 403);
}

#[tokio::test]
async fn a_cdn_fetches_from_us_with_our_signature() {
    let served = Served::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // What a CDN does: another name, the same path and query.
    let store = open(served.bucket.config()).with_cdn(&format!("http://{address}/")).unwrap();
    let router = store.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let put = store.sign_put(KEY, now(), MINUTE).unwrap();
    assert!(put.contains("X-Amz-Signature"), "uploads go to the bucket itself: {put}");
    assert_eq!(served.status("PUT", &put).await, 200);
    let get = store.sign_get(KEY, now(), MINUTE).unwrap();
    assert!(get.starts_with(&format!("http://{address}/store/v1/{KEY}?expires=")), "{get}");
    let answer = served.http.get(&get).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.bytes().await.unwrap(), "pixels");
    assert_eq!(served.status("GET", &get.replace("/0.png", "/1.png")).await, 403);
    assert_eq!(served.status("GET", &store.sign_get(KEY, Timestamp(1), MINUTE).unwrap()).await, 403);
    assert!(matches!(open(served.bucket.config()).with_cdn("cdn.example"), Err(StoreError::PublicUrl(_))));
}
