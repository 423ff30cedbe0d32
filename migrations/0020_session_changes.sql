-- Sessions may be kept for some seconds outside the database (api/src/services/shared.rs). Whatever changes whose they are or
-- what they may do is told to every replica, whoever changes it; that they were used is not.
create function tell_session_change() returns trigger language plpgsql as $$
begin
    perform pg_notify('tintype_sessions', old.person::text);
    return null;
end $$;

create function tell_person_change() returns trigger language plpgsql as $$
begin
    perform pg_notify('tintype_sessions', old.id::text);
    return null;
end $$;

create trigger session_change after delete or update of account on session
    for each row execute function tell_session_change();
create trigger membership_change after delete or update of role on membership
    for each row execute function tell_session_change();
create trigger person_change after delete or update of suspended_ms, account on person
    for each row execute function tell_person_change();
