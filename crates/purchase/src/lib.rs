//! What is bought from paid providers: one intent a job, budgets in whole millionths of a dollar, and what may be done
//! next given what is known.
//!
//! It reads no clock and calls nobody. It must not know a provider, a transport, or where its book is kept: whoever
//! calls it keeps the changed book first and acts second. Held to that order it is never sent twice, whatever is lost.

mod book;
mod calendar;
mod intent;
mod money;

pub use book::{Book, INTENTS_MAX, Order, Refusal, UNKNOWN_KEPT, Wrong};
pub use calendar::{Day, Month, Window};
pub use intent::{Event, Intent, Next, State};
pub use money::{Caps, MicroUsd, Price, Spend};
