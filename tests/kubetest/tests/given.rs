//! A cluster named by TINTYPE_TEST_KUBECONFIG is used as it is, and KUBECONFIG is not looked at. The test starts a cluster,
//! then runs itself a second time with that cluster given.

use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::ListParams};
use tintype_kubetest::{ControlPlane, Error, Options, Program};

const ROLE: &str = "KUBETEST_CLUSTER_IS_GIVEN";

#[tokio::test]
async fn a_given_cluster_is_used_instead_of_starting_one() {
    if std::env::var_os(ROLE).is_some() {
        return use_the_given_one().await;
    }
    let cluster = ControlPlane::start(Options::new().of_our_own()).await.unwrap();
    let kubeconfig = cluster.kubeconfig_path();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_given_cluster_is_used_instead_of_starting_one", "--nocapture"])
        .env(ROLE, "1")
        .env("TINTYPE_TEST_KUBECONFIG", &kubeconfig)
        .env("KUBECONFIG", "/must/not/be/read")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // It was this one that was used, and it was left running.
    cluster.audited(|event| event.user == "alice" && event.code == 403).await.unwrap();
    cluster.audited(|event| event.user == "system:serviceaccount:default:given").await.unwrap();
}

#[expect(clippy::unwrap_used, clippy::panic, reason = "the second half of the test above")]
async fn use_the_given_one() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.unique_namespace().await.unwrap();
    assert!(plane.kubectl(&["get", "namespace", &namespace]).unwrap().status.success());

    let alice = plane.user_kubeconfig("alice", &["artists"]).unwrap();
    let maps = Api::<ConfigMap>::namespaced(plane.client_of(&alice).await.unwrap(), &namespace);
    let Err(kube::Error::Api(refused)) = maps.list(&ListParams::default()).await else { panic!("alice may do it") };
    assert_eq!(refused.code, 403);

    assert!(plane.kubectl(&["create", "serviceaccount", "given"]).unwrap().status.success());
    let account = plane.service_account_kubeconfig("default", "given").await.unwrap();
    assert!(plane.client_of(&account).await.unwrap().apiserver_version().await.is_ok());

    assert!(matches!(plane.audit_log(), Err(Error::NotOurs(_))));
    assert!(matches!(plane.kill(Program::Etcd), Err(Error::NotOurs(_))));
}
