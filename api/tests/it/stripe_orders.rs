//! Six events, in every order and each one to three times: the books come out the same. Pure, and exhaustive.
//!
//! What is walked is not one order after another (there are more than 10^11) but what can have been heard: for each of the
//! six, nothing to three times, 4^6 places. Every way from one place to the next is walked from every state that place can be
//! in, so every order of every number of copies is. If each place has one state, no order matters.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tintype_api::ledger::post::{self, Stamp};
use tintype_api::ledger::verify::Replay;
use tintype_api::ledger::{Account, Book, Grant, Source, Txn};
use tintype_api::payments::facts::{self, Stage};
use tintype_api::payments::plans::PriceBook;
use tintype_api::payments::settling::{Kind, Payment, State};
use tintype_types::Timestamp;
use uuid::Uuid;

const ACCOUNT: Uuid = Uuid::from_u128(1);
const PACK: Uuid = Uuid::from_u128(0x9a);
/// How often an event may come.
const COPIES: u8 = 3;

/// The books beside what was heard.
#[derive(Clone, Debug)]
struct Books {
    state: State,
    book: Book,
    lots: BTreeMap<Uuid, Uuid>,
    txns: Vec<Txn>,
}

impl Books {
    /// A user with ten credits who opened a checkout.
    fn new() -> Self {
        let pack = Payment {
            id: PACK,
            account: ACCOUNT,
            kind: Kind::Pack,
            offer: "credits-100".to_owned(),
            version: 1,
            credits: 100_000,
            amount: 1_000,
            currency: "usd".to_owned(),
            expires: None,
            paid: false,
            failed: false,
            invoice: None,
            intent: None,
            granted: false,
            taken: 0,
        };
        let state = State { payments: BTreeMap::from([(PACK, pack)]), ..State::default() };
        let mut books = Self { state, book: Book::empty(ACCOUNT), lots: BTreeMap::new(), txns: Vec::new() };
        books.grant(&Grant { source: Source::Promo, reference: "signup".to_owned(), amount: 10_000, expires: None });
        books
    }

    fn stamp(&self) -> Stamp {
        Stamp { txn: Uuid::from_u128(1_000 + self.txns.len() as u128), at: Timestamp(5) }
    }

    fn grant(&mut self, grant: &Grant) -> Uuid {
        let posting = post::grant(&self.book, grant, self.stamp()).unwrap();
        self.take(posting)
    }

    fn take(&mut self, posting: tintype_api::ledger::Posting) -> Uuid {
        self.book.take(&posting);
        self.txns.push(posting.txn);
        self.txns.last().unwrap().id
    }

    /// As the inbox does: facts are merged, then what is due is done.
    fn hear(&mut self, event: &Value) {
        for fact in facts::read(event, &book()).unwrap() {
            self.state.merge(&fact);
            let payments: Vec<Payment> = self.state.payments.values().cloned().collect();
            for mut payment in payments {
                let due = self.state.due(&payment);
                if due.grant {
                    let lot = self.grant(&payment.grant());
                    self.lots.insert(payment.id, lot);
                    payment.granted = true;
                }
                if payment.granted && due.back > payment.taken {
                    let what = payment.take_back(self.lots[&payment.id], due.back);
                    let posting = post::take_back(&self.book, what, self.stamp()).unwrap();
                    self.take(posting);
                    payment.taken = due.back;
                }
                self.state.payments.insert(payment.id, payment);
            }
            self.book.stopped = self.state.payments.values().any(|payment| self.state.due(payment).stop);
        }
    }

    /// Everything but the order in which it came about: ids and the chain, which is sound all the same.
    fn digest(&self) -> String {
        let Account { granted, available, held, spent, owed, lost, .. } = self.book.account;
        let name = |id: Uuid| self.lots.iter().find(|(_, lot)| **lot == id).map(|(payment, _)| *payment);
        let lots: BTreeSet<_> = self.book.lots.iter().map(|lot| (name(lot.id), lot.remaining, lot.expires)).collect();
        let columns = (granted, available, held, spent, owed, lost, self.book.stopped);
        format!("{columns:?} {lots:?} {:?}", self.state)
    }

    fn audit(&self) {
        let mut replay = Replay::begin(ACCOUNT);
        self.txns.iter().try_for_each(|txn| replay.take(txn)).unwrap();
        replay.end(&self.book.account, &self.book.lots).unwrap();
        let keys: BTreeSet<_> = self.txns.iter().map(|txn| &txn.key).collect();
        assert_eq!(keys.len(), self.txns.len(), "nothing is given or taken twice");
    }
}

fn event(kind: &str, object: &Value) -> Value {
    json!({ "id": "evt", "type": kind, "created": 7, "data": { "object": object } })
}

/// Walks everything; answers the books at the end.
fn every_order(events: &[Value; 6]) -> Books {
    let start = Books::new();
    let mut places: BTreeMap<[u8; 6], BTreeMap<String, Books>> = BTreeMap::new();
    places.insert([0; 6], BTreeMap::from([(start.digest(), start)]));
    let mut walked = 0;
    // A place comes before all that are reached from it.
    while let Some((place, states)) = places.pop_first() {
        assert_eq!(states.len(), 1, "having heard {place:?}, the order can be seen: {:#?}", states.keys());
        let books = states.into_values().next().unwrap();
        books.audit();
        if place == [COPIES; 6] {
            assert_eq!(walked, 6 * 4_usize.pow(5) * usize::from(COPIES), "every way was walked");
            return books;
        }
        for (n, event) in events.iter().enumerate().filter(|(n, _)| place[*n] < COPIES) {
            let (mut next, mut after) = (place, books.clone());
            next[n] += 1;
            after.hear(event);
            walked += 1;
            places.entry(next).or_default().insert(after.digest(), after);
        }
    }
    panic!("the last place was not reached")
}

/// Books after each was heard at least once, in the order given: what all orders come to.
fn in_order(events: &[Value; 6]) -> String {
    let mut books = Books::new();
    for event in events {
        books.hear(event);
    }
    books.digest()
}

fn session() -> Value {
    let object = json!({
        "id": "cs_1", "mode": "payment", "payment_status": "paid", "client_reference_id": PACK.to_string(),
        "payment_intent": "pi_1", "customer": "cus_1", "metadata": { "tintype_account": ACCOUNT.to_string() }
    });
    event("checkout.session.completed", &object)
}

fn intent() -> Value {
    let metadata = json!({ "tintype_payment": PACK.to_string(), "tintype_account": ACCOUNT.to_string() });
    event("payment_intent.succeeded", &json!({ "id": "pi_1", "metadata": metadata, "customer": "cus_1" }))
}

fn refunded(intent: &str, refunded: i64) -> Value {
    let charge = json!({ "id": "ch_1", "payment_intent": intent, "amount": 1_000, "amount_refunded": refunded });
    event("charge.refunded", &charge)
}

fn dispute(kind: &str, intent: &str, status: &str) -> Value {
    event(&format!("charge.dispute.{kind}"), &json!({ "id": "du_1", "payment_intent": intent, "status": status }))
}

fn month() -> [Value; 2] {
    let metadata = json!({
        "tintype_account": ACCOUNT.to_string(), "tintype_offer": "pro", "tintype_version": "1",
        "tintype_credits_millis": "500000", "tintype_rollover_months": "1"
    });
    let invoice = json!({
        "id": "in_1", "amount_paid": 3_900, "currency": "usd", "billing_reason": "subscription_create", "lines": { "data": [{ "period": { "start": 100, "end": 200 } }] },
        "parent": { "subscription_details": { "subscription": "sub_1", "metadata": metadata } }
    });
    let link = json!({ "invoice": "in_1", "payment": { "type": "payment_intent", "payment_intent": "pi_2" } });
    [event("invoice.paid", &invoice), event("invoice_payment.paid", &link)]
}

/// The book that ships, whose subscriptions have prices at Stripe.
fn book() -> PriceBook {
    let mut book = PriceBook::shipped().unwrap();
    for plan in &mut book.subscriptions {
        plan.stripe_price = Some(format!("price_{}", plan.id));
    }
    book
}

/// A line of an invoice: the plan's price, the amount, the period, and whether a plan was changed in it.
fn line(plan: &str, amount: i64, (start, end): (i64, i64), proration: bool) -> Value {
    json!({
        "amount": amount, "period": { "start": start, "end": end },
        "parent": { "type": "subscription_item_details", "subscription_item_details": { "proration": proration } },
        "pricing": { "type": "price_details", "price_details": { "price": format!("price_{plan}") } }
    })
}

/// A paid invoice of a subscription that was sold as Pro.
fn invoice(id: &str, reason: &str, lines: &[Value]) -> Value {
    let metadata = json!({
        "tintype_account": ACCOUNT.to_string(), "tintype_offer": "pro", "tintype_version": "1",
        "tintype_credits_millis": "500000", "tintype_rollover_months": "1", "tintype_price": "price_pro",
        "tintype_price_minor": "3900"
    });
    let amount: i64 = lines.iter().map(|line| line["amount"].as_i64().unwrap()).sum();
    let object = json!({
        "id": id, "amount_paid": amount.max(0), "currency": "usd", "billing_reason": reason, "lines": { "data": lines },
        "payment_intent": format!("pi_{id}"),
        "parent": { "subscription_details": { "subscription": "sub_1", "metadata": metadata } }
    });
    event("invoice.paid", &object)
}

/// A month of Pro, raised to Team for its second half, given back by a half, then lowered to Hobby for the next month.
#[test]
fn a_plan_that_is_raised_in_its_month_and_lowered_for_the_next() {
    let (month, half, next) = ((0, 2_592_000), (1_296_000, 2_592_000), (2_592_000, 5_184_000));
    let raised = [line("pro", -1_950, half, true), line("team", 4_950, half, true)];
    let lowered = [line("team", -4_950, half, true), line("hobby", 600, half, true)];
    let mut back = refunded("pi_in_2", 1_500);
    back["data"]["object"]["amount"] = json!(3_000);
    let events = [
        invoice("in_1", "subscription_create", &[line("pro", 3_900, month, false)]),
        invoice("in_2", "subscription_update", &raised),
        back,
        // Lowered: nothing comes and nothing goes.
        invoice("in_3", "subscription_update", &lowered),
        invoice("in_4", "subscription_cycle", &[line("hobby", 1_200, next, false)]),
        // By hand, with a line that looks like a month.
        invoice("in_5", "manual", &[line("team", 9_900, next, false)]),
    ];
    let books = every_order(&events);
    assert_eq!(books.digest(), in_order(&events));
    let raise = 1_500_000 / 2 - 500_000 / 2;
    assert_eq!(books.book.account.available, 10_000 + 500_000 + raise / 2 + 150_000);
    let of = |offer: &str| books.state.payments.values().filter(|payment| payment.offer == offer).count();
    assert_eq!((of("pro"), of("team"), of("hobby")), (1, 1, 1));
}

/// What a plan brings is read off the invoice's own line; proration is paid where it stands, and unknown prices are refused.
#[test]
fn an_invoice_brings_the_credits_of_its_own_line_and_of_paid_proration() {
    let (month, half) = ((2_592_000, 5_184_000), (1_296_000, 2_592_000));
    let credits = |event: &Value| match facts::read(event, &book()).map(|mut facts| facts.pop()) {
        Ok(Some(facts::Fact::MonthPaid(month))) => Ok((month.offer, month.credits, month.expires.0 / 1_000)),
        Ok(other) => Err(format!("{other:?}")),
        Err(missing) => Err(missing.to_string()),
    };
    let own = line("team", 9_900, month, false);
    assert_eq!(
        credits(&invoice("in_1", "subscription_cycle", std::slice::from_ref(&own))),
        Ok(("team".to_owned(), 1_500_000, 5_184_000 + 2 * 2_592_000))
    );
    // Proration that was put off to the next month's invoice, and something somebody sold beside it.
    let mut beside = line("pro", 100, (0, 9_000_000), false);
    beside["parent"]["type"] = json!("invoice_item_details");
    let lines = [line("pro", -1_300, half, true), line("team", 3_300, half, true), beside.clone(), own];
    let third = 1_500_000 / 3 - 500_000 / 3;
    assert_eq!(credits(&invoice("in_1", "subscription_cycle", &lines)).unwrap().1, 1_500_000 + third);
    // Older invoices have the price on the line itself, and say there that it is proration.
    let older = |plan: &str, amount: i64| {
        json!({ "amount": amount, "period": { "start": 5, "end": 9 }, "proration": true,
                "price": { "id": format!("price_{plan}") }, "type": "invoiceitem" })
    };
    let update = invoice("in_1", "subscription_update", &[older("pro", -1_950), older("team", 4_950)]);
    assert_eq!(credits(&update), Ok(("team".to_owned(), 500_000, 9 + 2 * 2_592_000)));
    let gone = invoice("in_1", "subscription_cycle", &[line("gone", 9_900, month, false)]);
    assert_eq!(credits(&gone), Err("the event has no price that the price book has (stripePrice)".to_owned()));
    let nothing = invoice("in_1", "subscription_cycle", &[beside]);
    assert_eq!(credits(&nothing), Err("the event has no period".to_owned()));
}

#[test]
fn a_pack_that_is_paid_partly_refunded_and_disputed_in_vain() {
    let events = [
        session(),
        intent(),
        refunded("pi_1", 250),
        refunded("pi_1", 400),
        dispute("created", "pi_1", "needs_response"),
        dispute("closed", "pi_1", "won"),
    ];
    let books = every_order(&events);
    assert_eq!(books.digest(), in_order(&events));
    assert_eq!(books.book.account.available, 10_000 + 60_000, "four tenths went back");
    assert!(!books.book.stopped);
}

#[test]
fn a_month_whose_payment_is_refunded_in_part_and_then_lost() {
    let [invoice, link] = month();
    let half = refunded("pi_2", 500);
    let events = [
        invoice,
        link,
        half,
        dispute("created", "pi_2", "needs_response"),
        dispute("updated", "pi_2", "under_review"),
        dispute("closed", "pi_2", "lost"),
    ];
    let books = every_order(&events);
    assert_eq!(books.digest(), in_order(&events));
    assert_eq!(books.book.account.available, 10_000, "all of the month went back, and nothing else");
    assert_eq!(books.txns.iter().filter(|txn| txn.key.starts_with("grant:payment")).count(), 1);
    assert!(books.book.stopped);
    assert_eq!(books.state.charges["pi_2"].dispute, Stage::Lost);
}

#[test]
fn a_pack_and_a_month_at_once() {
    let [invoice, link] = month();
    let events = [session(), invoice, link, refunded("pi_1", 1_000), intent(), dispute("closed", "pi_2", "lost")];
    let books = every_order(&events);
    assert_eq!(books.book.account.available, 10_000);
    assert_eq!((books.book.account.owed, books.book.account.lost), (0, 0));
}

/// A month has one payment however often it is billed, and the next month another: 31 January and leap years included.
#[test]
fn a_month_of_a_subscription_is_one_payment_and_rolls_over() {
    let [invoice, _] = month();
    let facts::Fact::MonthPaid(first) = facts::read(&invoice, &book()).unwrap().remove(0) else {
        panic!("a month is paid")
    };
    assert_eq!((first.start, first.expires), (Timestamp(100_000), Timestamp(300_000)), "a month longer than its own");
    let mut ids = BTreeSet::new();
    // 31 Jan, 29 Feb 2028, 31 Mar, 30 Apr 2028, at noon.
    for start in [1_832_932_800, 1_835_438_400, 1_838_116_800, 1_840_708_800] {
        for invoice_id in ["in_a", "in_b"] {
            let mut again = invoice.clone();
            let object = &mut again["data"]["object"];
            object["id"] = json!(invoice_id);
            object["lines"]["data"][0]["period"] = json!({ "start": start, "end": start + 2_500_000 });
            let facts::Fact::MonthPaid(month) = facts::read(&again, &book()).unwrap().remove(0) else {
                panic!("it is paid")
            };
            ids.insert(month.payment());
        }
    }
    assert_eq!(ids.len(), 4, "billed twice is paid once");
}

#[test]
fn what_is_unknown_is_no_fact_and_what_is_missing_is_said() {
    for nothing in [
        event("invoice.created", &json!({})),
        event("invoice.paid", &json!({ "id": "in_1", "parent": null })),
        event("payment_intent.succeeded", &json!({ "id": "pi_9", "metadata": {} })),
        event("charge.refunded", &json!({ "id": "ch_9", "payment_intent": null })),
        event("charge.dispute.created", &json!({ "payment_intent": "pi_1", "status": "warning_needs_response" })),
        event("checkout.session.completed", &json!({ "mode": "payment", "payment_status": "unpaid", "metadata": {} })),
        event("customer.subscription.updated", &json!({ "id": "sub_9", "metadata": {}, "status": "active" })),
    ] {
        assert_eq!(facts::read(&nothing, &book()), Ok(Vec::new()), "{nothing}");
    }
    for (broken, what) in [
        (json!({ "type": "invoice.paid" }), "data.object"),
        (event("charge.refunded", &json!({ "payment_intent": "pi_1", "amount": 5 })), "amount_refunded"),
        (event("charge.dispute.closed", &json!({ "payment_intent": "pi_1" })), "status"),
        (
            event(
                "checkout.session.completed",
                &json!({ "mode": "payment", "payment_status": "paid", "metadata": {} }),
            ),
            "client_reference_id",
        ),
    ] {
        assert_eq!(facts::read(&broken, &book()), Err(facts::Missing(what)), "{broken}");
    }
}
