//! The first time somebody shows that an address is theirs.
//!
//! Anybody can make an account with anybody's address. So what was set up before its owner came is worth nothing from
//! that moment: the password, every session, every key. Else a stranger could wait in an account for its owner to fill it.

use sqlx::PgConnection;
use tintype_types::Timestamp;

use crate::records::person::{self, Person};
use crate::records::{key, link, session};

/// The person's address was shown to be theirs, by a link sent to it or by somebody we trust.
pub(crate) async fn claim(conn: &mut PgConnection, person: &Person, at: Timestamp) -> sqlx::Result<()> {
    if person.email_verified_ms.is_some() {
        return Ok(());
    }
    person::verify(conn, person.id, at).await?;
    person::forget_password(conn, person.id).await?;
    session::end_all(conn, person.id).await?;
    key::revoke_all(conn, person.account, at).await?;
    link::end_all(conn, person.id).await
}
