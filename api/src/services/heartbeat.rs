//! Heartbeats: an address is fetched for as long as a lane or a reconciler works, and whoever watches it (BetterStack's
//! heartbeats, or any like it) calls somebody when it is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use url::Url;

use super::metrics::{Service, ServiceMetrics, outcome};
use crate::identity::fetch;

/// Who beats, and where. Cloning is cheap; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Heartbeats {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    http: reqwest::Client,
    every: Duration,
    metrics: ServiceMetrics,
    hearts: BTreeMap<String, Heart>,
}

struct Heart {
    url: Url,
    last: Mutex<Option<Instant>>,
}

impl Heartbeats {
    /// Hearts by name; who has none is not heard of.
    ///
    /// # Errors
    /// An address that is none.
    pub(crate) fn open(named: &[(String, String)], every: Duration, metrics: &ServiceMetrics) -> anyhow::Result<Self> {
        if named.is_empty() {
            return Ok(Self::default());
        }
        let mut hearts = BTreeMap::new();
        for (name, url) in named {
            let url = Url::parse(url).with_context(|| format!("the heartbeat of {name} has no address"))?;
            hearts.insert(name.clone(), Heart { url, last: Mutex::default() });
        }
        let inner = Inner { http: fetch::client()?, every, metrics: metrics.clone(), hearts };
        Ok(Self { inner: Some(Arc::new(inner)) })
    }

    /// Refuses hearts that nothing here has: they would never beat.
    pub(crate) fn check(&self, there: &[&str]) -> anyhow::Result<()> {
        let hearts = self.inner.iter().flat_map(|inner| inner.hearts.keys());
        for name in hearts {
            ensure!(
                there.contains(&name.as_str()),
                "nothing here is called `{name}`; heartbeats come of {}",
                there.join(", ")
            );
        }
        Ok(())
    }

    /// Whoever is called so has done its work just now. Says so, if it is time; nobody waits for it.
    pub(crate) fn beat(&self, name: &str) {
        let Some(inner) = &self.inner else { return };
        let Some(heart) = inner.hearts.get(name) else { return };
        let mut last = heart.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < inner.every) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        let (http, url, metrics) = (inner.http.clone(), heart.url.clone(), inner.metrics.clone());
        // One that is lost is followed by the next.
        tokio::spawn(async move { metrics.count(Service::Heartbeat, outcome(&http.get(url).send().await)) });
    }
}
