-- What jobs cost, and did: each tariff the server has priced by, so that whoever was quoted by one that was replaced a moment
-- ago is charged as quoted.
create table tariff (
    -- Made of all it says.
    name text primary key,
    body jsonb not null,
    since_ms bigint not null,
    -- When another took its place; null while it counts.
    until_ms bigint
);
