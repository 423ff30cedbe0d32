//! Speaking to Stripe: the one place with time limits, repeats and counters for it.
//!
//! Every call that makes something carries an idempotency key that follows from an id of ours, so that repeating it after a
//! lost answer makes nothing twice. Only what is needed of an answer is read.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use stripe::{Client, ClientBuilder, IdempotencyKey, RequestStrategy, StripeError};
use stripe_client_core::{RequestBuilder, StripeMethod};
use uuid::Uuid;

use super::facts::{ACCOUNT, CREDITS, OFFER, PAYMENT, PRICE, PRICE_MINOR, ROLLOVER, VERSION};
use super::plans::Subscription;
use super::settling::Payment;
use crate::metrics::Metrics;

/// Longest one try of a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of a call, with the same key.
const TRIES_MAX: u32 = 3;
/// Wait before the second try; doubles.
const BACKOFF: Duration = Duration::from_millis(200);
/// Rows on a page of a list: the most Stripe gives.
const PAGE: i64 = 100;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StripeFault {
    /// Stripe will say the same again.
    #[error("stripe refused to {operation}: {code}")]
    Refused { operation: &'static str, code: String },
    /// Nobody knows whether it was done: to be repeated with the same key.
    #[error("stripe did not answer when asked to {operation}")]
    Unknown { operation: &'static str },
}

/// A page somebody is sent to.
#[derive(Debug, miniserde::Deserialize)]
pub(crate) struct Page {
    pub(crate) id: String,
    pub(crate) url: Option<String>,
}

/// Something that was made.
#[derive(Debug, miniserde::Deserialize)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) status: Option<String>,
}

/// A charge as reconciliation reads it.
#[derive(Debug, miniserde::Deserialize)]
pub(crate) struct ChargeSeen {
    pub(crate) id: String,
    pub(crate) customer: Option<String>,
    pub(crate) payment_intent: Option<String>,
    pub(crate) amount: i64,
    pub(crate) amount_refunded: i64,
    pub(crate) paid: bool,
}

#[derive(miniserde::Deserialize)]
struct IntentSeen {
    amount_received: i64,
}

#[derive(miniserde::Deserialize)]
struct Receipted {
    latest_charge: Option<ChargeReceipt>,
}

#[derive(miniserde::Deserialize)]
struct ChargeReceipt {
    receipt_url: Option<String>,
}

#[derive(miniserde::Deserialize)]
struct Deleted {
    deleted: bool,
}

#[derive(miniserde::Deserialize)]
struct List<T> {
    data: Vec<T>,
    has_more: bool,
}

/// The client. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Stripe {
    client: Client,
    metrics: Metrics,
}

impl Stripe {
    pub(crate) fn open(key: &str, url: &str, metrics: Metrics) -> anyhow::Result<Self> {
        // The client puts paths behind it.
        let url = format!("{}/", url.trim_end_matches('/'));
        let builder = ClientBuilder::new(key).url(url).timeout(TIMEOUT);
        let builder = builder.app_info("tintype", Some(env!("CARGO_PKG_VERSION").to_owned()), None);
        let client = builder.build().context("cannot set up the Stripe client; are key and URL right?")?;
        Ok(Self { client, metrics })
    }

    /// Somebody who pays.
    pub(crate) async fn create_customer(&self, account: Uuid) -> Result<Made, StripeFault> {
        let body = json!({ "metadata": { ACCOUNT: account.to_string() } });
        self.post("create a customer", "/customers", &body, &format!("customer:{account}")).await
    }

    /// Forgets somebody who paid: what of them Stripe must keep, it keeps without a name. One that is gone is as good.
    pub(crate) async fn delete_customer(&self, customer: &str) -> Result<(), StripeFault> {
        let path = format!("/customers/{customer}");
        let build = || RequestBuilder::new(StripeMethod::Delete, &path);
        match self.call::<Deleted>("delete a customer", &RequestStrategy::Once, build).await {
            Ok(Deleted { deleted: true }) => Ok(()),
            Ok(Deleted { deleted: false }) => Err(StripeFault::Unknown { operation: "delete a customer" }),
            Err(StripeFault::Refused { code, .. }) if code == "resource_missing" => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// A page on which a pack is paid for.
    pub(crate) async fn sell(&self, sale: &Sale<'_>) -> Result<Page, StripeFault> {
        let Sale { payment, name, customer, pages, card } = sale;
        let metadata = json!({ PAYMENT: payment.id.to_string(), ACCOUNT: payment.account.to_string() });
        let mut intent = json!({ "metadata": metadata });
        if *card == Card::Keep {
            intent["setup_future_usage"] = json!("off_session");
        }
        let price =
            json!({ "currency": payment.currency, "unit_amount": payment.amount, "product_data": { "name": name } });
        let body = json!({
            "mode": "payment",
            "customer": customer,
            "client_reference_id": payment.id.to_string(),
            "line_items": [{ "quantity": 1, "price_data": price }],
            "metadata": metadata,
            "payment_intent_data": intent,
            "allow_promotion_codes": true,
            "success_url": pages.success,
            "cancel_url": pages.cancel,
        });
        self.post("open a checkout", "/checkout/sessions", &body, &format!("checkout:{}", payment.id)).await
    }

    /// A page on which a subscription is begun.
    pub(crate) async fn subscribe(&self, begin: &Subscribing<'_>) -> Result<Page, StripeFault> {
        let Subscribing { id, account, offer, version, currency, customer, pages } = begin;
        let mut metadata = json!({
            ACCOUNT: account.to_string(),
            OFFER: offer.id,
            VERSION: version.to_string(),
            CREDITS: offer.credits_millis.to_string(),
            ROLLOVER: offer.rollover_months.to_string(),
            PRICE_MINOR: offer.price_minor.to_string(),
        });
        let line = if let Some(price) = &offer.stripe_price {
            metadata[PRICE] = json!(price);
            json!({ "quantity": 1, "price": price })
        } else {
            let price = json!({
                "currency": currency,
                "unit_amount": offer.price_minor,
                "recurring": { "interval": "month" },
                "product_data": { "name": offer.name },
            });
            json!({ "quantity": 1, "price_data": price })
        };
        let body = json!({
            "mode": "subscription",
            "customer": customer,
            "client_reference_id": id.to_string(),
            "line_items": [line],
            "metadata": { ACCOUNT: account.to_string() },
            "subscription_data": { "metadata": metadata },
            "allow_promotion_codes": true,
            "success_url": pages.success,
            "cancel_url": pages.cancel,
        });
        self.post("open a checkout", "/checkout/sessions", &body, &format!("subscribe:{id}")).await
    }

    /// The page on which somebody sees invoices, changes cards and ends subscriptions.
    pub(crate) async fn portal(&self, id: Uuid, customer: &str, back: &str) -> Result<Page, StripeFault> {
        let body = json!({ "customer": customer, "return_url": back });
        self.post("open the portal", "/billing_portal/sessions", &body, &format!("portal:{id}")).await
    }

    /// Takes a top-up from what was kept for it.
    pub(crate) async fn charge(&self, payment: &Payment, customer: &str, method: &str) -> Result<Made, StripeFault> {
        let metadata = json!({ PAYMENT: payment.id.to_string(), ACCOUNT: payment.account.to_string() });
        let body = json!({
            "amount": payment.amount,
            "currency": payment.currency,
            "customer": customer,
            "payment_method": method,
            "off_session": true,
            "confirm": true,
            "metadata": metadata,
        });
        self.post("take a top-up", "/payment_intents", &body, &format!("top-up:{}", payment.id)).await
    }

    /// Gives money back.
    pub(crate) async fn refund(&self, id: Uuid, intent: &str, amount: i64) -> Result<Made, StripeFault> {
        let body =
            json!({ "payment_intent": intent, "amount": amount, "metadata": { "tintype_refund": id.to_string() } });
        self.post("refund", "/refunds", &body, &format!("refund:{id}")).await
    }

    /// What was really taken through an intent, in the currency's smallest unit.
    pub(crate) async fn received(&self, intent: &str) -> Result<i64, StripeFault> {
        let path = format!("/payment_intents/{intent}");
        let seen: IntentSeen = self.get("read a payment", &path, &json!({})).await?;
        Ok(seen.amount_received)
    }

    /// Stripe's page with the receipt of what was taken through an intent, if it has one.
    pub(crate) async fn receipt_page(&self, intent: &str) -> Result<Option<String>, StripeFault> {
        let (path, query) = (format!("/payment_intents/{intent}"), json!({ "expand": ["latest_charge"] }));
        let seen: Receipted = self.get("read a receipt", &path, &query).await?;
        Ok(seen.latest_charge.and_then(|charge| charge.receipt_url))
    }

    /// Events since a moment in seconds, newest first, from after a given one; and whether there are more.
    pub(crate) async fn events(&self, since_s: i64, after: Option<&str>) -> Result<(Vec<Value>, bool), StripeFault> {
        let mut query = json!({ "created": { "gte": since_s }, "limit": PAGE });
        if let Some(after) = after {
            query["starting_after"] = json!(after);
        }
        let list: List<miniserde::json::Value> = self.get("list events", "/events", &query).await?;
        // Both speak JSON: by way of text from the client's kind of value to ours.
        let events = list.data.iter().map(|event| serde_json::from_str(&miniserde::json::to_string(event)));
        let events = events.collect::<Result<_, _>>();
        Ok((events.map_err(|_| StripeFault::Unknown { operation: "list events" })?, list.has_more))
    }

    /// Charges since a moment in seconds, newest first, from after a given one; and whether there are more.
    pub(crate) async fn charges(
        &self,
        since_s: i64,
        after: Option<&str>,
    ) -> Result<(Vec<ChargeSeen>, bool), StripeFault> {
        let mut query = json!({ "created": { "gte": since_s }, "limit": PAGE });
        if let Some(after) = after {
            query["starting_after"] = json!(after);
        }
        let list: List<ChargeSeen> = self.get("list charges", "/charges", &query).await?;
        Ok((list.data, list.has_more))
    }

    /// The charges of one intent: the one that went through, and those before it that did not.
    pub(crate) async fn charges_of(&self, intent: &str) -> Result<Vec<ChargeSeen>, StripeFault> {
        let query = json!({ "payment_intent": intent, "limit": PAGE });
        match self.get::<List<ChargeSeen>>("list charges", "/charges", &query).await {
            Ok(list) => Ok(list.data),
            Err(StripeFault::Refused { code, .. }) if code == "resource_missing" => Ok(Vec::new()),
            Err(fault) => Err(fault),
        }
    }

    async fn post<T: miniserde::Deserialize>(
        &self,
        operation: &'static str,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<T, StripeFault> {
        let key = IdempotencyKey::new(key);
        let key = key.map_err(|_| StripeFault::Refused { operation, code: "bad idempotency key".to_owned() })?;
        let strategy = RequestStrategy::Idempotent(key);
        self.call(operation, &strategy, || RequestBuilder::new(StripeMethod::Post, path).form(body)).await
    }

    async fn get<T: miniserde::Deserialize>(
        &self,
        operation: &'static str,
        path: &str,
        query: &Value,
    ) -> Result<T, StripeFault> {
        let build = || RequestBuilder::new(StripeMethod::Get, path).query(query);
        self.call(operation, &RequestStrategy::Once, build).await
    }

    async fn call<T: miniserde::Deserialize>(
        &self,
        operation: &'static str,
        strategy: &RequestStrategy,
        build: impl Fn() -> RequestBuilder,
    ) -> Result<T, StripeFault> {
        let mut tries = 1;
        loop {
            let sent = build().customize::<T>().request_strategy(strategy.clone()).send(&self.client).await;
            let (outcome, fault) = match sent {
                Ok(answer) => {
                    self.metrics.stripe.calls.with_label_values(&[operation, "ok"]).inc();
                    return Ok(answer);
                }
                Err(error) => judge(operation, error),
            };
            self.metrics.stripe.calls.with_label_values(&[operation, outcome]).inc();
            if tries >= TRIES_MAX || matches!(fault, StripeFault::Refused { .. }) {
                return Err(fault);
            }
            tokio::time::sleep(BACKOFF * 2_u32.pow(tries - 1)).await;
            tries += 1;
        }
    }
}

/// What an error means: its name as a metric, and whether trying again could help. Its text may hold what was sent.
fn judge(operation: &'static str, error: StripeError) -> (&'static str, StripeFault) {
    match error {
        // 409 is another request with the same key that runs; 429 and beyond may pass.
        StripeError::Stripe(_, 409 | 424 | 429 | 500..) => ("unavailable", StripeFault::Unknown { operation }),
        StripeError::Stripe(error, status) => {
            let code = error.decline_code.clone().or_else(|| error.code.as_ref().map(|code| code.as_str().to_owned()));
            // Stripe names no code where an amount is too large, but the field.
            let code = code.or_else(|| error.param.as_ref().map(|param| format!("{param} refused")));
            let code = code.unwrap_or_else(|| format!("status {status}"));
            ("refused", StripeFault::Refused { operation, code })
        }
        StripeError::Timeout => ("timeout", StripeFault::Unknown { operation }),
        StripeError::ClientError(_) => ("unreachable", StripeFault::Unknown { operation }),
        StripeError::JSONDeserialize(_) => ("unreadable", StripeFault::Unknown { operation }),
        StripeError::ConfigError(_) => {
            ("refused", StripeFault::Refused { operation, code: "configuration".to_owned() })
        }
    }
}

/// Where people come back to.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) success: String,
    pub(crate) cancel: String,
}

/// A pack being sold.
#[derive(Clone, Debug)]
pub(crate) struct Sale<'a> {
    pub(crate) payment: &'a Payment,
    pub(crate) name: &'a str,
    pub(crate) customer: &'a str,
    pub(crate) pages: &'a Pages,
    pub(crate) card: Card,
}

/// What becomes of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Card {
    /// It may be used for top-ups.
    Keep,
    /// It is used this once.
    Forget,
}

/// A subscription being begun.
#[derive(Clone, Debug)]
pub(crate) struct Subscribing<'a> {
    pub(crate) id: Uuid,
    pub(crate) account: Uuid,
    pub(crate) offer: &'a Subscription,
    pub(crate) version: i32,
    pub(crate) currency: &'a str,
    pub(crate) customer: &'a str,
    pub(crate) pages: &'a Pages,
}
