-- Pictures of before there was an index of words wait for it too. On its own, so that the trigger is in place.
set local statement_timeout = '30min';
insert into image_words (image) select id from image on conflict do nothing;
