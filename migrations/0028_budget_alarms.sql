-- When somebody wants a letter about their credits: so many spent in a month, or few left. One letter a crossing.
create table budget_alarm (
    account uuid primary key references account,
    -- Milli-credits spent in a month of the calendar (UTC).
    spent bigint check (spent > 0),
    -- Milli-credits that are left, those set aside for jobs included: so that a job that is cancelled crosses nothing.
    below bigint check (below > 0),
    -- The month that was told of, by its first moment.
    told_month_ms bigint,
    told_below boolean not null default false,
    -- What the book had as spent when the month was last added up, and what came out. No month has more than this and what was
    -- spent since, so most passes add nothing up.
    counted bigint not null default 0,
    counted_month bigint not null default 0,
    changed_ms bigint not null,
    constraint budget_alarm_says_when check (spent is not null or below is not null)
);

do $$ begin
    -- See migration 18.
    if to_regrole('tintype_tenant') is not null then
        alter table budget_alarm enable row level security;
        create policy tenant on budget_alarm using (tenant_sees(account));
    end if;
end $$;
