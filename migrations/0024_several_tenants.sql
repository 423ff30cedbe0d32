-- A person's own requests may see the rows of all their accounts: `app.account` lists them, with commas between. An id has 36
-- characters and no comma, so that one is in the list exactly when its text is in the list's text.
create or replace function tenant_sees(account uuid) returns boolean language sql stable as $$
    select current_setting('app.account', true) = '*' or strpos(current_setting('app.account', true), account::text) > 0
$$;
