//! The settings of services: flags and the environment variables behind them.

use std::path::PathBuf;

use clap::{Args as Flags, Parser};

/// Where PostHog is unless the flag says otherwise.
const POSTHOG_URL: &str = "https://eu.i.posthog.com";
/// Who writes prompts out unless the flag says otherwise.
const ENHANCE_MODEL: &str = "gpt-4o";
/// What Sentry calls this installation unless the flag says otherwise.
const ENVIRONMENT: &str = "production";
/// What the index of pictures is called unless the flag says otherwise.
const TYPESENSE_COLLECTION: &str = "tintype_images";
/// Seconds between heartbeats unless the flag says otherwise.
const HEARTBEAT_SECONDS: u64 = 60;

/// Which services there are. Without a setting, a service is not there.
#[derive(Clone, Debug, Flags)]
pub struct ServicesArgs {
    /// Redis or Valkey, which replicas share limits, sessions and balances by: redis://host:6379/0, or rediss:// with TLS. Left
    /// out: each replica counts for itself.
    #[arg(long, env = "TINTYPE_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// PostHog's project key, `phc_...`: this server tells it of pictures made, by accounts' ids, and asks it which features an
    /// account has. Left out: neither.
    #[arg(long, env = "TINTYPE_POSTHOG_SERVER_KEY")]
    pub posthog_server_key: Option<String>,
    /// Where PostHog is, for this server.
    #[arg(long, env = "TINTYPE_POSTHOG_SERVER_URL", default_value = POSTHOG_URL)]
    pub posthog_server_url: String,
    /// Sentry's DSN: the API tells it what is logged as an error. Left out: it is only logged.
    #[arg(long, env = "TINTYPE_SENTRY_DSN", hide_env_values = true)]
    pub sentry_dsn: Option<String>,
    /// What Sentry calls this installation.
    #[arg(long, env = "TINTYPE_SENTRY_ENVIRONMENT", default_value = ENVIRONMENT)]
    pub sentry_environment: String,
    /// An address to fetch for as long as a lane or a reconciler works, as NAME=URL, such as
    /// mail=https://uptime.betterstack.com/api/v1/heartbeat/...; may be given several times.
    #[arg(long = "heartbeat", env = "TINTYPE_HEARTBEATS", value_delimiter = ',', value_parser = heartbeat)]
    pub heartbeats: Vec<(String, String)>,
    /// Seconds between two heartbeats of one.
    #[arg(long, env = "TINTYPE_HEARTBEAT_SECONDS", default_value_t = HEARTBEAT_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub heartbeat_seconds: u64,
    /// Who writes prompts out.
    #[command(flatten)]
    pub enhance: EnhanceArgs,
    /// Who finds pictures.
    #[command(flatten)]
    pub typesense: TypesenseArgs,
}

/// A server that finds pictures by the words of their prompts.
#[derive(Clone, Debug, Flags)]
pub struct TypesenseArgs {
    /// Where Typesense is, such as http://search:8108: prompts are searched there, misspelt words too, and by Postgres while it
    /// is away. It is told prompts. Left out: Postgres searches.
    #[arg(long, env = "TINTYPE_TYPESENSE_URL", requires = "typesense_key")]
    pub typesense_url: Option<String>,
    /// Its API key, which may make collections and aliases and read and write documents.
    #[arg(long, env = "TINTYPE_TYPESENSE_KEY", hide_env_values = true)]
    pub typesense_key: Option<String>,
    /// What our index is called there.
    #[arg(long, env = "TINTYPE_TYPESENSE_COLLECTION", default_value = TYPESENSE_COLLECTION)]
    pub typesense_collection: String,
}

/// A language model that writes prompts out.
#[derive(Clone, Debug, Flags)]
pub struct EnhanceArgs {
    /// Where it is: any server with OpenAI's chat endpoint, such as https://api.openai.com/v1. Left out: prompts stay as they are.
    #[arg(long, env = "TINTYPE_ENHANCE_URL")]
    pub enhance_url: Option<String>,
    /// File with its API key, if it wants one.
    #[arg(long, env = "TINTYPE_ENHANCE_KEY_FILE", requires = "enhance_url")]
    pub enhance_key_file: Option<PathBuf>,
    /// Which of its models.
    #[arg(long, env = "TINTYPE_ENHANCE_MODEL", default_value = ENHANCE_MODEL)]
    pub enhance_model: String,
}

impl Default for ServicesArgs {
    fn default() -> Self {
        Self {
            redis_url: None,
            posthog_server_key: None,
            posthog_server_url: POSTHOG_URL.to_owned(),
            sentry_dsn: None,
            sentry_environment: ENVIRONMENT.to_owned(),
            heartbeats: Vec::new(),
            heartbeat_seconds: HEARTBEAT_SECONDS,
            enhance: EnhanceArgs { enhance_url: None, enhance_key_file: None, enhance_model: ENHANCE_MODEL.to_owned() },
            typesense: TypesenseArgs {
                typesense_url: None,
                typesense_key: None,
                typesense_collection: TYPESENSE_COLLECTION.to_owned(),
            },
        }
    }
}

impl ServicesArgs {
    /// As the environment says alone, for `tintype up`, which has no flags for them.
    ///
    /// # Errors
    /// What it says is wrong.
    pub fn from_environment() -> Result<Self, clap::Error> {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            services: ServicesArgs,
        }
        Alone::try_parse_from(["tintype"]).map(|alone| alone.services)
    }
}

fn heartbeat(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, url)| !name.is_empty() && !url.is_empty());
    let (name, url) = parts.ok_or_else(|| "write NAME=URL".to_owned())?;
    Ok((name.to_owned(), url.to_owned()))
}
