-- Who wants a letter each week about what they made and spent, and when it was last looked at.
alter table person add column digest boolean not null default false, add column digest_ms bigint;
create index person_digest on person (digest_ms) where digest;
