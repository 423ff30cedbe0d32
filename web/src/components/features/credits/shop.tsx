// What can be bought.
"use client";

import { Card } from "@/components/ui/card";
import { Skeleton } from "@/components/ui/states";
import { usePlans } from "@/lib/api/wallet";
import { credits, money } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";

export function Shop() {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const plans = usePlans();
  if (plans.isPending) return <Skeleton className="h-48 rounded-lg" />;
  if (!plans.data) return null;
  const { currency, packs, subscriptions } = plans.data;
  return (
    <Card title={t("money.shop")} words={t("money.shop.words")}>
      <ul className="grid gap-2">
        {packs.map(({ id, creditsMillis, priceMinor }) => (
          <li key={id} className="flex items-center justify-between gap-3 rounded-md border px-3 py-2.5 text-sm">
            <span className="font-medium">{t("credits.amount", { n: credits(creditsMillis, language) })}</span>
            <span className="tabular-nums">{money(priceMinor, currency, language)}</span>
          </li>
        ))}
      </ul>
      <h3 className="mt-5 mb-2 text-sm font-medium">{t("money.monthly")}</h3>
      <ul className="grid gap-2">
        {subscriptions.map(({ id, name, creditsMillis, priceMinor, rolloverMonths }) => (
          <li key={id} className="flex items-center justify-between gap-3 rounded-md border px-3 py-2.5 text-sm">
            <span className="grid">
              <span translate="no" className="font-medium">
                {name}
              </span>
              <span className="text-xs text-muted-foreground">
                {t("money.monthly.words", { n: credits(creditsMillis, language), months: rolloverMonths })}
              </span>
            </span>
            <span className="tabular-nums">{t("money.aMonth", { price: money(priceMinor, currency, language) })}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
