//! Schemathesis, unmodified, over the whole OpenAPI document: thousands of requests that nobody would think of, by nobody, by a
//! key and by a browser. Nothing may break on our side, and every answer must be one the document has.

use std::path::Path;

use tokio::process::Command;

use crate::browser::Browser;
use crate::clients;
use crate::rig::{ADMIN_TOKEN, Options, Rig, Serving};

/// What is looked at in every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// Requests an operation in the fuzzing phase; `SCHEMA_EXAMPLES` asks for more.
const EXAMPLES: &str = "4";

/// Runs it with these headers on every request.
async fn run(rig: &Rig, headers: &[String]) {
    let examples = std::env::var("SCHEMA_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let program = clients::python().with_file_name("schemathesis");
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg(format!("{}/openapi.json", rig.url))
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--workers", "1"])
        .args(["--max-examples", examples.as_str(), "--generation-deterministic", "--request-timeout", "40"])
        .args(["--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"])
        // Streams do not end; signing this very browser out would leave the rest to strangers.
        .args(["--exclude-path-regex", "/events$|/auth/logout$|/hooks/"])
        .current_dir(scratch(rig.folder.path()))
        .env("NO_COLOR", "1");
    for header in headers {
        command.arg("--header").arg(header);
    }
    let output = command.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("API Operations:"), "it tried nothing: {said}");
}

/// It leaves files where it runs.
fn scratch(folder: &Path) -> std::path::PathBuf {
    let scratch = folder.join("schemathesis");
    std::fs::create_dir_all(&scratch).unwrap();
    scratch
}

async fn rig() -> (Rig, Serving) {
    let rig = Rig::with(Options { requests_per_minute: 6_000_000, ..Options::default() }).await;
    let worker = rig.serve("w");
    (rig, worker)
}

#[tokio::test]
async fn whatever_nobody_sends_the_answer_is_one_the_document_has() {
    let (rig, _worker) = rig().await;
    run(&rig, &[]).await;
    rig.audit().await;
}

#[tokio::test]
async fn whatever_a_key_sends_the_answer_is_one_the_document_has() {
    let (rig, _worker) = rig().await;
    let user = rig.user().await;
    run(&rig, &[format!("Authorization: Bearer {}", user.key)]).await;
    rig.audit().await;
}

#[tokio::test]
async fn whatever_a_browser_sends_the_answer_is_one_the_document_has() {
    let (rig, _worker) = rig().await;
    let ada = Browser::signed_up(&rig, "ada@example.org").await;
    run(&rig, &[format!("Cookie: {}", ada.cookie.unwrap()), "Sec-Fetch-Site: same-origin".to_owned()]).await;
    rig.audit().await;
}

#[tokio::test]
async fn whatever_the_administrator_sends_the_answer_is_one_the_document_has() {
    let (rig, _worker) = rig().await;
    run(&rig, &[format!("Authorization: Bearer {ADMIN_TOKEN}")]).await;
    rig.audit().await;
}
