//! Refusals as problems (RFC 9457): everywhere but in OpenAI's dialect, whose clients read their own shape.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tintype_types::{ErrorBody, ErrorCode};

use super::replicate;

/// What problems are served as.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";
/// Where OpenAI's dialect lies.
const OPENAI: [&str; 2] = ["/v1/", "/openai/"];

/// A problem. It names no `instance`: the answer to what is another's must be, to the byte, the answer to what is not there,
/// and the request's id stands in its header. `error` says the same in the shape of OpenAI's errors, which all dialects had before.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// A URI for the kind of problem: `urn:tintype:error:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The kind for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened, why, what to do next.
    detail: String,
    /// The stable code programs match on.
    code: ErrorCode,
    /// The field at fault, if one is.
    param: Option<String>,
    /// The same in OpenAI's shape.
    #[serde(flatten)]
    openai: ErrorBody,
}

/// A refusal on its way out: what its body says, for whoever writes it in another shape.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(pub(crate) ErrorBody);

/// In which shape refusals under a path are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dialect {
    /// A problem.
    Ours,
    /// A problem whose detail names the field: their clients show the detail and nothing else.
    Replicate,
    /// A shape of their own.
    OpenAi,
}

impl Dialect {
    /// The one of a path.
    pub(super) fn of(path: &str) -> Self {
        if is_openai(path) {
            Self::OpenAi
        } else if path.starts_with(replicate::PREFIX) {
            Self::Replicate
        } else {
            Self::Ours
        }
    }
}

/// Writes a refusal as a problem.
pub(super) fn shape(dialect: Dialect, mut response: Response) -> Response {
    let Some(Refusal(body)) = response.extensions_mut().remove::<Refusal>() else { return response };
    let names_field = match dialect {
        Dialect::Ours => false,
        Dialect::Replicate => true,
        Dialect::OpenAi => return response,
    };
    let status = response.status();
    let detail = &body.error;
    let named = detail.param.as_ref().filter(|_| names_field);
    let problem = Problem {
        kind: format!("urn:tintype:error:{}", code_name(detail.code)),
        title: status.canonical_reason().unwrap_or("Refused"),
        status: status.as_u16(),
        detail: named.map_or_else(|| detail.message.clone(), |param| format!("{param}: {}", detail.message)),
        code: detail.code,
        param: detail.param.clone(),
        openai: body,
    };
    let mut headers = std::mem::take(response.headers_mut());
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    let mut shaped = (status, Json(problem)).into_response();
    *shaped.headers_mut() = headers;
    shaped
}

/// Whether a path is of OpenAI's dialect.
pub(crate) fn is_openai(path: &str) -> bool {
    OPENAI.iter().any(|prefix| path.starts_with(prefix))
}

/// The code as it is written on the wire.
fn code_name(code: ErrorCode) -> String {
    serde_json::to_value(code).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
