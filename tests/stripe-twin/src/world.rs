//! What the stand-in remembers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::{hooks, objects};

/// Objects of one kind it keeps; a test makes far fewer.
const OBJECTS_MAX: usize = 100_000;

/// How to begin.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is reached.
    pub url: String,
    /// Where webhooks go.
    pub webhook_url: Option<String>,
    /// What they are signed with.
    pub webhook_secret: String,
}

/// Where webhooks go.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) url: String,
    pub(crate) secret: String,
}

/// Which side of a call breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum When {
    /// Nothing is done and nothing is answered.
    Before,
    /// It is done, and the answer is lost.
    After,
}

/// Calls that break.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) path: String,
    pub(crate) when: When,
    pub(crate) times: u32,
    /// Whether no answer comes at all, so that whoever asks can be killed while waiting.
    pub(crate) stall: bool,
}

/// What an idempotency key was used for.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) request: String,
    pub(crate) status: u16,
    pub(crate) answer: Value,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    counter: u64,
    /// By kind (Stripe's `object`), then by id.
    pub(crate) objects: BTreeMap<&'static str, BTreeMap<String, Value>>,
    /// In the order they happened.
    pub(crate) events: Vec<Value>,
    pub(crate) keys: BTreeMap<String, Used>,
    pub(crate) faults: Vec<Fault>,
    /// Calls that got no answer at all.
    pub(crate) stalled: u64,
    pub(crate) hook: Option<Hook>,
    /// How often each event is sent.
    pub(crate) copies: u32,
    /// Events are kept until they are called for.
    pub(crate) holding: bool,
    pub(crate) held: Vec<Value>,
    /// What was asked: method, path, and body or query, in order.
    pub(crate) asked: Vec<(&'static str, String, String)>,
    /// Promotion codes, and by how many percent each lowers a price.
    pub(crate) promotions: BTreeMap<String, i64>,
    /// Prices that last, in the smallest unit of dollars.
    pub(crate) prices: BTreeMap<String, i64>,
    /// Customers whose cards are refused.
    pub(crate) declined: Vec<String>,
}

impl World {
    /// A new id with Stripe's prefix.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}_twin{:010}", self.counter)
    }

    pub(crate) fn find(&self, kind: &'static str, id: &str) -> Option<&Value> {
        self.objects.get(kind)?.get(id)
    }

    pub(crate) fn find_mut(&mut self, kind: &'static str, id: &str) -> Option<&mut Value> {
        self.objects.get_mut(kind)?.get_mut(id)
    }

    /// Keeps an object, new or changed.
    pub(crate) fn keep(&mut self, kind: &'static str, object: &Value) {
        let kept = self.objects.entry(kind).or_default();
        if kept.len() < OBJECTS_MAX {
            kept.insert(object["id"].as_str().unwrap_or_default().to_owned(), object.clone());
        }
    }

    /// Forgets an object; false when there is none.
    pub(crate) fn remove(&mut self, kind: &'static str, id: &str) -> bool {
        self.objects.get_mut(kind).is_some_and(|kept| kept.remove(id).is_some())
    }

    /// Notes what is asked, as long as there is room.
    pub(crate) fn note(&mut self, method: &'static str, path: &str, text: &str) {
        if self.asked.len() < OBJECTS_MAX {
            self.asked.push((method, path.to_owned(), text.to_owned()));
        }
    }

    /// Objects of a kind, newest first.
    pub(crate) fn newest(&self, kind: &'static str) -> Vec<Value> {
        self.objects.get(kind).map(|kept| kept.values().rev().cloned().collect()).unwrap_or_default()
    }
}

/// The stand-in. Cloning is cheap; clones are the same.
#[derive(Clone, Debug)]
pub struct Twin {
    pub(crate) url: String,
    world: Arc<Mutex<World>>,
    pub(crate) http: reqwest::Client,
}

impl Twin {
    /// One that remembers nothing yet.
    ///
    /// # Panics
    /// The HTTP client cannot be made: there is no TLS provider.
    pub fn new(options: Options) -> Self {
        let Options { url, webhook_url, webhook_secret } = options;
        let hook = webhook_url.map(|url| Hook { url, secret: webhook_secret });
        let world = World { hook, copies: 1, ..World::default() };
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
        let http = client.expect("a client with nothing special about it");
        Self { url, world: Arc::new(Mutex::new(world)), http }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        // A handler that panicked left whole objects behind: each is kept in one step.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened: it is written down and told.
    pub(crate) fn tell(&self, world: &mut World, kind: &str, object: &Value) {
        let event = objects::event(&world.id("evt"), kind, object);
        world.events.push(event.clone());
        if world.holding {
            world.held.push(event);
            return;
        }
        let Some(hook) = world.hook.clone() else { return };
        for _ in 0..world.copies {
            let (http, hook, event) = (self.http.clone(), hook.clone(), event.clone());
            tokio::spawn(async move { hooks::deliver(&http, &hook, &event).await });
        }
    }
}

/// Now, in seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A number that came as text.
pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// Text, or null.
pub(crate) fn text(value: &Value) -> Value {
    value.as_str().map_or(Value::Null, |text| json!(text))
}
