// Money: what is asked of the server.
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";

import { api, unwrap } from "./client";
import type * as schema from "./schema.gen";

export type Wallet = schema.Wallet;
export type WalletLine = schema.WalletLine;
export type Lot = schema.LotView;
export type Pack = schema.Pack;
export type Subscription = schema.Subscription;
export type Payment = schema.PaymentView;
export type TopUpRule = schema.TopUpRule;
export type AlarmBody = schema.AlarmBody;

/** Everything about money is asked again when credits move: the stream says so. */
export const walletKeys = {
  all: ["wallet"],
  entries: ["wallet", "entries"],
  payments: ["wallet", "payments"],
  plans: ["plans"],
} as const;

/** Lines a page of the list. */
const PAGE = 50;

export const useWallet = () =>
  useQuery({ queryKey: walletKeys.all, queryFn: ({ signal }) => unwrap(api.GET("/api/v1/wallet", { signal })) });

export const usePlans = () =>
  useQuery({
    queryKey: walletKeys.plans,
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/plans", { signal })),
    staleTime: Infinity,
  });

export const useEntries = () =>
  useInfiniteQuery({
    queryKey: walletKeys.entries,
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET("/api/v1/wallet/entries", {
          params: { query: { limit: PAGE, ...(pageParam && { cursor: pageParam }) } },
          signal,
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (page) => page.next ?? undefined,
  });

/** What was paid, newest first. */
export const usePayments = () =>
  useQuery({
    queryKey: walletKeys.payments,
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/wallet/payments", { signal })),
    select: ({ data }) => data,
  });

/** Goes to a page of the payment provider's: of this tab, so that coming back is the same place. */
const goTo = ({ url }: { url: string }) => window.location.assign(url);

/** Opens the page on which a pack or a subscription is bought. */
export const useBuy = () =>
  useMutation({
    mutationFn: (body: schema.Buy) => unwrap(api.POST("/api/v1/wallet/checkout", { body })),
    onSuccess: goTo,
  });

/** Opens the page with invoices, cards and the subscription. */
export const usePortal = () =>
  useMutation({ mutationFn: () => unwrap(api.POST("/api/v1/wallet/portal")), onSuccess: goTo });

export function useRedeem() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (code: string) => unwrap(api.POST("/api/v1/wallet/promo", { body: { code } })),
    onSuccess: () => client.invalidateQueries({ queryKey: walletKeys.all }),
  });
}

/** Sets the rule by which credits are bought when they run low; null takes it away. */
export function useSetTopUp() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (rule: TopUpRule | null): Promise<void> => {
      if (rule) await unwrap(api.PUT("/api/v1/wallet/top-up", { body: rule }));
      else await unwrap(api.DELETE("/api/v1/wallet/top-up"));
    },
    onSuccess: () => client.invalidateQueries({ queryKey: walletKeys.all }),
  });
}

/** Sets when one is told of one's credits; null: never. */
export function useSetAlarm() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (alarm: AlarmBody | null): Promise<void> => {
      if (alarm) await unwrap(api.PUT("/api/v1/wallet/alarm", { body: alarm }));
      else await unwrap(api.DELETE("/api/v1/wallet/alarm"));
    },
    onSuccess: () => client.invalidateQueries({ queryKey: walletKeys.all }),
  });
}
