//! The front door: users, keys, credits, image endpoints; submits and settles jobs.

pub mod creation;
pub mod database;
pub mod gallery;
pub mod keyring;
pub mod keys;
pub mod lanes;
pub mod ledger;
pub mod payments;
pub mod price;
pub mod privacy;
pub mod rate;
pub mod records;
pub mod scope;
pub mod services;
pub mod tenancy;

mod adapters;
mod args;
mod assets;
mod batches;
mod board;
mod clock;
mod cluster;
mod error;
mod http;
mod identity;
mod jobs;
mod lock;
mod mail;
mod metrics;
pub mod migrations;
mod outlook;
mod reconcile;
mod run;
mod state;
mod storage;
mod webhooks;

pub use args::{Args, Chore, Cli, ClusterKind, LocalArgs};
pub use cluster::secret::{SecretArgs, make as make_database_secret};
pub use identity::args::{IdentityArgs, Signup};
pub use identity::clerk::ClerkArgs;
pub use identity::oauth::args::OauthArgs;
pub use mail::args::MailArgs;
pub use payments::PaymentsArgs;
pub use run::run;
pub use services::ServicesArgs;
