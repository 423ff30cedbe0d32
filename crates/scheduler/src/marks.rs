//! What came about in a step, to be counted. Nothing is decided by it, and it is no part of the state: a shell that counts
//! takes it after each step.

/// One thing that came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A load ahead of jobs ended.
    WarmUp {
        /// How.
        end: WarmUpEnd,
    },
}

/// How a load ahead of jobs ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmUpEnd {
    /// The model is in memory.
    Loaded,
    /// It could not be loaded.
    Failed,
    /// A job came first, or the worker went on without having heard of it.
    Superseded,
}

impl WarmUpEnd {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Loaded, Self::Failed, Self::Superseded];

    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }
}
