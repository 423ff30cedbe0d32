//! What must be true of jobs, payments and books together, at every moment and at the end; the ledger's own invariants are in
//! `invariants`.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgPool;
use uuid::Uuid;

use super::Heard;
use super::progress::Progress;
use crate::support::ledger_faults;

/// Each by its name, as a query that names what breaks it. They hold in every committed state.
const CHECKS: [(&str, &str); 11] = [
    (
        "L4: a hold is open exactly while its job is not settled",
        "select coalesce(g.id, h.id)::text from generation g full join hold h on h.id = g.id
         where g.id is null or h.id is null or (h.state = 'held') <> (g.settled_ms is null)",
    ),
    (
        "L4: what is complete is captured, what failed is given back",
        "select g.id::text from generation g join hold h on h.id = g.id where h.state <> 'held'
            and (g.state, h.state) not in (('Complete', 'captured'), ('Failed', 'voided'))",
    ),
    (
        "C7: what was quoted is what was held, and all of it is taken when every picture was made",
        "select g.id::text from generation g join hold h on h.id = g.id where h.amount <> g.price or h.account <> g.account
            or (h.state = 'captured' and jsonb_array_length(g.outputs) = (g.request->>'images')::int and h.captured <> g.price)",
    ),
    (
        "L5: an idempotency key has one job, of its account and its body",
        "select i.key from idempotency i join generation g on g.id = i.generation
         where i.account <> g.account or i.body_sha256 <> g.body_sha256
         union all select generation::text from idempotency group by generation having count(*) > 1",
    ),
    (
        "L10: each line's balance is the one before and its amount, in the order of the chain",
        "select txn::text from (select e.txn, e.balance_after, sum(e.amount) over (
                partition by e.account, e.bucket order by t.seq, e.line) as running
            from ledger_entry e join ledger_txn t on t.id = e.txn) s where running <> balance_after",
    ),
    ("L7: every event of Stripe's could be applied", "select id from stripe_event where state = 'dead'"),
    (
        "L8, C5: a payment is paid before it gives, and gives one lot of its credits",
        "select coalesce(p.id::text, l.source_ref) from payment p full join lot l on l.source_ref = 'payment:' || p.id
         where (p.id is null and l.source_ref like 'payment:%') or p.granted <> (l.id is not null)
            or (p.granted and not p.paid) or (l.id is not null and (l.amount <> p.credits or l.account <> p.account))",
    ),
    (
        "C3: a month of a subscription is paid once",
        "select invoice from payment where kind = 'month' and invoice is not null group by invoice having count(*) > 1",
    ),
    (
        "L8: what is marked as taken back of a payment was taken back",
        "select p.id::text from payment p left join (select split_part(t.key, ':', 2) as payment, sum(e.amount) as amount
                from ledger_txn t join ledger_entry e on e.txn = t.id and e.bucket = 'granted'
                where t.kind = 'take_back' group by 1) t on t.payment = p.id::text
         where p.taken <> coalesce(t.amount, 0)",
    ),
    (
        "C6: an account is stopped only by a dispute",
        "select a.account::text from ledger_account a where a.stopped and not exists (select 1 from payment p
            join charge c on c.intent = p.intent where p.account = a.account and c.dispute <> 'none')",
    ),
    (
        "L9: no column counts in fractions",
        "select table_name || '.' || column_name from information_schema.columns where table_schema = 'public'
            and data_type in ('real', 'double precision', 'numeric', 'money')",
    ),
];

/// What breaks an invariant, the ledger's own among them.
pub(crate) async fn faults(pool: &PgPool) -> Vec<String> {
    let mut faults = ledger_faults(pool).await;
    for (name, sql) in CHECKS {
        let broken: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await.unwrap();
        faults.extend(broken.into_iter().map(|what| format!("{name}: {what}")));
    }
    faults
}

/// Waits until everything that was begun has ended: jobs settled, events applied, refunds answered, buttons' payments paid.
pub(super) async fn settle(pool: &PgPool, progress: &Progress) {
    const OPEN: &str = "select (select count(*) from generation where settled_ms is null)
        + (select count(*) from stripe_event where state = 'received') + (select count(*) from refund where state = 'asked')
        + (select count(*) from payment where session is not null and not paid and exists (
            select 1 from stripe_event e where e.payload->'data'->'object'->>'client_reference_id' = payment.id::text))";
    progress
        .until("everything to end", || async {
            let open: i64 = sqlx::query_scalar(OPEN).fetch_one(pool).await.ok()?;
            (open == 0).then_some(())
        })
        .await;
}

/// What clients were told is so, and there is nothing else.
pub(super) async fn account_for(pool: &PgPool, heard: &Heard, seed: u64) {
    let ambiguous: Vec<_> = heard.jobs.iter().filter(|(_, ids)| ids.len() != 1).collect();
    assert!(ambiguous.is_empty(), "an order made several jobs: {ambiguous:?}; seed {seed}");
    let there: Vec<String> = sqlx::query_scalar("select id::text from generation").fetch_all(pool).await.unwrap();
    let there: BTreeSet<String> = there.into_iter().collect();
    let told: BTreeSet<String> = heard.jobs.values().flatten().cloned().collect();
    assert_eq!(there, told, "seed {seed}");
    let gifts: Vec<(Uuid, i64)> =
        sqlx::query_as("select account, sum(amount)::bigint from lot where source_ref like 'admin:%' group by account")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(gifts.into_iter().collect::<BTreeMap<_, _>>(), heard.gifts, "seed {seed}");
    let paid: Vec<String> =
        sqlx::query_scalar("select id::text from payment where paid").fetch_all(pool).await.unwrap();
    assert_eq!(paid.into_iter().collect::<BTreeSet<_>>(), heard.payments, "seed {seed}");
    let captured: i64 =
        sqlx::query_scalar("select count(*) from hold where state = 'captured'").fetch_one(pool).await.unwrap();
    assert!(captured > 0 && !heard.payments.is_empty() && !heard.gifts.is_empty(), "something happened; seed {seed}");
}
