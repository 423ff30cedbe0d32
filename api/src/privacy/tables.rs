//! Every table, and what it means to the people in it. Pure data: a new table belongs here before it belongs anywhere.

/// A table with rows that are somebody's.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Which rows are somebody's, as SQL over `t`, and over `subject.account` and `subject.person` (null for an account
    /// that nobody signs in to).
    pub owned: &'static str,
    /// Whether its rows are in an export, and without which columns: secrets and hashes of secrets.
    pub export: Export,
    /// What erasing does.
    pub erase: Erase,
}

/// What of a table is exported.
#[derive(Clone, Copy, Debug)]
pub enum Export {
    /// Rows without these columns.
    Without(&'static [&'static str]),
    /// Nothing, and why.
    Nothing(&'static str),
}

/// What erasing does to a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erase {
    /// They go.
    Delete,
    /// They go with a row of another table.
    Cascade,
    /// They stay without what says who it was; see [`super::erase`].
    Blot,
    /// They stay, and why.
    Keep(&'static str),
}

/// Why rows of money stay.
const BOOKS: Erase = Erase::Keep("books are kept; they name an account and nobody");

const fn table(name: &'static str, owned: &'static str, export: Export, erase: Erase) -> Table {
    Table { name, owned, export, erase }
}

const ALL: Export = Export::Without(&[]);

/// Tables whose rows are somebody's, in the order in which rows can be deleted.
pub const TABLES: [Table; 43] = [
    table("person", "t.id = subject.person", Export::Without(&["password", "email_folded"]), Erase::Delete),
    table("session", "t.person = subject.person", Export::Without(&["token_sha256"]), Erase::Cascade),
    table("identity", "t.person = subject.person", ALL, Erase::Cascade),
    table("link", "t.person = subject.person", Export::Without(&["token_sha256"]), Erase::Cascade),
    table("membership", "t.person = subject.person", ALL, Erase::Cascade),
    table("invitation", "t.inviter = subject.person", Export::Without(&["token_sha256"]), Erase::Cascade),
    table("collection", "t.account = subject.account", ALL, Erase::Delete),
    table(
        "collection_image",
        "t.collection in (select id from collection c where c.account = subject.account)",
        ALL,
        Erase::Cascade,
    ),
    table("shared_image", "t.image in (select id from image i where i.account = subject.account)", ALL, Erase::Cascade),
    table(
        "shared_collection",
        "t.collection in (select id from collection c where c.account = subject.account)",
        ALL,
        Erase::Cascade,
    ),
    table(
        "image_words",
        "t.image in (select id from image i where i.account = subject.account)",
        Export::Nothing("it stands for words of prompts, which are in `generation`"),
        Erase::Cascade,
    ),
    table("image", "t.account = subject.account", ALL, Erase::Delete),
    table(
        "prompt_word",
        "t.account = subject.account",
        Export::Nothing("they are words of prompts, which are in `generation`"),
        Erase::Delete,
    ),
    table("asset", "t.account = subject.account", ALL, Erase::Delete),
    table(
        "generation_asset",
        "t.generation in (select id from generation g where g.account = subject.account)",
        ALL,
        Erase::Cascade,
    ),
    table("webhook_delivery", "t.account = subject.account", ALL, Erase::Delete),
    table("webhook_endpoint", "t.account = subject.account", Export::Without(&["secret", "old_secret"]), Erase::Delete),
    table(
        "webhook_secret",
        "t.account = subject.account",
        Export::Nothing("it is a secret and nothing else"),
        Erase::Delete,
    ),
    table("prediction", "t.account = subject.account", ALL, Erase::Delete),
    table("idempotency", "t.account = subject.account", Export::Without(&["body_sha256"]), Erase::Delete),
    table("budget_alarm", "t.account = subject.account", ALL, Erase::Delete),
    table("top_up_rule", "t.account = subject.account", ALL, Erase::Delete),
    table("promo_try", "t.account = subject.account", ALL, Erase::Delete),
    table("subscription", "t.account = subject.account", ALL, Erase::Delete),
    table("billing", "t.account = subject.account", ALL, Erase::Delete),
    table("account", "t.id = subject.account", ALL, Erase::Blot),
    table("api_key", "t.account = subject.account", Export::Without(&["secret_sha256"]), Erase::Blot),
    table("generation", "t.account = subject.account", Export::Without(&["body_sha256"]), Erase::Blot),
    table(
        "stripe_event",
        "t.payload::text like any (select '%\"' || name || '\"%' from (
            select customer as name from billing b where b.account = subject.account
            union all select id::text from payment p where p.account = subject.account
            union all select intent from payment p where p.account = subject.account and intent is not null) named)",
        Export::Nothing("what it tells of is in `payment`, `refund` and `subscription`"),
        Erase::Blot,
    ),
    table(
        "errand",
        "t.payload->>'account' = subject.account::text",
        Export::Nothing("it is about to be done, or was and is gone"),
        Erase::Delete,
    ),
    table("batch", "t.account = subject.account", ALL, Erase::Keep("it counts jobs; it names an account and nobody")),
    table(
        "batch_job",
        "t.batch in (select id from batch b where b.account = subject.account)",
        ALL,
        Erase::Keep("it names jobs and nobody"),
    ),
    table("ledger_account", "t.account = subject.account", ALL, BOOKS),
    table("lot", "t.account = subject.account", ALL, BOOKS),
    table("hold", "t.account = subject.account", ALL, BOOKS),
    table("ledger_txn", "t.account = subject.account", ALL, BOOKS),
    table("ledger_entry", "t.txn in (select id from ledger_txn x where x.account = subject.account)", ALL, BOOKS),
    table("payment", "t.account = subject.account", ALL, BOOKS),
    table("refund", "t.payment in (select id from payment p where p.account = subject.account)", ALL, BOOKS),
    table("charge", "t.intent in (select intent from payment p where p.account = subject.account)", ALL, BOOKS),
    table(
        "promo_redemption",
        "t.account = subject.account",
        ALL,
        Erase::Keep("a code is redeemed once; it names an account and nobody"),
    ),
    table(
        "audit_event",
        "t.account = subject.account or t.actor = subject.person::text",
        ALL,
        Erase::Keep("what was done is kept; it holds ids and words of ours alone"),
    ),
    table("clerk_event", "false", Export::Nothing("ids of news, of nobody"), Erase::Keep("ids of news, of nobody")),
];

/// Tables that hold nothing of anybody's.
pub const NOBODYS: [&str; 5] = ["promo_code", "stripe_difference", "stripe_reconciled", "tariff", "_sqlx_migrations"];

/// Completes a statement about a table whose first parameters are an account and a person.
pub(super) const SUBJECT: &str = "(select $1::uuid as account, $2::uuid as person) subject";
