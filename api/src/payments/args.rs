//! The flags of payments.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args as Flags;

/// Where Stripe is.
const STRIPE_URL: &str = "https://api.stripe.com/";

/// How money comes in. Without a key nothing is sold.
#[derive(Clone, Debug, Flags)]
pub struct PaymentsArgs {
    /// File with what credits are sold for, as JSON (docs/PRICES.md). Left out: the book that ships.
    #[arg(long, env = "TINTYPE_PRICE_BOOK")]
    pub price_book: Option<PathBuf>,
    /// Stripe's secret key, `sk_...`. Left out, and no file of it either: nothing is sold.
    #[arg(long, env = "STRIPE_SECRET_KEY", hide_env_values = true)]
    pub stripe_key: Option<String>,
    /// File with Stripe's secret key.
    #[arg(long, env = "TINTYPE_STRIPE_KEY_FILE", conflicts_with = "stripe_key")]
    pub stripe_key_file: Option<PathBuf>,
    /// What Stripe signs its webhooks to /hooks/stripe with, `whsec_...`.
    #[arg(long, env = "STRIPE_WEBHOOK_SECRET", hide_env_values = true)]
    pub stripe_webhook_secret: Option<String>,
    /// File with it.
    #[arg(long, env = "TINTYPE_STRIPE_WEBHOOK_SECRET_FILE", conflicts_with = "stripe_webhook_secret")]
    pub stripe_webhook_secret_file: Option<PathBuf>,
    /// Where Stripe's API is.
    #[arg(long, env = "TINTYPE_STRIPE_URL", default_value = STRIPE_URL)]
    pub stripe_url: String,
}

impl Default for PaymentsArgs {
    fn default() -> Self {
        Self {
            price_book: None,
            stripe_key: None,
            stripe_key_file: None,
            stripe_webhook_secret: None,
            stripe_webhook_secret_file: None,
            stripe_url: STRIPE_URL.to_owned(),
        }
    }
}

impl PaymentsArgs {
    pub(super) fn key(&self) -> anyhow::Result<Option<String>> {
        given(self.stripe_key.as_deref(), self.stripe_key_file.as_deref())
    }

    pub(super) fn webhook_secret(&self) -> anyhow::Result<Option<String>> {
        given(self.stripe_webhook_secret.as_deref(), self.stripe_webhook_secret_file.as_deref())
    }
}

fn given(text: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let text = match (text, file) {
        (Some(text), _) => text.to_owned(),
        (None, Some(file)) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}
