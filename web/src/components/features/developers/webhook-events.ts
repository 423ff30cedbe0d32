// What a webhook can be told of.
import type { WebhookEvent } from "@/lib/api/webhooks";
import type { Key } from "@/lib/i18n";

/** What can be chosen; a try is heard by every endpoint. */
export const EVENTS = [
  ["job.started", "hooks.event.started"],
  ["job.completed", "hooks.event.completed"],
  ["job.failed", "hooks.event.failed"],
] as const satisfies readonly (readonly [WebhookEvent, Key])[];
