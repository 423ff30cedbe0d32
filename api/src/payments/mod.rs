//! Money: what credits are sold for.

pub mod plans;
