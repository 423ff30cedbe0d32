//! The adapter of a paid provider's pool: to the dispatcher a worker, to Replicate, RunPod or Modal a customer.
//!
//! What may be bought is decided by the crate `purchase`; here is what waits: the claim, the calls, the book's place, the
//! webhooks. It must not know the scheduler, a store's key, users or their money. See docs/adr/0023-providers.md.

mod adapter;
mod args;
mod attempt;
mod buy;
mod call;
mod deliver;
mod dialect;
mod hooks;
mod input;
mod keep;
mod ledger;
mod listen;
mod metrics;
mod settings;
mod sweep;
mod uploads;

pub use adapter::run;
pub use args::Args;
