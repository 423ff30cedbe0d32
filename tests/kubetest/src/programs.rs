//! The programs of a control plane and their command lines. What is not said here is their own default.

use std::{fmt, path::Path};

use crate::Options;

/// Both programs run in the control plane's directory and meet there: a socket needs no port, and its relative name
/// cannot grow too long. etcd wants the form host:port; the whole of it is the file's name.
const ETCD_SOCKET: &str = "unix://etcd.sock:0";
const ETCD_PEER_SOCKET: &str = "unix://peer.sock:0";

/// The API server must never be what limits a load test before the machine does.
const REQUESTS_IN_FLIGHT: u32 = 5000;
const WRITES_IN_FLIGHT: u32 = 2500;

/// One file, never rotated: the audit log is read as a whole.
const AUDIT_LOG_MIB: u32 = 16 * 1024;

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers: Deployments, garbage collection, namespaces ...
    ControllerManager,
    /// Binds pods to nodes.
    Scheduler,
}

impl Program {
    /// The name of its file, and of its log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What the command lines are made of: names of files in `directory`, and ports on loopback.
pub(crate) struct Layout<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) port: u16,
    pub(crate) options: &'a Options,
}

impl Layout<'_> {
    pub(crate) fn arguments(&self, program: Program) -> Vec<String> {
        match program {
            Program::Etcd => self.etcd(),
            Program::ApiServer => self.apiserver(),
            Program::ControllerManager => self.controller_manager(),
            Program::Scheduler => self.client_of_the_apiserver(Program::Scheduler),
        }
    }

    fn etcd(&self) -> Vec<String> {
        vec![
            format!("--data-dir={}", self.file("etcd")),
            format!("--listen-client-urls={ETCD_SOCKET}"),
            format!("--advertise-client-urls={ETCD_SOCKET}"),
            format!("--listen-peer-urls={ETCD_PEER_SOCKET}"),
            format!("--initial-advertise-peer-urls={ETCD_PEER_SOCKET}"),
            format!("--initial-cluster=default={ETCD_PEER_SOCKET}"),
            "--unsafe-no-fsync".to_owned(), // what a test wrote need not survive the machine
            "--quota-backend-bytes=8589934592".to_owned(),
            "--log-level=warn".to_owned(),
        ]
    }

    fn apiserver(&self) -> Vec<String> {
        let mut arguments = self.serving(Program::ApiServer);
        arguments.extend([
            format!("--etcd-servers={ETCD_SOCKET}"),
            "--advertise-address=127.0.0.1".to_owned(),
            // Without it loopback would be published as the endpoint of the `kubernetes` Service, which is refused.
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            format!("--client-ca-file={}", self.file("authority.crt")),
            // A node here has a name that nobody resolves.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--kubelet-client-certificate={}", self.file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", self.file("kubelet-client.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.file("tokens.pub")),
            format!("--service-account-signing-key-file={}", self.file("tokens.key")),
            format!("--audit-policy-file={}", self.file("audit-policy.json")),
            format!("--audit-log-path={}", self.file("audit.log")),
            format!("--audit-log-maxsize={AUDIT_LOG_MIB}"),
            format!("--max-requests-inflight={REQUESTS_IN_FLIGHT}"),
            format!("--max-mutating-requests-inflight={WRITES_IN_FLIGHT}"),
        ]);
        if !self.options.controller_manager {
            // Nobody makes the `default` service account then, and no pod would be let in without one.
            arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        arguments.extend(self.options.apiserver_flags.iter().cloned());
        arguments
    }

    fn controller_manager(&self) -> Vec<String> {
        let mut arguments = self.client_of_the_apiserver(Program::ControllerManager);
        arguments.extend([
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", self.file("tokens.key")),
            format!("--root-ca-file={}", self.file("authority.crt")),
            format!("--cluster-signing-cert-file={}", self.file("authority.crt")),
            format!("--cluster-signing-key-file={}", self.file("authority.key")),
            "--kube-api-qps=1000".to_owned(),
            "--kube-api-burst=2000".to_owned(),
        ]);
        arguments
    }

    fn client_of_the_apiserver(&self, program: Program) -> Vec<String> {
        let mut arguments = self.serving(program);
        arguments.push(format!("--kubeconfig={}", self.file(&format!("{program}.kubeconfig"))));
        arguments.push("--leader-elect=false".to_owned());
        arguments
    }

    fn serving(&self, program: Program) -> Vec<String> {
        vec![
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            "--permit-port-sharing=true".to_owned(), // we hold the port for it, see `owned::Port`
            format!("--tls-cert-file={}", self.file(&format!("{program}.crt"))),
            format!("--tls-private-key-file={}", self.file(&format!("{program}.key"))),
        ]
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// Every request, never a body.
pub(crate) const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived"],
  "rules": [{ "level": "Metadata" }]
}
"#;
