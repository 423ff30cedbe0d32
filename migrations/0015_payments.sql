-- Money that comes and goes through Stripe. What was heard is kept apart from what follows from it: events are stored as
-- they came, then applied one at a time, in any order and any number of times.
create table payment (
    -- Ours; of a subscription's month it follows from subscription and month, so a month is paid once.
    id uuid primary key,
    account uuid not null references account,
    kind text not null check (kind in ('pack', 'month', 'top_up')),
    offer text not null,
    -- The price book it was offered in: what was offered is what is given.
    price_version integer not null,
    credits bigint not null check (credits > 0),
    amount_minor bigint not null check (amount_minor >= 0),
    currency text not null check (currency ~ '^[a-z]{3}$'),
    expires_ms bigint,
    paid boolean not null default false,
    failed boolean not null default false,
    session text unique,
    invoice text unique,
    intent text unique,
    granted boolean not null default false,
    taken bigint not null default 0 check (taken between 0 and credits),
    created_ms bigint not null,
    -- A top-up is asked for until Stripe has answered.
    asked_ms bigint,
    attempts integer not null default 0,
    next_ms bigint,
    constraint payment_gives_what_is_paid check (paid or not granted),
    constraint payment_takes_what_was_given check (granted or taken = 0)
);
create index payment_by_account on payment (account, created_ms desc);
-- One top-up of an account at a time, however many notice that credits run low.
create unique index payment_open_top_up on payment (account) where kind = 'top_up' and not paid and not failed;
create index payment_to_ask on payment (next_ms) where kind = 'top_up' and asked_ms is null and not failed;
create trigger payment_no_delete before delete on payment for each row execute function refuse_change();

-- The money behind it, by Stripe's intent. May be heard of before the payment is.
create table charge (
    intent text primary key check (char_length(intent) between 1 and 255),
    amount_minor bigint not null default 0,
    refunded_minor bigint not null default 0 check (refunded_minor between 0 and amount_minor),
    dispute text not null default 'none' check (dispute in ('none', 'open', 'won', 'lost', 'forgiven')),
    invoice text
);
create index charge_invoice on charge (invoice);

-- Events as they came. The primary key makes one of many.
create table stripe_event (
    id text primary key check (char_length(id) between 1 and 255),
    type text not null,
    payload jsonb not null,
    created_s bigint not null,
    received_ms bigint not null,
    state text not null default 'received' check (state in ('received', 'applied', 'ignored', 'dead')),
    attempts integer not null default 0,
    next_ms bigint not null,
    error text,
    -- Whether reconciliation found it at Stripe and not here.
    missed boolean not null default false
);
create index stripe_event_waiting on stripe_event (next_ms) where state = 'received';
create index stripe_event_by_age on stripe_event (received_ms);

-- Who an account is at Stripe.
create table billing (
    account uuid primary key references account,
    customer text not null unique,
    -- What it pays with when nobody is there.
    method text
);

create table subscription (
    id text primary key,
    account uuid not null references account,
    offer text not null,
    status text not null,
    ends boolean not null,
    as_of_s bigint not null
);
create index subscription_by_account on subscription (account);

-- Money to be given back: asked for until Stripe has answered. Credits go back when Stripe says that it is done.
create table refund (
    id uuid primary key,
    payment uuid not null references payment,
    amount_minor bigint not null check (amount_minor > 0),
    state text not null default 'asked' check (state in ('asked', 'done', 'refused')),
    stripe_id text unique,
    message text,
    attempts integer not null default 0,
    next_ms bigint not null,
    created_ms bigint not null
);
create unique index refund_open on refund (payment) where state = 'asked';
create index refund_to_ask on refund (next_ms) where state = 'asked';

create table top_up_rule (
    account uuid primary key references account,
    offer text not null,
    below bigint not null check (below > 0),
    -- No more than so many in a month: a rule must not empty a bank account.
    monthly_max integer not null check (monthly_max between 1 and 100),
    -- Why it is off: the last payment was not taken.
    paused text,
    changed_ms bigint not null
);

-- Codes are kept as SHA-256, as keys are.
create table promo_code (
    code_sha256 bytea primary key check (octet_length(code_sha256) = 32),
    id uuid not null unique,
    credits bigint not null check (credits > 0),
    lot_days integer check (lot_days > 0),
    uses_max integer not null check (uses_max > 0),
    uses integer not null default 0 check (uses between 0 and uses_max),
    expires_ms bigint not null,
    created_ms bigint not null
);
create table promo_redemption (
    code uuid not null references promo_code (id),
    account uuid not null references account,
    at_ms bigint not null,
    primary key (code, account)
);
-- Wrong codes of the last hour, so that they cannot be guessed.
create table promo_try (
    account uuid not null references account,
    at_ms bigint not null
);
create index promo_try_by_account on promo_try (account, at_ms);

-- How far Stripe's books were read.
create table stripe_reconciled (
    one boolean primary key default true check (one),
    until_s bigint not null,
    at_ms bigint not null,
    drift_minor bigint not null
);
