-- Which credits are which: every grant is a lot, with where it comes from and when it lapses. Lines of a transaction name
-- the lot they move. What was in a book before there were lots is one lot, whose id is the account's; lines without a
-- lot are of that one.
create table lot (
    -- The transaction that granted it.
    id uuid primary key,
    account uuid not null references ledger_account,
    source text not null check (source in ('promo', 'admin', 'refund', 'subscription', 'purchase')),
    -- What it was given for: the same thing gives once.
    source_ref text not null unique check (char_length(source_ref) between 1 and 200),
    amount bigint not null check (amount > 0),
    -- What of it can be spent, and what of it is set aside for jobs.
    remaining bigint not null check (remaining >= 0),
    reserved bigint not null check (reserved >= 0),
    created_ms bigint not null,
    expires_ms bigint,
    -- What was taken back of its payment and found neither credits nor room for debt.
    lost bigint not null default 0 check (lost >= 0),
    open boolean not null generated always as (remaining > 0 or reserved > 0) stored,
    constraint lot_holds_no_more_than_was_granted check (remaining + reserved <= amount)
) with (fillfactor = 50);
create index lot_open on lot (account) where open;
create index lot_lapsing on lot (expires_ms) where open and expires_ms is not null;

create trigger lot_no_delete before delete on lot for each row execute function refuse_change();
create trigger lot_no_truncate before truncate on lot for each statement execute function refuse_change();
create trigger lot_is_what_was_granted before update of id, account, source, source_ref, amount, created_ms, expires_ms
    on lot for each row execute function refuse_change();

-- Money that was taken back after its credits were spent: `owed` is paid by the next credits that come, `lost` is not.
-- A stopped book makes no holds: a payment of its owner's is disputed.
alter table ledger_account
    add column owed bigint not null default 0 check (owed between -100000 and 0),
    add column lost bigint not null default 0 check (lost <= 0),
    add column stopped boolean not null default false,
    drop constraint ledger_account_sums_to_zero,
    add constraint ledger_account_sums_to_zero check (granted + available + held + spent + owed + lost = 0),
    add constraint ledger_account_pays_what_it_owes check (owed = 0 or available = 0);

alter table ledger_entry
    add column lot uuid,
    drop constraint ledger_entry_bucket_check,
    add constraint ledger_entry_bucket_check
        check (bucket in ('granted', 'available', 'held', 'spent', 'owed', 'lost')),
    -- Of new lines alone. A program from before there were lots cannot write beside one that knows them: it is refused.
    add constraint ledger_entry_names_its_lot check (lot is not null or bucket in ('owed', 'lost')) not valid;
alter table ledger_txn
    drop constraint ledger_txn_kind_check,
    add constraint ledger_txn_kind_check
        check (kind in ('grant', 'hold', 'capture', 'void', 'expire', 'lapse', 'take_back'));
-- A book's payments and ends, newest first, without the holds between them.
create index ledger_txn_newest on ledger_txn (account, seq desc) where kind <> 'hold';

insert into lot (id, account, source, source_ref, amount, remaining, reserved, created_ms)
select account, account, 'admin', 'before-lots:' || account, -granted, available, held,
    (select min(at_ms) from ledger_txn t where t.account = a.account)
from ledger_account a where granted < 0;
