-- Programs keep API keys in memory. Whoever revokes one, by whatever way, tells them all: the payload is the key's id.
create function tell_key_change() returns trigger language plpgsql as $$
begin
    perform pg_notify('tintype_keys', new.id);
    return null;
end $$;
create trigger api_key_change_told after update of revoked_ms on api_key
    for each row when (old.revoked_ms is distinct from new.revoked_ms) execute function tell_key_change();
