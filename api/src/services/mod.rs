//! What others run for us beyond the database, mail and payments: each is off until it is named, none is needed, and each
//! has its address as a setting. What they are told is said in docs/adr/0020-services.md.

pub mod args;
pub mod sentry;
pub mod shared;

pub(crate) mod enhance;
pub(crate) mod heartbeat;
pub(crate) mod metrics;
pub(crate) mod posthog;
pub(crate) mod typesense;

mod scrub;

use std::time::Duration;

pub use args::ServicesArgs;
use enhance::Enhancer;
use heartbeat::Heartbeats;
use metrics::ServiceMetrics;
use posthog::Posthog;
use typesense::Typesense;

/// The services that are called. Cloning is cheap; clones are the same.
#[derive(Clone)]
pub(crate) struct Services {
    /// Who is told of pictures made and decides which features an account has.
    pub(crate) posthog: Option<Posthog>,
    /// Who is told that lanes work.
    pub(crate) heartbeats: Heartbeats,
    /// Who writes prompts out.
    pub(crate) enhancer: Option<Enhancer>,
    /// Who finds pictures by the words of their prompts.
    pub(crate) typesense: Option<Typesense>,
}

impl Services {
    /// Those that are named.
    ///
    /// # Errors
    /// An address or a key that is none.
    pub(crate) fn open(args: &ServicesArgs, metrics: &ServiceMetrics) -> anyhow::Result<Self> {
        let every = Duration::from_secs(args.heartbeat_seconds);
        Ok(Self {
            posthog: Posthog::open(args.posthog_server_key.as_deref(), &args.posthog_server_url, metrics)?,
            heartbeats: Heartbeats::open(&args.heartbeats, every, metrics)?,
            enhancer: Enhancer::open(&args.enhance, metrics)?,
            typesense: Typesense::open(&args.typesense, metrics)?,
        })
    }
}
