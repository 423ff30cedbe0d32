// Pictures and collections: what is asked of the server.
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { api, unwrap } from "./client";
import type { Audience, BulkAction, CollectionView, ImageView } from "./schema.gen";

export type Picture = ImageView;
export type Collection = CollectionView;

export interface Filter {
  q?: string;
  starred?: boolean;
  collection?: string;
  model?: string;
  seed?: number;
  /** The name of a shape: `16:9`. */
  ratio?: string;
  /** Made at this moment or later. */
  from?: number;
  /** Made before this moment. */
  to?: number;
}

/** Pictures a request brings. */
export const RUN = 100;

export const askDays = (filter: Filter, signal?: AbortSignal) =>
  unwrap(api.GET("/api/v1/images/days", { params: { query: filter }, ...(signal && { signal }) }));

export const askRun = (filter: Filter, at: { cursor: string } | { to: number } | "newest", limit = RUN) =>
  unwrap(api.GET("/api/v1/images", { params: { query: { ...filter, ...(at !== "newest" && at), limit } } }));

/** A picture; `kept` is shown until the server has answered. */
export function usePicture(id: string | null, kept?: Picture) {
  return useQuery({
    queryKey: ["images", id],
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/images/{id}", { params: { path: { id: id ?? "" } }, signal })),
    enabled: Boolean(id),
    placeholderData: kept,
  });
}

/** A picture somebody shares by its link. */
export const useSharedPicture = (token: string | null) =>
  useQuery({
    queryKey: ["shared", token],
    queryFn: ({ signal }) =>
      unwrap(api.GET("/api/v1/shared/{token}", { params: { path: { token: token ?? "" } }, signal })),
    enabled: Boolean(token),
  });

/** A collection somebody shares by its link, page by page. */
export const useSharedCollection = (token: string | null) =>
  useInfiniteQuery({
    queryKey: ["shared-collection", token],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/shared-collections/{token}", {
          params: { path: { token: token ?? "" }, query: pageParam ? { cursor: pageParam } : {} },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next ?? undefined,
    enabled: Boolean(token),
  });

/** Shares a collection, or takes the link back. */
export function useShareCollection(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (shared: boolean) =>
      unwrap(api.PATCH("/api/v1/collections/{id}", { params: { path: { id } }, body: { shared } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["collections"] }),
  });
}

/** Shares a picture, or takes the link back. */
export function useShare(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (shared: Audience) =>
      unwrap(api.PATCH("/api/v1/images/{id}", { params: { path: { id } }, body: { shared } })),
    onSuccess: (picture) => client.setQueryData(["images", id], picture),
  });
}

/** The picture's own file, by a URL that stays good. */
export const fileOf = (picture: Pick<Picture, "file">) => `${picture.file}?inline=true`;

export interface Bulk {
  ids: string[];
  action: BulkAction;
  collection?: string;
}

export function useBulk() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: Bulk) => unwrap(api.POST("/api/v1/images/bulk", { body })),
    onSuccess: (_, { action }) => {
      void client.invalidateQueries({ queryKey: ["images"] });
      if (action === "collect" || action === "uncollect" || action === "delete" || action === "restore")
        void client.invalidateQueries({ queryKey: ["collections"] });
    },
  });
}

export function useCollections(enabled: boolean) {
  return useQuery({
    queryKey: ["collections"],
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/collections", { signal })),
    enabled,
    select: ({ data }) => data,
  });
}

export function useMakeCollection() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (name: string) => unwrap(api.POST("/api/v1/collections", { body: { name } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["collections"] }),
  });
}

export function useRenameCollection() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, name }: { id: string; name: string }) =>
      unwrap(api.PATCH("/api/v1/collections/{id}", { params: { path: { id } }, body: { name } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["collections"] }),
  });
}

export function useDeleteCollection() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => unwrap(api.DELETE("/api/v1/collections/{id}", { params: { path: { id } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["collections"] }),
  });
}
