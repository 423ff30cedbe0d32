-- Who signs in. An account owns jobs, pictures and credits; a person is somebody at a keyboard, with an account of their
-- own. Keys act for accounts, sessions for persons.
create table person (
    id uuid primary key,
    account uuid not null unique references account,
    -- As it was typed, for mail; and folded, for finding it again.
    email text not null check (char_length(email) between 3 and 254),
    email_folded text not null unique check (char_length(email_folded) between 3 and 254),
    email_verified_ms bigint,
    -- A PHC string, `$argon2id$...`; null: this person signs in some other way.
    password text check (password is null or password like '$argon2id$%'),
    -- May do what the administrator's token may.
    admin boolean not null default false,
    suspended_ms bigint,
    created_ms bigint not null check (created_ms >= 0)
);

-- A browser that is signed in. It holds 256 random bits; what is kept here is their SHA-256.
create table session (
    id uuid primary key,
    person uuid not null references person on delete cascade,
    token_sha256 bytea not null unique check (octet_length(token_sha256) = 32),
    created_ms bigint not null check (created_ms >= 0),
    -- When it was last used, to the minute; it ends some time after that, and at `expires_ms` however much it is used.
    seen_ms bigint not null,
    expires_ms bigint not null,
    user_agent text not null check (char_length(user_agent) <= 200),
    address text not null check (char_length(address) <= 64)
);
create index session_by_person on session (person, seen_ms desc);
create index session_by_expiry on session (expires_ms);
