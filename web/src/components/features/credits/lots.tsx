// Credits by where they come from, in the order they are spent.
"use client";

import { sourceName } from "@/components/features/credits/entries";
import { Card } from "@/components/ui/card";
import { useWallet } from "@/lib/api/wallet";
import { credits, dateTime } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";

export function Lots() {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const lots = useWallet().data?.lots ?? [];
  if (lots.length === 0) return null;
  return (
    <Card title={t("money.lots")} words={t("money.lots.words")}>
      <ul className="grid gap-3">
        {lots.map(({ id, source, remainingMillis, amountMillis, expiresMs }) => (
          <li key={id} className="grid gap-1.5 text-sm">
            <div className="flex justify-between gap-4">
              <span>{sourceName(source, t)}</span>
              <span className="tabular-nums">
                {credits(remainingMillis, language)}{" "}
                <span className="text-muted-foreground">/ {credits(amountMillis, language)}</span>
              </span>
            </div>
            <div className="h-1.5 overflow-hidden rounded-full bg-muted">
              <div
                data-bar
                className="h-full rounded-full bg-primary"
                style={{ width: `${amountMillis > 0 ? (100 * remainingMillis) / amountMillis : 0}%` }}
              />
            </div>
            <p className="text-xs text-muted-foreground">
              {expiresMs ? t("money.lapses", { when: dateTime(expiresMs, language) }) : t("money.stays")}
            </p>
          </li>
        ))}
      </ul>
    </Card>
  );
}
