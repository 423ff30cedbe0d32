//! Names of things. Each is its own type, so that two of them cannot be swapped by mistake.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

text_id! {
    /// One job. In a cluster the UID of its `GenerationJob` (never its name: a name can be used again);
    /// on one machine the UUID the API gave it. Safe as a URL path segment and as part of an object key.
    JobId
}
text_id! {
    /// One worker: a pod's name, or a name made from the host and a number. Stable over restarts of the program.
    WorkerId
}
text_id! {
    /// One start of a worker program. A claim with a new boot id ends whatever that worker ran before.
    BootId
}
text_id! {
    /// A pool of like GPUs, scaled together.
    PoolName
}
text_id! {
    /// Where a tenant's jobs wait. In a cluster `namespace/name` of a `GenerationQueue`; on one machine the account.
    QueueKey
}

/// The number of a try at a job, from 1. It only grows and is the fencing token: only the current one may finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
