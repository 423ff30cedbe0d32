-- The credit ledger: double entry in milli-credits. One row of `ledger_account` is one account's book with its four
-- columns; every change of a column is an entry; the entries of a transaction sum to zero.
--
--   granted    credits given (negative: where they come from)
--   available  credits that can be spent
--   held       credits set aside for jobs that have not ended
--   spent      credits captured
create table ledger_account (
    account uuid primary key references account,
    granted bigint not null default 0 check (granted <= 0),
    available bigint not null default 0 check (available >= 0),
    held bigint not null default 0 check (held >= 0),
    spent bigint not null default 0 check (spent >= 0),
    -- Transactions posted so far, and the hash of the last: the chain's head.
    seq bigint not null default 0 check (seq >= 0),
    head bytea not null check (octet_length(head) = 32),
    constraint ledger_account_sums_to_zero check (granted + available + held + spent = 0)
) with (fillfactor = 50);

-- Credits set aside for one job. The id is the job's.
create table hold (
    id uuid primary key,
    account uuid not null references ledger_account,
    amount bigint not null check (amount > 0),
    captured bigint not null default 0 check (captured between 0 and amount),
    state text not null check (state in ('held', 'captured', 'voided', 'expired')),
    created_ms bigint not null,
    expires_ms bigint not null,
    ended_ms bigint,
    constraint hold_captures_only_when_captured check (state = 'captured' or captured = 0),
    constraint hold_end_has_a_time check ((state = 'held') = (ended_ms is null))
);
create index hold_open on hold (account) where state = 'held';
create index hold_open_by_expiry on hold (expires_ms) where state = 'held';

create table ledger_txn (
    id uuid primary key,
    account uuid not null references ledger_account,
    seq bigint not null check (seq > 0),
    kind text not null check (kind in ('grant', 'hold', 'capture', 'void', 'expire')),
    -- What makes doing it twice doing it once: `grant:<ref>`, `hold:<id>:start`, `hold:<id>:end`.
    key text not null unique check (char_length(key) between 1 and 200),
    at_ms bigint not null,
    prev_hash bytea not null check (octet_length(prev_hash) = 32),
    hash bytea not null check (octet_length(hash) = 32),
    unique (account, seq)
);

create table ledger_entry (
    txn uuid not null references ledger_txn,
    line smallint not null check (line > 0),
    account uuid not null references ledger_account,
    bucket text not null check (bucket in ('granted', 'available', 'held', 'spent')),
    amount bigint not null check (amount <> 0),
    balance_after bigint not null,
    primary key (txn, line)
);
create index ledger_entry_account on ledger_entry (account, bucket);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, lower(tg_op) using errcode = 'restrict_violation';
end $$;

create trigger ledger_txn_append_only before update or delete on ledger_txn for each row execute function refuse_change();
create trigger ledger_txn_no_truncate before truncate on ledger_txn for each statement execute function refuse_change();
create trigger ledger_entry_append_only before update or delete on ledger_entry for each row execute function refuse_change();
create trigger ledger_entry_no_truncate before truncate on ledger_entry for each statement execute function refuse_change();
create trigger hold_no_delete before delete on hold for each row execute function refuse_change();
create trigger hold_no_truncate before truncate on hold for each statement execute function refuse_change();
create trigger ledger_account_no_delete before delete on ledger_account for each row execute function refuse_change();

-- All entries of a transaction come in one statement, so their sum is known when it ends.
create function entries_sum_to_zero() returns trigger language plpgsql as $$
begin
    if exists (select 1 from posted group by txn having sum(amount) <> 0) then
        raise exception 'entries of a transaction do not sum to zero' using errcode = 'check_violation';
    end if;
    if exists (select 1 from posted join ledger_txn t on t.id = posted.txn where t.account <> posted.account) then
        raise exception 'an entry is on another account than its transaction' using errcode = 'check_violation';
    end if;
    return null;
end $$;
create trigger ledger_entry_sums after insert on ledger_entry
    referencing new table as posted for each statement execute function entries_sum_to_zero();

-- A hold ends once; nothing else about it ever changes.
create function hold_ends_once() returns trigger language plpgsql as $$
begin
    if old.state <> 'held' or new.state = 'held' then
        raise exception 'hold % is %, and cannot become %', old.id, old.state, new.state using errcode = 'restrict_violation';
    end if;
    if (new.id, new.account, new.amount, new.created_ms, new.expires_ms)
        is distinct from (old.id, old.account, old.amount, old.created_ms, old.expires_ms) then
        raise exception 'hold % can only end', old.id using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger hold_ends_once before update on hold for each row execute function hold_ends_once();

-- A hold begins open.
create function hold_begins_open() returns trigger language plpgsql as $$
begin
    if new.state <> 'held' then
        raise exception 'hold % cannot begin as %', new.id, new.state using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger hold_begins_open before insert on hold for each row execute function hold_begins_open();
