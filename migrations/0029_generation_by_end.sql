-- When jobs ended, over all accounts: for an administrator's look at the last hours and days.
create index generation_by_end on generation (finished_ms) where finished_ms is not null;
