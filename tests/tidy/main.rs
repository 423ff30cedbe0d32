//! Rules that only a reviewer knows are not rules: crate arrows, forbidden calls, file heads, file sizes, and words
//! that must not be left in the tree.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

mod arrows;
mod files;
