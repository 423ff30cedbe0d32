//! The settings of services: flags and the environment variables behind them.

use clap::Args as Flags;

/// Which services there are. Without a setting, a service is not there.
#[derive(Clone, Debug, Default, Flags)]
pub struct ServicesArgs {
    /// Redis or Valkey, which replicas share limits, sessions and balances by: redis://host:6379/0, or rediss:// with TLS. Left
    /// out: each replica counts for itself.
    #[arg(long, env = "TINTYPE_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
}
