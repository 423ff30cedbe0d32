-- By whom else a person is known: a provider and its name for them, which never changes.
create table identity (
    provider text not null check (provider in ('google', 'github', 'clerk')),
    subject text not null check (char_length(subject) between 1 and 255),
    person uuid not null references person on delete cascade,
    created_ms bigint not null,
    -- How old the newest news of them is that was taken over: news come in any order.
    told_ms bigint not null default 0,
    -- When the provider said that they are gone. The row stays, so that older news do not bring them back.
    deleted_ms bigint,
    primary key (provider, subject)
);
create index identity_by_person on identity (person);

-- News that were taken over: each once.
create table clerk_event (
    id text primary key check (char_length(id) between 1 and 255),
    at_ms bigint not null
);
create index clerk_event_by_age on clerk_event (at_ms);

-- A provider may know somebody without an address, or before it has seen that the address is theirs.
alter table person alter column email drop not null, alter column email_folded drop not null;
alter table person add constraint person_email_is_folded check ((email is null) = (email_folded is null)) not valid;
alter table person validate constraint person_email_is_folded;
