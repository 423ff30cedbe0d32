-- Pictures their owners show to whoever has the link. Its token is random: the id of a picture follows from its job, so that of
-- one picture tells those of its siblings. With `settings` model, prompt and settings are shown too.
create table shared_image (
    token uuid primary key default gen_random_uuid(),
    image uuid not null unique references image on delete cascade,
    settings boolean not null
);

do $$ begin
    -- As visible as the picture; see migration 18.
    if to_regrole('tintype_tenant') is not null then
        alter table shared_image enable row level security;
        create policy tenant on shared_image using (exists (select 1 from image i where i.id = shared_image.image));
    end if;
end $$;
