//! Where pictures are kept: signed GET and PUT URLs; a folder it serves itself, or a bucket that speaks S3.
//!
//! It must not know jobs, users or credits: a key is a key. (The exceptions are [`image_key`] and [`checkpoint_key`],
//! where the shapes of a picture's and a checkpoint's key are written down.)

mod args;
mod error;
mod folder;
mod key;
mod s3;
mod secret;
mod serve;
mod sign;
pub mod testing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tintype_types::Timestamp;
use tintype_types::limits::IMAGE_BYTES_MAX;

pub use args::StorageArgs;
pub use error::StoreError;
pub use key::{OUTPUT_KEY_PREFIX, checkpoint_key, image_key};
pub use s3::S3Config;
pub use secret::Secret;

use folder::Folder;
use key::Key;
use s3::S3;
use sign::Method;

/// What a folder store needs.
#[derive(Clone, Debug)]
pub struct FolderConfig {
    /// The folder; made when absent. All replicas that serve the store must see the same one.
    pub root: PathBuf,
    /// What URLs are signed with.
    pub secret: Secret,
    /// Where workers and browsers reach [`Store::router`]: `http://127.0.0.1:8080`, without a path.
    pub public_url: String,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its length in bytes.
    pub bytes: u64,
}

/// A store of immutable objects, but for checkpoints, which may be replaced. Cloning is cheap; clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
    /// Where what is read is fetched by way of a CDN.
    cdn: Option<Arc<str>>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    secret: Secret,
    public_url: String,
}

#[derive(Debug)]
enum Kind {
    Folder(Folder),
    /// Others keep it: it signs URLs that lead there.
    S3(S3),
}

impl Store {
    /// A store in a folder, which this process serves.
    ///
    /// # Errors
    /// `PublicUrl` when the URL is not absolute, `Io` when the folder cannot be made or written to.
    pub fn folder(config: FolderConfig) -> Result<Self, StoreError> {
        let FolderConfig { root, secret, public_url } = config;
        let folder = Folder::open(root, IMAGE_BYTES_MAX)?;
        Self::with_folder(folder, secret, &public_url)
    }

    fn with_folder(folder: Folder, secret: Secret, public_url: &str) -> Result<Self, StoreError> {
        Self::with_kind(Kind::Folder(folder), secret, public_url)
    }

    /// A store in a bucket. `secret` and `public_url` are for URLs by way of a CDN, which fetches from us.
    ///
    /// # Errors
    /// `PublicUrl` when the URL is not absolute, `Bucket` when the settings make no bucket.
    pub fn s3(config: S3Config, secret: Secret, public_url: &str) -> Result<Self, StoreError> {
        Self::with_kind(Kind::S3(S3::open(config, IMAGE_BYTES_MAX)?), secret, public_url)
    }

    fn with_kind(kind: Kind, secret: Secret, public_url: &str) -> Result<Self, StoreError> {
        let inner = Inner { kind, secret, public_url: absolute(public_url)? };
        Ok(Self { inner: Arc::new(inner), cdn: None })
    }

    /// The same store, read by way of a CDN: its base URL, in the place of ours. The CDN fetches `/store/v1/..` from us, with
    /// the query, which is what we check.
    ///
    /// # Errors
    /// `PublicUrl` when the URL is not absolute.
    pub fn with_cdn(self, base: &str) -> Result<Self, StoreError> {
        Ok(Self { cdn: Some(absolute(base)?.into()), ..self })
    }

    /// An absolute URL that allows one object to be put until `now + ttl`.
    ///
    /// # Errors
    /// `InvalidKey`.
    pub fn sign_put(&self, key: &str, now: Timestamp, ttl: Duration) -> Result<String, StoreError> {
        self.sign(Method::Put, key, now, ttl)
    }

    /// An absolute URL that allows one object to be read until `now + ttl`.
    ///
    /// # Errors
    /// `InvalidKey`. Whether the object exists is not looked at.
    pub fn sign_get(&self, key: &str, now: Timestamp, ttl: Duration) -> Result<String, StoreError> {
        self.sign(Method::Get, key, now, ttl)
    }

    fn sign(&self, method: Method, key: &str, now: Timestamp, ttl: Duration) -> Result<String, StoreError> {
        let key = Key::parse(key)?;
        let base = match (method, &self.cdn, &self.inner.kind) {
            (Method::Get, Some(cdn), _) => cdn.as_ref(),
            (_, _, Kind::Folder(_)) => self.inner.public_url.as_str(),
            (_, _, Kind::S3(bucket)) => return bucket.sign(method, &key, ttl),
        };
        let expires = now.plus(ttl);
        let signature = sign::signature(&self.inner.secret, method, &key, expires);
        Ok(format!("{base}/store/v1/{key}?expires={}&signature={signature}", expires.0))
    }

    /// The whole object.
    ///
    /// # Errors
    /// `InvalidKey`, `NotFound`, `TooLarge` (somebody else put it there), `Io`.
    pub async fn read(&self, key: &str) -> Result<Bytes, StoreError> {
        let key = Key::parse(key)?;
        match &self.inner.kind {
            Kind::Folder(folder) => folder.read(&key).await,
            Kind::S3(bucket) => bucket.read(&key).await,
        }
    }

    /// Puts an object, whole or not at all. Putting the same bytes twice is fine.
    ///
    /// # Errors
    /// `InvalidKey`, `Conflict`, `TooLarge`, `Io`.
    pub async fn put(&self, key: &str, content: Bytes) -> Result<(), StoreError> {
        let key = Key::parse(key)?;
        match &self.inner.kind {
            Kind::Folder(folder) => {
                let mut upload = folder.begin().await?;
                upload.write(&content).await?;
                upload.commit(&key).await
            }
            Kind::S3(bucket) => bucket.put(&key, content).await,
        }
    }

    /// What is known of the object; none when there is none.
    ///
    /// # Errors
    /// `InvalidKey`, `Io`.
    pub async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        let key = Key::parse(key)?;
        match &self.inner.kind {
            Kind::Folder(folder) => folder.stat(&key).await,
            Kind::S3(bucket) => bucket.stat(&key).await,
        }
    }

    /// Deletes the object of this key and every object whose key continues it after a `/`; answers how many.
    /// Whole segments only: `jobs/a` never touches `jobs/ab`. A trailing `/` is allowed.
    ///
    /// # Errors
    /// `InvalidKey` (an empty prefix is one: nothing deletes the whole store), `Io`.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<u64, StoreError> {
        let key = Key::parse(prefix.strip_suffix('/').unwrap_or(prefix))?;
        match &self.inner.kind {
            Kind::Folder(folder) => folder.delete_prefix(&key).await,
            Kind::S3(bucket) => bucket.delete_prefix(&key).await,
        }
    }

    /// The routes the signed URLs lead to: `GET`, `HEAD` and `PUT /store/v1/{key}`.
    pub fn router(&self) -> axum::Router {
        serve::router(self.clone())
    }
}

fn absolute(url: &str) -> Result<String, StoreError> {
    let url = url.trim_end_matches('/');
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(url.to_owned());
    }
    Err(StoreError::PublicUrl(url.to_owned()))
}
