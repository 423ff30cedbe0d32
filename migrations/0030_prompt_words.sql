-- Searching for words of prompts. A picture's words are marks of an account's words: eight bytes that no other account has, so
-- that the index finds one account's pictures without going over another's. They say nothing of the words, and name no account:
-- whose a picture is, is in `image`, which is under row-level security; conditions on arrays could not use an index under it.
create table image_words (
    image uuid primary key references image on delete cascade,
    -- Null until a reconciler has come to it.
    words bigint[]
);
create index image_words_waiting on image_words (image) where words is null;
create index image_words_words on image_words using gin (words) where words is not null;

-- Every word an account has used: what parts of words and misspelt ones are compared with.
create table prompt_word (
    account uuid not null references account,
    word text not null,
    primary key (account, word)
);
do $$ begin
    if to_regrole('tintype_tenant') is not null then
        alter table prompt_word enable row level security;
        create policy tenant on prompt_word using (tenant_sees(account));
    end if;
end $$;

create function await_words() returns trigger language plpgsql as $$
begin
    insert into image_words (image) values (new.id) on conflict do nothing;
    return null;
end $$;
create trigger image_words_awaited after insert on image for each row execute function await_words();
