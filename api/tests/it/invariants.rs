//! Every invariant of the ledger as a query that names what breaks it.

/// Each by its name.
pub(crate) const CHECKS: [(&str, &str); 18] = [
    ("entries of a transaction sum to zero", "select txn::text from ledger_entry group by txn having sum(amount) <> 0"),
    ("every transaction has entries", "select id::text from ledger_txn t where not exists (select 1 from ledger_entry where txn = t.id)"),
    (
        "each column is the sum of its entries",
        "select a.account::text from ledger_account a
         left join lateral (select
            coalesce(sum(amount) filter (where bucket = 'granted'), 0) as granted,
            coalesce(sum(amount) filter (where bucket = 'available'), 0) as available,
            coalesce(sum(amount) filter (where bucket = 'held'), 0) as held,
            coalesce(sum(amount) filter (where bucket = 'spent'), 0) as spent,
            coalesce(sum(amount) filter (where bucket = 'owed'), 0) as owed,
            coalesce(sum(amount) filter (where bucket = 'lost'), 0) as lost
            from ledger_entry e where e.account = a.account) s on true
         where (a.granted, a.available, a.held, a.spent, a.owed, a.lost)
            is distinct from (s.granted, s.available, s.held, s.spent, s.owed, s.lost)",
    ),
    ("no column below zero", "select account::text from ledger_account where available < 0 or held < 0 or spent < 0"),
    (
        "nobody owes who could pay, nor more than the bound; what is lost is bounded by what was taken back",
        "select account::text from ledger_account a where owed > 0 or owed < -100000 or lost > 0 or (owed < 0 and available > 0)
            or -owed - lost > (select coalesce(sum(amount), 0) from ledger_entry e join ledger_txn t on t.id = e.txn
                where t.account = a.account and t.kind = 'take_back' and e.bucket = 'granted')",
    ),
    (
        "C1: lots hold what is available and what is held",
        "select account::text from ledger_account a left join lateral (select coalesce(sum(remaining), 0) as remaining,
            coalesce(sum(reserved), 0) as reserved from lot l where l.account = a.account) s on true
         where (a.available, a.held) is distinct from (s.remaining, s.reserved)",
    ),
    (
        "each lot holds what its lines left in it",
        "select l.id::text from lot l left join lateral (select
            coalesce(sum(amount) filter (where bucket = 'available'), 0) as remaining,
            coalesce(sum(amount) filter (where bucket = 'held'), 0) as reserved
            from ledger_entry e where e.account = l.account and coalesce(e.lot, e.account) = l.id) s on true
         where (l.remaining, l.reserved) is distinct from (s.remaining, s.reserved)",
    ),
    (
        "a lot is one grant, of its amount, under its reference",
        "select l.id::text from lot l where l.id <> l.account and not exists (select 1 from ledger_txn t
            join ledger_entry e on e.txn = t.id and e.bucket = 'granted'
            where t.id = l.id and t.kind = 'grant' and t.key = 'grant:' || l.source_ref and t.account = l.account
                and t.at_ms = l.created_ms and e.amount = -l.amount)",
    ),
    (
        "every grant made a lot",
        "select t.id::text from ledger_txn t where kind = 'grant' and not exists (select 1 from lot l where l.id in (t.id, t.account))",
    ),
    (
        "C4: no hold takes of a lot that had lapsed",
        "select t.key from ledger_txn t join ledger_entry e on e.txn = t.id and e.bucket = 'held' join lot l on l.id = e.lot
         where t.kind = 'hold' and l.expires_ms <= t.at_ms",
    ),
    (
        "C2: a hold leaves nothing in a lot that is burned before one it took of",
        // When each lot had something left: from which transaction of its account's chain to which.
        "with moved as (select e.account, e.lot, t.seq, sum(e.amount) as amount from ledger_entry e join ledger_txn t on t.id = e.txn
            where e.bucket = 'available' and e.lot is not null group by e.account, e.lot, t.seq),
         left_in as (select account, lot, seq, sum(amount) over (partition by lot order by seq) > 0 as filled from moved),
         turns as (select *, lag(filled, 1, false) over (partition by lot order by seq) as before from left_in),
         spans as (select account, lot, filled, seq, lead(seq, 1, 9223372036854775807) over (partition by lot order by seq) as until
            from turns where filled <> before),
         ranked as (select id, expires_ms, (coalesce(expires_ms, 9e18),
            array_position(array['promo', 'admin', 'refund', 'subscription', 'purchase'], source), id) as rank from lot),
         worst as (select distinct on (t.account, t.seq) t.account, t.seq, t.key, t.at_ms, r.rank from ledger_txn t
            join ledger_entry e on e.txn = t.id and e.bucket = 'held' join ranked r on r.id = e.lot
            where t.kind = 'hold' order by t.account, t.seq, r.rank desc)
         select w.key from worst w join spans s on s.account = w.account and s.filled and s.seq <= w.seq and w.seq < s.until
         join ranked r on r.id = s.lot where (r.expires_ms is null or r.expires_ms > w.at_ms) and r.rank < w.rank",
    ),
    (
        "held is the sum of open holds",
        "select account::text from ledger_account a where held <> (select coalesce(sum(amount), 0) from hold h where h.account = a.account and state = 'held')",
    ),
    (
        "open holds are counted",
        "select account::text from ledger_account a where open_holds <> (select count(*) from hold h where h.account = a.account and state = 'held')",
    ),
    (
        "what rows name is there",
        "select 'job ' || g.id from generation g where not exists (select 1 from account a where a.id = g.account)
            or g.api_key is not null and not exists (select 1 from api_key k where k.id = g.api_key)
         union all select 'hold ' || h.id from hold h where not exists (select 1 from ledger_account a where a.account = h.account)
         union all select 'txn ' || t.id from ledger_txn t where not exists (select 1 from ledger_account a where a.account = t.account)
         union all select 'entry of ' || e.txn from ledger_entry e where not exists
            (select 1 from ledger_txn t where t.id = e.txn and t.account = e.account)
         union all select 'key ' || i.key from idempotency i where not exists
            (select 1 from generation g where g.id = i.generation and g.account = i.account)",
    ),
    (
        "spent is the sum of captures",
        "select account::text from ledger_account a where spent <> (select coalesce(sum(captured), 0) from hold h where h.account = a.account)",
    ),
    (
        "a hold has one start, and one end exactly when it has ended",
        "select coalesce(h.id::text, s.id) from hold h full join (select split_part(key, ':', 2) as id,
                count(*) filter (where kind = 'hold' and key like '%:start') as starts,
                count(*) filter (where kind in ('capture', 'void', 'expire')) as ends,
                count(*) filter (where key like '%:end') as end_keys
            from ledger_txn where key like 'hold:%' group by 1) s on s.id = h.id::text
         where h.id is null or s.id is null or starts <> 1 or ends <> (h.state <> 'held')::int or end_keys <> ends",
    ),
    (
        "the chain has no gap and ends at the head",
        "select a.account::text from ledger_account a
         left join lateral (select max(seq) as last, count(*) as n from ledger_txn t where t.account = a.account) s on true
         where a.seq <> s.n or a.seq <> coalesce(s.last, 0)
            or a.head <> coalesce((select hash from ledger_txn t where t.account = a.account and t.seq = a.seq), decode(repeat('00', 32), 'hex'))",
    ),
    (
        "every hash is the hash of its transaction and the one before",
        "select t.id::text from ledger_txn t
         where t.prev_hash <> coalesce((select hash from ledger_txn p where p.account = t.account and p.seq = t.seq - 1), decode(repeat('00', 32), 'hex'))
            or t.hash <> sha256(convert_to(concat_ws('|', encode(t.prev_hash, 'hex'), t.id, t.account, t.seq, t.kind, t.key, t.at_ms,
                (select string_agg(bucket || ':' || amount || ':' || balance_after || coalesce(':' || lot, ''), ',' order by line) from ledger_entry where txn = t.id)), 'UTF8'))",
    ),
];
