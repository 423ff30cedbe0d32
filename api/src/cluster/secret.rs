//! The chore of a release that brings its own database: a Secret with a password nobody has seen, and the URL in which the API
//! reads it. Made once and never read here: a second time it is there already and stays as it is, so that whoever renders the
//! release anew changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args as Flags;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rand::Rng as _;
use tokio::time::timeout;

use super::kubernetes::{CALL_TIMEOUT, connect};

/// Of the password, before it is written as text.
const PASSWORD_BYTES: usize = 32;
/// The Secret is there already.
const CONFLICT: u16 = 409;

/// Which Secret, and for what.
#[derive(Clone, Debug, Flags)]
pub struct SecretArgs {
    /// Name of the Secret. Its keys are `password` and `url`.
    #[arg(long)]
    pub name: String,
    /// Where the database will be, as the API finds it: a name, and a port where it is not 5432.
    #[arg(long)]
    pub host: String,
    /// A kubeconfig file. Left out: the usual places, then the pod's own account.
    #[arg(long, env = "TINTYPE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Its namespace. Left out: the one the account belongs to.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
}

/// Makes it, unless there is one.
///
/// # Errors
/// The API server cannot be reached or does not let us.
pub async fn make(args: &SecretArgs) -> Result<()> {
    // An error means one is there already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = connect(args.kubeconfig.clone()).await.context("cannot connect to the Kubernetes API server")?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let mut password = [0; PASSWORD_BYTES];
    rand::rng().fill_bytes(&mut password);
    let wanted = secret(&args.name, &args.host, &hex::encode(password));
    let name = &args.name;
    match timeout(CALL_TIMEOUT, secrets.create(&PostParams::default(), &wanted)).await.context("no answer in time")? {
        Ok(_) => tracing::info!("the Secret {name} is made"),
        Err(kube::Error::Api(status)) if status.code == CONFLICT => {
            tracing::info!("the Secret {name} is there already and stays as it is");
        }
        // The answer says nothing of what is in it.
        Err(error) => return Err(error).with_context(|| format!("cannot make the Secret {name}")),
    }
    Ok(())
}

fn secret(name: &str, host: &str, password: &str) -> Secret {
    let url = format!("postgres://api:{password}@{host}/tintype");
    let data = [("password", password.to_owned()), ("url", url)];
    let labels = [("app.kubernetes.io/part-of", "tintype"), ("app.kubernetes.io/component", "database")];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        string_data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use sqlx::postgres::PgConnectOptions;

    use super::*;

    #[test]
    fn the_url_is_one_the_api_reads() {
        let made = secret("tintype-database", "tintype-database.pictures.svc", &hex::encode([7; PASSWORD_BYTES]));
        let data = made.string_data.unwrap();
        let read = PgConnectOptions::from_str(&data["url"]).unwrap();
        assert_eq!(read.get_host(), "tintype-database.pictures.svc");
        assert_eq!((read.get_username(), read.get_database(), read.get_port()), ("api", Some("tintype"), 5432));
        assert!(data["url"].contains(&data["password"]));
    }
}
