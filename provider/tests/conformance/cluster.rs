//! In a cluster: the pool is read there, the book is a ConfigMap, what was spent is in the pool's status; by an account
//! that may do what docs/providers.md says, and nothing else.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use tintype_crds::GpuPool;
use tintype_kubetest::ControlPlane;

use crate::rig::Ended;
use crate::stand::{PRICE, Stand};
use crate::twin::{Fault, until};

const RIGHTS: &str = include_str!("../../../docs/providers.md");

/// The rules of docs/providers.md under this comment, as YAML.
fn rules(comment: &str) -> String {
    let rest = RIGHTS.split_once(comment).expect("the rules are documented").1;
    let rules: Vec<_> = rest.lines().skip(1).take_while(|line| line.starts_with("- {")).collect();
    rules.iter().fold(String::new(), |text, rule| text + "  " + rule + "\n")
}

/// A service account with the rights that are documented, in this namespace.
fn account(namespace: &str, pool: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: provider, namespace: {namespace} }}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{ name: {pool} }}\nrules:\n{}---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{ name: p, namespace: {namespace} }}\nrules:\n{}---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{ name: {pool} }}\n\
         roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {pool} }}\n\
         subjects: [{{ kind: ServiceAccount, name: provider, namespace: {namespace} }}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{ name: p, namespace: {namespace} }}\n\
         roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: p }}\n\
         subjects: [{{ kind: ServiceAccount, name: provider, namespace: {namespace} }}]\n",
        rules("# ClusterRole"),
        rules("# Role in its namespace")
    )
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
    apply(&account(&namespace, &pool));
    let mut stand = Stand::new("replicate").await;
    let mut object: GpuPool =
        serde_yaml_ng::from_str(&std::fs::read_to_string(stand.file("pool.yaml")).unwrap()).unwrap();
    object.metadata.name = Some(pool.clone());
    apply(&json!(object).to_string());

    let kubeconfig = plane.service_account_kubeconfig(&namespace, "provider").await.unwrap();
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
}
