// PostHog, by the two calls of its HTTP API that are needed (https://posthog.com/docs/api/capture, .../api/flags). Its own library
// would bring far more than is told here; this way all that leaves the browser is in this file.
import type { PosthogView } from "@/lib/api/schema.gen";
import { useFlags } from "@/lib/telemetry/flags";

/** What is told, and all that is told: never a prompt, an address of a page or of a person. */
export interface Told {
  image_generated: { model: string; prompt_length: number; credits_spent: number; images: number };
}

/** Longest a call may take; none of them is waited for. */
const PATIENCE_MS = 10_000;

const call = (url: string, body: unknown): Promise<Response> =>
  fetch(url, {
    method: "POST",
    // Nobody's cookies, and no word of the page.
    credentials: "omit",
    referrerPolicy: "no-referrer",
    // It may be the last thing a page does.
    keepalive: true,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });

/** Tells of something. What does not arrive is lost: it is never worth trying again. */
export async function tell<Name extends keyof Told>(
  { key, url }: PosthogView,
  visitor: string,
  event: Name,
  properties: Told[Name],
): Promise<void> {
  const body = {
    api_key: key,
    event,
    distinct_id: visitor,
    // No profile of a person is made of it.
    properties: { ...properties, $process_person_profile: false, $geoip_disable: true },
    timestamp: new Date().toISOString(),
  };
  await call(`${url}/i/v0/e/`, body).catch(() => undefined);
}

/** Asks which features are on for this browser. */
export async function askFlags({ key, url }: PosthogView, visitor: string): Promise<void> {
  try {
    const answer = await call(`${url}/flags?v=2`, { api_key: key, distinct_id: visitor, geoip_disable: true });
    const { flags } = (await answer.json()) as { flags?: Record<string, { enabled: boolean; variant?: string }> };
    const on = Object.entries(flags ?? {}).filter(([, { enabled }]) => enabled);
    useFlags.setState({ flags: Object.fromEntries(on.map(([name, { variant }]) => [name, variant ?? true])) });
  } catch {
    // All stay off.
  }
}
