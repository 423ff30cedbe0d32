//! Where pictures are kept, as the flags say it, and where this program is found.

use std::net::SocketAddr;

use anyhow::Context;
use tintype_store::{Secret, Store};

use crate::args::Args;

/// The store; none where others keep the pictures.
pub(crate) fn open(args: &Args, address: SocketAddr) -> anyhow::Result<Option<Store>> {
    let secret = args.store_secret_file.as_deref().map(Secret::from_file_or_create).transpose();
    let secret = secret.context("cannot read the secret of the image store")?;
    let store = args.storage.open(args.store_dir.clone(), secret, public_url(args, address));
    store.context("cannot open the image store")
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
