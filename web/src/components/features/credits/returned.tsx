// Back from the payment provider's page: paid, or not. Credits come when the provider has told the server, which is a moment
// later; the page says so and shows them without being loaded again.
"use client";

import { useQuery } from "@tanstack/react-query";
import { CircleCheck, LoaderCircle } from "lucide-react";

import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { api, unwrap } from "@/lib/api/client";
import { walletKeys } from "@/lib/api/wallet";
import { useT } from "@/lib/i18n";
import { useQueryState } from "@/lib/use-query-state";
import { useDraft } from "@/stores/draft";

/** How often the payment is looked for beside the stream, which says it too. */
const LOOK_MS = 2_000;

export function Returned() {
  const t = useT();
  const [params] = useQueryState();
  const waits = useDraft((store) => store.waitingSince !== null);
  const payment = params.get("payment");
  const subscription = params.get("subscription");
  const paid = params.has("paid");
  const arrived = useQuery({
    queryKey: [...walletKeys.all, "arrived", payment, subscription],
    queryFn: async ({ signal }) => {
      if (payment) {
        const { data } = await unwrap(api.GET("/api/v1/wallet/payments", { signal }));
        return data.some(({ id }) => id === payment);
      }
      return (await unwrap(api.GET("/api/v1/wallet", { signal }))).subscription?.id === subscription;
    },
    enabled: paid && (payment ?? subscription) !== null,
    refetchInterval: ({ state }) => (state.data ? false : LOOK_MS),
  });
  if (params.has("cancelled")) {
    return (
      <p role="status" className="mb-6 rounded-md border bg-card p-4 text-sm">
        {t("money.returned.cancelled")}
      </p>
    );
  }
  if (!paid) return null;
  const here = arrived.data === true;
  const Icon = here ? CircleCheck : LoaderCircle;
  return (
    <div role="status" className="mb-6 flex flex-wrap items-center gap-3 rounded-md border bg-card p-4 text-sm">
      <Icon aria-hidden className={here ? "size-5 text-success" : "size-5 animate-spin text-muted-foreground"} />
      <p className="font-medium">{t(here ? "money.returned.here" : "money.returned.waiting")}</p>
      {here && (
        <Button asChild size="small" className="ml-auto">
          <Link href="/">{t(waits ? "money.returned.goOn" : "lost.home")}</Link>
        </Button>
      )}
    </div>
  );
}
