//! Money that comes and goes: events are applied, what Stripe has not answered for is asked again, and once a day its books
//! are read.

use super::{BATCH, Pass, World, pass_of};
use crate::payments::inbox::{self, Desk};
use crate::payments::{outgoing, reconcile};

/// One look at the database. Without payments there is nothing to look at.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    let Some(payments) = &world.payments else { return Ok(Pass::Done) };
    let World { shared, metrics, price_book: book, lane_bell: bell, mail, .. } = world;
    let desk = Desk { shared, metrics, book, mail: *mail, bell };
    let (looked_at, failed) = inbox::pass(&world.pool, &desk, BATCH).await?;
    outgoing::refunds(&world.pool, payments, &world.metrics, BATCH).await?;
    outgoing::top_ups(&world.pool, payments, &world.price_book, BATCH).await?;
    reconcile::daily(&world.pool, payments, &desk).await?;
    Ok(pass_of(looked_at, failed))
}
