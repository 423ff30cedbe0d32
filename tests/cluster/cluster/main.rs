//! A whole cluster of one node, made from nothing: etcd, API server, controllers, kubelet, containerd, kube-proxy and a
//! DNS, in namespaces of their own; Tintype installed in it with Helm from the images built here; pictures made by pods.
//!
//! It runs when `TINTYPE_CLUSTER` is `on` (`make test-cluster`, and near the end of `make test`), needs root, and says by
//! name when it is skipped.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test's helpers stop the test like the test itself does; a test that is skipped says so"
)]

mod adapter;
mod apart;
mod dns;
mod node;
mod plugin;
mod release;
mod story;
