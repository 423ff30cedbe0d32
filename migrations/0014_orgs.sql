-- Organisations: accounts with members. A person's own account has one member, and needs no row for that.
create table membership (
    account uuid not null references account on delete cascade,
    person uuid not null references person on delete cascade,
    role text not null check (role in ('owner', 'admin', 'billing', 'member', 'viewer')),
    created_ms bigint not null,
    primary key (account, person)
);
create index membership_by_person on membership (person);

-- Who is asked to become a member. The token is known by its hash alone.
create table invitation (
    id uuid primary key,
    account uuid not null references account on delete cascade,
    email text not null check (char_length(email) between 3 and 254),
    role text not null check (role in ('admin', 'billing', 'member', 'viewer')),
    -- Null: the letter with it has not gone out yet.
    token_sha256 bytea unique check (octet_length(token_sha256) = 32),
    inviter uuid not null references person on delete cascade,
    created_ms bigint not null,
    expires_ms bigint not null,
    accepted_ms bigint
);
create index invitation_by_account on invitation (account, id desc) where accepted_ms is null;

-- The account a browser acts for, if that is not the person's own. It counts while there is a membership.
alter table session add column account uuid references account on delete set null;

-- Nothing of a suspended account opens anything.
alter table account add column suspended_ms bigint;

-- Who did what to what. Ids and words of ours alone: no address, no secret, no prompt.
create table audit_event (
    id uuid primary key,
    at_ms bigint not null,
    -- The account it happened in; null: it concerns this server.
    account uuid,
    actor_kind text not null check (actor_kind in ('person', 'key', 'admin', 'provider')),
    -- A person's id, a key's id, a provider's name; null for whoever holds the administrator's token.
    actor text check (char_length(actor) between 1 and 255),
    action text not null check (action ~ '^[a-z_]+\.[a-z_]+$'),
    -- What it was done to.
    target text check (char_length(target) between 1 and 255),
    request uuid not null
);
create index audit_event_by_account on audit_event (account, id desc);
create trigger audit_event_append_only before update or delete on audit_event for each row execute function refuse_change();
create trigger audit_event_no_truncate before truncate on audit_event for each statement execute function refuse_change();
