//! Webhooks: signed ones, ones said twice, and forged ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use tintype_provider_twin::{Fault, until};

use crate::rig::Ended;
use crate::stand::{PRICE, Stand, WEBHOOK_SECRET};

fn signed(secret: &str, body: &str) -> Vec<(&'static str, String)> {
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(format!("msg_1.{at}.{body}"));
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    vec![("webhook-id", "msg_1".to_owned()), ("webhook-timestamp", at.to_string()), ("webhook-signature", signature)]
}

#[tokio::test]
async fn a_webhook_tells_the_id_of_a_purchase_whose_answer_was_lost() {
    let stand = Stand::new("runpod").await;
    stand.twin.next([Fault::LoseAnswer]);
    let mut stand = stand;
    stand.start(&[&stand.public_url()]);
    let job = stand.rig.record.add("job-1", 1);
    let bought = until("the provider has it", || stand.twin.bought().first().cloned()).await;
    let url = bought.body["webhook"].as_str().unwrap().to_owned();
    until("its answer is known to be lost", || (stand.book().get(&job)?.state.as_str() == "unknown").then_some(()))
        .await;
    let body = json!({ "id": bought.id, "status": "COMPLETED", "output": {} }).to_string();
    // An id the provider does not know, by somebody who knows the address, is not believed.
    assert_eq!(stand.hook(&url, &[], &json!({ "id": "made-up" }).to_string()).await, 200);
    assert_eq!(stand.book().get(&job).unwrap().state.as_str(), "unknown");
    for _ in 0..2 {
        assert_eq!(stand.hook(&url, &[], &body).await, 200, "said twice is said once");
    }
    assert!(matches!(stand.ended(&job).await, Ended::Complete(_)));
    assert_eq!((stand.twin.calls("buy"), stand.twin.bought().len()), (1, 1));
    until("it is paid", || (stand.spend() == (PRICE, 0)).then_some(())).await;
}

#[tokio::test]
async fn a_forged_webhook_changes_nothing_and_causes_no_call() {
    let stand = Stand::new("replicate").await;
    stand.twin.next([Fault::HoldAnswer]);
    let mut stand = stand;
    stand.start(&[&stand.public_url()]);
    let job = stand.rig.record.add("job-1", 1);
    let bought = until("the provider has it", || stand.twin.bought().first().cloned()).await;
    let url = bought.body["webhook"].as_str().unwrap().to_owned();
    let body = json!({ "id": bought.id, "status": "succeeded", "output": ["http://evil.test/x.png"] }).to_string();
    let looks = stand.twin.calls("look");
    let other = url.replace("/job-1/", "/job-2/");
    assert_eq!(stand.hook(&other, &signed(WEBHOOK_SECRET, &body), &body).await, 403, "another job's address");
    assert_eq!(stand.hook(&url, &[], &body).await, 403, "not signed");
    assert_eq!(stand.hook(&url, &signed("whsec_AAAA", &body), &body).await, 403, "signed by somebody else");
    assert_eq!(stand.hook(&url, &signed(WEBHOOK_SECRET, "{}"), &body).await, 403, "signed for another body");
    assert_eq!(stand.twin.calls("look"), looks);
    assert_eq!(stand.hook(&url, &signed(WEBHOOK_SECRET, &body), &body).await, 200);
    assert_eq!(stand.count("webhooks_total{outcome=\"forged\",").await, "4");
    stand.twin.release();
    assert!(matches!(stand.ended(&job).await, Ended::Complete(_)), "found by the list");
    assert_eq!(stand.twin.bought().len(), 1);
}
