//! Clients for a kubeconfig, and a way to wait for one from code that is not async.

use std::{future::Future, path::Path};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{Result, error::Doing};

/// The settings in a kubeconfig file, and nothing from the environment: a proxy meant for the internet does not know
/// our loopback.
pub(crate) async fn config(kubeconfig: &Path) -> Result<Config> {
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    Ok(config)
}

/// A client for it. It belongs to the runtime it is made in: each test makes its own.
pub(crate) fn client(config: Config) -> Result<Client> {
    Ok(Client::try_from(config)?)
}

/// Runs a future to its end on a thread of its own, so that it may be called from inside a runtime as well.
pub(crate) fn wait_for<T: Send>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .doing(|| "starting a runtime".to_owned())?
                .block_on(future)
        });
        match waiter.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
