//! The price book of credits: packs that are bought once, subscriptions that bring credits each month. Pure.
//!
//! A book has a version, which every payment remembers: what was offered is what is given, whatever the book says later.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::AMOUNT_MAX;
use crate::price::Tariff;

/// The book that ships.
const SHIPPED: &str = include_str!("../../price-book.json");
/// The least and the most a thing may cost, in the currency's smallest unit: Stripe takes nothing below or above.
const PRICE_MINOR: std::ops::RangeInclusive<i64> = 50..=99_999_999;
/// Most months credits may roll over.
const ROLLOVER_MONTHS_MAX: u32 = 24;
/// Offers a book may have.
const OFFERS_MAX: usize = 50;

/// What is sold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriceBook {
    /// Its number; grows with every change.
    pub version: i32,
    /// ISO 4217, in lower case.
    pub currency: String,
    /// Bought once; the credits do not lapse.
    pub packs: Vec<Pack>,
    /// Paid each month for credits each month.
    pub subscriptions: Vec<Subscription>,
    /// What jobs cost.
    #[serde(default)]
    pub jobs: Tariff,
}

/// Credits that are bought once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pack {
    /// What requests name it by.
    pub id: String,
    /// What people know it by.
    pub name: String,
    /// How many, in milli-credits.
    pub credits_millis: i64,
    /// Its price, in the currency's smallest unit.
    pub price_minor: i64,
}

/// Credits that come each month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// What requests name it by.
    pub id: String,
    /// What people know it by.
    pub name: String,
    /// How many a month, in milli-credits.
    pub credits_millis: i64,
    /// Its price a month, in the currency's smallest unit.
    pub price_minor: i64,
    /// For how many months after theirs what is left of a month's credits can be spent.
    pub rollover_months: u32,
    /// The price at Stripe it is sold by, so that people can change to it and from it in Stripe's portal. Without one each
    /// checkout makes a price of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_price: Option<String>,
}

impl PriceBook {
    /// The book that ships with the program.
    ///
    /// # Errors
    /// It is not a sound book, which a test sees first.
    pub fn shipped() -> anyhow::Result<Self> {
        Self::parse(SHIPPED)
    }

    /// Reads a book.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let book: Self = serde_json::from_str(text).context("this is not a price book")?;
        let currency = &book.currency;
        ensure!(
            currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_lowercase()),
            "`{currency}` is not a currency; write three lower-case letters, such as usd"
        );
        let packs = book.packs.iter().map(|pack| (&pack.id, &pack.name, pack.credits_millis, pack.price_minor));
        let monthly =
            book.subscriptions.iter().map(|plan| (&plan.id, &plan.name, plan.credits_millis, plan.price_minor));
        let offers: Vec<_> = packs.chain(monthly).collect();
        ensure!(offers.len() <= OFFERS_MAX, "a price book has at most {OFFERS_MAX} offers");
        let mut ids = BTreeSet::new();
        for (id, name, credits, price) in offers {
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            ensure!((1..=40).contains(&id.len()) && id.bytes().all(good), "`{id}` is not an id of an offer");
            ensure!((1..=100).contains(&name.chars().count()), "{id} needs a name of at most 100 characters");
            ensure!(ids.insert(id), "{id} is there twice");
            ensure!((1..=AMOUNT_MAX).contains(&credits), "{id} gives {credits} milli-credits, which is not an amount");
            ensure!(PRICE_MINOR.contains(&price), "{id} costs {price}, which nobody can charge");
        }
        let named: Vec<_> = book.subscriptions.iter().filter_map(|plan| plan.stripe_price.as_deref()).collect();
        let good = |price: &&str| (1..=255).contains(&price.len()) && price.bytes().all(|b| b.is_ascii_graphic());
        ensure!(named.iter().all(good), "a stripePrice is an id of Stripe's, such as price_1A2b3C");
        let distinct: BTreeSet<_> = named.iter().collect();
        ensure!(distinct.len() == named.len(), "two subscriptions have one stripePrice: nobody could tell them apart");
        let too_long = book.subscriptions.iter().find(|plan| plan.rollover_months > ROLLOVER_MONTHS_MAX);
        ensure!(too_long.is_none(), "credits roll over for at most {ROLLOVER_MONTHS_MAX} months");
        book.jobs.check().context("what jobs cost")?;
        Ok(book)
    }

    /// The pack of that id.
    pub fn pack(&self, id: &str) -> Option<&Pack> {
        self.packs.iter().find(|pack| pack.id == id)
    }

    /// The subscription that is sold by this price of Stripe's.
    pub fn by_stripe_price(&self, price: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|plan| plan.stripe_price.as_deref() == Some(price))
    }

    /// The subscription of that id.
    pub fn subscription(&self, id: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|plan| plan.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_that_ships_sells_a_hundred_credits_for_ten_dollars() {
        let book = PriceBook::shipped().unwrap();
        let pack = book.pack("credits-100").unwrap();
        assert_eq!((pack.credits_millis, pack.price_minor, book.currency.as_str()), (100_000, 1_000, "usd"));
        assert!(book.subscription("pro").is_some() && book.pack("pro").is_none());
    }

    #[test]
    fn a_book_that_nobody_could_charge_for_is_refused() {
        let mut good = serde_json::to_value(PriceBook::shipped().unwrap()).unwrap();
        (good["subscriptions"][0]["stripePrice"], good["subscriptions"][1]["stripePrice"]) =
            ("price_h".into(), "price_pro".into());
        let book = PriceBook::parse(&good.to_string()).unwrap();
        assert_eq!(book.by_stripe_price("price_pro").unwrap().id, "pro");
        for (pointer, value, why) in [
            ("/currency", "USD".into(), "three lower-case letters"),
            ("/packs/0/id", "credits-100".into(), "is there twice"),
            ("/packs/0/id", "pro".into(), "is there twice"),
            ("/packs/0/id", "Credits 50".into(), "not an id"),
            ("/packs/0/priceMinor", 49.into(), "nobody can charge"),
            ("/packs/0/creditsMillis", 0.into(), "not an amount"),
            ("/subscriptions/0/name", "".into(), "needs a name"),
            ("/subscriptions/0/rolloverMonths", 25.into(), "at most 24 months"),
            ("/subscriptions/0/stripePrice", "price 1".into(), "an id of Stripe's"),
            ("/subscriptions/0/stripePrice", "price_pro".into(), "nobody could tell them apart"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            let error = PriceBook::parse(&bad.to_string()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(PriceBook::parse(&good.to_string().replace("priceMinor", "price")).is_err());
    }
}
