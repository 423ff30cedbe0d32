// What is asked of the server, under which name it is kept, and how long it counts as fresh.
import {
  type InfiniteData,
  type QueryClient,
  queryOptions,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useDeferredValue } from "react";

import { useDebounced } from "@/lib/use-debounced";

import { api, ApiFailure, type Job, type JobPage, type JobRequest, type Me, unwrap } from "./client";

export const keys = {
  me: ["me"],
  jobs: ["jobs"],
  models: ["models"],
  quote: (request: JobRequest) => ["quote", request],
} as const;

/** By this, others know that a job was made. */
export const MAKE_JOB = "make-job";

/** Jobs a page of the list. */
const PAGE = 20;

/** Who is signed in; null for nobody. */
export const meQuery = queryOptions({
  queryKey: keys.me,
  queryFn: async ({ signal }) => {
    try {
      return await unwrap(api.GET("/api/v1/me", { signal }));
    } catch (failure) {
      if (failure instanceof ApiFailure && failure.status === 401) return null;
      throw failure;
    }
  },
  staleTime: 60_000,
});

export const useMe = () => useQuery(meQuery);

/**
 * Who is signed in, for whole screens that hang on it: null for nobody, undefined until it is known, an error where it cannot be
 * asked. Taken in by small steps, between which the page goes on; an answer of the server's would draw everything in one.
 */
export function useWho(): Me | null | undefined | Error {
  const { data, error } = useMe();
  return useDeferredValue(data === undefined ? (error ?? undefined) : data);
}

export function useModels(enabled: boolean) {
  return useQuery({
    queryKey: keys.models,
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/models", { signal })),
    enabled,
    staleTime: 15_000,
    refetchInterval: 30_000,
  });
}

export function useJobs(enabled: boolean) {
  return useInfiniteQuery({
    queryKey: keys.jobs,
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/jobs", {
          params: { query: { limit: PAGE, ...(pageParam && { before: pageParam }) } },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next ?? undefined,
    enabled,
  });
}

export function useQuote(request: JobRequest | null) {
  return useQuery({
    queryKey: keys.quote(request ?? { model: "", prompt: "" }),
    queryFn: ({ signal }) => unwrap(api.POST("/api/v1/quotes", { body: request as JobRequest, signal })),
    enabled: request !== null,
    staleTime: 10_000,
    // The last price stays while the next is asked for, so that the line does not jump.
    placeholderData: (last) => last,
  });
}

/** How long a form rests before its price is asked for. */
const QUOTE_AFTER_MS = 300;

/** The price of what a form says, once it has rested. */
export function useRestingQuote(request: JobRequest | null) {
  const resting = useDebounced(request && JSON.stringify(request), QUOTE_AFTER_MS);
  return useQuote(useDeferredValue(resting === null ? null : (JSON.parse(resting) as JobRequest)));
}

export function useMakeJob() {
  const client = useQueryClient();
  return useMutation({
    mutationKey: [MAKE_JOB],
    // The key makes a repeat after a lost answer the same job.
    // With the tariff of the price that was shown it is charged as shown, whatever the price book says meanwhile.
    mutationFn: ({ request, key, tariff }: { request: JobRequest; key: string; tariff?: string | undefined }) => {
      const body = tariff === undefined ? request : { ...request, tariff };
      return unwrap(api.POST("/api/v1/jobs", { body, headers: { "Idempotency-Key": key } }));
    },
    retry: (count, failure) => count < 3 && failure instanceof ApiFailure && failure.status === 0,
    onSuccess: (job) => putJob(client, job),
  });
}

export function useCancelJob() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => unwrap(api.DELETE("/api/v1/jobs/{id}", { params: { path: { id } } })),
    onSuccess: (job) => putJob(client, job),
  });
}

/** Puts a job into the list: in its place if it is there, else at the head. */
export function putJob(client: QueryClient, job: Job): void {
  client.setQueryData<InfiniteData<JobPage>>(keys.jobs, (list) => {
    if (!list) return list;
    let found = false;
    const pages = list.pages.map((page) => ({
      ...page,
      data: page.data.map((one) => (one.id === job.id ? ((found = true), job) : one)),
    }));
    const [first] = pages;
    if (!found && first) first.data = [job, ...first.data];
    return { ...list, pages };
  });
}
