-- Who may ask for pictures. An account is a person or an organisation; keys act for an account.
create table account (
    id uuid primary key,
    kind text not null check (kind in ('user', 'org')),
    name text not null check (char_length(name) between 1 and 200),
    created_ms bigint not null check (created_ms >= 0)
);

-- Keys are shown once and kept as SHA-256: the secret has 190 random bits, so a slow hash would add nothing.
create table api_key (
    id text primary key check (id ~ '^[0-9A-Za-z]{8}$'),
    account uuid not null references account,
    name text not null check (char_length(name) between 1 and 200),
    secret_sha256 bytea not null check (octet_length(secret_sha256) = 32),
    created_ms bigint not null check (created_ms >= 0),
    last_used_ms bigint,
    revoked_ms bigint
);
create index api_key_account on api_key (account, created_ms);
