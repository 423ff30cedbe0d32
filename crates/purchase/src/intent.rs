//! One purchase: where it stands, what can be heard of it, and what may be done next.

use serde::{Deserialize, Serialize};
use tintype_types::{PoolName, Timestamp};

use crate::money::{MicroUsd, Price};

/// One purchase of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Its number; a book gives each number once.
    pub number: u64,
    /// The pool it is bought for.
    pub pool: PoolName,
    /// SHA-256 of what is sent, by which it may be found again. Never what is sent: that holds a prompt.
    pub digest: String,
    /// How it is charged for, as it was when it was planned.
    pub price: Price,
    /// The most it may cost.
    pub possible: MicroUsd,
    /// When it was planned: what it costs counts into the day and month of this.
    pub at: Timestamp,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
}

/// Where a purchase stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum State {
    /// Its cost is set aside. Nothing has been sent.
    Planned,
    /// It is being sent, or was: the answer is not in.
    Submitted,
    /// It was sent and no answer came. It may be running, and it may cost; it is never sent again.
    Unknown,
    /// The provider has it under this id.
    Known {
        /// The provider's.
        id: String,
    },
    /// The provider works on it.
    Running {
        /// The provider's.
        id: String,
    },
    /// It was made, and is paid. The pictures are still to be handed over.
    Succeeded {
        /// The provider's.
        id: String,
        /// What it cost.
        cost: MicroUsd,
    },
    /// It came to nothing, and may have cost all the same.
    Failed {
        /// What it cost.
        cost: MicroUsd,
        /// A sentence for people. Holds no prompt.
        why: String,
    },
}

impl State {
    /// Whether it may still come to cost something.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Planned | Self::Submitted | Self::Unknown | Self::Known { .. } | Self::Running { .. } => true,
            Self::Succeeded { .. } | Self::Failed { .. } => false,
        }
    }

    /// The provider's id, where it is known.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Known { id } | Self::Running { id } | Self::Succeeded { id, .. } => Some(id),
            Self::Planned | Self::Submitted | Self::Unknown | Self::Failed { .. } => None,
        }
    }

    /// Its name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Submitted => "submitted",
            Self::Unknown => "unknown",
            Self::Known { .. } => "known",
            Self::Running { .. } => "running",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
        }
    }

    /// The names of all states.
    pub const NAMES: [&'static str; 7] = ["planned", "submitted", "unknown", "known", "running", "succeeded", "failed"];
}

/// What is done, or heard, of a purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is about to be sent. The book is kept before the first byte goes.
    Submitting,
    /// The provider has it under this id: by its answer, a look-up or a webhook.
    Accepted {
        /// The provider's id.
        id: String,
    },
    /// It certainly has not been taken: it was refused, or nobody was reached.
    Refused,
    /// No answer came, or one that says nothing.
    AnswerLost,
    /// The provider has begun.
    Began,
    /// The provider has made the pictures.
    Succeeded {
        /// What that cost.
        cost: MicroUsd,
    },
    /// The provider has ended it without pictures.
    Failed {
        /// What that cost.
        cost: MicroUsd,
        /// A sentence for people.
        why: String,
    },
    /// The job is over, and nobody will ask for this purchase again.
    Delivered,
    /// The job is not wanted here any more, and nothing was sent yet.
    Dropped,
}

/// What may be done next for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Plan it: nothing has been bought for this job.
    Plan,
    /// Tell the book that it is being submitted, keep the book, send it.
    Submit,
    /// Wait: somebody waits for the answer.
    Wait,
    /// Look for it at the provider; never send it.
    LookUp,
    /// Ask the provider how far it is.
    Poll {
        /// The provider's id.
        id: String,
    },
    /// Hand the pictures over.
    Deliver {
        /// The provider's id.
        id: String,
    },
    /// Say that it failed.
    Report {
        /// A sentence for people.
        why: String,
    },
}
