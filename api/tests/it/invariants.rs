//! Every invariant of the ledger as a query that names what breaks it.

/// Each by its name.
pub(crate) const CHECKS: [(&str, &str); 16] = [
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
        "select t.key from ledger_txn t join ledger_entry e on e.txn = t.id and e.bucket = 'held' join lot used on used.id = e.lot
         join lot l on l.account = t.account and l.created_ms <= t.at_ms and (l.expires_ms is null or l.expires_ms > t.at_ms)
            and (coalesce(l.expires_ms, 9e18), array_position(array['promo', 'admin', 'refund', 'subscription', 'purchase'], l.source), l.id)
              < (coalesce(used.expires_ms, 9e18), array_position(array['promo', 'admin', 'refund', 'subscription', 'purchase'], used.source), used.id)
         where t.kind = 'hold' and exists (select 1 from ledger_txn g where g.id = l.id and g.seq < t.seq)
            and (select sum(x.amount) from ledger_entry x join ledger_txn p on p.id = x.txn
                where p.account = t.account and p.seq <= t.seq and x.lot = l.id and x.bucket = 'available') > 0",
    ),
    (
        "held is the sum of open holds",
        "select account::text from ledger_account a where held <> (select coalesce(sum(amount), 0) from hold h where h.account = a.account and state = 'held')",
    ),
    (
        "spent is the sum of captures",
        "select account::text from ledger_account a where spent <> (select coalesce(sum(captured), 0) from hold h where h.account = a.account)",
    ),
    (
        "a hold has one start, and one end exactly when it has ended",
        "select h.id::text from hold h
         where (select count(*) from ledger_txn where key = 'hold:' || h.id || ':start') <> 1
            or (select count(*) from ledger_txn where key = 'hold:' || h.id || ':end') <> (h.state <> 'held')::int
            or (select count(*) from ledger_txn where kind in ('capture', 'void', 'expire') and key like 'hold:' || h.id || ':%') <> (h.state <> 'held')::int",
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
