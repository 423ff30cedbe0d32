//! OpenAI's streamed answer: partial pictures while a job is drawn, then each picture whole. The partials are the previews
//! that whoever watches a job is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tintype_types::{ErrorCode, JobEvent, JobState};

use super::events;
use super::openai::ImagesRequest;
use crate::error::ApiError;
use crate::jobs::{self, Waited};
use crate::records::generation::Generation;
use crate::state::App;
use crate::tenancy;

/// How often a silent stream says that it is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How long an ended job is waited for to be settled.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(10);

/// What the events are called: their two operations differ in nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `image_generation.*`
    Generation,
    /// `image_edit.*`
    Edit,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Generation => "image_generation",
            Self::Edit => "image_edit",
        }
    }
}

/// Streams the answer to a request that was placed.
pub(super) async fn respond(
    app: &App,
    job: &Generation,
    read: &ImagesRequest,
    operation: Operation,
) -> Result<Response, ApiError> {
    let feed = events::follow(app.clone(), job.clone()).await?.boxed();
    let teller = Teller {
        app: app.clone(),
        job: job.clone(),
        operation,
        plan: Plan { wanted: read.partial_images, sent: 0 },
        feed,
        ready: VecDeque::new(),
        ended: false,
    };
    let stream = futures::stream::unfold(teller, |mut teller| async move {
        let event = teller.next().await?;
        Some((Ok::<_, Infallible>(event), teller))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT_INTERVAL)).into_response())
}

struct Teller {
    app: App,
    job: Generation,
    operation: Operation,
    plan: Plan,
    feed: BoxStream<'static, JobEvent>,
    ready: VecDeque<(String, Value)>,
    ended: bool,
}

/// Which previews become partial pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// How many were asked for: 0 to 3.
    wanted: u32,
    sent: u32,
}

impl Plan {
    /// Whether a preview after this part of the steps is the next partial: they lie evenly over the job.
    fn takes(self, step: u32, steps: u32) -> bool {
        self.sent < self.wanted
            && u64::from(step) * u64::from(self.wanted + 1) >= u64::from(steps) * u64::from(self.sent + 1)
    }
}

impl Teller {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((name, data)) = self.ready.pop_front() {
                if self.ready.is_empty() && self.ended {
                    // The last of it is on its way: a repeat of the request is a new one. If this cannot be written, a
                    // declared repeat is answered with the same pictures, which harms nobody.
                    let _ = jobs::answered(&self.app, self.job.id).await;
                }
                return Some(Event::default().event(name).data(data.to_string()));
            }
            if self.ended {
                return None;
            }
            let event = self.feed.next().await?;
            if event.state.is_terminal() {
                self.ended = true;
                self.end().await;
            } else {
                self.partial(&event);
            }
        }
    }

    /// A preview of the first picture, if it is time for a partial.
    fn partial(&mut self, event: &JobEvent) {
        let Some(preview) = event.previews.iter().find(|preview| preview.image == 0) else { return };
        if !self.plan.takes(event.step, event.steps) {
            return;
        }
        let mut data = self.picture("partial_image");
        data["b64_json"] = json!(preview.data);
        data["output_format"] = json!(preview.format);
        data["partial_image_index"] = json!(self.plan.sent);
        self.plan.sent += 1;
        self.push("partial_image", data);
    }

    async fn end(&mut self) {
        let (app, id) = (self.app.clone(), self.job.id);
        let waiting = async move { jobs::wait(&app, id, SETTLE_TIME_MAX).await };
        let ended = tenancy::look_as(self.job.account, waiting).await;
        match ended.map_err(ApiError::from).and_then(|ended| ended) {
            Ok(Waited::Ended(job)) if job.state == JobState::Complete => {
                for n in 0..job.outputs.len() {
                    match self.app.cluster.picture(&job, n).await {
                        Ok(bytes) => {
                            let mut data = self.picture("completed");
                            data["b64_json"] = json!(BASE64_STANDARD.encode(bytes));
                            // Tokens are not counted here; their clients want the fields.
                            data["usage"] = json!({
                                "input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
                                "input_tokens_details": { "text_tokens": 0, "image_tokens": 0 }
                            });
                            self.push("completed", data);
                        }
                        Err(error) => self.fail(error.into()),
                    }
                }
            }
            Ok(Waited::Ended(job)) => {
                let why = job.message.as_deref().unwrap_or("it gave no reason");
                let message = format!("the job failed and nothing was charged: {why}");
                self.fail(ApiError::new(ErrorCode::GenerationFailed, message));
            }
            Ok(Waited::StillRunning) => {
                let message = format!("the job goes on: ask for it at /api/v1/jobs/{}", self.job.id);
                self.fail(ApiError::new(ErrorCode::Unavailable, message));
            }
            Err(error) => self.fail(error),
        }
    }

    fn picture(&self, what: &str) -> Value {
        let (width, height) = self.job.request.final_size();
        json!({
            "type": format!("{}.{what}", self.operation.name()),
            "created_at": self.job.created.0 / 1_000,
            "size": format!("{width}x{height}"),
            "quality": "auto",
            "background": "opaque",
            "output_format": self.job.request.format,
        })
    }

    fn push(&mut self, what: &str, data: Value) {
        self.ready.push_back((format!("{}.{what}", self.operation.name()), data));
    }

    /// Their clients read an object with `error` as one.
    fn fail(&mut self, error: ApiError) {
        let data = serde_json::to_value(error.into_body()).unwrap_or_default();
        self.ready.push_back(("error".to_owned(), data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partials_lie_evenly_over_the_steps_and_are_no_more_than_asked_for() {
        let taken = |wanted: u32| {
            let mut plan = Plan { wanted, sent: 0 };
            let mut at = Vec::new();
            for step in 1..=20 {
                if plan.takes(step, 20) {
                    plan.sent += 1;
                    at.push(step);
                }
            }
            at
        };
        assert_eq!(taken(0), [0; 0]);
        assert_eq!(taken(1), [10]);
        assert_eq!(taken(3), [5, 10, 15]);
    }
}
