//! Which tariff a job is priced by: that of the server, or the one it was quoted by, if that was replaced only lately.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tintype_types::ErrorCode;

use crate::clock::{self, to_ms};
use crate::error::ApiError;
use crate::price::Tariff;
use crate::records::tariff;
use crate::state::App;

/// What requests call it.
const FIELD: &str = "tariff";
/// How long what was quoted by a tariff is kept to after another took its place.
const KEPT: Duration = Duration::from_mins(15);

/// Takes the tariff's name out of a body that has it beside something else.
pub(crate) fn take(body: &mut Value) -> Value {
    body.as_object_mut().and_then(|fields| fields.remove(FIELD)).unwrap_or_default()
}

/// The tariff of that name; where none is named, the server's.
pub(crate) async fn named(app: &App, name: &Value) -> Result<Arc<Tariff>, ApiError> {
    let name = match name {
        Value::Null => return Ok(Arc::clone(&app.tariff)),
        Value::String(name) if *name == app.tariff_name => return Ok(Arc::clone(&app.tariff)),
        Value::String(name) => name,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(ApiError::invalid(FIELD, "it is the `tariff` of a quote, or is left out"));
        }
    };
    let found = tariff::find(&app.pool, name).await?;
    let (found, until) = found.ok_or_else(|| ApiError::invalid(FIELD, "no quote of this server has this tariff"))?;
    let kept = Duration::as_millis(&KEPT);
    if until.is_some_and(|until| to_ms(clock::now()).saturating_sub(until) > i64::try_from(kept).unwrap_or(i64::MAX)) {
        let message = "prices have changed since this was quoted, and nothing was made; ask for a quote again";
        return Err(ApiError::new(ErrorCode::PriceChanged, message).with_param(FIELD));
    }
    Ok(Arc::new(found))
}
