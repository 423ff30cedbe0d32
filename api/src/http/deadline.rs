//! By when a job should be done, and what becomes of it otherwise: read out of bodies, in the words of each dialect.

use std::time::Duration;

use serde_json::Value;
use tintype_crds::WhenLate;
use tintype_types::Timestamp;

use crate::clock;
use crate::creation::Deadline;
use crate::error::ApiError;

/// How far ahead a deadline may be: nothing is planned for longer.
const DEADLINE_MAX: Duration = Duration::from_hours(366 * 24);

/// What the two fields are called, ours and those of dialects.
pub(super) const OURS: [&str; 2] = ["deadlineMs", "whenLate"];
pub(super) const DIALECTS: [&str; 2] = ["deadline_ms", "when_late"];

/// The two fields as they were sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sent {
    pub(crate) at: Value,
    pub(crate) late: Value,
}

impl Sent {
    /// What they say at this moment. Faults name the fields as the dialect does.
    pub(super) fn read(self, [at_name, late_name]: [&str; 2], now: Timestamp) -> Result<Option<Deadline>, ApiError> {
        let late = serde_json::from_value::<Option<WhenLate>>(self.late);
        let late = late.map_err(|_| ApiError::invalid(late_name, "it is `Run` or `Refuse`"))?;
        if self.at.is_null() {
            return match late {
                Some(WhenLate::Refuse) => {
                    Err(ApiError::invalid(late_name, format!("a job is late by a `{at_name}`; name one")))
                }
                Some(WhenLate::Run) | None => Ok(None),
            };
        }
        // In a form, numbers are text.
        let at = self.at.as_u64().or_else(|| self.at.as_str()?.parse().ok());
        let at = at.map(Timestamp).filter(|at| *at > now && *at <= now.plus(DEADLINE_MAX));
        let at = at.ok_or_else(|| {
            let message = "a deadline is a moment to come, within a year, in milliseconds since 1970";
            ApiError::invalid(at_name, message)
        })?;
        Ok(Some(Deadline { at, when_late: late.unwrap_or_default() }))
    }
}

/// Takes ours out of a body that holds them beside something else.
pub(super) fn take(body: &mut Value) -> Result<Option<Deadline>, ApiError> {
    let Some(fields) = body.as_object_mut() else { return Ok(None) };
    let [at, late] = OURS.map(|name| fields.remove(name).unwrap_or_default());
    Sent { at, late }.read(OURS, clock::now())
}
