// Which jobs were made on this page, and the moment each is done: once, however many tabs look on.
import type { QueryClient } from "@tanstack/react-query";

import type { Job } from "@/lib/api/client";
import { useLive } from "@/lib/api/live";
import { MAKE_JOB } from "@/lib/api/queries";

/** Calls `done` for every job made here that ends with pictures; until what it answers is called. */
export function watchJobs(client: QueryClient, done: (job: Job) => void): () => void {
  const made = new Map<string, Job>();
  const look = () => {
    for (const job of made.values()) {
      const state = useLive.getState().jobs[job.id]?.state;
      if (state !== "Complete" && state !== "Failed") continue;
      made.delete(job.id);
      if (state === "Complete") done(job);
    }
  };
  const stops = [
    client.getMutationCache().subscribe(({ mutation }) => {
      if (mutation?.options.mutationKey?.[0] !== MAKE_JOB || mutation.state.status !== "success") return;
      const job = mutation.state.data as Job;
      if (made.has(job.id) || told.has(job.id)) return;
      made.set(job.id, job);
      told.add(job.id);
      look();
    }),
    useLive.subscribe(look),
  ];
  return () => stops.forEach((stop) => stop());
}

/** Mutations say more than once that they succeeded. */
const told = new Set<string>();
