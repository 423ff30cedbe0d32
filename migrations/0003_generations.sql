-- One job: one request, one price, one outcome. The id is a UUID version 7, so ids sort by age.
create table generation (
    id uuid primary key,
    account uuid not null references account,
    api_key text references api_key,
    -- The request with nothing left to choose (`ResolvedRequest`). Holds the prompt: never logged.
    request jsonb not null,
    body_sha256 bytea not null check (octet_length(body_sha256) = 32),
    price bigint not null check (price > 0),
    priority integer not null default 0,
    pool text,
    state text not null default 'Queued'
        check (state in ('Queued', 'Assigned', 'Running', 'Preempted', 'Complete', 'Failed')),
    attempt integer not null default 0 check (attempt >= 0),
    failed_attempts integer not null default 0 check (failed_attempts >= 0),
    worker text,
    not_before_ms bigint,
    step integer not null default 0,
    steps integer not null default 0,
    outputs jsonb not null default '[]',
    failure text,
    message text,
    gpu_ms bigint not null default 0,
    -- Name of the job in a cluster (the UID of its GenerationJob); null on one machine and before it is submitted.
    cluster_uid text unique,
    created_ms bigint not null,
    submitted_ms bigint,
    started_ms bigint,
    cancelled_ms bigint,
    finished_ms bigint,
    settled_ms bigint,
    -- When the cluster was told that the money is settled, so that it may let go of the job.
    released_ms bigint,
    -- When an answer to the request that made it was written; a declared retry joins a job whose answer was not.
    answered_ms bigint,
    constraint generation_failure_when_failed check ((state = 'Failed') = (failure is not null)),
    constraint generation_end_has_a_time check ((state in ('Complete', 'Failed')) = (finished_ms is not null)),
    constraint generation_settles_after_its_end check (settled_ms is null or finished_ms is not null)
);
create index generation_by_account on generation (account, id desc);
create index generation_open on generation (account) where finished_ms is null;
create index generation_unsubmitted on generation (id) where submitted_ms is null and finished_ms is null;
create index generation_unsettled on generation (id) where finished_ms is not null and settled_ms is null;
create index generation_unreleased on generation (id)
    where settled_ms is not null and released_ms is null and cluster_uid is not null;
create index generation_cancelling on generation (id) where cancelled_ms is not null and finished_ms is null;
create index generation_retry on generation (api_key, body_sha256, id desc) where answered_ms is null;

-- A terminal state never changes; the attempt, the fencing token, never falls.
create function generation_only_goes_forward() returns trigger language plpgsql as $$
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
    if (new.id, new.account, new.request, new.price) is distinct from (old.id, old.account, old.request, old.price) then
        raise exception 'what job % asks for cannot change', old.id using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger generation_only_goes_forward before update on generation
    for each row execute function generation_only_goes_forward();

-- One key, one effect. The answer is not copied here: it follows from the job.
create table idempotency (
    account uuid not null references account,
    route text not null,
    key text not null check (char_length(key) between 1 and 255),
    body_sha256 bytea not null check (octet_length(body_sha256) = 32),
    generation uuid not null references generation,
    created_ms bigint not null,
    primary key (account, route, key)
);
create index idempotency_by_age on idempotency (created_ms);
