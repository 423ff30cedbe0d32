//! `GET /api/v1/studio`: what the studio's pages must know before anybody has signed in: whom they may tell how they are
//! used and how they fail, if the person at the browser agrees. Without a setting, nobody is told anything.

use std::path::PathBuf;

use anyhow::Context;
use axum::Json;
use axum::extract::State;
use clap::Args as Flags;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use crate::identity::clerk::ClerkArgs;
use crate::state::App;

/// Where PostHog's events go unless the flag says otherwise.
const POSTHOG_URL: &str = "https://eu.i.posthog.com";

/// Whom the studio may tell how it is used, and where it comes from.
#[derive(Clone, Debug, Flags)]
pub struct StudioArgs {
    /// PostHog's project key, `phc_...`: the studio tells it of pictures made, for people who agree. Left out: nobody is told.
    #[arg(long, env = "TINTYPE_POSTHOG_KEY")]
    pub posthog_key: Option<String>,
    /// Where PostHog is.
    #[arg(long, env = "TINTYPE_POSTHOG_URL", default_value = POSTHOG_URL)]
    pub posthog_url: String,
    /// Sentry's DSN for the studio: its pages tell it of their errors, for people who agree. Left out: nobody is told.
    #[arg(long, env = "TINTYPE_STUDIO_SENTRY_DSN")]
    pub studio_sentry_dsn: Option<String>,
    /// Where the Grafana is that has the project's dashboards: the studio's administrators get links to them. Left out: there are none.
    #[arg(long, env = "TINTYPE_GRAFANA_URL")]
    pub grafana_url: Option<String>,
    /// Serve the studio from this file, which its build writes, instead of the one in this program.
    #[arg(long, env = "TINTYPE_STUDIO_BUNDLE")]
    pub studio_bundle: Option<PathBuf>,
}

impl Default for StudioArgs {
    fn default() -> Self {
        Self {
            posthog_key: None,
            posthog_url: POSTHOG_URL.to_owned(),
            studio_sentry_dsn: None,
            grafana_url: None,
            studio_bundle: None,
        }
    }
}

/// Where usage is told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PosthogView {
    /// The project's key, which is no secret.
    key: String,
    /// Where events go.
    url: String,
}

/// Clerk's window, in which people sign in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClerkWindow {
    /// The publishable key.
    publishable_key: String,
    /// Where its script and its frontend API are.
    url: String,
}

/// What the studio must know.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StudioSettings {
    /// Where usage is told; absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    posthog: Option<PosthogView>,
    /// Where errors are told; absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    sentry_dsn: Option<String>,
    /// Where people sign in with Clerk; absent: they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    clerk: Option<ClerkWindow>,
    /// Where the dashboards are, without a slash at its end. For administrators alone, who are told of it with the history.
    #[serde(skip)]
    pub(crate) grafana_url: Option<String>,
    /// What pages may load beside what is ours.
    #[serde(skip)]
    pub(crate) reach: Reach,
}

impl StudioSettings {
    /// Reads the flags.
    ///
    /// # Errors
    /// An address that is none.
    pub(crate) fn new(args: &StudioArgs, clerk: &ClerkArgs) -> anyhow::Result<Self> {
        let StudioArgs { posthog_key, posthog_url, studio_sentry_dsn, grafana_url, studio_bundle: _ } = args;
        let mut origins = Vec::new();
        let clerk = match (&clerk.clerk_publishable_key, &clerk.clerk_issuer) {
            (Some(key), Some(issuer)) => {
                let url = origin(issuer).context("--clerk-issuer is no address")?;
                Some(ClerkWindow { publishable_key: key.clone(), url })
            }
            _ => None,
        };
        let posthog = match posthog_key {
            Some(key) => {
                origins.push(origin(posthog_url).context("--posthog-url is no address")?);
                Some(PosthogView { key: key.clone(), url: posthog_url.trim_end_matches('/').to_owned() })
            }
            None => None,
        };
        if let Some(dsn) = studio_sentry_dsn {
            origins.push(origin(dsn).context("--studio-sentry-dsn is no DSN")?);
        }
        // A link, which pages do not load: the policy stays as it is.
        let grafana_url = match grafana_url {
            Some(url) => {
                origin(url).context("--grafana-url is no address")?;
                Some(url.trim_end_matches('/').to_owned())
            }
            None => None,
        };
        let clerk_url = clerk.as_ref().map(|clerk| clerk.url.clone());
        origins.extend(clerk_url.clone());
        let reach = Reach { connect: origins, clerk: clerk_url };
        Ok(Self { posthog, sentry_dsn: studio_sentry_dsn.clone(), clerk, grafana_url, reach })
    }
}

/// What pages may load beside what is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Origins they may connect to.
    pub(crate) connect: Vec<String>,
    /// Clerk's, whose script they may run.
    pub(crate) clerk: Option<String>,
}

/// What a browser calls the origin of an address; of a DSN too, which has a key before the host.
fn origin(address: &str) -> anyhow::Result<String> {
    let url = Url::parse(address)?;
    anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "it must begin with https:// or http://");
    Ok(url.origin().ascii_serialization())
}

/// What the studio must know.
pub(crate) async fn show(State(app): State<App>) -> Json<StudioSettings> {
    Json(app.studio.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_may_connect_to_what_is_set_and_to_nothing_else() {
        let nobody = ClerkArgs::default();
        assert_eq!(StudioSettings::new(&StudioArgs::default(), &nobody).unwrap().reach, Reach::default());
        let args = StudioArgs {
            posthog_key: Some("phc_x".to_owned()),
            posthog_url: "https://eu.i.posthog.com/".to_owned(),
            studio_sentry_dsn: Some("https://abc@o1.ingest.example:444/7".to_owned()),
            grafana_url: Some("https://grafana.example/at/".to_owned()),
            studio_bundle: None,
        };
        let settings = StudioSettings::new(&args, &nobody).unwrap();
        assert_eq!(settings.reach.connect, ["https://eu.i.posthog.com", "https://o1.ingest.example:444"]);
        assert_eq!(settings.grafana_url.as_deref(), Some("https://grafana.example/at"), "a link needs no leave");
        let script = StudioArgs { grafana_url: Some("javascript:alert(1)".to_owned()), ..args.clone() };
        assert!(StudioSettings::new(&script, &nobody).is_err());
        let wrong = StudioArgs { studio_sentry_dsn: Some("javascript:alert(1)".to_owned()), ..args };
        assert!(StudioSettings::new(&wrong, &nobody).is_err());
        let clerk = ClerkArgs {
            clerk_issuer: Some("https://happy-cat-1.clerk.accounts.dev/".to_owned()),
            clerk_publishable_key: Some("pk_test_1".to_owned()),
            ..nobody
        };
        let reach = StudioSettings::new(&StudioArgs::default(), &clerk).unwrap().reach;
        let url = "https://happy-cat-1.clerk.accounts.dev".to_owned();
        assert_eq!(reach, Reach { connect: vec![url.clone()], clerk: Some(url) });
        let keyless = ClerkArgs { clerk_publishable_key: None, ..clerk };
        assert_eq!(StudioSettings::new(&StudioArgs::default(), &keyless).unwrap().reach, Reach::default());
    }
}
