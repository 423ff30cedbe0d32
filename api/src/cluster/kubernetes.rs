//! A Kubernetes cluster. The only file that knows the client.

use std::path::PathBuf;

use futures::stream::BoxStream;
use sqlx::PgPool;
use tintype_store::Store;
use tintype_types::{JobEvent, ModelCard};
use tokio_util::sync::CancellationToken;

use super::{Cluster, Reply};
use crate::board::Board;
use crate::reconcile::Bells;
use crate::records::generation::Generation;

pub(crate) struct KubernetesConfig {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) namespace: Option<String>,
    pub(crate) dispatch_url: Option<String>,
    pub(crate) dispatch_token_file: Option<PathBuf>,
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    pub(crate) board: Board,
    pub(crate) bells: Bells,
}

pub(crate) struct Kubernetes;

impl Kubernetes {
    pub(crate) async fn start(_config: KubernetesConfig, _stop: &CancellationToken) -> anyhow::Result<Self> {
        anyhow::bail!("not yet")
    }
}

impl Cluster for Kubernetes {
    fn submit<'a>(&'a self, _job: &'a Generation) -> Reply<'a, Option<String>> {
        todo!()
    }
    fn cancel<'a>(&'a self, _job: &'a Generation) -> Reply<'a, ()> {
        todo!()
    }
    fn watch<'a>(&'a self, _job: &'a Generation) -> Reply<'a, BoxStream<'static, JobEvent>> {
        todo!()
    }
    fn release<'a>(&'a self, _job: &'a Generation) -> Reply<'a, ()> {
        todo!()
    }
    fn exists<'a>(&'a self, _job: &'a Generation) -> Reply<'a, bool> {
        todo!()
    }
    fn models(&self) -> Vec<ModelCard> {
        todo!()
    }
    fn is_ready(&self) -> bool {
        todo!()
    }
    fn routes(&self) -> axum::Router {
        todo!()
    }
}
