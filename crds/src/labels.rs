//! Names other programs look for on our objects: labels, finalizers, field managers.

/// Label of a job made by the API: the id of its row there.
pub const GENERATION: &str = "tintype.dev/generation";
/// Annotation that says what a job is part of, if it is traced: a `traceparent` of W3C Trace Context. It is no part of the spec:
/// what is asked for does not depend on who looks.
pub const TRACEPARENT: &str = "tintype.dev/traceparent";
/// Finalizer the API puts on a job it has held credits for; it comes off once the hold is captured or voided.
pub const SETTLEMENT: &str = "tintype.dev/settlement";
/// Label by which the Service finds the one operator that leads.
pub const LEADER: &str = "tintype.dev/leader";
/// Field manager of a job's whole status.
pub const MANAGER_SCHEDULER: &str = "scheduler";
/// Field manager of a job's spec and finalizer when the API made it.
pub const MANAGER_API: &str = "api";
/// Field manager of reports: `GpuWorker` objects and the status of pools.
pub const MANAGER_REPORTER: &str = "reporter";
/// Label of a worker pod, and of the Deployment that keeps it: the name of its pool.
pub const POOL: &str = "tintype.dev/pool";
/// Field manager of the cards of models, and of what is known of their sources.
pub const MANAGER_MODELS: &str = "models";
/// Field manager of the Deployments of pools, and of what their status says of them.
pub const MANAGER_POOLS: &str = "pools";
/// Field manager of what a provider's adapter says of its spending in a pool's status.
pub const MANAGER_PROVIDER: &str = "provider";
