//! Carries requests to the collector: with a time limit, a bounded number of tries and a count of how each ended.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use reqwest::StatusCode;

use crate::metrics::Metrics;

/// How long reaching the collector may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long one call may take.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);
/// Tries of one request.
const TRIES: u32 = 3;
/// Pause before the second; doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest answer that is read, in bytes: it says how many spans were refused, at most.
const ANSWER_BYTES_MAX: usize = 64 << 10;

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

#[derive(Debug)]
pub(crate) struct Courier {
    http: reqwest::Client,
    metrics: Metrics,
}

impl Courier {
    pub(crate) fn new(metrics: Metrics) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(CALL_TIME_MAX)
            // Headers may hold a key, which is for the collector alone.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tintype/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, metrics })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            let tried = self.try_once(request.clone()).await;
            if !tried.as_ref().map_or(true, |answer| may_pass(answer.status())) {
                return tried;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.try_once(request).await
    }

    async fn try_once(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.call(request).await;
        self.metrics.call(match &answer {
            Ok(answer) if answer.status().is_success() => "ok",
            Ok(_) => "refused",
            Err(_) => "unreachable",
        });
        answer
    }

    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.http.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("the collector's answer is longer than {ANSWER_BYTES_MAX} bytes").into());
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        Ok(response)
    }
}

/// What the specification says may be said again.
fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

impl HttpClient for Courier {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}
