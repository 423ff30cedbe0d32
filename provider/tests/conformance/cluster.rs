//! In a cluster: the pool is read there, the book is a ConfigMap, what was spent is in the pool's status; by the account the
//! chart makes, whose rights are all used and enough.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tintype_crds::GpuPool;
use tintype_kubetest::{ControlPlane, Done, granted};
use tintype_provider_twin::{Fault, until};

use crate::rig::Ended;
use crate::stand::{PRICE, Stand};

/// What the chart calls it.
const ACCOUNT: &str = "tintype-provider";

/// The account of an adapter and its rights, as the chart renders them for this pool.
fn account(namespace: &str, pool: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let said = Command::new(root.join("tests/charts/helm.sh")).output().unwrap();
    let helm = String::from_utf8(said.stdout).unwrap();
    let rendered = Command::new(helm.lines().last().expect("helm.sh says above why there is no helm"))
        .args(["template", "tintype", "--namespace", namespace, "--set", "operator.enabled=false,worker.enabled=false"])
        .args(["--set", "dispatch.url=http://x.test,secrets.workerToken.existingSecret=token"])
        .args(["--set", &format!("providers.pools[0].name={pool},providers.pools[0].keySecret.name=key")])
        .args(["--show-only", "templates/provider-rbac.yaml", "--show-only", "templates/service-accounts.yaml"])
        .arg(root.join("charts/tintype"))
        .output()
        .unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    String::from_utf8(rendered.stdout).unwrap()
}

#[tokio::test]
async fn the_book_is_a_configmap_and_the_pool_shows_what_was_spent() {
    let plane = ControlPlane::shared().await.unwrap();
    let yaml = tintype_crds::YAML.map(|(_, yaml)| yaml).join("---\n");
    let apply = |text: &str| {
        let applied = plane.kubectl_with_input(&["apply", "--server-side", "-f", "-"], text).unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    };
    apply(&yaml);
    let waited = plane.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
    assert!(waited.unwrap().status.success());
    let namespace = plane.unique_namespace().await.unwrap();
    let pool = format!("burst-{namespace}");
    let account = account(&namespace, &pool);
    apply(&account);
    let mut stand = Stand::new("replicate").await;
    let mut object: GpuPool =
        serde_yaml_ng::from_str(&std::fs::read_to_string(stand.file("pool.yaml")).unwrap()).unwrap();
    object.metadata.name = Some(pool.clone());
    apply(&json!(object).to_string());

    let kubeconfig = plane.service_account_kubeconfig(&namespace, ACCOUNT).await.unwrap();
    stand.twin.next([Fault::LoseAnswer]);
    let in_cluster = [
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--namespace={namespace}"),
        format!("--pool={pool}"),
    ];
    stand.start_in_cluster(&in_cluster);
    let job = stand.rig.record.add("job-1", 2);
    assert!(matches!(stand.ended(&job).await, Ended::Complete(_)));
    assert_eq!(stand.twin.calls("buy"), 1);

    let client = plane.client().await.unwrap();
    let pools: Api<GpuPool> = Api::all(client.clone());
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let spent = async || {
        let spend = pools.get(&pool).await.unwrap().status?.provider?;
        (spend.day.spent_micro_usd == 2 * PRICE && spend.month.reserved_micro_usd == 0).then_some(spend)
    };
    let shown = async {
        loop {
            if let Some(spend) = spent().await {
                return spend;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let spend = tokio::time::timeout(std::time::Duration::from_mins(1), shown).await.expect("the pool shows it");
    assert_eq!((spend.day.cap_micro_usd, spend.month.spent_micro_usd, spend.unknown), (1_000_000, 2 * PRICE, 0));
    let book = maps.get("tintype-purchases").await.unwrap().data.unwrap()["book.json"].clone();
    assert!(book.contains("settled") && !book.contains("red circle"), "{book}");

    // Another start goes on from the same book.
    stand.crash().await;
    stand.start_in_cluster(&in_cluster);
    let again = stand.rig.record.add("job-2", 1);
    assert!(matches!(stand.ended(&again).await, Ended::Complete(_)));
    until("both are bought", || (stand.twin.bought().len() == 2).then_some(())).await;

    // All that it may, it did, and it was refused nothing.
    let user = format!("system:serviceaccount:{namespace}:{ACCOUNT}");
    let objects = serde_yaml_ng::Deserializer::from_str(&account).map(|object| Value::deserialize(object).unwrap());
    let Done { asked, refused } = plane.done_by(&user).unwrap();
    assert_eq!((asked, refused), (granted(&objects.collect::<Vec<_>>()), Vec::new()));
}
