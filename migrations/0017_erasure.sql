-- What people may take with them and have erased. The rows of money stay, and say of an erased account only that it was one;
-- what a job asked for may be blotted out once, after its money is settled.
alter table account add column erased_ms bigint;
alter table generation add column erased_ms bigint;
create index generation_to_erase on generation (account) where erased_ms is null;

create or replace function generation_only_goes_forward() returns trigger language plpgsql as $$
begin
    if new.attempt < old.attempt then
        raise exception 'attempt of job % cannot fall from % to %', old.id, old.attempt, new.attempt
            using errcode = 'restrict_violation';
    end if;
    if old.finished_ms is not null and
        (new.state, new.attempt, new.outputs, new.failure, new.finished_ms)
        is distinct from (old.state, old.attempt, old.outputs, old.failure, old.finished_ms) then
        raise exception 'job % has ended as % and cannot change', old.id, old.state using errcode = 'restrict_violation';
    end if;
    if (new.id, new.account, new.price) is distinct from (old.id, old.account, old.price)
        or (new.request is distinct from old.request
            and not (old.erased_ms is null and new.erased_ms is not null and old.settled_ms is not null)) then
        raise exception 'what job % asks for cannot change', old.id using errcode = 'restrict_violation';
    end if;
    if old.erased_ms is not null and new.erased_ms is distinct from old.erased_ms then
        raise exception 'job % is erased', old.id using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
