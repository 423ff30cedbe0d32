//! A real Kubernetes control plane for tests: etcd and kube-apiserver on loopback, with their own certificates, RBAC on
//! and every request in an audit log; kube-controller-manager and kube-scheduler when a test needs them.
//!
//! Nothing here may know of Tintype: what is under test meets the same programs a cluster runs.
//!
//! ```no_run
//! use tintype_kubetest::ControlPlane;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let plane = ControlPlane::shared().await?; // one a test process; `ControlPlane::start(Options::new())` for one's own
//! let namespace = plane.unique_namespace().await?;
//! plane.kubectl(&["apply", "--namespace", &namespace, "--filename", "job.yaml"])?;
//! let client = plane.client().await?;
//! # Ok(()) }
//! ```
//!
//! The programs come from `KUBEBUILDER_ASSETS`, or are built once by `tests/controlplane/build.sh` and kept. With
//! `TINTYPE_TEST_KUBECONFIG` set, that cluster is used instead and nothing is started. `KUBECONFIG` is never read.

mod assets;
mod audit;
mod certificates;
mod client;
mod directory;
mod error;
mod kubeconfig;
mod options;
mod owned;
mod plane;
mod process;
mod programs;
mod ready;
mod rights;

pub use audit::AuditEvent;
pub use error::{Error, Result};
pub use options::Options;
pub use plane::ControlPlane;
pub use programs::Program;
pub use rights::{Done, granted};
