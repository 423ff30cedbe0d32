//! The vendors' own clients, unmodified, as processes of their own, against the whole API and a worker that draws plain
//! pictures. `scripts/setup.sh` installs them.

use tokio::process::Command;

use crate::clients;
use crate::rig::{Rig, User};

/// A picture for clients to start from.
fn start_picture(rig: &Rig) {
    std::fs::write(rig.folder.path().join("start.png"), crate::worker::picture(64, 64, 9)).unwrap();
}

/// Runs a client's script; it fails where the client is surprised.
async fn run(rig: &Rig, user: &User, script: &str) {
    let mut command = if script.strip_suffix(".py").is_some() {
        let mut python = Command::new(clients::python());
        python.arg(clients::file(script));
        python
    } else {
        clients::node(script)
    };
    command
        .arg(rig.folder.path())
        .env("TINTYPE_URL", &rig.url)
        .env("TINTYPE_KEY", &user.key)
        .env("OPENAI_BASE_URL", format!("{}/v1", rig.url))
        .env("OPENAI_API_KEY", &user.key)
        .kill_on_drop(true);
    let output = command.output().await.expect("scripts/setup.sh has installed the clients");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}: {said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.trim_end().ends_with("ok"), "{script} did not come to its end: {said}");
}

#[tokio::test]
async fn replicates_clients_make_wait_stream_cancel_and_verify() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let _serving = rig.serve("w1");
    start_picture(&rig);
    run(&rig, &user, "replicate_predictions.py").await;
    run(&rig, &user, "replicate_predictions.mjs").await;
    rig.audit().await;
}

#[tokio::test]
async fn verifiers_of_standard_webhooks_and_svix_accept_what_is_ours_alone() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let _serving = rig.serve("w1");
    run(&rig, &user, "webhooks.py").await;
    run(&rig, &user, "webhooks.mjs").await;
}

#[tokio::test]
async fn openais_clients_generate_edit_and_stream_partial_pictures() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    start_picture(&rig);
    {
        let _serving = rig.serve("w1");
        run(&rig, &user, "openai_edits.py").await;
        run(&rig, &user, "openai_images.mjs").await;
    }
    let _serving = rig.serve_watched("w2");
    run(&rig, &user, "openai_streaming.py").await;
    run(&rig, &user, "openai_streaming.mjs").await;
    rig.audit().await;
}
