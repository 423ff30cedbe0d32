//! Typesense, which finds pictures by the words of their prompts: asked by the gallery, told by the lane of its index. It knows
//! of a picture its id, its account, its prompt and its model, and answers with ids: whose they are, and whether they are
//! still there, is the database's to say.
//!
//! Documents lie in a collection of ours. Searches go by an alias, which leads there from the moment all pictures are in it,
//! so that an index that was lost, or is being made, finds nothing instead of some.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};
use uuid::Uuid;

use super::args::TypesenseArgs;
use super::metrics::{Service, ServiceMetrics, outcome};
use crate::identity::fetch;

/// Pictures one search finds at most: the most that Typesense gives at a time.
pub(crate) const FOUND_MAX: usize = 250;
/// Words that one word of a search may begin, or be meant for.
const CANDIDATES_MAX: usize = 1_000;
/// Longest a search may take: somebody waits, and the database can answer too.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long nobody is asked after one could not answer.
const REST: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Which shape the documents have: another shape is another collection, and the alias moves when it is whole.
const SHAPE: u32 = 1;

/// A picture as the index knows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Document {
    /// Its id.
    pub(crate) id: Uuid,
    /// Whose.
    pub(crate) account: Uuid,
    /// What it shows.
    pub(crate) prompt: String,
    /// Which model made it.
    pub(crate) model: String,
    /// See [`place`].
    pub(crate) place: i64,
    /// When it was written, in milliseconds: what the last pass did not write is not there any more.
    pub(crate) pass: i64,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Among whose pictures.
    pub(crate) account: Uuid,
    /// Words, each of which is in the prompt, perhaps misspelt, the last perhaps only begun.
    pub(crate) words: String,
    /// Made by this model.
    pub(crate) model: Option<String>,
    /// The highest place.
    pub(crate) to: Option<i64>,
    /// The lowest place.
    pub(crate) from: Option<i64>,
}

/// A picture that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Found {
    /// Its id.
    pub(crate) id: Uuid,
    /// See [`place`].
    pub(crate) place: i64,
}

/// What came of telling.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TellError {
    /// The collection is not there: Typesense is new, or lost it.
    #[error("the index is not there")]
    NoCollection,
    /// It may be told later.
    #[error("Typesense cannot be told: {0}")]
    Away(String),
    /// It takes it neither now nor later.
    #[error("Typesense refused: {0}")]
    Refused(String),
}

/// Where a picture stands among all: ids sort by age, and so does the first half of them, which is a number that Typesense can
/// sort by. A few pictures may share a place.
pub(crate) fn place(id: Uuid) -> i64 {
    // The moment and the bits after it, without the version's four between them.
    let high = id.as_u64_pair().0;
    let place = (high >> 16 << 12) | (high & 0xfff);
    i64::try_from(place).unwrap_or(i64::MAX)
}

/// The server. Cloning is cheap; clones are the same.
#[derive(Clone)]
pub(crate) struct Typesense {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    url: String,
    key: String,
    alias: String,
    metrics: ServiceMetrics,
    rests_until: Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct Answers {
    results: Vec<Answer>,
}

/// Hits, or what kept it from finding any.
#[derive(Deserialize)]
struct Answer {
    hits: Option<Vec<Hit>>,
}

#[derive(Deserialize)]
struct Hit {
    document: Found,
}

#[derive(Deserialize)]
struct Line {
    success: bool,
}

impl Typesense {
    /// The server that the settings name, if they do.
    pub(crate) fn open(args: &TypesenseArgs, metrics: &ServiceMetrics) -> anyhow::Result<Option<Self>> {
        let Some(url) = &args.typesense_url else { return Ok(None) };
        Url::parse(url).context("--typesense-url is no address")?;
        let inner = Inner {
            http: fetch::client()?,
            url: url.trim_end_matches('/').to_owned(),
            key: args.typesense_key.clone().context("--typesense-url needs --typesense-key")?,
            alias: args.typesense_collection.clone(),
            metrics: metrics.clone(),
            rests_until: Mutex::default(),
        };
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// What is counted of searches.
    pub(crate) fn metrics(&self) -> &ServiceMetrics {
        &self.inner.metrics
    }

    /// The pictures with the highest places first, [`FOUND_MAX`] at most; none when it cannot say.
    pub(crate) async fn search(&self, search: &Search) -> Option<Vec<Found>> {
        let inner = &self.inner;
        if inner.rests() {
            return None;
        }
        // In the body: what is asked for stands in no log of addresses.
        let body = json!({ "searches": [inner.query(search)] });
        let answer = inner.request(Method::POST, "/multi_search").timeout(SEARCH_TIMEOUT).json(&body).send().await;
        let outcome = outcome(&answer);
        let found = match answer {
            Ok(answer) if answer.status().is_success() => hits(answer).await,
            Ok(_) | Err(_) => None,
        };
        inner
            .metrics
            .count(Service::TypesenseSearch, if outcome == "ok" && found.is_none() { "unready" } else { outcome });
        if found.is_none() {
            *inner.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
        }
        found
    }

    /// Writes documents, over those that are there.
    pub(crate) async fn import(&self, documents: &[Document]) -> Result<(), TellError> {
        if documents.is_empty() {
            return Ok(());
        }
        let lines: Result<Vec<String>, _> = documents.iter().map(serde_json::to_string).collect();
        let body = lines.map_err(|error| TellError::Refused(error.to_string()))?.join("\n");
        let path = format!("{}/documents/import?action=upsert", self.inner.collection_path());
        let answer = self.inner.tell(self.inner.request(Method::POST, &path).body(body)).await?;
        let fault = || TellError::Away("its answer cannot be read".to_owned());
        let answer = fetch::bounded(answer, ANSWER_BYTES_MAX).await.map_err(|_| fault())?;
        // A line for each document; what it says beside that holds the document.
        let line = |line: &[u8]| serde_json::from_slice::<Line>(line).is_ok_and(|line| line.success);
        let taken = answer.split(|byte| *byte == b'\n').filter(|text| line(text)).count();
        if taken == documents.len() {
            Ok(())
        } else {
            Err(TellError::Away("it did not take every document".to_owned()))
        }
    }

    /// Takes out what was written before a pass.
    pub(crate) async fn remove_older(&self, pass: i64) -> Result<(), TellError> {
        self.remove(&format!("pass:<{pass}")).await
    }

    /// Takes out an account's pictures.
    pub(crate) async fn remove_account(&self, account: Uuid) -> Result<(), TellError> {
        self.remove(&format!("account:={account}")).await
    }

    /// Takes out pictures.
    pub(crate) async fn remove_images(&self, ids: &[Uuid]) -> Result<(), TellError> {
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        if ids.is_empty() { Ok(()) } else { self.remove(&format!("id:[{}]", ids.join(","))).await }
    }

    async fn remove(&self, filter: &str) -> Result<(), TellError> {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("filter_by", filter).finish();
        let path = format!("{}/documents?{query}", self.inner.collection_path());
        self.inner.tell(self.inner.request(Method::DELETE, &path)).await.map(drop)
    }

    /// Makes the collection, if it is not there.
    pub(crate) async fn make_collection(&self) -> Result<(), TellError> {
        let field = |name: &str, kind: &str| json!({ "name": name, "type": kind });
        let strings = ["account", "prompt", "model"].map(|name| field(name, "string"));
        let numbers = ["place", "pass"].map(|name| field(name, "int64"));
        let fields: Vec<Value> = strings.into_iter().chain(numbers).collect();
        let body = json!({ "name": self.inner.collection(), "fields": fields, "default_sorting_field": "place" });
        match self.inner.tell(self.inner.request(Method::POST, "/collections").json(&body)).await {
            Err(TellError::Refused(status)) if status.starts_with("409") => Ok(()),
            made => made.map(drop),
        }
    }

    /// Searches find what is in the collection from now on.
    pub(crate) async fn open_to_searches(&self) -> Result<(), TellError> {
        let body = json!({ "collection_name": self.inner.collection() });
        let path = format!("/aliases/{}", self.inner.alias);
        self.inner.tell(self.inner.request(Method::PUT, &path).json(&body)).await.map(drop)
    }
}

impl Inner {
    fn rests(&self) -> bool {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    fn collection(&self) -> String {
        format!("{}_{SHAPE}", self.alias)
    }

    fn collection_path(&self) -> String {
        format!("/collections/{}", self.collection())
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).header("X-TYPESENSE-API-KEY", &self.key)
    }

    fn query(&self, search: &Search) -> Value {
        let Search { account, words, model, to, from } = search;
        let mut filters = vec![format!("account:={account}")];
        filters.extend(to.map(|to| format!("place:<={to}")));
        filters.extend(from.map(|from| format!("place:>={from}")));
        // A name that cannot be quoted is left to the database.
        let model = model.as_deref().filter(|model| !model.contains('`'));
        filters.extend(model.map(|model| format!("model:=`{model}`")));
        json!({
            "collection": self.alias,
            "q": words,
            "query_by": "prompt",
            "filter_by": filters.join(" && "),
            "sort_by": "place:desc",
            "per_page": FOUND_MAX,
            "include_fields": "id,place",
            "highlight_fields": "none",
            // Every word counts, and whatever the last may begin. (An exhaustive search leaves words out all the same.)
            "drop_tokens_threshold": 0,
            "max_candidates": CANDIDATES_MAX,
            "typo_tokens_threshold": FOUND_MAX,
        })
    }

    /// Sends it; what is no success is an error.
    async fn tell(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, TellError> {
        let answer = request.send().await;
        self.metrics.count(Service::TypesenseIndex, outcome(&answer));
        let answer = answer.map_err(|_| TellError::Away("no answer came".to_owned()))?;
        let status = answer.status();
        match status {
            StatusCode::NOT_FOUND => Err(TellError::NoCollection),
            status if status.is_success() => Ok(answer),
            // "Not Ready or Lagging", and everything that passes.
            status if status.is_server_error() || matches!(status.as_u16(), 408 | 429) => {
                Err(TellError::Away(status.to_string()))
            }
            status => Err(TellError::Refused(status.to_string())),
        }
    }
}

async fn hits(answer: reqwest::Response) -> Option<Vec<Found>> {
    let body = fetch::bounded(answer, ANSWER_BYTES_MAX).await.ok()?;
    let Answers { results } = serde_json::from_slice(&body).ok()?;
    let hits = results.into_iter().next()?.hits?;
    Some(hits.into_iter().map(|hit| hit.document).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_sort_as_ids_do() {
        let ids = [
            "0190a1b2-c3d4-7fff-bfff-ffffffffffff",
            "0190a1b2-c3d5-7000-8000-000000000000",
            "0190a1b2-c3d5-7ffe-8000-000000000000",
        ];
        let places = ids.map(|id| place(id.parse().unwrap()));
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert_eq!(places[0], 0x0190_a1b2_c3d4 * 4_096 + 4_095);
        assert_eq!(place(Uuid::max()), (1 << 60) - 1);
    }
}
