//! The control plane is real: kubectl and a client use it, RBAC refuses, the audit log tells, and it survives what the
//! fault tests will do to it. These tests are about one of our own, whatever TINTYPE_TEST_KUBECONFIG says.

use std::{
    process::Output,
    sync::OnceLock,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use tintype_kubetest::{AuditEvent, ControlPlane, Error, Options, Program};

const GREETING: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting}\ndata: {text: hello}\n";

fn own() -> Options {
    Options::new().of_our_own()
}

fn shared() -> &'static ControlPlane {
    static SHARED: OnceLock<ControlPlane> = OnceLock::new();
    SHARED.get_or_init(|| ControlPlane::start_blocking(own()).expect("a control plane starts"))
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "kubectl failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn of_greeting(namespace: &str, verb: &str) -> impl Fn(&AuditEvent) -> bool {
    move |event| (event.namespace.as_str(), event.name.as_str(), event.verb.as_str()) == (namespace, "greeting", verb)
}

#[test]
fn kubectl_and_server_are_of_one_version() {
    let plane = shared();
    let said = text(&plane.kubectl(&["version", "--output=json"]).unwrap());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["clientVersion"]["gitVersion"], said["serverVersion"]["gitVersion"]);
    assert_eq!(said["serverVersion"]["major"], "1");
}

#[tokio::test]
async fn what_kubectl_applies_a_client_reads_and_the_audit_log_tells() {
    let plane = shared();
    let namespace = plane.unique_namespace().await.unwrap();
    let applied = plane.kubectl_with_input(&["apply", "--namespace", &namespace, "--filename", "-"], GREETING);
    assert_eq!(text(&applied.unwrap()), "configmap/greeting created\n");

    let maps = Api::<ConfigMap>::namespaced(plane.client().await.unwrap(), &namespace);
    assert_eq!(maps.get("greeting").await.unwrap().data.unwrap()["text"], "hello");

    let created = plane.audited(|event| of_greeting(&namespace, "create")(event)).await.unwrap();
    assert_eq!((created.resource.as_str(), created.api_group.as_str(), created.code), ("configmaps", "", 201));
    assert_eq!(created.user, "kubetest-admin");
    assert!(created.user_agent.starts_with("kubectl/"), "{created:?}");
    assert!(created.complete);
    let read = plane.audited(|event| of_greeting(&namespace, "get")(event) && event.code == 200).await.unwrap();
    assert!(read.received > created.received);
}

#[tokio::test]
async fn the_audit_log_has_no_bodies() {
    let plane = shared();
    let namespace = plane.unique_namespace().await.unwrap();
    let secret = GREETING.replace("hello", "must-not-be-logged");
    text(&plane.kubectl_with_input(&["create", "--namespace", &namespace, "--filename", "-"], &secret).unwrap());
    plane.audited(|event| of_greeting(&namespace, "create")(event)).await.unwrap();
    let log = plane.kubeconfig_path().with_file_name("audit.log");
    assert!(!std::fs::read_to_string(log).unwrap().contains("must-not-be-logged"));
}

#[tokio::test]
async fn a_user_may_do_what_rbac_says_and_no_more() {
    let plane = shared();
    let namespace = plane.unique_namespace().await.unwrap();
    let kubeconfig = plane.user_kubeconfig("alice", &["artists", "testers", "third"]).unwrap();
    let maps = Api::<ConfigMap>::namespaced(plane.client_of(&kubeconfig).await.unwrap(), &namespace);

    let refused = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused:?}");
    let by_alice = |event: &AuditEvent| event.user == "alice" && event.namespace == namespace;
    assert_eq!(plane.audited(by_alice).await.unwrap().code, 403);

    // The last of the groups: each of them must be in the certificate.
    // A role of our own: `view` and its like are put together by kube-controller-manager.
    let role = ["create", "role", "read", "--verb=list", "--resource=configmaps", "--namespace", &namespace];
    text(&plane.kubectl(&role).unwrap());
    let bind = ["create", "rolebinding", "read", "--role=read", "--group=third", "--namespace", &namespace];
    text(&plane.kubectl(&bind).unwrap());
    // The server learns of the binding by a watch of its own.
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = maps.list(&ListParams::default()).await {
        assert!(Instant::now() < deadline, "{error:?}");
    }
    let refused = maps.delete("any", &DeleteParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused:?}");
    let whoami = ["--kubeconfig", kubeconfig.to_str().unwrap(), "auth", "whoami", "--output=json"];
    let whoami: serde_json::Value = serde_json::from_str(&text(&plane.kubectl(&whoami).unwrap())).unwrap();
    let groups = serde_json::json!(["artists", "testers", "third", "system:authenticated"]);
    assert_eq!(whoami["status"]["userInfo"]["groups"], groups);
}

#[tokio::test]
async fn a_service_account_comes_with_a_token() {
    let plane = shared();
    let namespace = plane.unique_namespace().await.unwrap();
    text(&plane.kubectl(&["create", "serviceaccount", "worker", "--namespace", &namespace]).unwrap());
    let kubeconfig = plane.service_account_kubeconfig(&namespace, "worker").await.unwrap();
    let said = text(&plane.kubectl(&["--kubeconfig", kubeconfig.to_str().unwrap(), "auth", "whoami"]).unwrap());
    assert!(said.contains(&format!("system:serviceaccount:{namespace}:worker")), "{said}");
}

#[tokio::test]
async fn two_start_side_by_side_and_know_nothing_of_each_other() {
    let (first, second) = tokio::join!(ControlPlane::start(own()), ControlPlane::start(own()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.url().unwrap(), second.url().unwrap());
    text(&first.kubectl(&["create", "namespace", "only-here"]).unwrap());
    assert!(!second.kubectl(&["get", "namespace", "only-here"]).unwrap().status.success());
    // Neither trusts the other's users.
    let server = format!("--server={}", second.url().unwrap());
    let crossed = first.kubectl(&[&server, "--insecure-skip-tls-verify", "get", "namespaces"]).unwrap();
    assert!(!crossed.status.success(), "{crossed:?}");
}

#[test]
fn dropping_it_ends_its_processes_and_removes_its_files() {
    let plane = ControlPlane::start_blocking(own()).unwrap();
    let ids = [Program::Etcd, Program::ApiServer].map(|program| plane.process_id(program).unwrap());
    let directory = plane.kubeconfig_path().parent().unwrap().to_owned();
    drop(plane);
    for id in ids {
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
    assert!(!directory.exists());
}

#[test]
fn killed_programs_come_back_with_what_was_stored() {
    let plane = ControlPlane::start_blocking(own()).unwrap();
    text(&plane.kubectl(&["create", "namespace", "kept"]).unwrap());
    let before = plane.process_id(Program::ApiServer).unwrap();
    plane.kill(Program::ApiServer).unwrap();
    assert!(!plane.kubectl(&["get", "namespace", "kept"]).unwrap().status.success());
    plane.restart(Program::ApiServer).unwrap();
    assert_ne!(plane.process_id(Program::ApiServer).unwrap(), before);
    plane.restart(Program::Etcd).unwrap();
    text(&plane.kubectl(&["get", "namespace", "kept"]).unwrap());
    assert!(matches!(plane.kill(Program::Scheduler), Err(Error::NotStarted(Program::Scheduler))));
}

#[tokio::test]
async fn with_controllers_a_deployment_has_pods_and_a_namespace_goes_away() {
    let plane = ControlPlane::start(own().controller_manager().scheduler()).await.unwrap();
    let namespace = plane.unique_namespace().await.unwrap();
    let in_namespace = ["--namespace", &namespace];
    let create = ["create", "deployment", "web", "--image=none.invalid/web", "--replicas=2"];
    text(&plane.kubectl(&[&create[..], &in_namespace].concat()).unwrap());
    let wait = ["wait", "deployment/web", "--for=jsonpath={.status.replicas}=2", "--timeout=60s"];
    text(&plane.kubectl(&[&wait[..], &in_namespace].concat()).unwrap());

    // Nothing can run without a node, and that is for the scheduler to say.
    let unschedulable = ["wait", "pod", "--selector=app=web", "--for=condition=PodScheduled=False", "--timeout=60s"];
    text(&plane.kubectl(&[&unschedulable[..], &in_namespace].concat()).unwrap());
    let client = plane.client().await.unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await.unwrap();
    assert_eq!(pods.items.len(), 2);

    text(&plane.kubectl(&["delete", "namespace", &namespace, "--wait", "--timeout=60s"]).unwrap());
    let deployments = Api::<Deployment>::namespaced(client, &namespace).list(&ListParams::default()).await.unwrap();
    assert_eq!(deployments.items.len(), 0);
}

#[test]
fn a_refused_flag_is_an_error_with_the_programs_own_words() {
    let error = ControlPlane::start_blocking(own().apiserver_flag("--no-such-flag")).err().unwrap();
    assert!(matches!(error, Error::Exited { program: Program::ApiServer, .. }), "{error:?}");
    assert!(error.to_string().contains("unknown flag: --no-such-flag"), "{error}");
}
