// Why a job waits, as its owner reads it.
import { expect, test } from "vitest";

import type { JobOutlook } from "@/lib/api/schema.gen";
import { en } from "@/lib/i18n/en";
import { format } from "@/lib/i18n/format";
import type { Translate } from "@/lib/i18n";

import { waitWords } from "./wait";

const t: Translate = (key, values) => format((en as Record<string, string>)[key] ?? key, values, "en");
const told = (reason: JobOutlook["reason"], vramBytes?: number): string =>
  waitWords({ job: "j", nowMs: 0, reason, ...(vramBytes && { vramBytes }) }, t, "en");

test("the reason comes with its figures", () => {
  expect(told({ kind: "waitingForWorker" }, 12 * (1 << 30))).toBe("waiting for a GPU with 12 GB free");
  expect(told({ kind: "waitingForWorker" }, 1_000)).toBe("waiting for a free GPU");
  expect(told({ kind: "behindInQueue", ahead: 1 })).toBe("1 of your jobs goes first");
  expect(told({ kind: "behindInQueue", ahead: 3 })).toBe("3 of your jobs go first");
  expect(told({ kind: "waitingForQuota", used: 2, limit: 2 })).toBe("2 of your 2 jobs at a time are running");
  expect(told({ kind: "noWorkerForModel", model: "sdxl" })).toBe("no GPU here can load sdxl");
  expect(told({ kind: "budgetUsedUp" })).toContain("no more may be bought");
  expect(told({ kind: "somethingNew" })).toBe("waiting for a free GPU");
});
