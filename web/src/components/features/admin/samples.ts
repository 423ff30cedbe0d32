// What a page that looks at the cluster has seen of it, newest last: for charts of the last minutes, which nobody else keeps.
import type { Cluster } from "@/lib/api/admin";

export interface Sample {
  atMs: number;
  waiting: number;
  running: number;
  /** Percent, over the GPUs that say it; null where none does. */
  busy: number | null;
}

/** How far back is kept. */
const KEPT_MS = 5 * 60_000;
/** After a longer gap it begins anew: a line over it would say what nobody saw. */
const GAP_MS = 15_000;

export function sampleOf({ queues, workers, atMs }: Cluster): Sample {
  const told = workers.flatMap(({ gpus }) => gpus.flatMap(({ utilisationPercent }) => utilisationPercent ?? []));
  return {
    atMs,
    waiting: queues.reduce((sum, { waiting }) => sum + waiting, 0),
    running: queues.reduce((sum, { running }) => sum + running, 0),
    busy: told.length > 0 ? told.reduce((sum, percent) => sum + percent, 0) / told.length : null,
  };
}

/** The samples with one more. */
export function added(samples: readonly Sample[], sample: Sample): Sample[] {
  const last = samples.at(-1);
  if (!last || sample.atMs - last.atMs > GAP_MS) return [sample];
  if (sample.atMs <= last.atMs) return [...samples];
  return [...samples.filter(({ atMs }) => sample.atMs - atMs <= KEPT_MS), sample];
}
