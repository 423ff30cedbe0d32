// Where a job stands, as people are told: the list's word and the stream's, whichever is further.
import type { Job, JobEvent } from "@/lib/api/client";
import type { JobOutlook } from "@/lib/api/schema.gen";

export type Stand =
  | { kind: "queued" | "assigned" | "preempted"; attempt: number }
  | { kind: "loading"; attempt: number }
  | { kind: "running"; attempt: number; step: number; steps: number }
  | { kind: "complete" }
  | { kind: "failed"; message: string }
  | { kind: "blocked"; message: string }
  | { kind: "cancelled" }
  | { kind: "cancelling" };

const ended = (state: Job["state"]) => state === "Complete" || state === "Failed";

export function standOf(job: Job, event: JobEvent | undefined, outlook?: JobOutlook): Stand {
  // The list is read again after every end; until then the stream knows more.
  const now = event && !ended(job.state) ? event : job;
  const { state, attempt, step, steps } = now;
  if (state === "Failed") {
    if (now.failure === "Cancelled") return { kind: "cancelled" };
    return { kind: now.failure === "ContentRefused" ? "blocked" : "failed", message: now.message ?? "" };
  }
  if (state === "Complete") return { kind: "complete" };
  if (job.cancelled) return { kind: "cancelling" };
  // Its worker was given it without having its model, and has not said that it draws.
  const out = state === "Running" || state === "Assigned";
  if (out && step === 0 && outlook?.reason.kind === "running" && outlook.times?.loadMs)
    return { kind: "loading", attempt };
  if (state === "Running") return { kind: "running", attempt, step, steps };
  const kind = { Queued: "queued", Assigned: "assigned", Preempted: "preempted" } as const;
  return { kind: kind[state], attempt };
}

/** Whether anything may still happen. */
export const isOpen = (stand: Stand) => !["complete", "failed", "blocked", "cancelled"].includes(stand.kind);
