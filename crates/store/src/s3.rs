//! Objects in a bucket of S3 or of what speaks its language (R2, MinIO, Garage). Uploads and downloads go there directly, by
//! URLs that are signed here (AWS Signature Version 4). It must not know HTTP routes of ours.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use object_store::{ClientOptions, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig};

use crate::ObjectMeta;
use crate::error::StoreError;
use crate::key::Key;
use crate::sign::Method;

/// Longest one call may take, a picture's bytes included.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Times a call is tried again after a fault that may pass.
const RETRIES_MAX: usize = 3;
/// Longest all tries of a call may take.
const RETRY_TIME_MAX: Duration = Duration::from_mins(2);
/// Objects deleted at a time.
const DELETES_AT_ONCE: usize = 8;
/// Longest a URL of Signature Version 4 may live.
const SIGNED_MAX: Duration = Duration::from_hours(7 * 24);

/// A bucket, and who may use it.
#[derive(Clone)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Where it is, such as `https://ACCOUNT.r2.cloudflarestorage.com`; none: Amazon's own.
    pub endpoint: Option<String>,
    /// Its region; `auto` for R2.
    pub region: String,
    /// The id of the access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, endpoint, region, access_key_id: _, secret_access_key: _ } = self;
        write!(f, "S3Config({bucket} at {endpoint:?} in {region})")
    }
}

#[derive(Debug)]
pub(crate) struct S3 {
    bucket: AmazonS3,
    bytes_max: u64,
}

impl S3 {
    pub(crate) fn open(config: S3Config, bytes_max: u64) -> Result<Self, StoreError> {
        let S3Config { bucket, endpoint, region, access_key_id, secret_access_key } = config;
        let http = ClientOptions::new().with_timeout(CALL_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME_MAX, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id(access_key_id)
            .with_secret_access_key(secret_access_key)
            .with_client_options(http)
            .with_retry(retry);
        if let Some(endpoint) = endpoint {
            // A bucket next door, in a test or behind a wall, may have no certificate.
            builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        let bucket = builder.build().map_err(remote("opening the bucket"))?;
        Ok(Self { bucket, bytes_max })
    }

    /// A URL that allows one thing for a while. What a browser is told of the object is part of what is signed.
    pub(crate) fn sign(&self, method: Method, key: &Key, ttl: Duration) -> Result<String, StoreError> {
        let (method, options) = match method {
            Method::Put => (object_store::signer::Method::PUT, SignedUrlOptions::new()),
            Method::Get => {
                let said = [
                    ("response-cache-control", key.cache_control()),
                    ("response-content-disposition", "inline"),
                    ("response-content-type", key.content_type()),
                ];
                (object_store::signer::Method::GET, SignedUrlOptions::new().with_query(said))
            }
        };
        let path = path(key);
        let signing = self.bucket.signed_url_opts(method, &path, ttl.min(SIGNED_MAX), &options);
        // Keys that are given, and not fetched from somewhere, are there at once.
        let signed = signing.now_or_never().unwrap_or(Err(object_store::Error::NotImplemented {
            operation: "signing with keys that are fetched".to_owned(),
            implementer: "this store".to_owned(),
        }));
        Ok(signed.map_err(remote("signing a URL"))?.to_string())
    }

    pub(crate) async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        let found = self.bucket.get(&path(key)).await.map_err(remote("reading an object"))?;
        if found.meta.size > self.bytes_max {
            return Err(StoreError::TooLarge { max: self.bytes_max });
        }
        found.bytes().await.map_err(remote("reading an object"))
    }

    /// The first write stays, as everywhere: the bucket itself refuses the second.
    pub(crate) async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        if content.len() as u64 > self.bytes_max {
            return Err(StoreError::TooLarge { max: self.bytes_max });
        }
        let mode = if key.is_replaceable() { PutMode::Overwrite } else { PutMode::Create };
        let put = self.bucket.put_opts(&path(key), content.clone().into(), PutOptions::from(mode)).await;
        match put {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                if self.read(key).await? == content { Ok(()) } else { Err(StoreError::Conflict) }
            }
            Err(error) => Err(remote("putting an object")(error)),
        }
    }

    pub(crate) async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        match self.bucket.head(&path(key)).await {
            Ok(found) => Ok(Some(ObjectMeta { bytes: found.size })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(remote("looking at an object")(error)),
        }
    }

    pub(crate) async fn delete_prefix(&self, prefix: &Key) -> Result<u64, StoreError> {
        let path = path(prefix);
        let mut found: Vec<Path> = self
            .bucket
            .list(Some(&path))
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(remote("listing objects"))?;
        // A key either is an object or has objects below it, as in a folder.
        if found.is_empty() && self.stat(prefix).await?.is_some() {
            found.push(path);
        }
        let count = found.len() as u64;
        let deleting = futures::stream::iter(found).map(|path| async move {
            match self.bucket.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(remote("deleting objects")(error)),
            }
        });
        deleting.buffer_unordered(DELETES_AT_ONCE).try_collect::<()>().await?;
        Ok(count)
    }
}

/// Keys are plain, so nothing of them is escaped.
fn path(key: &Key) -> Path {
    Path::from(key.as_str())
}

fn remote(doing: &'static str) -> impl FnOnce(object_store::Error) -> StoreError {
    move |error| {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return StoreError::NotFound;
        }
        StoreError::Bucket { doing, source: Box::new(error) }
    }
}
