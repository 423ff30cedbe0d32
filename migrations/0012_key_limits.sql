-- What a key may do, until when, and for how much. Null is without a limit; `used` counts only while there is a budget:
-- credits held and captured for jobs asked for with the key, changed under the lock of its account's book.
alter table api_key
    add column scopes text[],
    add column expires_ms bigint,
    add column budget bigint,
    add column used bigint not null default 0,
    add constraint api_key_scopes_known
        check (scopes is null or (cardinality(scopes) > 0 and scopes <@ array['read', 'generate', 'billing', 'manage'])) not valid,
    add constraint api_key_budget_not_negative check (budget >= 0 and used >= 0) not valid;
alter table api_key validate constraint api_key_scopes_known;
alter table api_key validate constraint api_key_budget_not_negative;

-- Programs keep in memory whether a key has a budget at all, so they are told of that too.
drop trigger api_key_change_told on api_key;
create trigger api_key_change_told after update of revoked_ms, budget on api_key for each row
    when (old.revoked_ms is distinct from new.revoked_ms or (old.budget is null) <> (new.budget is null))
    execute function tell_key_change();
