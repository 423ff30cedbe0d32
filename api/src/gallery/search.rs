//! Searching for words: by Typesense where it is named and answers, else by the database. Whoever finds them, which pictures they
//! are, whose, and in which order is what the database says.

use uuid::Uuid;

use tintype_types::Timestamp;

use super::image::{self, Filter, Image, first_id};
use crate::services::metrics::Searched;
use crate::services::typesense::{FOUND_MAX, Found, Search, Typesense, place};
use crate::state::App;

/// Questions one page may take: what the index finds may not be starred, or not in the collection. Beyond it the database searches.
const QUESTIONS_MAX: usize = 8;
/// The same for the days of all that is found.
const QUESTIONS_FOR_DAYS_MAX: usize = 40;

/// An account's pictures, newest first.
pub(crate) async fn list(app: &App, account: Uuid, filter: &Filter, limit: i64) -> sqlx::Result<Vec<Image>> {
    if let Some(typesense) = index(app, filter) {
        let wanted = usize::try_from(limit).unwrap_or(0);
        let mut asking = Asking::new(typesense, account, filter);
        let mut found = Vec::new();
        for _ in 0..QUESTIONS_MAX {
            let Some(ids) = asking.next().await else { break };
            let among = Filter { among: Some(ids), words: Vec::new(), ..filter.clone() };
            found.extend(image::list(&app.pool, account, &among, limit - found.len() as i64).await?);
            if asking.ended || found.len() >= wanted {
                typesense.metrics().searched(Searched::Typesense);
                return Ok(found);
            }
        }
        typesense.metrics().searched(Searched::Fallback);
    }
    image::list(&app.pool, account, filter, limit).await
}

/// How many pictures of an account each day has, newest first.
pub(crate) async fn days(app: &App, account: Uuid, filter: &Filter) -> sqlx::Result<Vec<(Timestamp, u64)>> {
    if let Some(typesense) = index(app, filter) {
        let mut asking = Asking::new(typesense, account, filter);
        let mut found = Vec::new();
        for _ in 0..QUESTIONS_FOR_DAYS_MAX {
            let Some(ids) = asking.next().await else { break };
            found.extend(ids);
            if asking.ended {
                typesense.metrics().searched(Searched::Typesense);
                let among = Filter { among: Some(found), words: Vec::new(), ..filter.clone() };
                return image::days(&app.pool, account, &among).await;
            }
        }
        typesense.metrics().searched(Searched::Fallback);
    }
    image::days(&app.pool, account, filter).await
}

fn index<'a>(app: &'a App, filter: &Filter) -> Option<&'a Typesense> {
    app.services.typesense.as_ref().filter(|_| !filter.words.is_empty())
}

/// One search in as many questions as it takes.
struct Asking<'a> {
    typesense: &'a Typesense,
    search: Search,
    /// Nothing is left to be found.
    ended: bool,
}

impl<'a> Asking<'a> {
    fn new(typesense: &'a Typesense, account: Uuid, filter: &Filter) -> Self {
        let Filter { before, starred: _, collection: _, seed: _, ratio: _, model, from, to, words, among: _ } = filter;
        let ends = [before.map(place), to.map(|to| place(first_id(to)))];
        let search = Search {
            account,
            words: bare(words),
            model: model.clone(),
            to: ends.into_iter().flatten().min(),
            from: from.map(|from| place(first_id(from))),
        };
        Self { typesense, search, ended: false }
    }

    /// The next pictures, newest first; none when it cannot say.
    async fn next(&mut self) -> Option<Vec<Uuid>> {
        if self.search.words.is_empty() {
            return None;
        }
        let found = self.typesense.search(&self.search).await?;
        self.take(found)
    }

    /// Pictures of one place come in any order, and some may be left out where an answer ends: all of that place are asked for
    /// again.
    fn take(&mut self, found: Vec<Found>) -> Option<Vec<Uuid>> {
        self.ended = found.len() < FOUND_MAX;
        let last = found.last().map_or(0, |found| found.place);
        let whole: Vec<Uuid> =
            found.into_iter().filter(|found| self.ended || found.place > last).map(|found| found.id).collect();
        self.search.to = Some(last);
        // More in one place than an answer holds.
        (self.ended || !whole.is_empty()).then_some(whole)
    }
}

/// Words as the index is asked for them: there a minus before a word, quotes and a star have a meaning of their own.
fn bare(words: &[String]) -> String {
    let bare = words.iter().map(|word| word.replace('"', "").trim_start_matches(['-', '*']).to_owned());
    bare.filter(|word| word.chars().any(char::is_alphanumeric)).collect::<Vec<_>>().join(" ")
}
