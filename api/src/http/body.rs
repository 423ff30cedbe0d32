//! Reading bodies and headers, with refusals that say what is wrong.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use tintype_types::ErrorCode;

use super::BODY_BYTES_MAX;
use crate::error::ApiError;
use crate::jobs::Repeat;
use crate::state::App;

/// Longest idempotency key, in characters.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// A JSON body, whatever its content type says: clients of ours send it right, `curl -d` does not.
#[derive(Debug)]
pub(crate) struct Json(pub(crate) Value);

impl FromRequest<App> for Json {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, app).await.map_err(|rejection| unreadable(&rejection))?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::invalid("body", format!("the body is not JSON: {error}")))?;
        // JSON spells it in no other way, and walking through every body would cost more than looking for it.
        if bytes.windows(NUL_IN_JSON.len()).any(|window| window == NUL_IN_JSON) {
            without_nul(&value)?;
        }
        Ok(Self(value))
    }
}

/// How JSON spells a NUL.
const NUL_IN_JSON: &[u8] = b"\\u0000";

/// Refuses texts with a NUL, which the database can keep in none; the first field that has one is named.
pub(super) fn without_nul(value: &Value) -> Result<(), ApiError> {
    /// The path to it, from the inside out.
    fn found(value: &Value) -> Option<Vec<String>> {
        match value {
            Value::String(text) => text.contains('\0').then(Vec::new),
            Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                found(item).map(|mut path| {
                    path.push(format!("[{index}]"));
                    path
                })
            }),
            Value::Object(fields) => fields.iter().find_map(|(name, field)| {
                let at_name = || name.contains('\0').then(Vec::new);
                at_name().or_else(|| found(field)).map(|mut path| {
                    path.push(format!(".{}", name.replace('\0', "\\u0000")));
                    path
                })
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }
    let Some(mut path) = found(value) else { return Ok(()) };
    path.reverse();
    let path = path.concat();
    let param = match path.trim_start_matches('.') {
        "" => "body",
        inside => inside,
    };
    Err(ApiError::invalid(param, NUL))
}

/// Why a NUL is refused.
const NUL: &str = "a text cannot hold the character U+0000 (NUL); leave it out";

/// Refuses an address with a NUL in its path or query, as [`without_nul`] does bodies.
pub(super) fn address_without_nul(uri: &Uri) -> Result<(), ApiError> {
    let whole = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if whole.contains("%00") { Err(ApiError::invalid("url", NUL)) } else { Ok(()) }
}

fn unreadable(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
        return ApiError::new(ErrorCode::PayloadTooLarge, message);
    }
    ApiError::invalid("body", "the body broke off before its end")
}

/// The body as one of our types; the field at fault is named where the parser names it.
pub(crate) fn parse<T: DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let message = error.inner().to_string();
        // Where the fault is, but for a field that is not there or not known: that one the message names.
        let named = ["missing field `", "unknown field `"].iter().find_map(|start| message.strip_prefix(start));
        let named = named.and_then(|rest| rest.split('`').next());
        let path: Vec<String> =
            error.path().iter().filter(|part| !matches!(part, Segment::Unknown)).map(segment).collect();
        let path = path.concat();
        let inside = path.trim_start_matches('.');
        let param = match named {
            Some(name) if inside == name || inside.ends_with(&format!(".{name}")) => inside.to_owned(),
            Some(name) if inside.is_empty() => name.to_owned(),
            Some(name) => format!("{inside}.{name}"),
            None if inside.is_empty() => "body".to_owned(),
            None => inside.to_owned(),
        };
        ApiError::invalid(param, message)
    })
}

fn segment(part: &Segment) -> String {
    match part {
        Segment::Seq { index } => format!("[{index}]"),
        Segment::Map { key } => format!(".{key}"),
        Segment::Enum { variant } => format!(".{variant}"),
        Segment::Unknown => String::new(),
    }
}

/// What the headers say about repeating.
pub(crate) fn repeat(headers: &HeaderMap, route: &'static str, body: &Value) -> Result<Repeat, ApiError> {
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(value) => {
            let key = value.to_str().ok().filter(|key| key.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            let key = key.filter(|key| (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()));
            Some(key.map(str::to_owned).ok_or_else(|| {
                ApiError::invalid("Idempotency-Key", "an idempotency key has 1 to 255 printable ASCII characters")
            })?)
        }
    };
    let retries = headers.get("x-stainless-retry-count").and_then(|count| count.to_str().ok()?.parse::<u32>().ok());
    Ok(Repeat { route, body_sha256: Repeat::hash(route, body), key, declared: retries.unwrap_or(0) > 0 })
}

/// Whether the client would rather not wait (RFC 7240).
pub(crate) fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

#[cfg(test)]
mod tests {
    use tintype_types::GenerationRequest;

    use super::*;

    #[test]
    fn a_field_that_is_wrong_is_named() {
        for (body, param) in [
            (serde_json::json!({ "model": "m", "prompt": "p", "stepz": 1 }), "stepz"),
            (serde_json::json!({ "model": "m" }), "prompt"),
            (serde_json::json!({ "model": "m", "prompt": 7 }), "prompt"),
            (
                serde_json::json!({ "model": "m", "prompt": "p", "loras": [{ "name": "a", "weight": "x" }] }),
                "loras[0].weight",
            ),
            (serde_json::json!({ "model": "m", "prompt": "p", "init": { "image": "k", "power": 1 } }), "init.power"),
            (serde_json::json!({ "model": "m", "prompt": "p", "init": {} }), "init.image"),
            (serde_json::json!([]), "body"),
        ] {
            assert_eq!(parse::<GenerationRequest>(body).unwrap_err().param(), Some(param));
        }
    }

    #[test]
    fn a_text_with_a_nul_is_refused_and_its_field_named() {
        let refused = |body: Value| without_nul(&body).unwrap_err().param().map(str::to_owned);
        assert_eq!(refused(serde_json::json!("a\0")).as_deref(), Some("body"));
        let nested = serde_json::json!({ "a": 1, "jobs": [{ "prompt": "a" }, { "prompt": "\0" }] });
        assert_eq!(refused(nested).as_deref(), Some("jobs[1].prompt"));
        assert_eq!(refused(serde_json::json!({ "a\0": 1 })).as_deref(), Some("a\\u0000"));
        assert!(without_nul(&serde_json::json!({ "a": ["\\u0000", "\u{1}", null, 0] })).is_ok());
    }

    #[test]
    fn an_address_with_a_nul_is_refused_and_one_that_spells_it_is_not() {
        let refused = |uri: &'static str| address_without_nul(&Uri::from_static(uri)).is_err();
        assert!(refused("/api/v1/images?q=a%00") && refused("/api/v1/jobs/%00"));
        assert!(!refused("/api/v1/images?q=a%2500") && !refused("/"));
    }

    #[test]
    fn preferences_are_read_out_of_lists() {
        let headers = |text: &'static str| HeaderMap::from_iter([("prefer".parse().unwrap(), text.parse().unwrap())]);
        assert!(prefers_async(&headers("handling=strict, Respond-Async")));
        assert!(!prefers_async(&headers("wait=10")));
        assert!(!prefers_async(&HeaderMap::new()));
    }

    #[test]
    fn idempotency_keys_have_bounds() {
        let read = |key: &str| {
            let headers = HeaderMap::from_iter([("idempotency-key".parse().unwrap(), key.parse().unwrap())]);
            repeat(&headers, "r", &Value::Null)
        };
        assert_eq!(read("k-1").unwrap().key.as_deref(), Some("k-1"));
        for bad in ["", &"x".repeat(256)] {
            assert_eq!(read(bad).unwrap_err().param(), Some("Idempotency-Key"));
        }
    }
}
