//! How a program is told where pictures are: in a folder, or in a bucket where one is named; flags and opening. Every program
//! that keeps pictures has these flags.

use std::path::PathBuf;

use clap::{Args as Flags, Parser};

use crate::{FolderConfig, S3Config, Secret, Store, StoreError};

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
    /// As the environment says alone, for a program that has no flags for it.
    pub fn from_environment() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            storage: StorageArgs,
        }
        Alone::try_parse_from(["tintype"]).map_or_else(|_| Self::default(), |alone| alone.storage)
    }

    /// The store: the bucket, else the folder; none where neither is named. What is served by us is signed with `secret` and found
    /// at `public_url`.
    ///
    /// # Errors
    /// `Settings` when something is missing, and what opening says.
    pub fn open(
        &self,
        folder: Option<PathBuf>,
        secret: Option<Secret>,
        public_url: String,
    ) -> Result<Option<Store>, StoreError> {
        let store = match (self.bucket()?, folder, secret) {
            (Some(bucket), _, Some(secret)) => Store::s3(bucket, secret, &public_url)?,
            (None, Some(root), Some(secret)) => Store::folder(FolderConfig { root, secret, public_url })?,
            (Some(_), _, None) => {
                return Err(StoreError::Settings(
                    "--s3-bucket needs --store-secret-file, which signs what a CDN fetches".to_owned(),
                ));
            }
            (None, _, _) => return Ok(None),
        };
        match &self.cdn_url {
            Some(cdn) => store.with_cdn(cdn).map(Some),
            None => Ok(Some(store)),
        }
    }

    fn bucket(&self) -> Result<Option<S3Config>, StoreError> {
        let Some(bucket) = self.s3_bucket.clone() else { return Ok(None) };
        let missing = |what: &str| StoreError::Settings(format!("--s3-bucket needs {what}"));
        let secret = match (&self.s3_secret_access_key, &self.s3_secret_access_key_file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(file)) => {
                std::fs::read_to_string(file).map_err(StoreError::io(format!("reading {}", file.display())))?
            }
            (None, None) => return Err(missing("--s3-secret-access-key, or a file of it")),
        };
        Ok(Some(S3Config {
            bucket,
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            access_key_id: self.s3_access_key_id.clone().ok_or_else(|| missing("--s3-access-key-id"))?,
            secret_access_key: secret.trim().to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(secret: Option<&str>) -> StorageArgs {
        StorageArgs {
            s3_bucket: Some("pictures".to_owned()),
            s3_access_key_id: Some("AKEXAMPLE".to_owned()),
            s3_secret_access_key: secret.map(str::to_owned),
            ..StorageArgs::default()
        }
    }

    #[test]
    fn what_a_bucket_lacks_is_named() {
        let said = |args: &StorageArgs| args.open(None, None, "http://h".to_owned()).map(|store| store.is_some());
        assert!(!said(&StorageArgs::default()).unwrap());
        assert!(said(&named(None)).unwrap_err().to_string().contains("--s3-secret-access-key"));
        assert!(said(&named(Some("x"))).unwrap_err().to_string().contains("--store-secret-file"));
        let missing = StorageArgs { s3_access_key_id: None, ..named(Some("x")) };
        assert!(said(&missing).unwrap_err().to_string().contains("--s3-access-key-id"));
        let away = StorageArgs { s3_secret_access_key_file: Some("/nowhere".into()), ..named(None) };
        assert!(said(&away).unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn the_bucket_goes_before_the_folder() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let secret = || Secret::from_file_or_create(&folder.path().join("secret")).unwrap();
        let open =
            |args: StorageArgs| args.open(Some(folder.path().join("images")), Some(secret()), "http://h".to_owned());
        assert!(format!("{:?}", open(named(Some("x"))).unwrap()).contains("S3"));
        assert!(format!("{:?}", open(StorageArgs::default()).unwrap()).contains("Folder"));
    }
}
