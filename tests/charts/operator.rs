//! The operator itself, with the service account the chart gives it and nothing else: it must never be refused.

use std::time::{Duration, Instant};

use clap::Parser as _;
use tintype_kubetest::{AuditEvent, ControlPlane};
use tintype_operator::args::Cli;
use tokio_util::sync::CancellationToken;

use crate::cluster::{NAMESPACE, installed};

/// Time to take the lease beside other tests.
const LEADS_WITHIN: Duration = Duration::from_mins(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_leads_with_the_rights_it_is_given() {
    let plane = tokio::task::spawn_blocking(installed).await.unwrap();
    operated(plane, || true).await;
}

/// Runs the operator as the chart has it run until it leads and the cluster is as wanted. It must never be refused.
pub(crate) async fn operated(plane: &ControlPlane, mut wanted: impl FnMut() -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for secret in ["token", "secret"] {
        std::fs::write(path(secret), "0123456789abcdef0123456789abcdef").unwrap();
    }
    let account = plane.service_account_kubeconfig(NAMESPACE, "tintype-operator").await.unwrap();
    let line = [
        "operator".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        "--lease-name=tintype-operator".to_owned(),
        "--defaults=tintype-defaults".to_owned(),
        format!("--namespace={NAMESPACE}"),
        format!("--kubeconfig={}", account.display()),
        format!("--worker-token-file={}", path("token")),
        format!("--store-secret-file={}", path("secret")),
        format!("--store-dir={}", path("store")),
        format!("--port-file={}", path("port")),
    ];
    let args = Cli::try_parse_from(line).unwrap().args().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(tintype_operator::run(args, stop.clone()));

    let started = Instant::now();
    while !(leads(&path("port")).await && tokio::task::block_in_place(&mut wanted)) {
        assert!(!running.is_finished(), "the operator ended: {:?}", running.await);
        let refused = refused(plane);
        let late = "the operator does not lead, or not to what was wanted";
        assert!(started.elapsed() < LEADS_WITHIN, "{late}; it was refused: {refused:?}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(refused(plane), Vec::<AuditEvent>::new());
}

async fn leads(port_file: &str) -> bool {
    let Ok(address) = std::fs::read_to_string(port_file) else { return false };
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    match client.get(format!("http://{address}/readyz")).send().await {
        Ok(answer) => answer.text().await.unwrap_or_default().trim() == "leading",
        Err(_) => false,
    }
}

/// What the API server refused the operator.
fn refused(plane: &ControlPlane) -> Vec<AuditEvent> {
    let user = format!("system:serviceaccount:{NAMESPACE}:tintype-operator");
    let asked: Vec<_> = plane.audit_log().unwrap().into_iter().filter(|event| event.user == user).collect();
    asked.into_iter().filter(|event| event.code == 403 && !event.uri.contains("selfsubject")).collect()
}
