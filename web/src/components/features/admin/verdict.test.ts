// Verdicts in words, as they come over the wire.
import { expect, test } from "vitest";

import { enDesk } from "@/lib/i18n/en-desk";
import { format } from "@/lib/i18n/format";
import type { Key } from "@/lib/i18n";

import { verdictWords } from "./verdict";

const t = (key: Key, values?: Record<string, string | number>) => format(enDesk[key as keyof typeof enDesk], values);

test("each verdict is a sentence with its figures", () => {
  const said = (verdict: { kind: string; [fact: string]: unknown }) => verdictWords(verdict, t);
  expect(said({ kind: "waitingForQuota", used: 2, limit: 3 })).toBe("Its queue runs 2 of the 3 jobs it may");
  expect(said({ kind: "heldByQuota", queue: "free", what: "gpus" })).toBe("The queue free has what it may");
  expect(said({ kind: "behindInQueue", ahead: 1 })).toBe("1 job of its queue goes first");
  expect(said({ kind: "running", attempt: 2, worker: "gpu-7" })).toBe("Runs on gpu-7, attempt 2");
  expect(said({ kind: "noMatchingWorker", pool: null })).toBe("No worker is in the pool it asks for");
  expect(said({ kind: "budgetUsedUp", pool: "burst", window: "day" })).toContain("burst");
  expect(said({ kind: "unknownModel", model: "a/b", failsAt: 5 })).toContain("a/b");
});

test("a verdict of a later server is not lost", () => {
  expect(verdictWords({ kind: "waitingForLicence", seats: 3 }, t)).toBe("waitingForLicence");
});
