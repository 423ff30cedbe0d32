//! Where pictures are kept: signed GET and PUT URLs, and a folder store it serves itself.
//!
//! It must not know jobs, users or credits: a key is a key. (The exceptions are [`image_key`] and [`checkpoint_key`],
//! where the shapes of a picture's and a checkpoint's key are written down.)

mod error;
mod folder;
mod key;
mod secret;
mod serve;
mod sign;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tintype_types::Timestamp;
use tintype_types::limits::IMAGE_BYTES_MAX;

pub use error::StoreError;
pub use key::{OUTPUT_KEY_PREFIX, checkpoint_key, image_key};
pub use secret::Secret;

use folder::Folder;
use key::Key;
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
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    secret: Secret,
    public_url: String,
}

/// The seam for other kinds of store: an S3-like one signs other URLs and serves no router.
#[derive(Debug)]
enum Kind {
    Folder(Folder),
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
        let public_url = public_url.trim_end_matches('/');
        if !(public_url.starts_with("http://") || public_url.starts_with("https://")) {
            return Err(StoreError::PublicUrl(public_url.to_owned()));
        }
        let inner = Inner { kind: Kind::Folder(folder), secret, public_url: public_url.to_owned() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// An absolute URL that allows one object to be put until `now + ttl`.
    ///
    /// # Errors
    /// `InvalidKey`.
    pub fn sign_put(&self, key: &str, now: Timestamp, ttl: Duration) -> Result<String, StoreError> {
        self.sign(Method::Put, key, now.plus(ttl))
    }

    /// An absolute URL that allows one object to be read until `now + ttl`.
    ///
    /// # Errors
    /// `InvalidKey`. Whether the object exists is not looked at.
    pub fn sign_get(&self, key: &str, now: Timestamp, ttl: Duration) -> Result<String, StoreError> {
        self.sign(Method::Get, key, now.plus(ttl))
    }

    fn sign(&self, method: Method, key: &str, expires: Timestamp) -> Result<String, StoreError> {
        let key = Key::parse(key)?;
        let signature = sign::signature(&self.inner.secret, method, &key, expires);
        let base = &self.inner.public_url;
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
        }
    }

    /// The routes the signed URLs lead to: `GET`, `HEAD` and `PUT /store/v1/{key}`.
    pub fn router(&self) -> axum::Router {
        serve::router(self.clone())
    }
}
