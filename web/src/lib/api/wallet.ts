// Money: what is asked of the server.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";

import { api, unwrap } from "./client";
import type * as schema from "./schema.gen";

export type Wallet = schema.Wallet;
export type WalletLine = schema.WalletLine;
export type Lot = schema.LotView;
export type Pack = schema.Pack;
export type Subscription = schema.Subscription;

/** Everything about money is asked again when credits move: the stream says so. */
export const walletKeys = { all: ["wallet"], entries: ["wallet", "entries"], plans: ["plans"] } as const;

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
