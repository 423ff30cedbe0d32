//! Money: what credits are sold for, and what comes of it.
//!
//! [`plans`], [`facts`], `invoices`, [`settling`], [`refunding`] and [`signature`] are pure. [`inbox`] applies Stripe's events to the books; [`stripe`]
//! is the only thing that speaks to Stripe, [`outgoing`] what repeats until it has heard, [`reconcile`] what reads Stripe's
//! books once a day. Without a key none of it runs and nothing is sold.

pub(crate) mod args;
pub mod facts;
pub(crate) mod inbox;
mod invoices;
pub(crate) mod metrics;
pub(crate) mod outgoing;
pub mod plans;
pub(crate) mod reconcile;
pub mod refunding;
pub mod settling;
pub mod signature;
pub(crate) mod stripe;

use anyhow::Context;

pub use self::args::PaymentsArgs;
use self::stripe::Stripe;
use crate::metrics::Metrics;

/// What selling needs. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Payments {
    /// Stripe.
    pub(crate) stripe: Stripe,
    /// What Stripe signs its webhooks with.
    pub(crate) webhook_secret: String,
    /// Where browsers find us: people come back to it from Stripe's pages.
    pub(crate) public_url: String,
    /// Whether the key is for real money; events of the other kind are not for us.
    pub(crate) live: bool,
}

impl Payments {
    /// None without a key.
    pub(crate) fn open(args: &PaymentsArgs, public_url: String, metrics: &Metrics) -> anyhow::Result<Option<Self>> {
        let Some(key) = args.key()? else { return Ok(None) };
        let webhook_secret = args.webhook_secret()?.context(
            "there is a Stripe key and no webhook secret, so that no payment would ever be heard of; \
             set STRIPE_WEBHOOK_SECRET or --stripe-webhook-secret-file to the endpoint's `whsec_...`",
        )?;
        let live = key.starts_with("sk_live") || key.starts_with("rk_live");
        let stripe = Stripe::open(&key, &args.stripe_url, metrics.clone())?;
        Ok(Some(Self { stripe, webhook_secret, public_url, live }))
    }
}
