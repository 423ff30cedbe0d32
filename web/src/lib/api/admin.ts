// What administrators ask of the server.
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { added, type Sample, sampleOf } from "@/components/features/admin/samples";

import { api, unwrap } from "./client";
import type * as schema from "./schema.gen";

export type Person = schema.PersonView;
export type Cluster = schema.ClusterView;
export type WorkerStanding = schema.WorkerStanding;
export type OpenJob = schema.OpenJob;
export type Gpu = schema.Gpu;
export type Deed = schema.EventView;
export type Errand = schema.ErrandView;
export type Stretch = schema.StretchView;
/** How finely the history is told: the last 24 hours, or the last 30 days. */
export type HistoryBy = "hour" | "day";

const keys = {
  people: (email: string) => ["admin", "people", email],
  cluster: ["admin", "cluster"],
  samples: ["admin", "samples"],
  history: (by: HistoryBy) => ["admin", "history", by],
  audit: ["admin", "audit"],
  lanes: ["admin", "lanes"],
  errands: ["admin", "lanes", "errands"],
} as const;

/** How often the cluster is looked at: a map of what runs is worth little if it is old. */
const CLUSTER_MS = 1_000;
const LANES_MS = 5_000;
/** How often the history is read again: its last stretch is not over. */
const HISTORY_MS = 30_000;

/** People, newest first; with an address, whoever has it. */
export const usePeople = (email: string) =>
  useInfiniteQuery({
    queryKey: keys.people(email),
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/admin/people", {
          params: { query: { ...(email && { email }), ...(pageParam && { before: pageParam }) } },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next ?? undefined,
  });

function useDeed<In>(change: (asked: In) => Promise<unknown>) {
  const client = useQueryClient();
  return useMutation({ mutationFn: change, onSuccess: () => client.invalidateQueries({ queryKey: ["admin"] }) });
}

export const useChangePerson = () =>
  useDeed(({ id, ...body }: schema.PersonChange & { id: string }) =>
    unwrap(api.PATCH("/api/v1/admin/people/{id}", { params: { path: { id } }, body })),
  );

export const useSignPersonOut = () =>
  useDeed((id: string) => unwrap(api.DELETE("/api/v1/admin/people/{id}/sessions", { params: { path: { id } } })));

export const useGrant = () =>
  useDeed(({ account, ...body }: schema.Grant & { account: string }) =>
    unwrap(api.POST("/api/v1/accounts/{id}/grants", { params: { path: { id: account } }, body })),
  );

export const useCluster = () =>
  useQuery({
    queryKey: keys.cluster,
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/admin/cluster", { signal })),
    refetchInterval: CLUSTER_MS,
    retry: false,
  });

/** The cluster as this page saw it in the last minutes. */
export function useSamples() {
  const client = useQueryClient();
  return useQuery({
    queryKey: keys.samples,
    queryFn: async ({ signal }) => {
      const cluster = await unwrap(api.GET("/api/v1/admin/cluster", { signal }));
      return added(client.getQueryData<Sample[]>(keys.samples) ?? [], sampleOf(cluster));
    },
    refetchInterval: 2 * CLUSTER_MS,
    retry: false,
  });
}

export const useHistory = (by: HistoryBy) =>
  useQuery({
    queryKey: keys.history(by),
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/admin/history", { params: { query: { by } }, signal })),
    refetchInterval: HISTORY_MS,
  });

export const useAudit = () =>
  useInfiniteQuery({
    queryKey: keys.audit,
    queryFn: ({ pageParam, signal }) =>
      unwrap(api.GET("/api/v1/admin/audit", { params: { query: pageParam ? { before: pageParam } : {} }, signal })),
    initialPageParam: "",
    getNextPageParam: (page) => page.next ?? undefined,
  });

export const useLanes = () =>
  useQuery({
    queryKey: keys.lanes,
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/admin/lanes", { signal })),
    select: ({ data }) => data,
    refetchInterval: LANES_MS,
  });

/** Errands that were given up. */
export const useDeadErrands = () =>
  useQuery({
    queryKey: keys.errands,
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/admin/errands", { params: { query: { dead: true } }, signal })),
    select: ({ data }) => data,
  });

export const useRetryErrand = () =>
  useDeed((id: string) => unwrap(api.POST("/api/v1/admin/errands/{id}/retry", { params: { path: { id } } })));

export const useDiscardErrand = () =>
  useDeed((id: string) => unwrap(api.DELETE("/api/v1/admin/errands/{id}", { params: { path: { id } } })));
