-- What an order costs. Jobs come in batches, so what held for each row is looked at once a statement: that what a row names is
-- there (as foreign keys did, row by row), and that holds begin open. What is named so is never removed, and says so itself.

create function refuse_removal() returns trigger language plpgsql as $$
begin
    raise exception 'rows of % stay what they are: others name them', tg_table_name using errcode = 'restrict_violation';
end $$;
create trigger account_stays before delete or update of id on account for each row execute function refuse_removal();
create trigger account_no_truncate before truncate on account for each statement execute function refuse_removal();
create trigger api_key_stays before delete or update of id, account on api_key
    for each row execute function refuse_removal();
create trigger api_key_no_truncate before truncate on api_key for each statement execute function refuse_removal();
create trigger generation_stays before delete or update of id, account, api_key on generation
    for each row execute function refuse_removal();
create trigger generation_no_truncate before truncate on generation for each statement execute function refuse_removal();
create trigger ledger_account_is_whose_it_was before update of account on ledger_account
    for each row execute function refuse_removal();
create trigger idempotency_is_what_it_was before update of account, generation on idempotency
    for each row execute function refuse_removal();

-- Their plans are kept, and made when tables may be empty: rows are looked up one by one, however few there are at first.
create function jobs_name_what_is_there() returns trigger language plpgsql
    set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
begin
    if exists (select 1 from made where not exists (select 1 from account a where a.id = made.account))
        or exists (select 1 from made where api_key is not null
            and not exists (select 1 from api_key k where k.id = made.api_key)) then
        raise exception 'a job names an account or a key that is not there' using errcode = 'foreign_key_violation';
    end if;
    return null;
end $$;
create trigger generation_names_what_is_there after insert on generation
    referencing new table as made for each statement execute function jobs_name_what_is_there();

create function keys_name_what_is_there() returns trigger language plpgsql
    set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
begin
    if exists (select 1 from made left join generation g on g.id = made.generation
        where g.account is distinct from made.account) then
        raise exception 'an idempotency key names a job its account has not' using errcode = 'foreign_key_violation';
    end if;
    return null;
end $$;
create trigger idempotency_names_what_is_there after insert on idempotency
    referencing new table as made for each statement execute function keys_name_what_is_there();

create function books_are_there() returns trigger language plpgsql
    set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
begin
    if exists (select 1 from made where not exists (select 1 from ledger_account a where a.account = made.account)) then
        raise exception 'a row of % is on a book that is not there', tg_table_name using errcode = 'foreign_key_violation';
    end if;
    return null;
end $$;
create trigger ledger_txn_book_is_there after insert on ledger_txn
    referencing new table as made for each statement execute function books_are_there();
create trigger hold_book_is_there after insert on hold
    referencing new table as made for each statement execute function books_are_there();

create function holds_begin_open() returns trigger language plpgsql as $$
begin
    if exists (select 1 from made where state <> 'held') then
        raise exception 'a hold cannot begin ended' using errcode = 'restrict_violation';
    end if;
    return null;
end $$;
create trigger holds_begin_open after insert on hold
    referencing new table as made for each statement execute function holds_begin_open();
drop trigger hold_begins_open on hold;
drop function hold_begins_open();

-- Also that their transaction is there.
create or replace function entries_sum_to_zero() returns trigger language plpgsql
    set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
begin
    if exists (select 1 from posted group by txn having sum(amount) <> 0) then
        raise exception 'entries of a transaction do not sum to zero' using errcode = 'check_violation';
    end if;
    if exists (select 1 from posted left join ledger_txn t on t.id = posted.txn
        where t.account is distinct from posted.account) then
        raise exception 'an entry is on another account than its transaction' using errcode = 'check_violation';
    end if;
    return null;
end $$;

alter table generation drop constraint generation_account_fkey, drop constraint generation_api_key_fkey;
alter table idempotency drop constraint idempotency_account_fkey, drop constraint idempotency_generation_fkey;
alter table ledger_txn drop constraint ledger_txn_account_fkey;
alter table ledger_entry drop constraint ledger_entry_txn_fkey, drop constraint ledger_entry_account_fkey;
alter table hold drop constraint hold_account_fkey;

-- How many holds of a book have not ended: counting them cost an order more the more there were. Who changes `held` makes holds,
-- one a transaction, or ends one.
alter table ledger_account add column open_holds bigint not null default 0;
update ledger_account a set open_holds = h.open
    from (select account, count(*) as open from hold where state = 'held' group by account) h where h.account = a.account;
create function count_open_holds() returns trigger language plpgsql as $$
begin
    new.open_holds := greatest(0, old.open_holds + case when new.held > old.held then new.seq - old.seq else -1 end);
    return new;
end $$;
create trigger ledger_account_counts_open_holds before update of held on ledger_account
    for each row when (new.held <> old.held) execute function count_open_holds();

-- Nothing reads lines by account and column alone.
drop index ledger_entry_account;
-- A walk through an account's jobs in their order does without.
drop index generation_to_erase;
