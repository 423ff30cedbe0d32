//! What a pool's status says of the models it wants in memory. Pure: the time comes in.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tintype_crds::reasons::{MODELS_LOADING, MODELS_RESIDENT, NO_ROOM_TO_WARM, NO_WORKER_TO_WARM, WARM_UP_FAILED};
use tintype_crds::{Holds, warm_condition};
use tintype_scheduler::{WarmStanding, WarmWish};

/// Models a message names; more are counted.
const NAMED_MAX: usize = 4;
/// Characters of a failure's message that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// The condition of a pool with these wishes; `None` where it has none.
pub(crate) fn condition(
    wishes: &[&WarmWish],
    before: &[Condition],
    generation: Option<i64>,
    now: &Time,
) -> Option<Condition> {
    if wishes.is_empty() {
        return None;
    }
    // What somebody has to do something about is said first.
    let worst = wishes.iter().map(|wish| rank(&wish.standing)).max()?;
    let (reason, what) = match worst {
        4 => (WARM_UP_FAILED, "could not be loaded"),
        3 => (NO_ROOM_TO_WARM, "has no room: memory is full of models that are asked for or kept warm"),
        2 => (NO_WORKER_TO_WARM, "can be loaded by no worker of this pool that is there"),
        1 => (MODELS_LOADING, "is not in memory yet"),
        _ => {
            let said = (Holds::Yes, MODELS_RESIDENT, "a worker has each of them in memory");
            return Some(warm_condition(said, before, generation, now));
        }
    };
    let mut message = String::new();
    let of_it: Vec<_> = wishes.iter().filter(|wish| rank(&wish.standing) == worst).collect();
    for wish in of_it.iter().take(NAMED_MAX) {
        let space = if message.is_empty() { "" } else { "; " };
        // A text takes whatever is written to it.
        let _written = write!(message, "{space}{} {what}", wish.model);
        if let WarmStanding::Failed { message: why, .. } = &wish.standing {
            let why: String = why.chars().take(MESSAGE_CHARS_MAX).collect();
            let _written = write!(message, ": {why}");
        }
    }
    if of_it.len() > NAMED_MAX {
        let _written = write!(message, "; and {} more", of_it.len() - NAMED_MAX);
    }
    Some(warm_condition((Holds::No, reason, &message), before, generation, now))
}

fn rank(standing: &WarmStanding) -> u8 {
    match standing {
        WarmStanding::Resident => 0,
        WarmStanding::Loading { .. } | WarmStanding::Busy => 1,
        WarmStanding::NoWorker => 2,
        WarmStanding::NoRoom => 3,
        WarmStanding::Failed { .. } => 4,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use tintype_types::FailureReason;

    use super::*;

    fn said(standings: &[(&str, WarmStanding)]) -> Option<(String, String, String)> {
        let wishes: Vec<WarmWish> = standings
            .iter()
            .map(|(model, standing)| WarmWish {
                pool: "p".into(),
                model: (*model).to_owned(),
                standing: standing.clone(),
            })
            .collect();
        let condition =
            condition(&wishes.iter().collect::<Vec<_>>(), &[], Some(1), &Time(Timestamp::from_second(1).unwrap()))?;
        Some((condition.status, condition.reason, condition.message))
    }

    #[test]
    fn what_somebody_has_to_do_something_about_is_said_first() {
        let failed = WarmStanding::Failed {
            failures: 1,
            reason: FailureReason::ModelUnreadable,
            message: "the file is damaged".to_owned(),
            retry_at: tintype_types::Timestamp(1),
        };
        assert_eq!(said(&[]), None);
        let (status, reason, _) = said(&[("a", WarmStanding::Resident)]).unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("True", MODELS_RESIDENT));
        let (status, reason, message) =
            said(&[("a", WarmStanding::Resident), ("b", failed), ("c", WarmStanding::NoRoom)]).unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", WARM_UP_FAILED));
        assert_eq!(message, "b could not be loaded: the file is damaged");
        let (_, reason, message) = said(&vec![("a", WarmStanding::Busy); 6]).unwrap();
        assert_eq!(reason, MODELS_LOADING);
        assert!(message.ends_with("; and 2 more"), "{message}");
    }
}
