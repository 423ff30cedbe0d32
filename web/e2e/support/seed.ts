// Rows put straight into the database of a stack: as many pictures as nobody has the patience to make.
import { join } from "node:path";

import pg from "pg";

import type { Stack } from "./stack";

/** Pictures a seeded job has; more than any real one, so that fewer jobs are needed. */
const PER_JOB = 100;
/** How far back the oldest goes. */
const YEARS_MS = 4 * 365 * 86_400_000;

/**
 * Copies the one picture an account has until it has `count` more, spread evenly over the last four years. Every copy is
 * the same file, so that each can be seen.
 */
export async function seedPictures(stack: Stack, email: string, count: number): Promise<void> {
  const client = new pg.Client({
    host: join(stack.folder, "postgres", "socket"),
    port: 5432,
    user: "tintype",
    database: "tintype",
  });
  await client.connect();
  try {
    const { rows } = await client.query<{ id: string }>(
      `select g.id from generation g join person p on p.account = g.account
       where p.email = $1 and g.state = 'Complete' order by g.id desc limit 1`,
      [email],
    );
    const from = rows[0]?.id;
    if (!from) throw new Error("the account has no picture to copy");
    const jobs = Math.ceil(count / PER_JOB);
    await client.query(
      `insert into generation (id, account, request, body_sha256, price, state, attempt, outputs, created_ms, submitted_ms,
                               started_ms, finished_ms, settled_ms, answered_ms)
       select image_id(at, 0, gen_random_uuid()), g.account,
              jsonb_set(g.request, '{prompt}', to_jsonb(format('a picture of the year %s, number %s', to_char(to_timestamp(at / 1000), 'YYYY'), n))),
              g.body_sha256, g.price, 'Complete', 1,
              (select jsonb_agg(one.made) from (select g.outputs->0 as made from generate_series(1, $2)) one), at, at, at, at, at, at
       from generation g, generate_series(1, $3) n, lateral (select g.created_ms - ($4::bigint / $3) * n as at) moment
       where g.id = $1`,
      [from, PER_JOB, jobs, YEARS_MS],
    );
    // Those of one job are minutes apart, so that months have their part of each.
    await client.query(
      `insert into image (id, account, generation, n, key, model, width, height, bytes, sha256, seed, created_ms)
       select image_id(at, i, g.id), g.account, g.id, i, made->>'key', g.request->>'model', (made->>'width')::int,
              (made->>'height')::int, (made->>'bytes')::bigint, made->>'sha256', (made->>'seed')::bigint, at
       from generation g join generation o on o.id = $1 and o.account = g.account and o.id <> g.id,
            lateral (select g.outputs->0 as made) first, generate_series(0, $2 - 1) i,
            lateral (select g.finished_ms - i * 60000::bigint as at) moment
       on conflict do nothing`,
      [from, PER_JOB],
    );
    await client.query("analyze image; analyze generation");
  } finally {
    await client.end();
  }
}
