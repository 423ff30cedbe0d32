//! What a Stripe event says, as facts. Pure: JSON and the price book in, facts out; [`super::invoices`] reads invoices.
//!
//! Only the fields that are needed are read, and older places of a field too, so that an endpoint with another API version
//! goes on being understood. What is unknown is no fact, never an error; what should be there and is not, is.

use serde_json::Value;
use sha2::{Digest, Sha256};
use tintype_types::Timestamp;
use uuid::Uuid;

use super::invoices;
use super::plans::PriceBook;

/// Metadata we put on what we make at Stripe.
pub const PAYMENT: &str = "tintype_payment";
/// Whose subscription.
pub const ACCOUNT: &str = "tintype_account";
/// What was offered: id, version of the price book, milli-credits a month, months they roll over.
pub const OFFER: &str = "tintype_offer";
/// See [`OFFER`].
pub const VERSION: &str = "tintype_version";
/// See [`OFFER`].
pub const CREDITS: &str = "tintype_credits_millis";
/// See [`OFFER`].
pub const ROLLOVER: &str = "tintype_rollover_months";
/// The price at Stripe it was sold by, where it has a lasting one.
pub const PRICE: &str = "tintype_price";
/// What a month cost when it was sold, before discounts, in the currency's smallest unit.
pub const PRICE_MINOR: &str = "tintype_price_minor";

/// Something that is so, whenever it is heard and however often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A payment of ours is paid; through this intent, if that is known.
    Paid {
        /// Ours.
        payment: Uuid,
        /// Stripe's.
        intent: Option<String>,
        /// What was charged, after discounts.
        amount: Option<i64>,
    },
    /// A payment of ours was not taken.
    Failed {
        /// Ours.
        payment: Uuid,
    },
    /// A month of a subscription is paid.
    MonthPaid(Month),
    /// An invoice is paid through this intent.
    Linked {
        /// Stripe's.
        invoice: String,
        /// Stripe's.
        intent: String,
    },
    /// Of the money that came through this intent so much is given back, in all.
    Refunded {
        /// Stripe's.
        intent: String,
        /// How much came.
        amount: i64,
        /// How much of it went back.
        refunded: i64,
    },
    /// The money that came through this intent is disputed, or was.
    Disputed {
        /// Stripe's.
        intent: String,
        /// How far it has come.
        stage: Stage,
    },
    /// Where a subscription stands.
    Subscription(Standing),
    /// Who somebody is at Stripe, and what they pay with when nobody is there.
    Customer {
        /// Ours.
        account: Uuid,
        /// Stripe's.
        customer: String,
        /// Stripe's, of what may be charged later.
        method: Option<String>,
    },
}

/// A paid month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// Whose.
    pub account: Uuid,
    /// What was offered.
    pub offer: String,
    /// In which price book.
    pub version: i32,
    /// Milli-credits.
    pub credits: i64,
    /// Of which subscription.
    pub subscription: String,
    /// By which invoice.
    pub invoice: String,
    /// Through which intent, where the invoice says it.
    pub intent: Option<String>,
    /// What was paid, in the currency's smallest unit.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// How much of a month it is.
    pub span: Span,
    /// When it begins.
    pub start: Timestamp,
    /// When what is left of its credits lapses.
    pub expires: Timestamp,
    /// Stripe's page with the invoice.
    pub page: Option<String>,
}

impl Month {
    /// The payment it is: the same for everything that says that this month of this subscription is paid.
    pub fn payment(&self) -> Uuid {
        let name = match self.span {
            Span::Whole => format!("{}:{}", self.subscription, self.start.0),
            // A plan may be raised twice in a month, and each has an invoice of its own.
            Span::Rest => format!("{}:raised:{}", self.subscription, self.invoice),
        };
        let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(id).into_uuid()
    }
}

/// How much of a month was paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of it.
    Whole,
    /// The difference to a dearer plan, for what was left of it.
    Rest,
}

/// How far a dispute has come. Later ones are greater: they win over what was heard before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// There is none.
    #[default]
    None,
    /// It is undecided, and Stripe has taken the money meanwhile.
    Open,
    /// The money is ours.
    Won,
    /// The money is gone.
    Lost,
    /// It is gone, and whoever runs this has let the account go on.
    Forgiven,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 5] = [Self::None, Self::Open, Self::Won, Self::Lost, Self::Forgiven];

    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Open => "open",
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Forgiven => "forgiven",
        }
    }

    /// The stage of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

/// Where a subscription stands, as of a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Stripe's id.
    pub subscription: String,
    /// Whose.
    pub account: Uuid,
    /// What was offered.
    pub offer: String,
    /// Stripe's word: `active`, `past_due`, `canceled`, …
    pub status: String,
    /// Whether it ends with the month that runs.
    pub ends: bool,
    /// When the event was made, in seconds: of two, the later holds.
    pub as_of: i64,
}

/// An event of which something that must be there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event has no {0}")]
pub struct Missing(pub &'static str);

/// What the event says. Empty: nothing to us.
///
/// # Errors
/// What is missing in an event that should say something.
pub fn read(event: &Value, book: &PriceBook) -> Result<Vec<Fact>, Missing> {
    let object = event.pointer("/data/object").ok_or(Missing("data.object"))?;
    let created = event["created"].as_i64().unwrap_or(0);
    match event["type"].as_str().ok_or(Missing("type"))? {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => session(object),
        "payment_intent.succeeded" => Ok(intent_paid(object)),
        "payment_intent.payment_failed" | "payment_intent.canceled" => {
            Ok(ours(object).map(|payment| Fact::Failed { payment }).into_iter().collect())
        }
        "invoice.paid" => invoices::paid(object, book),
        "invoice_payment.paid" => Ok(invoice_payment(object)),
        "charge.refunded" => refunded(object),
        "charge.dispute.created" | "charge.dispute.updated" | "charge.dispute.closed" => disputed(object),
        "customer.subscription.created" | "customer.subscription.updated" | "customer.subscription.deleted" => {
            subscription(object, created, book)
        }
        _ => Ok(Vec::new()),
    }
}

pub(super) fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer)?.as_str().map(str::to_owned)
}

/// Stripe's seconds.
pub(super) fn seconds(at: i64) -> Timestamp {
    Timestamp(u64::try_from(at).unwrap_or(0).saturating_mul(1_000))
}

/// An id, or the id of an object that was sent whole.
pub(super) fn id(object: &Value, field: &str) -> Option<String> {
    let value = object.get(field)?;
    value.as_str().or_else(|| value.get("id")?.as_str()).map(str::to_owned)
}

fn ours(object: &Value) -> Option<Uuid> {
    object["metadata"][PAYMENT].as_str()?.parse().ok()
}

fn account(metadata: &Value) -> Option<Uuid> {
    metadata[ACCOUNT].as_str()?.parse().ok()
}

fn customer(object: &Value, metadata: &Value, method: Option<String>) -> Option<Fact> {
    Some(Fact::Customer { account: account(metadata)?, customer: id(object, "customer")?, method })
}

fn session(object: &Value) -> Result<Vec<Fact>, Missing> {
    let mut facts: Vec<Fact> = customer(object, &object["metadata"], None).into_iter().collect();
    let paid = matches!(object["payment_status"].as_str(), Some("paid" | "no_payment_required"));
    if object["mode"] == "payment" && paid {
        let payment = text(object, "/client_reference_id").and_then(|id| id.parse().ok()).or_else(|| ours(object));
        let payment = payment.ok_or(Missing("client_reference_id"))?;
        let (intent, amount) = (id(object, "payment_intent"), object["amount_total"].as_i64());
        facts.push(Fact::Paid { payment, intent, amount });
    }
    Ok(facts)
}

fn intent_paid(object: &Value) -> Vec<Fact> {
    // Those of subscriptions are not ours: their invoices speak for them.
    let Some(payment) = ours(object) else { return Vec::new() };
    let amount = object["amount_received"].as_i64();
    let mut facts = vec![Fact::Paid { payment, intent: id(object, "id"), amount }];
    // Only what was given for later is kept for later.
    let kept = object["setup_future_usage"] == "off_session";
    let method = if kept { id(object, "payment_method") } else { None };
    facts.extend(customer(object, &object["metadata"], method));
    facts
}

fn invoice_payment(object: &Value) -> Vec<Fact> {
    let intent = object.get("payment").and_then(|payment| id(payment, "payment_intent"));
    let linked = id(object, "invoice").zip(intent);
    linked.map(|(invoice, intent)| Fact::Linked { invoice, intent }).into_iter().collect()
}

fn refunded(object: &Value) -> Result<Vec<Fact>, Missing> {
    // A charge without an intent was not made by us.
    let Some(intent) = id(object, "payment_intent") else { return Ok(Vec::new()) };
    let amount = object["amount"].as_i64().ok_or(Missing("amount"))?;
    let refunded = object["amount_refunded"].as_i64().ok_or(Missing("amount_refunded"))?;
    Ok(vec![Fact::Refunded { intent, amount, refunded: refunded.clamp(0, amount.max(0)) }])
}

fn disputed(object: &Value) -> Result<Vec<Fact>, Missing> {
    let Some(intent) = id(object, "payment_intent") else { return Ok(Vec::new()) };
    let stage = match object["status"].as_str().ok_or(Missing("status"))? {
        "needs_response" | "under_review" => Stage::Open,
        "won" | "prevented" => Stage::Won,
        "lost" => Stage::Lost,
        // Inquiries move no money.
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Fact::Disputed { intent, stage }])
}

fn subscription(object: &Value, created: i64, book: &PriceBook) -> Result<Vec<Fact>, Missing> {
    let metadata = &object["metadata"];
    let Some(account) = account(metadata) else { return Ok(Vec::new()) };
    // What it was sold as, unless it has another's price by now.
    let price = object.pointer("/items/data/0").and_then(|item| id(item, "price").or_else(|| id(item, "plan")));
    let now = price.filter(|price| metadata[PRICE] != **price);
    let now = now.and_then(|price| book.by_stripe_price(&price)).map(|plan| plan.id.clone());
    let mut facts = vec![Fact::Subscription(Standing {
        subscription: id(object, "id").ok_or(Missing("id"))?,
        account,
        offer: now.or_else(|| text(metadata, &format!("/{OFFER}"))).unwrap_or_default(),
        status: text(object, "/status").ok_or(Missing("status"))?,
        ends: object["cancel_at_period_end"] == true,
        as_of: created,
    })];
    facts.extend(customer(object, metadata, None));
    Ok(facts)
}
