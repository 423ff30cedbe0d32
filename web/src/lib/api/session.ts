// Coming in and going out. The session is a cookie no script can read.
import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, unwrap } from "./client";
import { useDraft } from "@/stores/draft";

import { keys } from "./queries";

export interface Credentials {
  email: string;
  password: string;
}

export function useEnter(kind: "login" | "signup") {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (body: Credentials): Promise<void> => {
      if (kind === "login") await unwrap(api.POST("/api/v1/auth/login", { body }));
      else await unwrap(api.POST("/api/v1/auth/signup", { body }));
    },
    // Whatever was kept belonged to whoever was here before.
    onSuccess: async () => {
      client.removeQueries({ predicate: (query) => query.queryKey[0] !== keys.me[0] });
      await client.invalidateQueries({ queryKey: keys.me });
    },
  });
}

export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => unwrap(api.POST("/api/v1/auth/logout")),
    // A whole new page: nothing of whoever was here stays in memory.
    onSettled: () => {
      client.clear();
      localStorage.removeItem(useDraft.persist.getOptions().name ?? "");
      window.location.reload();
    },
  });
}
