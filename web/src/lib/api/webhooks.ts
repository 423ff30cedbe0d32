// Webhooks: where programs are told, and how telling went.
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { api, unwrap } from "./client";
import type * as schema from "./schema.gen";

export type Webhook = schema.WebhookView;
export type Delivery = schema.DeliveryView;
export type WebhookEvent = schema.Event;

const keys = { all: ["webhooks"], log: (id: string) => ["webhooks", id, "log"] } as const;

/** Deliveries a page of the log. */
const PAGE = 20;
/** How often a log with something under way is read again. */
const LOOK_MS = 2_000;

export const useWebhooks = () =>
  useQuery({
    queryKey: keys.all,
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/webhooks", { signal })),
    select: ({ data }) => data,
  });

function useChange<In, Out>(change: (asked: In) => Promise<Out>) {
  const client = useQueryClient();
  return useMutation({ mutationFn: change, onSuccess: () => client.invalidateQueries({ queryKey: keys.all }) });
}

export const useMakeWebhook = () =>
  useChange((body: schema.NewWebhook) => unwrap(api.POST("/api/v1/webhooks", { body })));

export const useChangeWebhook = () =>
  useChange(({ id, ...body }: schema.WebhookPatch & { id: string }) =>
    unwrap(api.PATCH("/api/v1/webhooks/{id}", { params: { path: { id } }, body })),
  );

export const useDropWebhook = () =>
  useChange((id: string) => unwrap(api.DELETE("/api/v1/webhooks/{id}", { params: { path: { id } } })));

export const useRotateWebhook = () =>
  useChange((id: string) => unwrap(api.POST("/api/v1/webhooks/{id}/rotate", { params: { path: { id } } })));

export const useTryWebhook = () =>
  useChange((id: string) => unwrap(api.POST("/api/v1/webhooks/{id}/test", { params: { path: { id } } })));

export const useReplay = () =>
  useChange(({ id, delivery }: { id: string; delivery: string }) =>
    unwrap(api.POST("/api/v1/webhooks/{id}/deliveries/{delivery}/replay", { params: { path: { id, delivery } } })),
  );

export const useDeliveries = (id: string) =>
  useInfiniteQuery({
    queryKey: keys.log(id),
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/webhooks/{id}/deliveries", {
          params: { path: { id }, query: { limit: PAGE, ...(pageParam && { cursor: pageParam }) } },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next ?? undefined,
    refetchInterval: ({ state }) =>
      state.data?.pages.some(({ data }) => data.some((delivery) => delivery.state === "waiting")) ? LOOK_MS : false,
  });
