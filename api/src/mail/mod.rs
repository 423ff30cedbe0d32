//! Mail: letters are errands of one lane, written in the transaction they follow from, so a letter goes out exactly when
//! that committed. What a letter says is made when it is sent: tokens are never at rest but as hashes, and a request that
//! sends one does the same work whoever it is for.

pub(crate) mod args;
pub(crate) mod lane;
pub(crate) mod letter;

mod compose;
mod resend;
mod sender;
mod smtp;

use sqlx::PgConnection;
use tintype_types::Timestamp;

pub(crate) use self::letter::Letter;
pub(crate) use self::sender::Sender;
use crate::lanes::NewErrand;
use crate::lanes::errand;

/// The lane's name.
pub(crate) const LANE: &str = "mail";

/// Sends a letter, in the caller's transaction; ring the lanes' bell when that has committed. While a letter of the same
/// kind to the same person waits, another is not sent.
pub(crate) async fn send(conn: &mut PgConnection, letter: &Letter, at: Timestamp) -> sqlx::Result<()> {
    let due = Timestamp(at.0.saturating_add(letter.delay().as_millis() as u64));
    let payload = serde_json::to_value(letter).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let errand = NewErrand { key: Some(letter.key()), payload, due };
    errand::send(conn, LANE, &[errand], at).await.map(drop)
}
