//! What follows from what was heard of payments. Pure: facts are merged so that neither their order nor their number
//! matters, and what is due follows from the merged state alone.
//!
//! A payment is known by our id, the money that came for it by Stripe's intent. Facts about either may come first; they
//! wait under the name they came with until something links the two.

use std::collections::BTreeMap;

use tintype_types::Timestamp;
use uuid::Uuid;

use super::facts::{Fact, Stage};
use super::refunding::share;
use crate::ledger::post::TakeBack;
use crate::ledger::{Grant, Source};

/// What was sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pack, through Checkout.
    Pack,
    /// A month of a subscription.
    Month,
    /// A pack that was bought because credits ran low.
    TopUp,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Pack, Self::Month, Self::TopUp];

    /// Its name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Month => "month",
            Self::TopUp => "top_up",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What its credits are in the ledger.
    pub fn source(self) -> Source {
        match self {
            Self::Pack | Self::TopUp => Source::Purchase,
            Self::Month => Source::Subscription,
        }
    }
}

/// A payment: what was offered, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Ours.
    pub id: Uuid,
    /// Whose.
    pub account: Uuid,
    /// What was sold.
    pub kind: Kind,
    /// The offer's id.
    pub offer: String,
    /// In which price book.
    pub version: i32,
    /// What it brings, in milli-credits.
    pub credits: i64,
    /// What it costs, in the currency's smallest unit, before discounts; a month: what was paid.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// When what is left of its credits lapses.
    pub expires: Option<Timestamp>,
    /// Whether it is paid.
    pub paid: bool,
    /// Whether it was tried and not taken; being paid later still counts.
    pub failed: bool,
    /// Stripe's invoice, if it has one.
    pub invoice: Option<String>,
    /// Stripe's intent, once known.
    pub intent: Option<String>,
    /// Whether its credits were given.
    pub granted: bool,
    /// How many of them were taken back.
    pub taken: i64,
}

impl Payment {
    /// What its credits are given for: once, whatever says that it is paid.
    pub fn reference(&self) -> String {
        format!("payment:{}", self.id)
    }

    /// The credits it brings.
    pub fn grant(&self) -> Grant {
        let (source, amount, expires) = (self.kind.source(), self.credits, self.expires);
        Grant { source, reference: self.reference(), amount, expires }
    }

    /// What was really charged for it, in the currency's smallest unit, given what is known of its charge. None: nobody has
    /// said yet, which Stripe can be asked.
    pub fn charged(&self, charge: Option<&Charge>) -> Option<i64> {
        match (charge.filter(|charge| charge.amount > 0), self.kind) {
            (Some(charge), _) => Some(charge.amount),
            // No codes lower a top-up, and a month has the amount its invoice says was paid.
            (None, Kind::TopUp | Kind::Month) => Some(self.amount),
            // A code that leaves nothing to pay leaves nothing to pay through.
            (None, Kind::Pack) => self.intent.is_none().then_some(0),
        }
    }

    /// What is to be taken back so that `back` of them are in all.
    pub fn take_back(&self, lot: Uuid, back: i64) -> TakeBack {
        TakeBack { lot, amount: back - self.taken, key: format!("payment:{}:back:{back}", self.id) }
    }
}

/// What is known of the money that came through an intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// How much came, after discounts; 0 until that is heard of.
    pub amount: i64,
    /// How much of it was given back.
    pub refunded: i64,
    /// Whether it is disputed.
    pub dispute: Stage,
    /// For which invoice it came.
    pub invoice: Option<String>,
}

/// The payments and charges a fact may concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// By our id.
    pub payments: BTreeMap<Uuid, Payment>,
    /// By Stripe's intent.
    pub charges: BTreeMap<String, Charge>,
}

/// What is to be done about a payment now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Give its credits.
    pub grant: bool,
    /// So many of them are to be taken back in all.
    pub back: i64,
    /// Its account makes nothing for now.
    pub stop: bool,
}

impl State {
    /// Takes a fact in. Facts about payments we never asked for change nothing.
    pub fn merge(&mut self, fact: &Fact) {
        match fact {
            Fact::Paid { payment, intent, amount } => {
                let Some(payment) = self.payments.get_mut(payment) else { return };
                payment.paid = true;
                if let Some(intent) = intent {
                    payment.intent = Some(intent.clone());
                    let charge = self.charges.entry(intent.clone()).or_default();
                    charge.amount = charge.amount.max(amount.unwrap_or(0));
                }
            }
            Fact::Failed { payment } => {
                if let Some(payment) = self.payments.get_mut(payment) {
                    payment.failed = true;
                }
            }
            Fact::MonthPaid(month) => {
                let payment = self.payments.entry(month.payment()).or_insert_with(|| Payment {
                    id: month.payment(),
                    account: month.account,
                    kind: Kind::Month,
                    offer: month.offer.clone(),
                    version: month.version,
                    credits: month.credits,
                    amount: month.amount,
                    currency: month.currency.clone(),
                    expires: Some(month.expires),
                    paid: true,
                    failed: false,
                    invoice: Some(month.invoice.clone()),
                    intent: None,
                    granted: false,
                    taken: 0,
                });
                if let Some(intent) = &month.intent {
                    payment.intent = Some(intent.clone());
                    self.charges.entry(intent.clone()).or_default();
                }
            }
            Fact::Linked { invoice, intent } => {
                self.charges.entry(intent.clone()).or_default().invoice = Some(invoice.clone());
            }
            Fact::Refunded { intent, amount, refunded } => {
                let charge = self.charges.entry(intent.clone()).or_default();
                charge.amount = charge.amount.max(*amount);
                charge.refunded = charge.refunded.max(*refunded);
            }
            Fact::Disputed { intent, stage } => {
                let charge = self.charges.entry(intent.clone()).or_default();
                charge.dispute = charge.dispute.max(*stage);
            }
            // Who somebody is changes nothing that was paid.
            Fact::Subscription(_) | Fact::Customer { .. } => {}
        }
        self.link();
    }

    /// Payments and charges that name the same invoice belong together.
    fn link(&mut self) {
        for payment in self.payments.values_mut().filter(|payment| payment.intent.is_none()) {
            let Some(invoice) = &payment.invoice else { continue };
            let charge = self.charges.iter().find(|(_, charge)| charge.invoice.as_ref() == Some(invoice));
            payment.intent = charge.map(|(intent, _)| intent.clone());
        }
    }

    /// What is to be done about a payment.
    pub fn due(&self, payment: &Payment) -> Due {
        let Payment { paid, granted, credits, intent, .. } = payment;
        let charge = intent.as_ref().and_then(|intent| self.charges.get(intent)).cloned().unwrap_or_default();
        let lost = matches!(charge.dispute, Stage::Lost | Stage::Forgiven);
        let refunded = if lost { *credits } else { share(*credits, charge.refunded, charge.amount) };
        Due {
            grant: *paid && !granted,
            back: if *paid { refunded } else { 0 },
            stop: *paid && matches!(charge.dispute, Stage::Open | Stage::Lost),
        }
    }
}
