//! Rules that only a reviewer knows are not rules: crate arrows, forbidden calls, file heads, file sizes, and words
//! that must not be left in the tree.

mod arrows;
mod files;
