//! Waits until a program does its work: asks again and again, gives up at a deadline, and at once when it has died.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, Config, api::ListParams, core::Request};

use crate::{
    Error, Program, Result, client,
    error::{Doing, chain},
    process::Process,
};

/// Short beside a start of some seconds, long beside the cost of asking.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A look that takes longer is a look that failed.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// Which program must be ready, and the port it listens on.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) program: Program,
    pub(crate) port: u16,
}

/// Waits until the program asked for is ready. `api` says how to reach the API server.
pub(crate) async fn wait(
    running: &mut BTreeMap<Program, Process>,
    Asked { program, port }: Asked,
    api: Config,
    limit: Duration,
) -> Result<()> {
    let mut config = api.clone();
    config.cluster_url = format!("https://127.0.0.1:{port}")
        .parse()
        .map_err(io::Error::other)
        .doing(|| "naming a port on loopback".to_owned())?;
    let (itself, server) = (client(config)?, client(api)?);
    let started = Instant::now();
    loop {
        // Any of them: the server waits in vain for a store that is gone.
        for process in running.values_mut() {
            process.check_running()?;
        }
        let last = match tokio::time::timeout(LOOK_WITHIN, look(program, &itself, &server)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {LOOK_WITHIN:?}"),
        };
        let waited = started.elapsed();
        if waited > limit {
            let log = running.get(&program).map(Process::log_tail).unwrap_or_default();
            return Err(Error::NotReady { program, waited, last, log });
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn look(program: Program, itself: &Client, server: &Client) -> std::result::Result<(), String> {
    let said = |error: kube::Error| chain(&error);
    match program {
        Program::Etcd => Ok(()), // spoken to by the API server alone, whose readiness covers it
        Program::ApiServer => {
            get(itself, "/readyz").await?;
            // Made shortly after the server calls itself ready, and every test needs it.
            Api::<Namespace>::all(server.clone()).get("default").await.map(drop).map_err(said)
        }
        Program::ControllerManager => {
            get(itself, "/healthz").await?;
            // Healthy is said before the controllers have begun; this is their work.
            let accounts = Api::<ServiceAccount>::namespaced(server.clone(), "default");
            accounts.get("default").await.map(drop).map_err(said)
        }
        Program::Scheduler => get(itself, "/readyz").await,
    }
}

async fn get(client: &Client, path: &str) -> std::result::Result<(), String> {
    // A list of no resource is a plain GET of the path.
    let request = Request::new(path).list(&ListParams::default()).map_err(|error| error.to_string())?;
    client.request_text(request).await.map(drop).map_err(|error| format!("{path}: {}", chain(&error)))
}

fn client(mut config: Config) -> Result<Client> {
    config.default_retry = false; // we look again ourselves, and sooner
    client::client(config)
}
