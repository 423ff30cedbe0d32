-- By when a job should be done, what becomes of it when it cannot be, and when it was promised to end.
alter table generation
    add column deadline_ms bigint,
    add column when_late text not null default 'Run',
    add column promised_ms bigint;
-- Of new rows alone: there is nothing in the old ones to look at.
alter table generation add constraint generation_when_late_is_known check (when_late in ('Run', 'Refuse')) not valid;
create trigger generation_deadline_stays before update of deadline_ms, when_late on generation
    for each row execute function refuse_removal();
