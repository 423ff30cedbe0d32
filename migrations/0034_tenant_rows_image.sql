-- See migration 33.
do $$ begin
    if to_regrole('tintype_tenant') is not null then
        alter policy tenant on image using
            (account = any ((select tenant_accounts())::uuid[]) or (select tenant_is_anybody()));
    end if;
end $$;
