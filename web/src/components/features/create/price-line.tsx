// What it will cost and how long it will take, before anything is pressed. The same figures the API will hold.
"use client";

import type { UseQueryResult } from "@tanstack/react-query";

import { Skeleton } from "@/components/ui/states";
import type { Quote } from "@/lib/api/client";
import { credits, duration } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";

interface PriceLineProps {
  quote: UseQueryResult<Quote>;
  signedIn: boolean;
}

export function PriceLine({ quote, signedIn }: PriceLineProps) {
  const t = useT();
  const locale = useLocale();
  if (!signedIn) return null;
  if (quote.error) return <p className="text-center text-xs text-destructive">{quote.error.message}</p>;
  if (!quote.data) {
    return (
      <div className="grid h-4 place-items-center">
        <span className="sr-only">{t("create.price.asking")}</span>
        <Skeleton className="h-4 w-48" />
      </div>
    );
  }
  const { priceMillis, images, ahead, startsIn, takes } = quote.data;
  const wait = takes && (startsIn?.p50Ms ?? 0) + takes.p50Ms;
  const parts = [
    t("create.price", { images, credits: credits(priceMillis, locale) }),
    wait && t("create.price.time", { time: duration(wait, locale === "pseudo" ? "en" : locale) }),
    t("create.price.ahead", { n: ahead }),
  ];
  return (
    <p
      data-testid="price"
      aria-busy={quote.isPlaceholderData}
      className="text-center text-xs text-muted-foreground tabular-nums"
    >
      {parts.filter(Boolean).join(" · ")}
    </p>
  );
}
