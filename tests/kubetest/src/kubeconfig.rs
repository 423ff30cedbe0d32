//! Writes kubeconfig files. They hold the keys themselves, so that a file can be handed to any program as it is.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::config::{AuthInfo, Kubeconfig, NamedAuthInfo};
use serde_json::json;

use crate::{Error, Result, certificates::Identity, error::Doing};

/// A file for `user` at the server `url`. JSON is YAML, so every reader of kubeconfigs takes it.
pub(crate) fn render(url: &str, authority: &str, user: &Identity) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    let content = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "kubetest",
            "cluster": { "server": url, "certificate-authority-data": encode(authority) },
        }],
        "users": [{
            "name": "kubetest",
            "user": {
                "client-certificate-data": encode(&user.certificate),
                "client-key-data": encode(&user.key),
            },
        }],
        "contexts": [{ "name": "kubetest", "context": { "cluster": "kubetest", "user": "kubetest" } }],
        "current-context": "kubetest",
    });
    format!("{content:#}\n")
}

/// The same cluster as `original`, as its user impersonating another: all that can be done without its authority's key.
pub(crate) fn impersonate(original: &Path, name: &str, groups: &[&str]) -> Result<String> {
    with_users(original, |user| AuthInfo {
        impersonate: Some(name.to_owned()),
        impersonate_groups: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
        ..user
    })
}

/// The same cluster as `original`, as whoever has this token.
pub(crate) fn with_token(original: &Path, token: String) -> Result<String> {
    with_users(original, |_| AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() })
}

fn with_users(original: &Path, change: impl Fn(AuthInfo) -> AuthInfo) -> Result<String> {
    let mut config = Kubeconfig::read_from(original)?;
    for NamedAuthInfo { auth_info, .. } in &mut config.auth_infos {
        *auth_info = Some(change(auth_info.take().unwrap_or_default()));
    }
    serde_json::to_string_pretty(&config)
        .map_err(|error| Error::Io { doing: "writing a kubeconfig".to_owned(), source: error.into() })
}

/// Writes a file with keys in it: for its owner alone.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .doing(|| format!("writing {}", path.display()))
}
