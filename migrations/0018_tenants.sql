-- The second net under the first, which is that every query names its account: what requests of a tenant do runs as a role
-- that sees no rows but theirs. Whose they are is said by the setting `app.account`: an account, or `*` for what is nobody's
-- request. Where nothing is said, nothing is seen. Who owns the tables, and runs what works for all accounts, is not bound.
do $$ begin
    create role tintype_tenant nologin;
exception
    when duplicate_object or unique_violation then null;
    -- Without the right to make roles there is no second net; the program says so when it starts.
    when insufficient_privilege then raise notice 'row-level security is off: this role may not make roles';
end $$;

create function tenant_sees(account uuid) returns boolean language sql stable as $$
    select current_setting('app.account', true) in ('*', account::text)
$$;

do $$
declare
    name text;
begin
    if to_regrole('tintype_tenant') is null then
        return;
    end if;
    -- Whoever is bound by rights must be allowed to become the role; a superuser is.
    if not (select rolsuper from pg_roles where rolname = current_user) then
        execute format('grant tintype_tenant to %I', current_user);
    end if;
    grant usage on schema public to tintype_tenant;
    grant select, insert, update, delete on all tables in schema public to tintype_tenant;
    alter default privileges in schema public grant select, insert, update, delete on tables to tintype_tenant;
    foreach name in array array['api_key', 'asset', 'billing', 'collection', 'generation', 'hold', 'idempotency', 'image',
        'ledger_account', 'ledger_entry', 'ledger_txn', 'lot', 'payment', 'prediction', 'promo_redemption', 'promo_try',
        'subscription', 'top_up_rule', 'webhook_delivery', 'webhook_endpoint', 'webhook_secret']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('create policy tenant on %I using (tenant_sees(account))', name);
    end loop;
    -- What belongs to something of an account: as visible as that.
    alter table collection_image enable row level security;
    create policy tenant on collection_image using (exists (select 1 from collection c where c.id = collection));
    alter table generation_asset enable row level security;
    create policy tenant on generation_asset using (exists (select 1 from generation g where g.id = generation));
    alter table refund enable row level security;
    create policy tenant on refund using (exists (select 1 from payment p where p.id = payment));
end $$;
