//! `GET /api/v1/admin/history`: how jobs of all accounts ended of late, hour by hour or day by day, for the administrator. Sums
//! alone: nothing of whose they were or what they asked for. And where the dashboards are that say more.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::Timestamp;

use super::admin::Admin;
use crate::clock;
use crate::error::ApiError;
use crate::records::history::{self, Stretch};
use crate::state::App;

/// How finely it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// The last 24 hours.
    #[default]
    Hour,
    /// The last 30 days.
    Day,
}

impl By {
    /// Length of a stretch in milliseconds, and how many are told of.
    const fn steps(self) -> (u64, u64) {
        match self {
            Self::Hour => (60 * 60 * 1_000, 24),
            Self::Day => (24 * 60 * 60 * 1_000, 30),
        }
    }
}

/// How finely.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    #[serde(default)]
    by: By,
}

/// How jobs ended in one stretch of time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StretchView {
    /// Its first moment, in milliseconds since 1970.
    at_ms: i64,
    /// Jobs that were done.
    done: i64,
    /// Jobs that failed; they cost nothing.
    failed: i64,
    /// Jobs that were cancelled.
    cancelled: i64,
    /// Pictures made.
    images: i64,
    /// Time GPUs were held by jobs that ended in it.
    gpu_ms: i64,
    /// Milli-credits captured for them so far.
    spent_millis: i64,
    /// How long the one in the middle waited for its first start; absent where none started.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ms: Option<i64>,
}

/// How jobs ended of late.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryView {
    /// Every stretch, the oldest first; the last is not over yet. Hours and days are those of UTC.
    data: Vec<StretchView>,
    /// Length of a stretch in milliseconds.
    step_ms: u64,
    /// Where the Grafana is that has the dashboards; absent where none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    grafana_url: Option<String>,
}

/// Shows how jobs ended of late.
pub(crate) async fn show(
    State(app): State<App>,
    _admin: Admin,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<HistoryView>, ApiError> {
    let Query(HistoryQuery { by }) = query
        .map_err(|_| ApiError::invalid("by", "the history takes `by`: `hour` (the last 24) or `day` (the last 30)"))?;
    let (step, count) = by.steps();
    let (from, to) = span(clock::now(), step, count);
    let found = history::ended(&app.pool, from, to, step as i64).await?;
    let data = filled(found, from, step, count).into_iter().map(view).collect();
    Ok(Json(HistoryView { data, step_ms: step, grafana_url: app.studio.grafana_url.clone() }))
}

/// From the first moment of the first stretch until the end of the one that is now.
fn span(now: Timestamp, step: u64, count: u64) -> (Timestamp, Timestamp) {
    let end = (now.0 / step + 1) * step;
    (Timestamp(end.saturating_sub(count * step)), Timestamp(end))
}

/// The stretches that were found, and between them those without a job.
fn filled(found: Vec<Stretch>, from: Timestamp, step: u64, count: u64) -> Vec<Stretch> {
    let mut found = found.into_iter().peekable();
    let stretch = |n| {
        let at_ms = (from.0 + n * step) as i64;
        found.next_if(|one| one.at_ms == at_ms).unwrap_or(Stretch { at_ms, ..Stretch::default() })
    };
    (0..count).map(stretch).collect()
}

fn view(stretch: Stretch) -> StretchView {
    let Stretch { at_ms, done, failed, cancelled, images, gpu_ms, spent, waited_ms } = stretch;
    StretchView { at_ms, done, failed, cancelled, images, gpu_ms, spent_millis: spent, waited_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stretch_is_told_once_and_the_last_is_the_one_that_is_now() {
        let (step, count) = By::Hour.steps();
        let now = Timestamp(30 * step + 1);
        let (from, to) = span(now, step, count);
        assert_eq!((from.0, to.0), (7 * step, 31 * step));
        assert_eq!(span(Timestamp(30 * step), step, count).1.0, 31 * step, "an hour begins with its first moment");
        let busy = |hour: u64| Stretch { at_ms: (hour * step) as i64, done: 1, ..Stretch::default() };
        let all = filled(vec![busy(7), busy(30)], from, step, count);
        assert_eq!(all.len(), 24);
        assert_eq!(all.iter().map(|one| one.done).sum::<i64>(), 2);
        assert_eq!((all[0].done, all[1].done, all[23].done), (1, 0, 1));
        assert!(all.windows(2).all(|two| two[1].at_ms - two[0].at_ms == step as i64));
    }
}
