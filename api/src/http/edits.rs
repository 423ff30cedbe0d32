//! `POST /v1/images/edits`, as OpenAI's clients speak it: a form with a picture, perhaps a mask, and the fields of
//! generations.
//!
//! Their mask is redrawn where it is transparent. Without a mask, a picture with transparent parts is its own.

use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tintype_types::limits::INPUT_BYTES_MAX;
use tintype_types::{ErrorCode, InitImage};
use uuid::Uuid;

use super::assets::UPLOAD_TIME_MAX;
use super::auth::Caller;
use super::images::{fill_model, place, respond};
use super::partials::Operation;
use super::{BODY_BYTES_MAX, body, openai};
use crate::assets::{self, mask};
use crate::error::ApiError;
use crate::jobs;
use crate::state::App;

/// Under which name idempotency keys of this operation are kept, whatever prefix it was called by.
const ROUTE: &str = "POST /v1/images/edits";
/// Largest form, in bytes: two pictures and the fields.
pub(crate) const FORM_BYTES_MAX: usize = 2 * INPUT_BYTES_MAX as usize + BODY_BYTES_MAX;
/// Most fields in a form.
const FIELDS_MAX: usize = 64;
/// How much is redrawn where a mask says so, unless the form does: all of it.
const MASKED_STRENGTH: f64 = 1.0;
/// How much is redrawn without a mask, unless the form says: what our own requests start from.
const STRENGTH: f64 = 0.8;
/// Fields that are numbers, truths or lists: a form sends them as text, in JSON's spelling.
const TYPED: [&str; 14] = [
    "n",
    "steps",
    "seed",
    "guidance_scale",
    "guidance_rescale",
    "clip_skip",
    "embed_parameters",
    "stream",
    "output_compression",
    "partial_images",
    "loras",
    "controls",
    "hires",
    "strength",
];

/// The form as it is described: these, and the fields of [`openai::ImagesBody`].
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "it stands for the schema alone")]
pub(crate) struct EditForm {
    /// The picture to start from: PNG, JPEG or WebP. `image[]` once is as good.
    #[schemars(extend("contentMediaType" = "application/octet-stream"))]
    image: String,
    /// A PNG that is transparent where the picture is to be redrawn. Left out, a PNG's own transparent parts are.
    #[schemars(extend("contentMediaType" = "image/png"))]
    mask: Option<String>,
    /// How much is redrawn, from 0 to 1: all of it where a mask says so, else 0.8.
    #[schemars(range(min = 0.0, max = 1.0))]
    strength: Option<f64>,
    #[serde(flatten)]
    fields: openai::ImagesBody,
}

/// Asks for changed pictures and waits for them.
pub(crate) async fn edit(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let room = assets::admit(&app)?;
    let form = tokio::time::timeout(UPLOAD_TIME_MAX, Form::read(request, &app)).await;
    let form = form.map_err(|_| ApiError::new(ErrorCode::Timeout, "the upload took too long; nothing was kept"))??;
    let repeat = body::repeat(&headers, ROUTE, &form.digest())?;
    let Form { mut fields, image, mask } = form;
    let strength = strength(fields.remove("strength"))?;
    let mut read = openai::read(&Value::Object(fields))?;
    let placed = if let Some(placed) = jobs::earlier(&app, caller.account, caller.key(), &repeat).await? {
        placed
    } else {
        fill_model(&app, &mut read.request)?;
        read.request.validate().map_err(|error| ApiError::from(error).rename_param(openai::dialect_name))?;
        read.request.init = Some(keep(&app, caller.account, Pictures { image, mask, strength }).await?);
        place(&app, caller, repeat, &read).await?
    };
    // Only the upload counts: waiting for the pictures holds none in memory.
    drop(room);
    respond(&app, &placed, &headers, &read, Operation::Edit).await
}

struct Pictures {
    image: Bytes,
    mask: Option<Bytes>,
    strength: Option<f64>,
}

/// Keeps the pictures and says how the job starts from them.
async fn keep(app: &App, account: Uuid, pictures: Pictures) -> Result<InitImage, ApiError> {
    let Pictures { image, mask, strength } = pictures;
    let kept = assets::keep(app, account, image.clone(), "image").await?;
    let mask = match mask {
        Some(mask) => Some(transparent(mask, "mask").await?.ok_or_else(|| {
            ApiError::invalid("mask", "no part of the mask is transparent, so nothing would be redrawn")
        })?),
        None if kept.media_type == "image/png" => transparent(image, "image").await?,
        None => None,
    };
    let strength = strength.unwrap_or(if mask.is_some() { MASKED_STRENGTH } else { STRENGTH });
    let mask = match mask {
        Some(mask) => Some(assets::keep(app, account, mask, "mask").await?.key),
        None => None,
    };
    Ok(InitImage { image: kept.key, strength, mask })
}

async fn transparent(content: Bytes, param: &'static str) -> Result<Option<Bytes>, ApiError> {
    let made = tokio::task::spawn_blocking(move || mask::from_alpha(&content)).await;
    let made = made.map_err(|error| ApiError::internal("reading a mask", error))?;
    made.map(|mask| mask.map(Bytes::from)).map_err(|error| ApiError::invalid(param, error.to_string()))
}

fn strength(value: Option<Value>) -> Result<Option<f64>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let strength = value.as_f64().filter(|strength| (0.0..=1.0).contains(strength));
    strength.map(Some).ok_or_else(|| ApiError::invalid("strength", "the strength is a number from 0 to 1"))
}

/// A form, read.
#[derive(Debug)]
struct Form {
    fields: Map<String, Value>,
    image: Bytes,
    mask: Option<Bytes>,
}

impl Form {
    async fn read(request: Request, app: &App) -> Result<Self, ApiError> {
        let wrong =
            || ApiError::invalid("body", "this takes a form (multipart/form-data) with an `image` and a `prompt`");
        let mut parts = Multipart::from_request(request, app).await.map_err(|_| wrong())?;
        let (mut fields, mut image, mut mask) = (Map::new(), None, None);
        for _ in 0..FIELDS_MAX {
            let Some(part) = parts.next_field().await.map_err(|error| broken(&error))? else {
                let image = image.ok_or_else(|| ApiError::invalid("image", "the picture to change is missing"))?;
                return Ok(Self { fields, image, mask });
            };
            let name = part.name().unwrap_or_default().to_owned();
            let content = part.bytes().await.map_err(|error| broken(&error))?;
            let again = match name.as_str() {
                "image" | "image[]" => image.replace(content).is_some(),
                "mask" => mask.replace(content).is_some(),
                "init" => return Err(ApiError::invalid("init", "here the picture is sent as the form's `image`")),
                _ => fields.insert(name.clone(), typed(&name, &content)?).is_some(),
            };
            if again {
                return Err(ApiError::invalid(name, "this is in the form twice; one picture is changed at a time"));
            }
        }
        Err(ApiError::invalid("body", format!("the form has more than {FIELDS_MAX} fields")))
    }

    /// Everything in it that makes it the same request again.
    fn digest(&self) -> Value {
        let hash = |content: &Bytes| hex::encode(Sha256::digest(content));
        json!({ "fields": self.fields, "image": hash(&self.image), "mask": self.mask.as_ref().map(hash) })
    }
}

fn typed(name: &str, content: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(content).map_err(|_| ApiError::invalid(name, "this is not text in UTF-8"))?;
    let plain = || Value::String(text.to_owned());
    let value = if TYPED.contains(&name) { serde_json::from_str(text).unwrap_or_else(|_| plain()) } else { plain() };
    body::without_nul(&value).map_err(|refused| refused.with_param(name))?;
    Ok(value)
}

fn broken(error: &axum::extract::multipart::MultipartError) -> ApiError {
    if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("the form is larger than {FORM_BYTES_MAX} bytes");
        return ApiError::new(ErrorCode::PayloadTooLarge, message);
    }
    ApiError::invalid("body", "the form is damaged or broke off before its end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lists_of_a_form_are_read_as_json_and_prompts_never() {
        let read = |name, text: &str| typed(name, text.as_bytes()).unwrap();
        assert_eq!(read("n", "2"), json!(2));
        assert_eq!(read("embed_parameters", "false"), json!(false));
        assert_eq!(read("loras", r#"[{"name":"night"}]"#), json!([{ "name": "night" }]));
        assert_eq!(read("prompt", "42"), json!("42"));
        // Left as it is, for the dialect's own reader to refuse by name.
        assert_eq!(read("n", "two"), json!("two"));
        assert_eq!(typed("prompt", b"\xff").unwrap_err().param(), Some("prompt"));
    }

    #[test]
    fn forms_that_differ_in_a_picture_are_different_requests() {
        let form = |image: &'static [u8], mask: Option<&'static [u8]>| Form {
            fields: Map::new(),
            image: Bytes::from_static(image),
            mask: mask.map(Bytes::from_static),
        };
        assert_eq!(form(b"a", None).digest(), form(b"a", None).digest());
        assert_ne!(form(b"a", None).digest(), form(b"b", None).digest());
        assert_ne!(form(b"a", None).digest(), form(b"a", Some(b"m")).digest());
    }
}
