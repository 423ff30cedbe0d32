-- Every picture is a row of its own: what the gallery lists, stars, collects and deletes. The job's `outputs` stay what they
-- were. Rows are written by a trigger, so that a version of the API that does not know the table yet writes them too.
create table image (
    -- A UUID version 7 of the moment the job ended: ids sort by age, and the pictures of one job stay together.
    id uuid primary key,
    account uuid not null references account,
    generation uuid not null references generation,
    -- Which picture of the job.
    n integer not null check (n >= 0),
    -- Where the file lies in the store.
    key text not null,
    model text not null,
    width integer not null,
    height integer not null,
    bytes bigint not null,
    sha256 text not null,
    seed bigint not null,
    created_ms bigint not null,
    starred_ms bigint,
    -- When its owner deleted it: hidden at once, and taken from the store with its row a little later.
    deleting_ms bigint,
    unique (generation, n)
);
create index image_by_account on image (account, id desc) where deleting_ms is null;
create index image_by_model on image (account, model, id desc) where deleting_ms is null;
create index image_starred on image (account, id desc) where starred_ms is not null and deleting_ms is null;
create index image_deleting on image (deleting_ms) where deleting_ms is not null;

create table collection (
    id uuid primary key,
    account uuid not null references account,
    name text not null check (char_length(name) between 1 and 200),
    created_ms bigint not null
);
create index collection_by_account on collection (account, id);

create table collection_image (
    collection uuid not null references collection on delete cascade,
    image uuid not null references image on delete cascade,
    added_ms bigint not null,
    primary key (collection, image)
);
create index collection_image_by_image on collection_image (image);

-- The id of a picture follows from its job, so writing it twice is writing it once: the moment, the place among the job's
-- pictures (the first is the newest, so that a list of the newest shows them in their order), the job's own random bits.
create function image_id(at_ms bigint, n integer, job uuid) returns uuid language sql immutable as $$
    select (lpad(to_hex(at_ms), 12, '0') || '7' || lpad(to_hex(4095 - n % 4096), 3, '0')
        || right(replace(job::text, '-', ''), 16))::uuid
$$;

create function keep_images() returns trigger language plpgsql as $$
begin
    insert into image (id, account, generation, n, key, model, width, height, bytes, sha256, seed, created_ms)
    select image_id(new.finished_ms, n::int - 1, new.id), new.account, new.id, n::int - 1, output->>'key',
        new.request->>'model', (output->>'width')::int, (output->>'height')::int, (output->>'bytes')::bigint,
        output->>'sha256', (output->>'seed')::bigint, new.finished_ms
    from jsonb_array_elements(new.outputs) with ordinality as made(output, n)
    on conflict do nothing;
    return null;
end $$;
create trigger generation_images_kept after update of state on generation
    for each row when (new.state = 'Complete' and old.state <> 'Complete') execute function keep_images();
