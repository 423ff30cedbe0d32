//! What others run for us beyond the database, mail and payments: each is off until it is named, none is needed, and each
//! has its address as a setting. What they are told is said in docs/adr/0020-services.md.

pub mod args;
pub mod shared;

pub use args::ServicesArgs;
