// The scheduler's verdict on a job, in words.
import type { VerdictView } from "@/lib/api/schema.gen";
import type { Key, Translate } from "@/lib/i18n";

const WORDS: Record<string, Key> = {
  running: "verdict.running",
  waitingForWorker: "verdict.waitingForWorker",
  noMatchingWorker: "verdict.noMatchingWorker",
  noWorkerForModel: "verdict.noWorkerForModel",
  unknownModel: "verdict.unknownModel",
  waitingForQuota: "verdict.waitingForQuota",
  heldByQuota: "verdict.heldByQuota",
  behindInQueue: "verdict.behindInQueue",
  budgetUsedUp: "verdict.budgetUsedUp",
  backingOff: "verdict.backingOff",
  settling: "verdict.settling",
  ended: "verdict.ended",
};

/** A verdict the server learned later is shown as it is named. */
export function verdictWords({ kind, ...facts }: VerdictView, t: Translate): string {
  const key = WORDS[kind];
  if (!key) return kind;
  const values = Object.entries(facts).filter(
    (entry): entry is [string, string | number] => typeof entry[1] === "string" || typeof entry[1] === "number",
  );
  return t(key, Object.fromEntries(values));
}
