//! Where pictures are kept: a folder, or a bucket where one is named; flags and opening.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args as Flags, Parser};
use tintype_store::{FolderConfig, S3Config, Secret, Store};

use crate::args::Args;

/// Amazon's first region, which is what stores of others are called too.
const REGION: &str = "us-east-1";

/// A bucket instead of a folder, and a CDN in front of either.
#[derive(Clone, Debug, Flags)]
pub struct StorageArgs {
    /// Keep pictures in this bucket of S3, R2 or the like instead of a folder.
    #[arg(long, env = "TINTYPE_S3_BUCKET", requires_all = ["s3_access_key_id"])]
    pub s3_bucket: Option<String>,
    /// Where it is, such as https://ACCOUNT.r2.cloudflarestorage.com. Left out: Amazon's S3.
    #[arg(long, env = "TINTYPE_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Its region; `auto` for R2.
    #[arg(long, env = "TINTYPE_S3_REGION", default_value = REGION)]
    pub s3_region: String,
    /// Id of the access key.
    #[arg(long, env = "TINTYPE_S3_ACCESS_KEY_ID")]
    pub s3_access_key_id: Option<String>,
    /// Secret of the access key.
    #[arg(long, env = "TINTYPE_S3_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub s3_secret_access_key: Option<String>,
    /// File with it.
    #[arg(long, env = "TINTYPE_S3_SECRET_ACCESS_KEY_FILE", conflicts_with = "s3_secret_access_key")]
    pub s3_secret_access_key_file: Option<PathBuf>,
    /// Base URL of a CDN that fetches from us: pictures are read by way of it.
    #[arg(long, env = "TINTYPE_CDN_URL")]
    pub cdn_url: Option<String>,
}

impl Default for StorageArgs {
    fn default() -> Self {
        Self {
            s3_bucket: None,
            s3_endpoint: None,
            s3_region: REGION.to_owned(),
            s3_access_key_id: None,
            s3_secret_access_key: None,
            s3_secret_access_key_file: None,
            cdn_url: None,
        }
    }
}

impl StorageArgs {
    /// As the environment says alone, for `tintype up`, which has no flags for it.
    pub fn from_environment() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            storage: StorageArgs,
        }
        Alone::try_parse_from(["tintype"]).map_or_else(|_| Self::default(), |alone| alone.storage)
    }

    fn bucket(&self) -> anyhow::Result<Option<S3Config>> {
        let Some(bucket) = self.s3_bucket.clone() else { return Ok(None) };
        let secret = match (&self.s3_secret_access_key, &self.s3_secret_access_key_file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(file)) => {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
            (None, None) => anyhow::bail!("--s3-bucket needs --s3-secret-access-key, or a file of it"),
        };
        Ok(Some(S3Config {
            bucket,
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            access_key_id: self.s3_access_key_id.clone().context("--s3-bucket needs --s3-access-key-id")?,
            secret_access_key: secret.trim().to_owned(),
        }))
    }
}

/// The store; none where others keep the pictures.
pub(crate) fn open(args: &Args, address: SocketAddr) -> anyhow::Result<Option<Store>> {
    let public_url = public_url(args, address);
    let secret = args.store_secret_file.as_deref().map(Secret::from_file_or_create).transpose();
    let secret = secret.context("cannot read the secret of the image store")?;
    let store = match (args.storage.bucket()?, &args.store_dir, secret) {
        (Some(bucket), _, Some(secret)) => Store::s3(bucket, secret, &public_url),
        (None, Some(root), Some(secret)) => Store::folder(FolderConfig { root: root.clone(), secret, public_url }),
        (Some(_), _, None) => anyhow::bail!("--s3-bucket needs --store-secret-file, which signs what a CDN fetches"),
        (None, _, _) => return Ok(None),
    };
    let store = store.context("cannot open the image store")?;
    match &args.storage.cdn_url {
        Some(cdn) => Ok(Some(store.with_cdn(cdn).context("cannot use --cdn-url")?)),
        None => Ok(Some(store)),
    }
}

/// Where browsers and workers find this program.
pub(crate) fn public_url(args: &Args, address: SocketAddr) -> String {
    let said = args.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    said.unwrap_or_else(|| format!("http://{}", reachable(address)))
}

/// An address others can connect to: who listens everywhere is reached on the loopback, as far as we know.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}
