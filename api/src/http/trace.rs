//! Traces: what a request that acts for somebody says it is part of, or the trace that begins with it. Jobs that it makes carry
//! that on; lines of the log that are written for it name it.

use axum::extract::{MatchedPath, Request};
use axum::http::HeaderMap;
use axum::response::Response;
use tintype_telemetry::Attribute;
use tintype_types::Traceparent;
use tracing::Instrument as _;

use super::layers::known;
use crate::state::App;

/// The header of W3C Trace Context.
const HEADER: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Option<Traceparent>;
}

/// What is done for the request this task serves is part of this; of nothing outside of one, or where nothing is traced.
pub(crate) fn current() -> Option<Traceparent> {
    CURRENT.try_with(|part_of| *part_of).unwrap_or_default()
}

/// Has a request answered as a span of its trace.
pub(super) async fn follow<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let mut span = app.telemetry.request(given(request.headers()), known(request.method()), route);
    let context = span.context();
    let served = CURRENT.scope(context, answer(request));
    let response = match context {
        Some(context) => served.instrument(tracing::info_span!("request", trace.id = context.trace())).await,
        None => served.await,
    };
    span.set(Attribute::Status(response.status().as_u16()));
    if response.status().is_server_error() {
        span.fail();
    }
    span.end();
    response
}

/// Two such headers, or one that is none, count as none, as the specification has it.
fn given(headers: &HeaderMap) -> Option<Traceparent> {
    let mut given = headers.get_all(HEADER).iter();
    let one = given.next()?;
    if given.next().is_some() { None } else { one.to_str().ok()?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn one_header_counts_and_two_or_nonsense_do_not() {
        let value = |text: &'static str| HeaderValue::from_static(text);
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        assert_eq!(given(&headers), None);
        headers.append(HEADER, value(good));
        assert_eq!(given(&headers), good.parse().ok());
        headers.append(HEADER, value(good));
        assert_eq!(given(&headers), None);
        headers.insert(HEADER, value("00-nonsense"));
        assert_eq!(given(&headers), None);
    }
}
