//! What is counted. Everything carries the adapter's pool and the kind of its provider; other labels come from closed
//! lists, never from a job, a model or a user.

use prometheus::{Encoder as _, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tintype_crds::ProviderSpend;
use tintype_purchase::State;
use tintype_types::{FailureReason, PoolName};
use tintype_worker::client;

use crate::call;

/// How webhooks are answered.
pub(crate) const HOOKS: [&str; 3] = ["believed", "forged", "unread"];

/// Everything counted, in a registry of its own.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Calls to dispatcher and store by `call` and `outcome`.
    pub(crate) worker_calls: IntCounterVec,
    /// Calls to the provider by `call` and `outcome`.
    pub(crate) calls: IntCounterVec,
    /// Attempts by how they ended.
    pub(crate) attempts: IntCounterVec,
    /// Webhooks by how they were answered.
    pub(crate) hooks: IntCounterVec,
    /// Pictures stored.
    pub(crate) images: IntCounter,
    /// Attempts that run now.
    pub(crate) busy: IntGauge,
    intents: IntGaugeVec,
    money: IntGaugeVec,
}

impl Metrics {
    /// Of the adapter of this pool, whose provider is of this kind as it starts.
    pub(crate) fn new(pool: &PoolName, provider: &str) -> prometheus::Result<Self> {
        let labels = [("pool", pool.as_str()), ("provider", provider)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let registry = Registry::new_custom(None, Some(labels))?;
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(format!("tintype_provider_{name}"), help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(format!("tintype_provider_{name}"), help), labels)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let worker_calls = counter("dispatch_calls_total", "Calls to dispatcher and store.", &["call", "outcome"])?;
        let calls = counter("calls_total", "Calls to the provider, by call and outcome.", &["call", "outcome"])?;
        for (counter, names, outcomes) in
            [(&worker_calls, client::CALLS, &client::OUTCOMES[..]), (&calls, call::CALLS, &call::OUTCOMES[..])]
        {
            // A counter that is there at 0 shows its first increase.
            for (call, outcome) in names.iter().flat_map(|call| outcomes.iter().map(move |outcome| (call, outcome))) {
                counter.with_label_values(&[*call, *outcome]);
            }
        }
        let attempts = counter("attempts_total", "Attempts, by how they ended.", &["outcome"])?;
        for outcome in ["done", "preempted", "dropped"].into_iter().chain(FailureReason::ALL.map(FailureReason::as_str))
        {
            attempts.with_label_values(&[outcome]);
        }
        let hooks = counter("webhooks_total", "Webhooks, by how they were answered.", &["outcome"])?;
        for outcome in HOOKS {
            hooks.with_label_values(&[outcome]);
        }
        let images = IntCounter::new("tintype_provider_images_total", "Pictures stored.")?;
        registry.register(Box::new(images.clone()))?;
        let busy = IntGauge::new("tintype_provider_busy", "Attempts that run now.")?;
        registry.register(Box::new(busy.clone()))?;
        let intents = gauges("purchases", "Purchases in the book, by state.", &["state"])?;
        let money = gauges("micro_usd", "Millionths of a US dollar of a window of the budget.", &["window", "kind"])?;
        Ok(Self { registry, worker_calls, calls, attempts, hooks, images, busy, intents, money })
    }

    /// Shows what the book says.
    pub(crate) fn show(&self, spend: &ProviderSpend, states: &[&'static str]) {
        for (window, sums) in [("day", spend.day), ("month", spend.month)] {
            for (kind, sum) in
                [("spent", sums.spent_micro_usd), ("reserved", sums.reserved_micro_usd), ("cap", sums.cap_micro_usd)]
            {
                self.money.with_label_values(&[window, kind]).set(i64::try_from(sum).unwrap_or(i64::MAX));
            }
        }
        for name in State::NAMES {
            let count = states.iter().filter(|state| **state == name).count();
            self.intents.with_label_values(&[name]).set(count as i64);
        }
    }

    /// All of it in the text format Prometheus scrapes.
    pub(crate) fn text(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
