//! Passwords: argon2id with the parameters of OWASP's cheat sheet (19 MiB, two passes, one lane), off the async threads
//! and a few at once, so that people who sign in take neither all memory nor all processors.
//!
//! Checking a password of nobody costs the same as checking somebody's: who is known here cannot be told by the time.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{CustomizedPasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use rand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

/// Shortest password taken, in characters (NIST SP 800-63B).
const CHARS_MIN: usize = 8;
/// Longest password taken, in bytes: room for any sentence, and a bound on what is hashed.
const BYTES_MAX: usize = 256;
/// Passwords hashed at once; each takes 19 MiB and a processor for some 20 ms.
const AT_ONCE: usize = 2;
/// Requests that wait for one of these; more are told to come back. Some half a second of work.
const WAITING_MAX: usize = 64;
/// Bytes of salt.
const SALT_BYTES: usize = 16;

/// A password as somebody typed it. `Debug` hides it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("format" = "password", "minLength" = CHARS_MIN, "maxLength" = BYTES_MAX))]
pub(crate) struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Password {
    /// Why it cannot be somebody's new password.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.0.chars().count() < CHARS_MIN {
            return Some(format!("a password has at least {CHARS_MIN} characters; a sentence is a good one"));
        }
        (!self.is_bounded()).then(|| format!("a password has at most {BYTES_MAX} bytes"))
    }

    fn is_bounded(&self) -> bool {
        self.0.len() <= BYTES_MAX
    }
}

/// Too many passwords wait to be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// Come back in a moment.
    #[error("too many people are signing in right now")]
    Busy,
    /// The library refused, or its thread broke.
    #[error("the password could not be hashed")]
    Broken,
}

/// Hashes and checks passwords. Cloning is cheap; clones share the bounds.
#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    at_once: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { at_once: Arc::new(Semaphore::new(AT_ONCE)), room: Arc::new(Semaphore::new(AT_ONCE + WAITING_MAX)) }
    }
}

impl Hasher {
    /// What is kept of a password: a PHC string.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.work(move || hash(&password)).await?
    }

    /// Whether this is the password that was kept. Without one it is not, after the same work.
    pub(crate) async fn matches(&self, password: Password, kept: Option<String>) -> Result<bool, HashError> {
        self.work(move || matches(&password, kept.as_deref())).await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let _room = self.room.try_acquire().map_err(|_| HashError::Busy)?;
        let permit = Arc::clone(&self.at_once).acquire_owned().await.map_err(|_| HashError::Broken)?;
        // The permit goes along: a request that is given up leaves its thread at work.
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|_| HashError::Broken)
    }
}

fn hash(password: &Password) -> Result<String, HashError> {
    let mut salt = [0; SALT_BYTES];
    rand::rng().fill_bytes(&mut salt);
    hash_with(password, &salt)
}

fn hash_with(password: &Password, salt: &[u8]) -> Result<String, HashError> {
    let hashed: Result<PasswordHash, _> =
        Argon2::default().hash_password_with_params(password.0.as_bytes(), salt, Params::DEFAULT);
    hashed.map(|hashed| hashed.to_string()).map_err(|_| HashError::Broken)
}

fn matches(password: &Password, kept: Option<&str>) -> bool {
    // Nobody's password is longer, and the work must not grow with what strangers send.
    let bounded = if password.is_bounded() { password } else { &Password(String::new()) };
    if let Some(kept) = kept.and_then(|kept| PasswordHash::new(kept).ok()) {
        return Argon2::default().verify_password(bounded.0.as_bytes(), &kept).is_ok();
    }
    // The same work for nobody; what comes of it is nobody's password.
    drop(std::hint::black_box(hash_with(bounded, &[0; SALT_BYTES])));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password(text.to_owned())
    }

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let kept = hash(&password("correct horse")).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(hash(&password("correct horse")).unwrap(), kept, "each has a salt of its own");
        assert!(matches(&password("correct horse"), Some(&kept)));
        assert!(!matches(&password("correct horsf"), Some(&kept)));
        assert!(!matches(&password("correct horse"), None));
        assert!(!matches(&password("correct horse"), Some("$argon2id$nonsense")));
    }

    #[test]
    fn a_password_too_long_is_nobodys_and_never_hashed() {
        let (long, empty) = (password(&"x".repeat(BYTES_MAX + 1)), password(""));
        let kept = hash(&empty).unwrap();
        assert!(long.fault().is_some() && password("short").fault().is_some());
        assert_eq!(password("long enough").fault(), None);
        assert!(!matches(&long, None));
        // `fault` keeps the empty password from ever being somebody's.
        assert!(matches(&empty, Some(&kept)) && empty.fault().is_some());
        assert_eq!(format!("{long:?}"), "Password(..)");
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_are_told_to_come_back() {
        let hasher = Hasher::default();
        let held = Arc::clone(&hasher.at_once).acquire_many_owned(AT_ONCE as u32).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..AT_ONCE + WAITING_MAX {
            let mut wait = Box::pin(hasher.matches(password("x"), None));
            assert!(futures::poll!(wait.as_mut()).is_pending());
            waiting.push(wait);
        }
        assert_eq!(hasher.matches(password("x"), None).await, Err(HashError::Busy));
        drop((held, waiting));
        assert_eq!(hasher.matches(password("x"), None).await, Ok(false));
    }
}
