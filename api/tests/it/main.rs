//! The API against real PostgreSQL: the ledger, then the whole front door with a worker that speaks the protocol.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers stop the test like the test itself does")]

mod assets;
mod batches;
mod browser;
mod campaign;
mod clerk;
mod clients;
mod cluster;
mod crash;
mod creation;
mod credits;
mod deadlines;
mod fences;
mod front;
mod gallery;
mod invariants;
mod keys;
mod lanes;
mod ledger_model;
mod ledger_sql;
mod lifecycle;
mod live;
mod mail;
mod matrix;
mod oauth;
mod orgs;
mod payments;
mod privacy;
mod receiver;
mod replicate;
mod rig;
mod schema;
mod sentry;
mod service;
mod services;
mod shared;
mod sign_in;
mod stripe;
mod stripe_orders;
mod support;
mod tenancy;
mod vendors;
mod wallet;
mod webhooks;
mod worker;
