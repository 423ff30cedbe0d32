//! Keys: the names of objects. Only keys that are harmless as a path and in a URL exist past [`Key::parse`].
//!
//! It must not touch the file system.

use std::fmt;

use tintype_types::{Attempt, ImageFormat, JobId};

use crate::error::StoreError;

/// Longest key, in bytes. Far below what paths and URLs can carry.
const KEY_BYTES_MAX: usize = 512;
/// Longest segment, in bytes: file systems stop at 255.
const SEGMENT_BYTES_MAX: usize = 200;
/// The last segment of a checkpoint's key.
const CHECKPOINT: &str = "checkpoint";
/// How much of a bad key an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// What keys of pictures that jobs made begin with.
pub const OUTPUT_KEY_PREFIX: &str = "jobs/";

/// The key of one picture of one attempt: `jobs/<job>/<attempt>/<n>.<png|webp|jpg>`, `n` from 0.
pub fn image_key(job: &JobId, attempt: Attempt, n: u32, format: ImageFormat) -> String {
    format!("{OUTPUT_KEY_PREFIX}{job}/{attempt}/{n}.{}", format.extension())
}

/// The key of an attempt's checkpoint: `jobs/<job>/<attempt>/checkpoint`. The one kind of object that may be replaced.
pub fn checkpoint_key(job: &JobId, attempt: Attempt) -> String {
    format!("{OUTPUT_KEY_PREFIX}{job}/{attempt}/{CHECKPOINT}")
}

/// A key that was checked: segments of `[A-Za-z0-9._-]` between slashes, none empty, none starting with a dot
/// (which keeps out `.`, `..` and the store's own folder).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        match fault(text) {
            None => Ok(Self(text.to_owned())),
            Some(why) => Err(StoreError::InvalidKey { key: text.chars().take(SHOWN_CHARS_MAX).collect(), why }),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a later upload replaces an earlier one, as [`checkpoint_key`] promises. Everything else stays as it is.
    pub(crate) fn is_replaceable(&self) -> bool {
        let mut parts = self.0.split('/');
        matches!(
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()),
            (Some("jobs"), Some(_), Some(_), Some(CHECKPOINT), None)
        )
    }

    /// What a browser is told the object is.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.extension() {
            "png" => "image/png",
            "jpg" | "jpeg" => "image/jpeg",
            "webp" => "image/webp",
            "json" => "application/json",
            _ => "application/octet-stream",
        }
    }

    /// How long it may be kept: for ever, as objects never change, but for those that may be replaced.
    pub(crate) fn cache_control(&self) -> &'static str {
        if self.is_replaceable() { "no-store" } else { "private, max-age=31536000, immutable" }
    }

    /// What comes after the last dot of the last segment; empty when there is none.
    pub(crate) fn extension(&self) -> &str {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > KEY_BYTES_MAX {
        return Some("it has more than 512 bytes");
    }
    text.split('/').find_map(segment_fault)
}

fn segment_fault(segment: &str) -> Option<&'static str> {
    if segment.is_empty() {
        return Some("a part between slashes is empty");
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Some("a part between slashes has more than 200 bytes");
    }
    if segment.starts_with('.') {
        return Some("a part between slashes starts with a dot");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (!segment.bytes().all(allowed)).then_some("it has characters other than letters, digits, '.', '_', '-' and '/'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_keys_pass_and_keep_their_text() {
        for text in ["jobs/0b7e/1/0.png", "a", "a.b-c_D/9"] {
            assert_eq!(Key::parse(text).unwrap().as_str(), text);
        }
        let key = |format| image_key(&JobId::from("j-1"), Attempt(2), 3, format);
        assert_eq!(key(ImageFormat::Png), "jobs/j-1/2/3.png");
        assert_eq!(key(ImageFormat::Webp), "jobs/j-1/2/3.webp");
        assert_eq!(key(ImageFormat::Jpeg), "jobs/j-1/2/3.jpg");
        assert_eq!(Key::parse("jobs/j.x/1/0.png").unwrap().extension(), "png");
        assert_eq!(Key::parse("jobs.png/0").unwrap().extension(), "");
    }

    #[test]
    fn checkpoints_alone_may_be_replaced() {
        let key = checkpoint_key(&JobId::from("j-1"), Attempt(2));
        assert_eq!(key, "jobs/j-1/2/checkpoint");
        assert!(Key::parse(&key).unwrap().is_replaceable());
        for other in [
            "jobs/j-1/2/0.png",
            "checkpoint",
            "jobs/j-1/checkpoint",
            "jobs/j-1/2/x/checkpoint",
            "inputs/j-1/2/checkpoint",
            "jobs/j-1/2/checkpoint.png",
            "jobs/j-1/2/checkpoint/0",
        ] {
            assert!(!Key::parse(other).unwrap().is_replaceable(), "{other}");
        }
    }

    #[test]
    fn keys_that_could_leave_the_folder_or_the_url_are_refused() {
        let long = format!("jobs/{}", "x".repeat(201));
        let very_long = "ab/".repeat(200) + "c";
        for text in [
            "",
            "/",
            "/etc/passwd",
            "a//b",
            "a/",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            ".tmp/x",
            "a/.hidden",
            "a\\b",
            "a b",
            "a\0b",
            "a\nb",
            "ä",
            "a?b",
            "a%2e",
            "a#b",
            &long,
            &very_long,
        ] {
            assert!(Key::parse(text).is_err(), "{text:?} passed");
        }
    }
}
