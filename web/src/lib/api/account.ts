// The account itself: keys, sessions, password, its end.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { useDraft } from "@/stores/draft";

import { api, type Me, unwrap } from "./client";
import { keys } from "./queries";
import type { Choices, Erasure } from "./schema.gen";

export const useKeys = () =>
  useQuery({
    queryKey: ["keys"],
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/keys", { signal })),
    select: ({ data }) => data,
  });

export function useMakeKey() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (name: string) => unwrap(api.POST("/api/v1/keys", { body: { name } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["keys"] }),
  });
}

export function useRevokeKey() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => unwrap(api.DELETE("/api/v1/keys/{id}", { params: { path: { id } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["keys"] }),
  });
}

export const useSessions = () =>
  useQuery({
    queryKey: ["sessions"],
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/sessions", { signal })),
    select: ({ data }) => data,
  });

export function useEndSession() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => unwrap(api.DELETE("/api/v1/sessions/{id}", { params: { path: { id } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["sessions"] }),
  });
}

export function useChangePassword() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: { currentPassword: string; newPassword: string }) =>
      unwrap(api.POST("/api/v1/auth/password", { body })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["sessions"] }),
  });
}

/** What one wants to be told of. */
export function useChoose() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Choices) => unwrap(api.PATCH("/api/v1/me", { body })),
    onSuccess: (me) => client.setQueryData<Me | null>(keys.me, me),
  });
}

/** An archive of everything that is one's own; the browser fetches it as a file. */
export const EXPORT = "/api/v1/me/export";

/** The end of the account. */
export function useErase() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Erasure) => unwrap(api.DELETE("/api/v1/me", { body })),
    // A whole new page: nothing of whoever was here stays, in memory or in this browser.
    onSuccess: () => {
      client.clear();
      localStorage.removeItem(useDraft.persist.getOptions().name ?? "");
      window.location.reload();
    },
  });
}
