-- Batches: several jobs asked for at once, made all or none.
create table batch (
    id uuid primary key,
    account uuid not null references account,
    price bigint not null check (price > 0),
    created_ms bigint not null
);
create index batch_by_account on batch (account, id desc);
create table batch_job (
    batch uuid not null references batch,
    generation uuid not null unique references generation,
    primary key (batch, generation)
);

do $$ begin
    if to_regrole('tintype_tenant') is not null then
        grant select, insert, update, delete on batch, batch_job to tintype_tenant;
        alter table batch enable row level security;
        create policy tenant on batch using (tenant_sees(account));
        alter table batch_job enable row level security;
        create policy tenant on batch_job using (exists (select 1 from batch b where b.id = batch));
    end if;
end $$;
