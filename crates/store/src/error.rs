//! What can go wrong in the store. It must not know HTTP: `serve` maps it to statuses.

use std::io;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The key is not one this store can hold.
    #[error("the key {key:?} is not usable: {why}")]
    InvalidKey {
        /// The key as it was given, cut to a readable length.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no object of this key.
    #[error("there is no object of this key")]
    NotFound,
    /// Another object has this key, or a part of the key is an object itself. Objects never change.
    #[error("another object is stored under this key, and objects never change; use a new key")]
    Conflict,
    /// The object is larger than the store takes.
    #[error("the object is larger than the {max} bytes the store takes")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// The upload broke off before its end.
    #[error("the upload broke off before its end; nothing was stored, send it again")]
    BrokenUpload,
    /// The upload took too long.
    #[error("the upload did not end within {seconds} s; nothing was stored, send it again")]
    SlowUpload {
        /// The limit.
        seconds: u64,
    },
    /// As many uploads as the store takes at a time are under way.
    #[error("too many uploads at a time; try again in a second")]
    Busy,
    /// The public URL cannot be the base of a signed URL.
    #[error("the public URL {0:?} is not absolute; give one like http://127.0.0.1:8080")]
    PublicUrl(String),
    /// The secret is too short to sign with.
    #[error("the signing secret has {bytes} bytes; at least {min} are needed")]
    WeakSecret {
        /// How long it is.
        bytes: usize,
        /// How long it must be.
        min: usize,
    },
    /// The settings make no store.
    #[error("{0}")]
    Settings(String),
    /// The bucket failed us.
    #[error("{doing}: the bucket did not do it")]
    Bucket {
        /// What we were doing.
        doing: &'static str,
        /// Why it did not work.
        source: Box<object_store::Error>,
    },
    /// The file system failed us.
    #[error("{doing}")]
    Io {
        /// What we were doing, with the path where it helps.
        doing: String,
        /// Why it did not work.
        source: io::Error,
    },
}

impl StoreError {
    /// For `map_err`: an I/O error with what we were doing.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
