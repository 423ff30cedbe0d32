//! Organisations: their members, and who is asked to become one.

use sqlx::{PgConnection, PgExecutor};
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;
use crate::identity::email::Email;
use crate::identity::role::Role;

/// Organisations a person may be a member of.
pub(crate) const ORGS_MAX: i64 = 50;
/// Members and open invitations an organisation may have, each.
pub(crate) const MEMBERS_MAX: i64 = 500;

/// A person's place in an organisation.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Seat {
    /// The organisation.
    pub(crate) account: Uuid,
    /// Its name.
    pub(crate) name: String,
    role: String,
}

impl Seat {
    /// What they are there.
    pub(crate) fn role(&self) -> Role {
        Role::named(&self.role)
    }
}

/// A member as others see them.
#[derive(Clone, sqlx::FromRow)]
pub(crate) struct Member {
    /// Who.
    pub(crate) person: Uuid,
    /// Their address.
    pub(crate) email: Option<String>,
    role: String,
    /// Since when.
    pub(crate) created_ms: i64,
}

impl Member {
    /// What they are here.
    pub(crate) fn role(&self) -> Role {
        Role::named(&self.role)
    }
}

/// An invitation that was not accepted yet.
#[derive(Clone, sqlx::FromRow)]
pub(crate) struct Invitation {
    /// Its id.
    pub(crate) id: Uuid,
    /// To which organisation.
    pub(crate) account: Uuid,
    /// To whom it goes.
    pub(crate) email: String,
    role: String,
    /// When it was made.
    pub(crate) created_ms: i64,
    /// When it ends.
    pub(crate) expires_ms: i64,
}

impl Invitation {
    /// What they are asked to be.
    pub(crate) fn role(&self) -> Role {
        Role::named(&self.role)
    }
}

/// Makes an organisation with one owner, without a ledger.
pub(crate) async fn create(
    conn: &mut PgConnection,
    id: Uuid,
    name: &str,
    owner: Uuid,
    at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query("insert into account (id, kind, name, created_ms) values ($1, 'org', $2, $3)")
        .bind(id)
        .bind(name)
        .bind(to_ms(at))
        .execute(&mut *conn)
        .await?;
    put_member(conn, id, owner, Role::Owner, at).await
}

/// A person's organisations, by name.
pub(crate) async fn seats(db: impl PgExecutor<'_>, person: Uuid) -> sqlx::Result<Vec<Seat>> {
    const SQL: &str = "select m.account, a.name, m.role from membership m join account a on a.id = m.account
        where m.person = $1 order by a.name, m.account limit $2";
    sqlx::query_as(SQL).bind(person).bind(ORGS_MAX).fetch_all(db).await
}

/// What a person is in an organisation; none: no member, or there is no such organisation.
pub(crate) async fn role(db: impl PgExecutor<'_>, account: Uuid, person: Uuid) -> sqlx::Result<Option<Role>> {
    const SQL: &str = "select role from membership where account = $1 and person = $2";
    let found: Option<String> = sqlx::query_scalar(SQL).bind(account).bind(person).fetch_optional(db).await?;
    Ok(found.map(|role| Role::named(&role)))
}

/// Holds everybody else up who changes the organisation's members.
pub(crate) async fn lock(conn: &mut PgConnection, account: Uuid) -> sqlx::Result<()> {
    sqlx::query("select 1 from account where id = $1 for update").bind(account).execute(conn).await?;
    Ok(())
}

/// The organisation's members, the first first.
pub(crate) async fn members(db: impl PgExecutor<'_>, account: Uuid) -> sqlx::Result<Vec<Member>> {
    const SQL: &str =
        "select m.person, p.email, m.role, m.created_ms from membership m join person p on p.id = m.person
        where m.account = $1 order by m.created_ms, m.person limit $2";
    sqlx::query_as(SQL).bind(account).bind(MEMBERS_MAX).fetch_all(db).await
}

/// Owners of the organisation beside this person; asked under its lock.
pub(crate) async fn other_owners(conn: &mut PgConnection, account: Uuid, person: Uuid) -> sqlx::Result<i64> {
    const SQL: &str = "select count(*) from membership where account = $1 and role = 'owner' and person <> $2";
    sqlx::query_scalar(SQL).bind(account).bind(person).fetch_one(conn).await
}

/// Makes somebody a member, or gives a member another role.
pub(crate) async fn put_member(
    conn: &mut PgConnection,
    account: Uuid,
    person: Uuid,
    role: Role,
    at: Timestamp,
) -> sqlx::Result<()> {
    const SQL: &str = "insert into membership (account, person, role, created_ms) values ($1, $2, $3, $4)
        on conflict (account, person) do update set role = excluded.role";
    sqlx::query(SQL).bind(account).bind(person).bind(role.as_str()).bind(to_ms(at)).execute(conn).await?;
    Ok(())
}

/// Somebody is no member any more.
pub(crate) async fn remove_member(conn: &mut PgConnection, account: Uuid, person: Uuid) -> sqlx::Result<()> {
    sqlx::query("delete from membership where account = $1 and person = $2")
        .bind(account)
        .bind(person)
        .execute(conn)
        .await?;
    Ok(())
}

/// An invitation to be made.
pub(crate) struct NewInvitation<'a> {
    /// Its id.
    pub(crate) id: Uuid,
    /// To which organisation.
    pub(crate) account: Uuid,
    /// To whom.
    pub(crate) email: &'a Email,
    /// As what.
    pub(crate) role: Role,
    /// Of its token; none: the letter will have one.
    pub(crate) token_sha256: Option<[u8; 32]>,
    /// By whom.
    pub(crate) inviter: Uuid,
    /// When it ends.
    pub(crate) expires: Timestamp,
}

/// Makes an invitation; false when there are too many open ones.
pub(crate) async fn invite(conn: &mut PgConnection, new: &NewInvitation<'_>, at: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "insert into invitation (id, account, email, role, token_sha256, inviter, created_ms, expires_ms)
        select $1, $2, $3, $4, $5, $6, $7, $8
        where (select count(*) from invitation where account = $2 and accepted_ms is null and expires_ms > $7) < $9";
    let NewInvitation { id, account, email, role, token_sha256, inviter, expires } = new;
    let query = sqlx::query(SQL).bind(id).bind(account).bind(email.text()).bind(role.as_str());
    let query = query.bind(token_sha256.as_ref().map(|hash| &hash[..])).bind(inviter).bind(to_ms(at));
    Ok(query.bind(to_ms(*expires)).bind(MEMBERS_MAX).execute(conn).await?.rows_affected() == 1)
}

/// The organisation's open invitations, the newest first.
pub(crate) async fn invitations(pool: &Db, account: Uuid, at: Timestamp) -> sqlx::Result<Vec<Invitation>> {
    const SQL: &str = "select id, account, email, role, created_ms, expires_ms from invitation
        where account = $1 and accepted_ms is null and expires_ms > $2 order by id desc limit $3";
    sqlx::query_as(SQL).bind(account).bind(to_ms(at)).bind(MEMBERS_MAX).fetch_all(pool).await
}

/// An open invitation.
pub(crate) async fn invitation(pool: &Db, id: Uuid, at: Timestamp) -> sqlx::Result<Option<Invitation>> {
    const SQL: &str = "select id, account, email, role, created_ms, expires_ms from invitation
        where id = $1 and accepted_ms is null and expires_ms > $2";
    sqlx::query_as(SQL).bind(id).bind(to_ms(at)).fetch_optional(pool).await
}

/// Gives an invitation the token its letter goes out with.
pub(crate) async fn arm(pool: &Db, id: Uuid, token_sha256: &[u8; 32]) -> sqlx::Result<()> {
    const SQL: &str = "update invitation set token_sha256 = $2 where id = $1 and accepted_ms is null";
    sqlx::query(SQL).bind(id).bind(&token_sha256[..]).execute(pool).await?;
    Ok(())
}

/// Accepts the open invitation of a token; none when there is none.
pub(crate) async fn accept(
    conn: &mut PgConnection,
    token_sha256: &[u8; 32],
    at: Timestamp,
) -> sqlx::Result<Option<Invitation>> {
    const SQL: &str = "update invitation set accepted_ms = $2
        where token_sha256 = $1 and accepted_ms is null and expires_ms > $2
        returning id, account, email, role, created_ms, expires_ms";
    sqlx::query_as(SQL).bind(&token_sha256[..]).bind(to_ms(at)).fetch_optional(conn).await
}

/// Takes an invitation back; false when the organisation has no open one of this id.
pub(crate) async fn withdraw(conn: &mut PgConnection, account: Uuid, id: Uuid) -> sqlx::Result<bool> {
    const SQL: &str = "delete from invitation where account = $1 and id = $2 and accepted_ms is null";
    Ok(sqlx::query(SQL).bind(account).bind(id).execute(conn).await?.rows_affected() == 1)
}
