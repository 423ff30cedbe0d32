-- Pictures of jobs that ended before there was a row for each. On its own, so that the trigger is in place (no picture is
-- missed) and jobs are not locked while this reads them.
set local statement_timeout = '30min';
insert into image (id, account, generation, n, key, model, width, height, bytes, sha256, seed, created_ms)
select image_id(g.finished_ms, n::int - 1, g.id), g.account, g.id, n::int - 1, output->>'key', g.request->>'model',
    (output->>'width')::int, (output->>'height')::int, (output->>'bytes')::bigint, output->>'sha256',
    (output->>'seed')::bigint, g.finished_ms
from generation g, jsonb_array_elements(g.outputs) with ordinality as made(output, n)
where g.state = 'Complete'
on conflict do nothing;
