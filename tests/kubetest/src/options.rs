//! What a test may ask of its control plane. The least is the default: etcd and kube-apiserver are most of what an
//! operator talks to, and each further program costs start time on a small machine.

use std::time::Duration;

/// A cold start takes some 5 s on an idle machine; the rest is for machines that build something else meanwhile.
const READY_WITHIN: Duration = Duration::from_mins(3);

/// How to start a [`ControlPlane`](crate::ControlPlane).
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) controller_manager: bool,
    pub(crate) scheduler: bool,
    pub(crate) apiserver_flags: Vec<String>,
    pub(crate) ready_within: Duration,
    pub(crate) of_our_own: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_manager: false,
            scheduler: false,
            apiserver_flags: Vec::new(),
            ready_within: READY_WITHIN,
            of_our_own: false,
        }
    }
}

impl Options {
    /// etcd and kube-apiserver: objects are stored, checked and watched, and nothing acts on them. The roles `view`, `edit`
    /// and `admin` are empty (kube-controller-manager puts them together) and a deleted namespace stays `Terminating`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also kube-controller-manager: Deployments, Jobs, garbage collection, and namespaces that really go away.
    #[must_use]
    pub fn controller_manager(mut self) -> Self {
        self.controller_manager = true;
        self
    }

    /// Also kube-scheduler: pods are bound to nodes.
    #[must_use]
    pub fn scheduler(mut self) -> Self {
        self.scheduler = true;
        self
    }

    /// One more flag for kube-apiserver, after ours: `--feature-gates=..`.
    #[must_use]
    pub fn apiserver_flag(mut self, flag: impl Into<String>) -> Self {
        self.apiserver_flags.push(flag.into());
        self
    }

    /// How long to wait for each program before giving up.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// Start one also where `TINTYPE_TEST_KUBECONFIG` names a cluster: for tests that kill its programs or read its audit
    /// log, which no other cluster lets them do.
    #[must_use]
    pub fn of_our_own(mut self) -> Self {
        self.of_our_own = true;
        self
    }
}
