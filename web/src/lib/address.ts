// Changes of the address that stay on the page.

const CHANGED = "tintype:address";

/** Calls back when the path may have changed. */
export function subscribeToAddress(listener: () => void): () => void {
  window.addEventListener("popstate", listener);
  window.addEventListener(CHANGED, listener);
  return () => {
    window.removeEventListener("popstate", listener);
    window.removeEventListener(CHANGED, listener);
  };
}

/** Another path for the same page: nothing is asked of the server. */
export function replacePath(path: string): void {
  window.history.replaceState(window.history.state, "", path);
  window.dispatchEvent(new Event(CHANGED));
}
