// The time, as often as what is said of it needs it: twice a minute for "5 minutes ago", every second for what is left.
"use client";

import { useSyncExternalStore } from "react";

/** A clock that goes while somebody looks at it; 0 on the server. */
function clock(everyMs: number): () => number {
  let now = 0;
  const listeners = new Set<() => void>();
  let timer: ReturnType<typeof setInterval> | undefined;
  const subscribe = (listener: () => void) => {
    listeners.add(listener);
    timer ??= setInterval(() => {
      now = Date.now();
      listeners.forEach((tell) => tell());
    }, everyMs);
    return () => {
      listeners.delete(listener);
      if (listeners.size > 0) return;
      clearInterval(timer);
      timer = undefined;
      now = 0;
    };
  };
  const seen = () => (now ||= Date.now());
  return () => useSyncExternalStore(subscribe, seen, () => 0);
}

export const useNow = clock(30_000);
export const useSecond = clock(1_000);
