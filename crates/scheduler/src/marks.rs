//! What came about in a step, to be counted. Nothing is decided by it, and it is no part of the state: a shell that counts
//! takes it after each step.
//!
//! A queue is named where the record declares it. Others are made up of whoever asks, such as an account of its own, and are
//! nobody's business here.

use std::time::Duration;

use tintype_types::{PoolName, QueueKey};

/// One thing that came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A job was given to a worker.
    Admitted {
        /// Its queue, if that is declared.
        queue: Option<QueueKey>,
        /// The worker's pool.
        pool: PoolName,
        /// Whether the worker has the model in memory.
        model: ModelAt,
        /// How long it had waited since it came; nothing for a later attempt.
        waited: Option<Duration>,
    },
    /// An attempt is to stop for another job.
    Preempted {
        /// Its queue, if that is declared.
        queue: Option<QueueKey>,
        /// What the other one has before it.
        reason: PreemptedFor,
    },
    /// A job ended at another time than was said.
    Told {
        /// By what.
        by: ToldBy,
        /// How far off that was.
        off: Duration,
        /// On which side.
        side: Side,
    },
    /// A load ahead of jobs ended.
    WarmUp {
        /// How.
        end: WarmUpEnd,
    },
}

/// A closed list of words for metrics.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its word in metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}

words! {
    /// Where the model of a job is that is given to a worker.
    ModelAt {
        /// In the worker's memory.
        Resident = "resident",
        /// It has to be loaded.
        ToLoad = "to_load",
    }
}

words! {
    /// What a job has before the one whose attempt is stopped for it.
    PreemptedFor {
        /// A higher priority.
        Priority = "priority",
        /// A quota that its queue had lent.
        Reclaimed = "reclaimed",
    }
}

words! {
    /// By what it was said when a job ends.
    ToldBy {
        /// The promise of its deadline.
        Promise = "promise",
        /// The estimate when it was given to a worker.
        Estimate = "estimate",
    }
}

words! {
    /// On which side of what was said.
    Side {
        /// Before it.
        Early = "early",
        /// After it.
        Late = "late",
    }
}

words! {
    /// How a load ahead of jobs ended.
    WarmUpEnd {
        /// The model is in memory.
        Loaded = "loaded",
        /// It could not be loaded.
        Failed = "failed",
        /// A job came first, or the worker went on without having heard of it.
        Superseded = "superseded",
    }
}
