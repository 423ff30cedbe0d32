//! What finished work took and cost: pictures, GPU time and money, by model, pool and provider. Counted as a job's end is
//! written, so once: whoever writes the end has seen that it was not there before.
//!
//! Models and pools have names that people choose, so the number of series is bounded: beyond it names are `other`.

use std::sync::Arc;

use prometheus::{CounterVec, IntCounterVec, Opts, Registry};
use tintype_crds::{GenerationJob, GpuPool, ProviderKind};
use tintype_dispatch::Labels;
use tintype_scheduler::Decision;

/// Who runs the workers of a pool that names no provider: we do, on GPUs of one's own or by the hour.
const OWN: &str = "kubernetes";
/// Who else may.
const PAID: [ProviderKind; 3] = [ProviderKind::Replicate, ProviderKind::Runpod, ProviderKind::Modal];
/// Milliseconds of an hour.
const HOUR_MS: f64 = 3_600_000.0;
const LABELS: [&str; 3] = ["model", "pool", "provider"];

/// The counters. Cloning is cheap; clones are the same.
#[derive(Clone)]
pub struct Costs(Arc<Inner>);

struct Inner {
    images: IntCounterVec,
    gpu_seconds: CounterVec,
    money: CounterVec,
    unpriced: IntCounterVec,
    models: Labels,
    pools: Labels,
}

impl Costs {
    /// Registers them.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let images = Opts::new("tintype_operator_images_total", "Pictures of jobs that are complete");
        let seconds = Opts::new("tintype_operator_gpu_seconds_total", "GPU time of the attempts that completed jobs");
        let money = Opts::new(
            "tintype_operator_cost_total",
            "What that GPU time cost, in the money the prices of pools are in; of pools that say a price. Providers' are in US dollars",
        );
        let unpriced = Opts::new("tintype_operator_unpriced_images_total", "Pictures of pools that say no price");
        let inner = Inner {
            images: IntCounterVec::new(images, &LABELS)?,
            gpu_seconds: CounterVec::new(seconds, &LABELS)?,
            money: CounterVec::new(money, &LABELS)?,
            unpriced: IntCounterVec::new(unpriced, &["provider"])?,
            models: Labels::default(),
            pools: Labels::default(),
        };
        registry.register(Box::new(inner.images.clone()))?;
        registry.register(Box::new(inner.gpu_seconds.clone()))?;
        registry.register(Box::new(inner.money.clone()))?;
        registry.register(Box::new(inner.unpriced.clone()))?;
        for provider in PAID.map(ProviderKind::as_str).into_iter().chain([OWN]) {
            inner.unpriced.with_label_values(&[provider]);
        }
        Ok(Self(Arc::new(inner)))
    }

    /// A decision was written for the first time; if it completes the job, what that took is counted.
    pub fn written(&self, job: &GenerationJob, decision: &Decision, pools: &[GpuPool]) {
        let Decision::Complete { outputs, gpu_ms, .. } = decision else { return };
        let given = job.status.as_ref().and_then(|status| status.assignment.as_ref()?.pool.clone());
        let pool = given.as_ref().map_or("-", |pool| pool.as_str());
        let found = pools.iter().find(|object| object.metadata.name.as_deref() == Some(pool));
        let provider = found.and_then(|pool| pool.spec.provider.as_ref());
        let cost = match provider {
            Some(provider) => provider.cost_usd(&job.spec.request.model, outputs.len() as u64, *gpu_ms),
            None => found
                .and_then(|pool| pool.spec.price_per_gpu_hour.as_ref()?.parse::<f64>().ok())
                .map(|price| price * *gpu_ms as f64 / HOUR_MS),
        };
        let provider = provider.map_or(OWN, |provider| provider.kind.as_str());
        let (model, pool) = (self.0.models.label(&job.spec.request.model), self.0.pools.label(pool));
        let labels = [model.as_str(), pool.as_str(), provider];
        self.0.images.with_label_values(&labels).inc_by(outputs.len() as u64);
        self.0.gpu_seconds.with_label_values(&labels).inc_by(*gpu_ms as f64 / 1e3);
        match cost.filter(|cost| cost.is_finite() && *cost >= 0.0) {
            Some(cost) => self.0.money.with_label_values(&labels).inc_by(cost),
            None => self.0.unpriced.with_label_values(&[provider]).inc_by(outputs.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tintype_crds::{GenerationJobSpec, GpuPoolSpec};
    use tintype_types::{Attempt, GenerationRequest, Output};

    use super::*;

    fn job(model: &str, pool: &str) -> GenerationJob {
        let mut job = GenerationJob::new("j", GenerationJobSpec::new(GenerationRequest::new(model, "p")));
        let status = json!({
            "state": "Running",
            "assignment": { "worker": "w", "pool": pool, "attempt": 1, "leaderEpoch": 1 },
        });
        job.status = Some(serde_json::from_value(status).unwrap());
        job
    }

    fn complete(images: usize, gpu_ms: u64) -> Decision {
        let key = "k".to_owned();
        let output = Output { key, sha256: String::new(), bytes: 1, width: 64, height: 64, seed: 1 };
        let outputs = vec![output; images];
        Decision::Complete { job: "j".into(), attempt: Attempt(1), worker: "w".into(), outputs, gpu_ms }
    }

    fn pool(name: &str, price: &str) -> GpuPool {
        let price_per_gpu_hour = Some(price.to_owned());
        GpuPool::new(name, GpuPoolSpec { price_per_gpu_hour, ..GpuPoolSpec::default() })
    }

    #[test]
    fn what_completes_is_counted_with_the_price_of_its_pool() {
        let costs = Costs::register(&Registry::new()).unwrap();
        let pools = [pool("l40s", "1.80"), pool("a100", "3.60")];
        costs.written(&job("sdxl", "l40s"), &complete(2, 10_000), &pools);
        costs.written(&job("sdxl", "l40s"), &complete(1, 10_000), &pools);
        costs.written(&job("sdxl", "a100"), &complete(1, 1_000), &pools);
        costs.written(&job("sdxl", "cellar"), &complete(3, 1_000), &pools);
        costs.written(&job("sdxl", "l40s"), &Decision::Preempt { job: "j".into(), attempt: Attempt(1) }, &pools);
        let of = |pool: &str| {
            let labels = ["sdxl", pool, OWN];
            let Inner { images, gpu_seconds, money, .. } = &*costs.0;
            let cost = (money.with_label_values(&labels).get() * 1e6).round();
            (images.with_label_values(&labels).get(), gpu_seconds.with_label_values(&labels).get(), cost)
        };
        assert_eq!(of("l40s"), (3, 20.0, 10_000.0));
        assert_eq!(of("a100"), (1, 1.0, 1_000.0));
        assert_eq!(of("cellar"), (3, 1.0, 0.0));
        assert_eq!(costs.0.unpriced.with_label_values(&[OWN]).get(), 3);
    }

    #[test]
    fn what_a_provider_makes_is_counted_under_its_name_at_its_price() {
        let costs = Costs::register(&Registry::new()).unwrap();
        let provider = json!({
            "kind": "replicate", "baseUrl": "https://x.test", "budget": { "dayMicroUsd": 1, "monthMicroUsd": 1 },
            "models": [{ "name": "sdxl", "target": "t", "pricePerImageMicroUsd": 3_000 }],
        });
        let spec = GpuPoolSpec { provider: serde_json::from_value(provider).unwrap(), ..GpuPoolSpec::default() };
        let pools = [GpuPool::new("burst", spec)];
        costs.written(&job("sdxl", "burst"), &complete(2, 1_000), &pools);
        costs.written(&job("other", "burst"), &complete(1, 1_000), &pools);
        let Inner { images, money, unpriced, .. } = &*costs.0;
        let labels = ["sdxl", "burst", "replicate"];
        assert_eq!(images.with_label_values(&labels).get(), 2);
        assert!((money.with_label_values(&labels).get() - 0.006).abs() < 1e-12);
        let count = |provider| unpriced.with_label_values(&[provider]).get();
        assert_eq!((count("replicate"), count(OWN)), (1, 0));
    }

    #[test]
    fn names_people_choose_make_a_bounded_number_of_series() {
        let costs = Costs::register(&Registry::new()).unwrap();
        for number in 0..=2 * Labels::NAMES_MAX {
            costs.written(&job(&format!("m{number}"), "l40s"), &complete(1, 1), &[]);
        }
        costs.written(&job("m0", "l40s"), &complete(1, 1), &[]);
        let images = |model: &str| costs.0.images.with_label_values(&[model, "l40s", OWN]).get();
        assert_eq!((images("m0"), images(Labels::OTHER)), (2, Labels::NAMES_MAX as u64 + 1));
    }
}
