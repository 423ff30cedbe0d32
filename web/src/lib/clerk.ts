// Clerk, where the server names it. Its script comes from Clerk's own origin and is asked for by who chooses it, never before.
// It shows its window; who has signed in there gets a session of ours for it, like from any other provider.
import { api, unwrap } from "@/lib/api/client";
import type { ClerkWindow } from "@/lib/api/schema.gen";

/** Major version of Clerk's script: the one whose window, `mountSignIn` and `addListener` are used here. */
const SCRIPT = "/npm/@clerk/clerk-js@5/dist/clerk.browser.js";
/** Set where somebody came in through Clerk, so that signing out ends that session too. */
const CAME_IN = "tintype.clerk";

interface ClerkSession {
  getToken: () => Promise<string | null>;
}

/** What of Clerk's script is used. */
export interface Clerk {
  session?: ClerkSession | null;
  load: () => Promise<void>;
  mountSignIn: (node: HTMLElement, options: { routing: "hash" }) => void;
  unmountSignIn: (node: HTMLElement) => void;
  addListener: (listener: (now: { session?: ClerkSession | null }) => void) => () => void;
  signOut: () => Promise<void>;
}

let loading: Promise<Clerk> | null = null;

/** Fetches Clerk's script, once. */
export function loadClerk({ publishableKey, url }: ClerkWindow): Promise<Clerk> {
  loading ??= new Promise<Clerk>((ready, failed) => {
    const script = Object.assign(document.createElement("script"), {
      src: `${url}${SCRIPT}`,
      crossOrigin: "anonymous",
    });
    script.dataset.clerkPublishableKey = publishableKey;
    script.addEventListener("load", () => {
      const { Clerk: clerk } = window as unknown as { Clerk?: Clerk };
      if (clerk) clerk.load().then(() => ready(clerk), failed);
      else failed(new Error("Clerk's script brought no Clerk"));
    });
    script.addEventListener("error", () => failed(new Error("Clerk cannot be reached")));
    document.head.append(script);
  }).catch((error: unknown) => {
    // The next try asks anew.
    loading = null;
    throw error;
  });
  return loading;
}

/** A session of ours for Clerk's. */
export async function enterBy(session: ClerkSession): Promise<void> {
  const token = await session.getToken();
  if (!token) throw new Error("Clerk gave no token");
  await unwrap(api.POST("/api/v1/auth/clerk/sessions", { body: { token } }));
  localStorage.setItem(CAME_IN, "yes");
}

/** Ends Clerk's session too, for who came in through it. What Clerk says to it changes nothing here. */
export async function leaveClerk(): Promise<void> {
  if (localStorage.getItem(CAME_IN) === null) return;
  localStorage.removeItem(CAME_IN);
  const { clerk } = await unwrap(api.GET("/api/v1/studio"));
  if (clerk) await (await loadClerk(clerk)).signOut();
}
