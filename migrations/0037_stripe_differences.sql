-- Money of which Stripe's books and ours say different things, by Stripe's intent. A difference stays until both say the same.
create table stripe_difference (
    intent text primary key check (char_length(intent) between 1 and 255),
    -- What was charged and not given back, in the currency's smallest unit; 0 where there is no such charge.
    stripe_minor bigint not null,
    ours_minor bigint not null,
    since_ms bigint not null
);
