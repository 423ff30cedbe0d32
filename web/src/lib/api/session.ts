// Coming in and going out. The session is a cookie no script can read.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { api, unwrap } from "./client";
import { useDraft } from "@/stores/draft";

import { keys } from "./queries";

export interface Credentials {
  email: string;
  password: string;
}

/** How one can sign in here. */
export const useProviders = () =>
  useQuery({
    queryKey: ["providers"],
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/auth/providers", { signal })),
    staleTime: Infinity,
  });

/** What pages must know of this server before anybody signs in. */
export const useStudioSettings = () =>
  useQuery({
    queryKey: ["studio"],
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/studio", { signal })),
    staleTime: Infinity,
  });

/** Where signing in with somebody else begins; it ends at `next`. */
export const oauthStart = (provider: string, next: string) =>
  `/api/v1/auth/oauth/${encodeURIComponent(provider)}/start?next=${encodeURIComponent(next)}`;

/** What came of it: one is in, or a link was sent that must be opened first. */
export type Entered = "in" | "sent";

export function useEnter(kind: "login" | "signup") {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (body: Credentials): Promise<Entered> => {
      if (kind === "login") {
        await unwrap(api.POST("/api/v1/auth/login", { body }));
        return "in";
      }
      const asking = api.POST("/api/v1/auth/signup", { body });
      await unwrap(asking);
      return (await asking).response.status === 202 ? "sent" : "in";
    },
    // Whatever was kept belonged to whoever was here before.
    onSuccess: async () => {
      client.removeQueries({ predicate: (query) => query.queryKey[0] !== keys.me[0] });
      await client.invalidateQueries({ queryKey: keys.me });
    },
  });
}

/** Has a link sent: one that signs in, or one to a new password. The answer is the same for every address. */
export const useSendLink = () =>
  useMutation({
    mutationFn: async ({ email, what }: { email: string; what: "sign-in" | "reset" }): Promise<void> => {
      const body = { email };
      if (what === "sign-in") await unwrap(api.POST("/api/v1/auth/magic-links", { body }));
      else await unwrap(api.POST("/api/v1/auth/password-resets", { body }));
    },
  });

export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => unwrap(api.POST("/api/v1/auth/logout")),
    // A whole new page: nothing of whoever was here stays in memory.
    onSettled: async () => {
      await import("@/lib/clerk").then(({ leaveClerk }) => leaveClerk()).catch(() => undefined);
      client.clear();
      localStorage.removeItem(useDraft.persist.getOptions().name ?? "");
      window.location.reload();
    },
  });
}
