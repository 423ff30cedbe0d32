-- Errands: what is to be done once a transaction has committed (a mail, the delivery of a webhook), tried again until it
-- succeeds or too often. One row each, written in the transaction it follows from and deleted when it is done.
create table errand (
    id uuid primary key,
    lane text not null check (char_length(lane) between 1 and 50),
    -- At most one living errand of a lane has a key; null for those that are all different.
    key text check (char_length(key) between 1 and 200),
    -- What the lane needs. May hold addresses: never logged, never shown.
    payload jsonb not null,
    -- How often it was tried; who has it writes with the number he was given, so that one who was too slow changes nothing.
    attempt integer not null default 0 check (attempt >= 0),
    -- Not to be tried before this; while somebody has it, the moment it counts as dropped.
    due_ms bigint not null,
    claimed_ms bigint,
    -- Tried too often, or refused for good.
    dead_ms bigint,
    error text,
    created_ms bigint not null
) with (fillfactor = 70);
create index errand_due on errand (lane, due_ms, id) where dead_ms is null;
create unique index errand_key on errand (lane, key) where dead_ms is null and key is not null;
create index errand_dead on errand (lane, id desc) where dead_ms is not null;
