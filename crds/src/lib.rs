//! The custom resources of group `tintype.dev`, version `v1alpha1`: their Rust types, their schemas and the words used
//! in their conditions. The YAML beside this crate is printed from here and checked by a test.
//!
//! It must not know a client, a runtime or the scheduler: what is done with a job is not written here.

pub mod labels;
pub mod reasons;

mod conditions;
mod definitions;
mod guard;
mod job;
mod model;
mod pool;
mod provider;
mod queue;
mod rules;
mod worker;

pub use conditions::{Cyclic, Holds, JobConditions, conditions_of, queue_condition, warm_condition, worker_condition};
pub use definitions::{definitions, definitions_json};
pub use guard::Guarded;
pub use job::{
    DEFAULT_QUEUE, Failure, GenerationJob, GenerationJobSpec, GenerationJobStatus, JobAssignment, JobPromise, Progress,
    WhenLate,
};
pub use model::{DiffusionModel, DiffusionModelSpec, DiffusionModelStatus, HubFetch, ModelFetch, ModelHints};
pub use pool::{GpuPool, GpuPoolSpec, GpuPoolStatus, PoolScaling};
pub use provider::{
    PoolProvider, ProviderBudget, ProviderKind, ProviderModel, ProviderSpend, SecretKey, SpendWindow, WindowSpend,
};
pub use queue::{GenerationQueue, GenerationQueueSpec, GenerationQueueStatus, QueueQuota};
pub use tintype_types::ModelKind;
pub use worker::{GpuWorker, GpuWorkerSpec, GpuWorkerStatus};

/// The API group of every kind.
pub const GROUP: &str = "tintype.dev";
/// The one version served and stored.
pub const VERSION: &str = "v1alpha1";

/// The definitions as files: name and YAML, in the order they are to be applied. What `operator crds` prints.
pub const YAML: [(&str, &str); 5] = [
    ("diffusionmodels.yaml", include_str!("../yaml/diffusionmodels.yaml")),
    ("generationjobs.yaml", include_str!("../yaml/generationjobs.yaml")),
    ("generationqueues.yaml", include_str!("../yaml/generationqueues.yaml")),
    ("gpupools.yaml", include_str!("../yaml/gpupools.yaml")),
    ("gpuworkers.yaml", include_str!("../yaml/gpuworkers.yaml")),
];
