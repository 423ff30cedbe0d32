// One stream tells a page where all jobs stand and what credits are left. Every event is a whole snapshot, so that after a gap
// the stream and one look at the lists are the truth again.
"use client";

import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { create } from "zustand";

import type { JobEvent, Me } from "./client";
import { keys } from "./queries";
import type { JobOutlook, LiveEvent } from "./schema.gen";
import { readEvents } from "./sse";

/** Pause before the stream is opened again, and as much again by chance: inside the two seconds in which a page must be true
 * after the server's return. */
const REOPEN_MS = 500;
/** How long a lost stream is not worth a word. */
const GRACE_MS = 1_500;

/** What a job waits for, and when that was heard by the clock here. */
export type Outlook = JobOutlook & { heardMs: number };

interface Live {
  /** False once the stream has been gone for longer than a moment. */
  connected: boolean;
  jobs: Readonly<Record<string, JobEvent>>;
  /** Why jobs wait, and when they should end. */
  outlooks: Readonly<Record<string, Outlook>>;
  /** How the pictures of running jobs look: the newest preview of each, as a URL. */
  previews: Readonly<Record<string, readonly (string | undefined)[]>>;
}

const NOTHING: Live = { connected: true, jobs: {}, outlooks: {}, previews: {} };

export const useLive = create<Live>(() => NOTHING);

/** Keeps the page's stream open while somebody is signed in. */
export function useLiveStream(signedIn: boolean): void {
  const client = useQueryClient();
  useEffect(() => {
    if (!signedIn) return;
    const stop = new AbortController();
    void follow(client, stop.signal);
    return () => {
      stop.abort();
      useLive.setState(NOTHING);
    };
  }, [client, signedIn]);
}

async function follow(client: QueryClient, stop: AbortSignal): Promise<void> {
  let first = true;
  let lost: ReturnType<typeof setTimeout> | undefined;
  const opened = () => {
    clearTimeout(lost);
    lost = undefined;
    useLive.setState({ connected: true });
    // What happened in the gap is in the lists.
    if (!first) void client.invalidateQueries();
    first = false;
  };
  stop.addEventListener("abort", () => clearTimeout(lost), { once: true });
  while (!stop.aborted) {
    try {
      await readEvents("/api/v1/events", stop, opened, (data) => apply(client, JSON.parse(data) as LiveEvent));
    } catch {
      // Said by `connected`; tried again.
    }
    // Counted from the first failure: tries in between do not start it anew.
    lost ??= setTimeout(() => useLive.setState({ connected: stop.aborted }), GRACE_MS);
    await pause(REOPEN_MS + Math.random() * REOPEN_MS, stop);
  }
}

const same = (a: Me["credits"], b: Me["credits"]) =>
  a.availableMillis === b.availableMillis && a.heldMillis === b.heldMillis && a.spentMillis === b.spentMillis;

/** Takes one event into the page's state. */
export function apply(client: QueryClient, event: LiveEvent): void {
  if ("credits" in event) {
    const before = client.getQueryData<Me | null>(keys.me)?.credits;
    client.setQueryData<Me | null>(keys.me, (me) => me && { ...me, credits: event.credits });
    // What a page has just read is not read again.
    if (before && same(before, event.credits)) return;
    void client.invalidateQueries({ queryKey: ["wallet"] });
    // A price says whether it can be paid.
    void client.invalidateQueries({ queryKey: ["quote"] });
    return;
  }
  if ("outlook" in event) {
    const outlook = { ...event.outlook, heardMs: Date.now() };
    useLive.setState(({ outlooks }) => ({ outlooks: { ...outlooks, [outlook.job]: outlook } }));
    return;
  }
  const { job } = event;
  const known = useLive.getState().jobs[job.job];
  const ended = job.state === "Complete" || job.state === "Failed";
  useLive.setState(({ jobs, previews }) => ({
    jobs: { ...jobs, [job.job]: job },
    previews: ended || job.previews?.length ? { ...previews, [job.job]: seen(job, previews[job.job]) } : previews,
  }));
  if (!known || ended) void client.invalidateQueries({ queryKey: keys.jobs });
  if (ended) {
    void client.invalidateQueries({ queryKey: ["images"] });
    // The model is warm now.
    void client.invalidateQueries({ queryKey: keys.models });
  }
}

/** The newest preview of each picture; of a job that has ended, those it had: the picture takes their place when it is there. */
function seen(job: JobEvent, before: readonly (string | undefined)[] = []): readonly (string | undefined)[] {
  const now = [...before];
  for (const { image, format, data } of job.previews ?? []) now[image] = `data:image/${format};base64,${data}`;
  return now;
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    stop.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
