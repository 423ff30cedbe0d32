//! What is counted of services.

use prometheus::{IntCounterVec, Opts, Registry};

/// The services that are called, by their names in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// What happened, told to PostHog.
    PosthogEvents,
    /// Which features somebody has, by PostHog.
    PosthogFlags,
    /// Errors, told to Sentry.
    Sentry,
    /// That a lane works, told to whoever watches.
    Heartbeat,
    /// Prompts, written out by a language model.
    Enhance,
    /// Pictures, found by Typesense.
    TypesenseSearch,
    /// The index of pictures, kept true.
    TypesenseIndex,
}

/// How many calls went how. Cloning is cheap; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct ServiceMetrics {
    calls: IntCounterVec,
    searches: IntCounterVec,
}

/// Who answered a search for words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Searched {
    /// The index.
    Typesense,
    /// The database, because the index could not.
    Fallback,
}

impl ServiceMetrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let calls = Opts::new("tintype_api_service_calls_total", "Tries of calls to services, by how they went");
        let calls = IntCounterVec::new(calls, &["service", "outcome"])?;
        registry.register(Box::new(calls.clone()))?;
        let searches =
            Opts::new("tintype_api_searches_total", "Searches that Typesense was there for, by who answered");
        let searches = IntCounterVec::new(searches, &["backend"])?;
        registry.register(Box::new(searches.clone()))?;
        Ok(Self { calls, searches })
    }

    /// One more search.
    pub(crate) fn searched(&self, by: Searched) {
        let backend = match by {
            Searched::Typesense => "typesense",
            Searched::Fallback => "postgres",
        };
        self.searches.with_label_values(&[backend]).inc();
    }

    /// One more.
    pub(crate) fn count(&self, service: Service, outcome: &'static str) {
        let name = match service {
            Service::PosthogEvents => "posthog-events",
            Service::PosthogFlags => "posthog-flags",
            Service::Sentry => "sentry",
            Service::Heartbeat => "heartbeat",
            Service::Enhance => "enhance",
            Service::TypesenseSearch => "typesense-search",
            Service::TypesenseIndex => "typesense-index",
        };
        self.calls.with_label_values(&[name, outcome]).inc();
    }
}

/// What an answer, or none, is called in metrics.
pub(crate) fn outcome(answer: &reqwest::Result<reqwest::Response>) -> &'static str {
    match answer {
        Ok(answer) if answer.status().is_success() => "ok",
        Ok(answer) if answer.status().is_server_error() || answer.status() == 429 => "unavailable",
        Ok(_) => "refused",
        Err(error) if error.is_timeout() => "timeout",
        Err(_) => "unreachable",
    }
}
