// What the charts of the last minutes are drawn from.
import { expect, test } from "vitest";

import type { Cluster } from "@/lib/api/admin";

import { added, type Sample, sampleOf } from "./samples";

const gpu = (utilisationPercent?: number) => ({ utilisationPercent });
const cluster = (...gpus: ReturnType<typeof gpu>[]) =>
  ({
    queues: [
      { waiting: 3, running: 1 },
      { waiting: 4, running: 0 },
    ],
    workers: [{ gpus: gpus.slice(0, 1) }, { gpus: gpus.slice(1) }],
    atMs: 7,
  }) as unknown as Cluster;

test("jobs are counted over all queues, and GPUs over those that say how busy they are", () => {
  expect(sampleOf(cluster(gpu(80), gpu(), gpu(0)))).toEqual({ atMs: 7, waiting: 7, running: 1, busy: 40 });
  expect(sampleOf(cluster(gpu(), gpu())).busy).toBe(null);
});

test("five minutes are kept, nothing is told twice, and nothing is drawn over a gap", () => {
  const at = (seconds: number): Sample => ({ atMs: 1_000 * seconds, waiting: 0, running: 0, busy: null });
  let kept: Sample[] = [];
  for (let second = 0; second <= 400; second += 2) kept = added(kept, at(second));
  expect([kept[0]?.atMs, kept.at(-1)?.atMs, kept.length]).toEqual([100_000, 400_000, 151]);
  expect(added(kept, at(400))).toEqual(kept);
  expect(added(kept, at(420))).toEqual([at(420)]);
});
