-- Collections their owners show to whoever has the link: pictures alone, by keys that say nothing of their jobs.
create table shared_collection (
    token uuid primary key default gen_random_uuid(),
    collection uuid not null unique references collection on delete cascade
);

-- What a picture is called there. As old as its place in the collection, not the link: a page that is open goes on.
alter table collection_image add column shown uuid not null default gen_random_uuid();
create unique index collection_image_by_shown on collection_image (collection, shown);

do $$ begin
    -- As visible as the collection; see migration 18.
    if to_regrole('tintype_tenant') is not null then
        alter table shared_collection enable row level security;
        create policy tenant on shared_collection
            using (exists (select 1 from collection c where c.id = shared_collection.collection));
    end if;
end $$;

-- What a picture's shape is called: the nearest of the ratios people speak of. Between two of them lies their geometric mean.
create function image_ratio(width integer, height integer) returns text language sql immutable parallel safe as $$
    select case
        when width::float8 / height < 0.49099 then '9:21'
        when width::float8 / height < 0.61237 then '9:16'
        when width::float8 / height < 0.70711 then '2:3'
        when width::float8 / height < 0.86603 then '3:4'
        when width::float8 / height < 1.15470 then '1:1'
        when width::float8 / height < 1.41421 then '4:3'
        when width::float8 / height < 1.63299 then '3:2'
        when width::float8 / height < 2.03670 then '16:9'
        else '21:9'
    end
$$;

-- Found by shape and by seed among however many.
create index image_by_ratio on image (account, image_ratio(width, height), id desc) where deleting_ms is null;
create index image_by_seed on image (account, seed, id desc) where deleting_ms is null;
