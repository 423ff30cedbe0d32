-- What an order costs, again: what was looked at twice is looked at once, and what nobody reads is not written.

-- Lines of a transaction are on one account, so that one look by transaction and account sees both: that they sum to zero, and
-- that the transaction is there and on that account.
create or replace function entries_sum_to_zero() returns trigger language plpgsql
    set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
begin
    if exists (select 1 from (select txn, account, sum(amount) as amount from posted group by txn, account) p
        left join ledger_txn t on t.id = p.txn where p.amount <> 0 or t.account is distinct from p.account) then
        raise exception 'entries of a transaction do not sum to zero, or are on another account than it'
            using errcode = 'check_violation';
    end if;
    return null;
end $$;

-- A hold is on a book that is there, and begins open.
create or replace function holds_begin_open() returns trigger language plpgsql
    set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off as $$
begin
    if exists (select 1 from made where state <> 'held') then
        raise exception 'a hold cannot begin ended' using errcode = 'restrict_violation';
    end if;
    if exists (select 1 from made where not exists (select 1 from ledger_account a where a.account = made.account)) then
        raise exception 'a hold is on a book that is not there' using errcode = 'foreign_key_violation';
    end if;
    return null;
end $$;
drop trigger hold_book_is_there on hold;

-- Who writes how many holds are open is believed; who does not know of the count is counted for, as before.
drop trigger ledger_account_counts_open_holds on ledger_account;
create trigger ledger_account_counts_open_holds before update of held on ledger_account
    for each row when (new.held <> old.held and new.open_holds = old.open_holds) execute function count_open_holds();
