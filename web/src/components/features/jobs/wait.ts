// The one reason a job is not running, in words for its owner.
import type { JobOutlook } from "@/lib/api/schema.gen";
import { bytes } from "@/lib/format";
import type { Key, Translate } from "@/lib/i18n";

/** Verdicts there are words for, each under its own name. */
const TOLD =
  "noMatchingWorker noWorkerForModel unknownModel waitingForQuota heldByQuota behindInQueue budgetUsedUp backingOff settling".split(
    " ",
  );

/** From here on it is worth a word how much memory a GPU must have. */
const MUCH = 1 << 28;

/** A reason the server learned later is told as waiting: that much is true. */
export function waitWords(
  { reason: { kind, ...facts }, vramBytes }: JobOutlook,
  t: Translate,
  language: string,
): string {
  if (!TOLD.includes(kind)) {
    return vramBytes && vramBytes >= MUCH ? t("wait.freeVram", { vram: bytes(vramBytes, language) }) : t("wait.free");
  }
  const values = Object.entries(facts).filter(
    (entry): entry is [string, string | number] => typeof entry[1] === "string" || typeof entry[1] === "number",
  );
  return t(`wait.${kind}` as Key, Object.fromEntries(values));
}
