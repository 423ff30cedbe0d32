//! The adapter between the real dispatcher and a provider's twin: what is bought is stored, once, within the budget,
//! whatever the provider loses, refuses or forges.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

#[path = "../../../crates/dispatch/tests/rig/mod.rs"]
mod rig;

mod cluster;
mod hooks;
mod lost;
mod stand;

use serde_json::json;
use tintype_provider_twin::{Fault, Files, Stage, until};
use tintype_types::{FailureReason, GenerationRequest};

use rig::{Ended, MODEL};
use stand::{PRICE, Stand, holds};

pub(crate) const KINDS: [&str; 3] = ["replicate", "runpod", "modal"];

#[tokio::test]
async fn every_provider_is_bought_from_once_and_its_pictures_are_marked_and_stored() {
    for kind in KINDS {
        let stand = Stand::working(kind).await;
        let job = stand.rig.record.add("job-1", 2);
        let Ended::Complete(outputs) = stand.ended(&job).await else { panic!("{kind}: the job failed") };
        assert_eq!((outputs.len(), outputs[1].seed, outputs[1].width), (2, outputs[0].seed + 1, 64), "{kind}");
        let file = stand.rig.store.read(&outputs[0].key).await.unwrap();
        assert!(file.starts_with(b"\x89PNG") && file.windows(4).any(|window| window == b"c2pa"), "{kind}: not marked");
        let bought = stand.twin.bought();
        assert_eq!(bought.len(), 1, "{kind}");
        until("the purchase is settled and handed over", || {
            (stand.spend() == (2 * PRICE, 0) && stand.book().get(&job).is_none()).then_some(())
        })
        .await;
        assert_eq!(stand.count("calls_total{call=\"buy\",outcome=\"ok\",").await, "1", "{kind}");
        match kind {
            "replicate" => {
                let expected = json!({ "prompt": "a red circle", "num_outputs": 2, "seed": 7 });
                assert_eq!((&bought[0].body["input"], &bought[0].body["version"]), (&expected, &json!("abc")));
                assert_eq!(bought[0].headers["cancel-after"], "300s", "the provider is told to end what runs too long");
            }
            "runpod" => assert_eq!(bought[0].body["policy"]["executionTimeout"], 300_000),
            _ => assert_eq!(bought[0].body["input"]["request"]["model"], MODEL, "a worker of ours is sent all of it"),
        }
        assert!(!holds(stand.folder.path(), "a red circle"), "{kind}: a prompt is on the disk");
    }
}

#[tokio::test]
async fn a_budget_is_kept_and_the_next_job_goes_on_once_there_is_more() {
    let mut stand = Stand::new("replicate").await;
    stand.budget(2 * PRICE + PRICE / 2);
    stand.start(&[]);
    let jobs = ["a", "b", "c"].map(|name| stand.rig.record.add(name, 1));
    let ended = || jobs.iter().filter(|job| stand.rig.record.ended(job).is_some()).count();
    until("two jobs have ended", || (ended() == 2).then_some(())).await;
    until("nothing more is set aside", || (stand.spend() == (2 * PRICE, 0)).then_some(())).await;
    assert_eq!((ended(), stand.twin.bought().len()), (2, 2));
    // The restart spares the test the pause after a budget is used up.
    stand.stop().await;
    stand.budget(3 * PRICE);
    stand.start(&[]);
    for job in &jobs {
        assert!(matches!(stand.ended(job).await, Ended::Complete(_)));
    }
    assert_eq!((stand.twin.bought().len(), stand.spend()), (3, (3 * PRICE, 0)));
}

/// Ready is whether it serves its dispatcher. A budget that was used up before it came is no reason not to be: a rollout would
/// wait for the next month.
#[tokio::test]
async fn an_adapter_whose_budget_is_used_up_is_ready_and_buys_nothing() {
    let mut stand = Stand::new("replicate").await;
    stand.budget(PRICE - 1);
    stand.start(&[]);
    let job = stand.rig.record.add("job-1", 1);
    let url = format!("http://{}/readyz", stand.listen);
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (asked, limit) = (std::time::Instant::now(), std::time::Duration::from_secs(20));
    while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(asked.elapsed() < limit, "it is not ready within {limit:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(stand.rig.record.ended(&job).is_none());
    assert_eq!((stand.twin.bought().len(), stand.spend()), (0, (0, 0)));
}

#[tokio::test]
async fn a_provider_that_is_busy_is_asked_again_when_it_says_and_the_job_loses_no_attempt() {
    let stand = Stand::new("replicate").await;
    stand.twin.next([Fault::Busy]);
    let mut stand = stand;
    stand.start(&[]);
    let begun = std::time::Instant::now();
    let job = stand.rig.record.add("job-1", 1);
    assert!(matches!(stand.ended(&job).await, Ended::Complete(_)));
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "it was asked before its time");
    assert_eq!((stand.twin.bought().len(), stand.twin.calls("buy")), (1, 2));
    assert_eq!(stand.rig.record.seen(&job).failed_attempts, 0);
}

#[tokio::test]
async fn what_the_provider_does_not_take_or_cannot_make_costs_what_it_says_and_is_not_bought_again() {
    let stand = Stand::working("runpod").await;
    stand.twin.fail_all();
    let job = stand.rig.record.add("job-1", 1);
    assert_eq!(stand.ended(&job).await, Ended::Failed(FailureReason::TooManyAttempts));
    assert_eq!((stand.twin.bought().len(), stand.spend()), (1, (0, 0)), "a picture that is not made is not paid for");

    let stand = Stand::working("replicate").await;
    stand.twin.next([Fault::Invalid, Fault::Invalid, Fault::Invalid]);
    let job = stand.rig.record.add("job-1", 1);
    assert_eq!(stand.ended(&job).await, Ended::Failed(FailureReason::TooManyAttempts));
    assert_eq!((stand.twin.bought().len(), stand.spend()), (0, (0, 0)));
}

#[tokio::test]
async fn a_job_the_pool_cannot_be_told_of_is_refused_before_anything_is_bought() {
    let stand = Stand::working("replicate").await;
    let request =
        GenerationRequest { negative_prompt: Some("blurry".to_owned()), ..GenerationRequest::new(MODEL, "x") };
    let job = stand.rig.record.add_request("job-1", request);
    assert_eq!(stand.ended(&job).await, Ended::Failed(FailureReason::TooManyAttempts));
    assert_eq!((stand.twin.calls("buy"), stand.book().get(&job).is_none()), (0, true));
}

#[tokio::test]
async fn an_uploaded_picture_is_handed_over_inside_the_request_if_it_fits() {
    let stand = Stand::working("replicate").await;
    let put = async |key: &str, file: Vec<u8>| stand.rig.store.put(key, file.into()).await.unwrap();
    put("inputs/small", b"\x89PNG small".to_vec()).await;
    put("inputs/large", vec![0; 300_000]).await;
    let from = |image: &str| {
        let init = json!({ "image": image, "strength": 0.5 });
        GenerationRequest { init: serde_json::from_value(init).unwrap(), ..GenerationRequest::new(MODEL, "x") }
    };
    let job = stand.rig.record.add_request("job-1", from("inputs/small"));
    assert!(matches!(stand.ended(&job).await, Ended::Complete(_)));
    let input = stand.twin.bought()[0].body["input"].clone();
    assert_eq!(
        (&input["image"], &input["prompt_strength"]),
        (&json!("data:image/png;base64,iVBORyBzbWFsbA=="), &json!(0.5))
    );
    let job = stand.rig.record.add_request("job-2", from("inputs/large"));
    assert_eq!(stand.ended(&job).await, Ended::Failed(FailureReason::TooManyAttempts));
    assert_eq!(stand.twin.bought().len(), 1, "what does not fit is not bought");
}

#[tokio::test]
async fn pictures_that_expired_or_never_end_fail_the_job_and_are_not_bought_twice() {
    for files in [Files::Expired, Files::Endless] {
        let stand = Stand::working("replicate").await;
        stand.twin.files(files);
        let job = stand.rig.record.add("job-1", 1);
        assert_eq!(stand.ended(&job).await, Ended::Failed(FailureReason::Internal), "{files:?}");
        assert_eq!((stand.twin.bought().len(), stand.spend()), (1, (PRICE, 0)), "{files:?}");
    }
}

#[tokio::test]
async fn pictures_are_fetched_from_public_addresses_and_from_others_only_where_that_is_allowed() {
    // The last two: a name that means this machine, and where a cloud keeps its keys.
    let (localhost, metadata) = (Files::At("https://localhost"), Files::At("https://169.254.169.254"));
    for (files, more) in
        [(Files::Elsewhere, &[][..]), (localhost, &[]), (metadata, &[]), (metadata, &["--private-pictures"])]
    {
        let mut stand = Stand::new("replicate").await;
        stand.twin.files(files);
        stand.start(more);
        let job = stand.rig.record.add("job-1", 1);
        assert_eq!(stand.ended(&job).await, Ended::Failed(FailureReason::Internal), "{files:?}");
        assert_eq!((stand.twin.calls("file"), stand.twin.bought().len()), (0, 1), "{files:?}: it was called");
        assert_eq!(stand.count("calls_total{call=\"picture\",outcome=\"forbidden\",").await, "1", "{files:?}");
    }
    let mut stand = Stand::new("replicate").await;
    stand.twin.files(Files::Elsewhere);
    stand.start(&["--private-pictures"]);
    let job = stand.rig.record.add("job-1", 1);
    assert!(matches!(stand.ended(&job).await, Ended::Complete(_)));
}

#[tokio::test]
async fn a_job_that_is_called_off_is_called_off_at_the_provider() {
    let stand = Stand::working("modal").await;
    stand.twin.hold_still(true);
    let job = stand.rig.record.add("job-1", 1);
    until("it is bought", || stand.twin.bought().first().cloned()).await;
    stand.rig.record.cancel(&job);
    until("it is called off there", || (stand.twin.bought()[0].state == Stage::Cancelled).then_some(())).await;
    assert_eq!(stand.ended(&job).await, Ended::Failed(FailureReason::Cancelled));
    until("what it cost is known", || (stand.spend() == (0, 0)).then_some(())).await;
}
