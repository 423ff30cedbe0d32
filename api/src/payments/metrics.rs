//! What is counted of money that comes and goes.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Numbers about Stripe. Cloning is cheap; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct StripeMetrics {
    pub(crate) calls: IntCounterVec,
    pub(crate) events: IntCounterVec,
    pub(crate) refunds: IntCounterVec,
    pub(crate) dead: IntGauge,
    pub(crate) waiting: IntGauge,
    pub(crate) missed: IntCounter,
    pub(crate) drift: IntGauge,
}

impl StripeMetrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let calls =
            Opts::new("tintype_api_stripe_calls_total", "Tries of calls to Stripe, by what was asked and how it went");
        let events = Opts::new("tintype_api_stripe_events_total", "Events of Stripe's, by what became of them");
        let refunds =
            Opts::new("tintype_api_refunds_total", "Answers to refunds that were asked for, by what they were");
        let made = Self {
            calls: IntCounterVec::new(calls, &["operation", "outcome"])?,
            events: IntCounterVec::new(events, &["outcome"])?,
            refunds: IntCounterVec::new(refunds, &["outcome"])?,
            dead: IntGauge::new(
                "tintype_api_stripe_events_dead",
                "Events that could not be applied and were given up; must be 0",
            )?,
            waiting: IntGauge::new("tintype_api_stripe_events_waiting", "Events that wait to be applied")?,
            missed: IntCounter::new(
                "tintype_api_stripe_events_missed_total",
                "Events that never came and were found by reading Stripe's books",
            )?,
            drift: IntGauge::new(
                "tintype_api_stripe_drift_minor",
                "Money by which Stripe's charges and ours differed when its books were last read; must be 0",
            )?,
        };
        registry.register(Box::new(made.calls.clone()))?;
        registry.register(Box::new(made.events.clone()))?;
        registry.register(Box::new(made.refunds.clone()))?;
        registry.register(Box::new(made.dead.clone()))?;
        registry.register(Box::new(made.waiting.clone()))?;
        registry.register(Box::new(made.missed.clone()))?;
        registry.register(Box::new(made.drift.clone()))?;
        Ok(made)
    }
}
