// Money: what there is, where it came from, where it went.
"use client";

import "@/lib/i18n/desk";

import { Alarm } from "@/components/features/credits/alarm";
import { Entries } from "@/components/features/credits/entries";
import { Lots } from "@/components/features/credits/lots";
import { Payments } from "@/components/features/credits/payments";
import { Returned } from "@/components/features/credits/returned";
import { Shop } from "@/components/features/credits/shop";
import { Redeem, TopUp } from "@/components/features/credits/top-up";
import { SignedIn } from "@/components/features/signed-in";
import { PageHead } from "@/components/ui/page-head";
import { Notice, Skeleton } from "@/components/ui/states";
import type { Credits as Standing } from "@/lib/api/client";
import { useWallet } from "@/lib/api/wallet";
import { credits } from "@/lib/format";
import { type Key, useLocale, useT } from "@/lib/i18n";

export function Credits() {
  const t = useT();
  return (
    <SignedIn>
      {(me) => (
        <>
          <PageHead title={t("nav.credits")} words={t("money.words")} />
          <Returned />
          <Balance standing={me?.credits} />
          <div className="mt-6 grid grid-cols-1 items-start gap-6 xl:grid-cols-[minmax(0,1.5fr)_minmax(0,1fr)]">
            <div className="grid grid-cols-1 gap-6">
              <Entries />
              <Payments />
            </div>
            <div className="grid grid-cols-1 gap-6">
              <Shop />
              <TopUp />
              <Alarm />
              <Lots />
              <Redeem />
            </div>
          </div>
        </>
      )}
    </SignedIn>
  );
}

/** The three figures of the account. They follow the stream, so that they are true while a job runs. */
function Balance({ standing }: { standing: Standing | undefined }) {
  const t = useT();
  const locale = useLocale();
  const wallet = useWallet();
  const figures: [Key, number | undefined][] = [
    ["money.available", standing?.availableMillis],
    ["money.held", standing?.heldMillis],
    ["money.spent", standing?.spentMillis],
  ];
  return (
    <div className="grid gap-3">
      {wallet.data?.stopped && <Notice title={t("money.stopped.title")}>{t("money.stopped.words")}</Notice>}
      {wallet.data && wallet.data.owedMillis > 0 && (
        <Notice title={t("money.owed.title", { n: credits(wallet.data.owedMillis, locale) })}>
          {t("money.owed.words")}
        </Notice>
      )}
      <dl className="grid gap-3 sm:grid-cols-3">
        {figures.map(([label, millis]) => (
          <div key={label} className="rounded-lg border bg-card p-4 shadow-raised">
            <dt className="text-sm text-muted-foreground">{t(label)}</dt>
            <dd className="mt-1 h-8 text-2xl font-semibold tracking-tight tabular-nums">
              {millis === undefined ? <Skeleton className="h-7 w-24" /> : credits(millis, locale)}
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
