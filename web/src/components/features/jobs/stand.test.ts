// What people are told of a job, from the list and from the stream.
import { expect, test } from "vitest";

import type { Job, JobEvent } from "@/lib/api/client";

import { isOpen, standOf } from "./stand";

const job = (part: Partial<Job>): Job =>
  ({ id: "j", state: "Queued", attempt: 0, step: 0, steps: 0, outputs: [], cancelled: false, ...part }) as Job;
const event = (part: Partial<JobEvent>): JobEvent => ({
  job: "j",
  state: "Running",
  attempt: 1,
  step: 3,
  steps: 20,
  ...part,
});

test("the stream is ahead of the list until the job has ended", () => {
  expect(standOf(job({}), event({}))).toEqual({ kind: "running", attempt: 1, step: 3, steps: 20 });
  expect(standOf(job({ state: "Complete" }), event({}))).toEqual({ kind: "complete" });
  expect(standOf(job({ state: "Running", attempt: 1, step: 2, steps: 9 }), undefined).kind).toBe("running");
});

test("an end says what happened, and nothing more can", () => {
  const failed = standOf(job({ state: "Failed", failure: "OutOfMemory", message: "the GPU is full" }), undefined);
  expect(failed).toEqual({ kind: "failed", message: "the GPU is full" });
  expect(isOpen(failed)).toBe(false);
  expect(standOf(job({ state: "Failed", failure: "Cancelled" }), undefined)).toEqual({ kind: "cancelled" });
});

test("a job its owner does not want any more is cancelling until it has ended", () => {
  expect(standOf(job({ cancelled: true }), event({})).kind).toBe("cancelling");
  expect(standOf(job({ cancelled: true }), event({ state: "Complete" })).kind).toBe("complete");
});

test("a job whose worker has still to load its model is loading until the first step", () => {
  const outlook = {
    job: "j",
    reason: { kind: "running", attempt: 1 },
    times: { startsMs: 0, endsMs: 9, loadMs: 5, ahead: 0 },
    nowMs: 0,
  };
  expect(standOf(job({}), event({ state: "Assigned", step: 0 }), outlook).kind).toBe("loading");
  expect(standOf(job({}), event({ step: 1 }), outlook).kind).toBe("running");
  const warm = { ...outlook, times: { ...outlook.times, loadMs: 0 } };
  expect(standOf(job({}), event({ state: "Assigned", step: 0 }), warm).kind).toBe("assigned");
  expect(standOf(job({}), event({ state: "Queued", step: 0 }), outlook).kind).toBe("queued");
});

test("what the safety filter held back is no failure of ours", () => {
  const blocked = standOf(job({ state: "Failed", failure: "ContentRefused", message: "held back" }), undefined);
  expect(blocked).toEqual({ kind: "blocked", message: "held back" });
  expect(isOpen(blocked)).toBe(false);
});
