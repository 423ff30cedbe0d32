-- Links sent by mail: signing in, showing that an address is one's own, a new password. Each works once and for a while.
create table link (
    -- That of the errand that sends it.
    id uuid primary key,
    purpose text not null check (purpose in ('sign_in', 'verify', 'reset')),
    email text not null check (char_length(email) between 3 and 254),
    -- Who had the address when it was sent; null: nobody yet.
    person uuid references person on delete cascade,
    token_sha256 bytea not null unique check (octet_length(token_sha256) = 32),
    created_ms bigint not null,
    expires_ms bigint not null,
    used_ms bigint
);
create index link_by_expiry on link (expires_ms);
create index link_by_person on link (person);

-- Who wants a letter when their pictures are ready.
alter table person add column notify_ready boolean not null default false;
