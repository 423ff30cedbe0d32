-- Webhooks out. An endpoint is where an account wants to hear what happens to its jobs; a delivery is one thing told to one
-- endpoint, with how the telling went. Deliveries are written with what they tell of, in the same transaction, and carried
-- out by the lane `webhooks`.
create table webhook_endpoint (
    id uuid primary key,
    account uuid not null references account,
    url text not null check (char_length(url) between 1 and 2000),
    description text not null default '' check (char_length(description) <= 200),
    -- What it wants to hear; empty: everything.
    events text[] not null default '{}',
    -- What deliveries are signed with. It has to be known to sign, so it is kept as it is.
    secret bytea not null check (octet_length(secret) between 24 and 64),
    -- The secret before it, which signs too until this moment.
    old_secret bytea,
    old_secret_until_ms bigint,
    created_ms bigint not null,
    -- When it was switched off, by its owner or for failing too long.
    disabled_ms bigint,
    disabled_reason text,
    -- Failures since the last success, and until when it is left in peace.
    failures integer not null default 0,
    paused_until_ms bigint not null default 0
);
create index webhook_endpoint_by_account on webhook_endpoint (account, id);

-- What an account's webhooks of single requests (Replicate's dialect) are signed with.
create table webhook_secret (
    account uuid primary key references account,
    secret bytea not null check (octet_length(secret) between 24 and 64)
);

-- What Replicate's dialect knows of a job beside the job. Written before the job is made, so that nothing is missed;
-- one whose job was refused is swept.
create table prediction (
    generation uuid primary key,
    account uuid not null references account,
    input jsonb not null,
    -- Where this one request wants to be told, and of what.
    webhook text check (char_length(webhook) between 1 and 2000),
    events text[] not null default '{}',
    created_ms bigint not null
);

create table webhook_delivery (
    id uuid primary key,
    account uuid not null references account,
    -- Null: to the prediction's own webhook.
    endpoint uuid references webhook_endpoint on delete cascade,
    -- Null: a test.
    generation uuid references generation,
    event text not null,
    state text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed')),
    attempts integer not null default 0,
    -- The last answer's status, or why there was none, and how long it took.
    status integer,
    error text,
    took_ms bigint,
    tried_ms bigint,
    created_ms bigint not null
);
create unique index webhook_delivery_once on webhook_delivery (endpoint, generation, event) where generation is not null;
create index webhook_delivery_by_endpoint on webhook_delivery (endpoint, created_ms desc, id desc);
create index webhook_delivery_by_age on webhook_delivery (created_ms);

create function tell_webhooks() returns trigger language plpgsql as $$
declare
    happened text := case when new.settled_ms is null then 'job.started'
        when new.state = 'Complete' then 'job.completed' else 'job.failed' end;
    at_ms bigint := coalesce(new.settled_ms, new.started_ms, new.created_ms);
begin
    with told as (
        insert into webhook_delivery (id, account, endpoint, generation, event, created_ms)
        select gen_random_uuid(), new.account, e.id, new.id, happened, at_ms from webhook_endpoint e
            where e.account = new.account and e.disabled_ms is null and (e.events = '{}' or happened = any(e.events))
        union all
        select gen_random_uuid(), new.account, null, new.id, happened, at_ms from prediction p
            where p.generation = new.id and p.webhook is not null and happened = any(p.events)
        on conflict do nothing
        returning id)
    insert into errand (id, lane, key, payload, due_ms, created_ms)
    select gen_random_uuid(), 'webhooks', id::text, jsonb_build_object('delivery', id), at_ms, at_ms from told
    on conflict do nothing;
    return null;
end $$;
-- Told when the first attempt begins, and when the money is settled: whoever hears that a job has ended sees what it cost.
create trigger generation_webhooks_told after update of state, settled_ms on generation for each row
    when ((new.settled_ms is not null and old.settled_ms is null)
        or (old.attempt = 0 and new.attempt > 0 and new.finished_ms is null))
    execute function tell_webhooks();
