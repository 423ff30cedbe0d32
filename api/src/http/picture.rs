//! A picture's file through this program: the same URL stays good, so that browsers can keep the file, and pages may read
//! its pixels. Others are sent on to the store.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::error::ApiError;
use crate::records::generation::Generation;
use crate::state::App;

/// A picture never changes and is its owner's alone.
const KEEP: &str = "private, max-age=31536000, immutable";

/// How a picture is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PictureQuery {
    /// The file itself instead of the way to it.
    #[serde(default)]
    inline: bool,
}

impl PictureQuery {
    /// Whether the file itself is wanted.
    pub(super) fn inline(query: Result<Query<Self>, QueryRejection>) -> Result<bool, ApiError> {
        let Query(Self { inline }) = query.map_err(|_| {
            ApiError::invalid("query", "a picture takes `inline=true`, for the file itself, and nothing else")
        })?;
        Ok(inline)
    }
}

/// The file of the job's `n`-th picture.
pub(super) async fn send(app: &App, job: &Generation, n: usize) -> Result<Response, ApiError> {
    let headers = [(header::CONTENT_TYPE, job.request.format.media_type()), (header::CACHE_CONTROL, KEEP)];
    Ok((headers, app.cluster.picture(job, n).await?).into_response())
}
