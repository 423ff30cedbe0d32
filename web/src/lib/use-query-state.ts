// The part of the address behind `?`, as state: what is looked at can be sent to somebody and gone back to.
"use client";

import { useCallback, useMemo, useSyncExternalStore } from "react";

const CHANGED = "tintype:query";

function subscribe(listener: () => void): () => void {
  window.addEventListener("popstate", listener);
  window.addEventListener(CHANGED, listener);
  return () => {
    window.removeEventListener("popstate", listener);
    window.removeEventListener(CHANGED, listener);
  };
}

export function useQueryState(): [URLSearchParams, (part: Record<string, string | null>) => void] {
  const search = useSyncExternalStore(
    subscribe,
    () => window.location.search,
    () => "",
  );
  const params = useMemo(() => new URLSearchParams(search), [search]);
  const change = useCallback((part: Record<string, string | null>) => {
    const next = new URLSearchParams(window.location.search);
    for (const [name, value] of Object.entries(part)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    const text = next.toString();
    window.history.replaceState(window.history.state, "", text ? `?${text}` : window.location.pathname);
    window.dispatchEvent(new Event(CHANGED));
  }, []);
  return [params, change];
}
