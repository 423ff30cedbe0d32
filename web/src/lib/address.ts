// Changes of the address, whoever makes them.

/** Calls back when the path may have changed. */
export function subscribeToAddress(listener: () => void): () => void {
  window.addEventListener("popstate", listener);
  return () => window.removeEventListener("popstate", listener);
}
