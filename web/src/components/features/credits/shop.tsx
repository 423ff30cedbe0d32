// What can be bought. Buying is a page of the payment provider's: no card is ever typed here.
"use client";

import { useState } from "react";

import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Notice, Skeleton } from "@/components/ui/states";
import { Switch } from "@/components/ui/switch";
import { Unread } from "@/components/ui/unread";
import { useBuy, usePlans, usePortal, useWallet } from "@/lib/api/wallet";
import { credits, money } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";

export function Shop() {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const plans = usePlans();
  const buy = useBuy();
  const [keepCard, setKeepCard] = useState(false);
  if (plans.isPending) return <Skeleton className="h-48 rounded-lg" />;
  if (!plans.data) {
    return (
      <Card title={t("money.shop")}>
        <Unread of={plans} title={t("money.shop.failed")} />
      </Card>
    );
  }
  const { currency, packs, selling } = plans.data;
  return (
    <Card title={t("money.shop")} words={t(selling ? "money.shop.words" : "money.shop.closed")}>
      {buy.error && <Notice className="mb-3" title={buy.error.message} />}
      <ul className="grid gap-2">
        {packs.map(({ id, creditsMillis, priceMinor }) => {
          const amount = t("credits.amount", { n: credits(creditsMillis, language) });
          const price = money(priceMinor, currency, language);
          return (
            <li key={id} className="flex items-center justify-between gap-3 rounded-md border py-2 pr-2 pl-3 text-sm">
              <span className="font-medium">{amount}</span>
              <Price
                price={price}
                label={selling ? t("money.buyOne", { amount, price }) : null}
                busy={buy.isPending}
                onBuy={() => buy.mutate({ pack: id, keepCard })}
              />
            </li>
          );
        })}
      </ul>
      {selling && (
        <label className="mt-3 flex items-center justify-between gap-4">
          <span className="grid gap-0.5">
            <span className="text-sm font-medium">{t("money.keepCard")}</span>
            <span className="text-xs text-muted-foreground">{t("money.keepCard.words")}</span>
          </span>
          <Switch checked={keepCard} onCheckedChange={setKeepCard} aria-label={t("money.keepCard")} />
        </label>
      )}
      <Monthly selling={selling} />
    </Card>
  );
}

/** Subscriptions: the one that runs is changed and ended with the payment provider. */
function Monthly({ selling }: { selling: boolean }) {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const plans = usePlans();
  const wallet = useWallet();
  const buy = useBuy();
  const portal = usePortal();
  if (!plans.data) return null;
  const { currency, subscriptions } = plans.data;
  const running = wallet.data?.subscription;
  const failed = buy.error ?? portal.error;
  return (
    <>
      <h3 className="mt-5 mb-2 text-sm font-medium">{t("money.monthly")}</h3>
      {failed && <Notice className="mb-3" title={failed.message} />}
      <ul className="grid gap-2">
        {subscriptions.map(({ id, name, creditsMillis, priceMinor, rolloverMonths }) => {
          const price = t("money.aMonth", { price: money(priceMinor, currency, language) });
          const current = running?.id === id;
          return (
            <li
              key={id}
              data-subscription={current ? "current" : undefined}
              className="flex items-center justify-between gap-3 rounded-md border py-2 pr-2 pl-3 text-sm"
            >
              <span className="grid gap-0.5">
                <span translate="no" className="font-medium">
                  {name}
                </span>
                <span className="text-xs text-muted-foreground">
                  {t("money.monthly.words", { n: credits(creditsMillis, language), months: rolloverMonths })}
                </span>
                {current && (
                  <span className="text-xs font-medium text-success">
                    {t(running.ends ? "money.subscription.ends" : "money.subscription.runs")}
                  </span>
                )}
              </span>
              <Price
                price={price}
                label={selling && !running ? t("money.subscribeTo", { name, price }) : null}
                busy={buy.isPending}
                onBuy={() => buy.mutate({ subscription: id, keepCard: false })}
              />
            </li>
          );
        })}
      </ul>
      {selling && running && (
        <Button
          look="outline"
          size="small"
          className="mt-3"
          disabled={portal.isPending}
          onClick={() => portal.mutate()}
        >
          {t("money.subscription.change")}
        </Button>
      )}
    </>
  );
}

interface PriceProps {
  price: string;
  /** What pressing it does, for those who do not see what it is beside; null: it is only shown. */
  label: string | null;
  busy: boolean;
  onBuy: () => void;
}

function Price({ price, label, busy, onBuy }: PriceProps) {
  if (label === null) return <span className="px-2 py-1 tabular-nums">{price}</span>;
  return (
    <Button look="secondary" size="small" className="tabular-nums" aria-label={label} disabled={busy} onClick={onBuy}>
      {price}
    </Button>
  );
}
