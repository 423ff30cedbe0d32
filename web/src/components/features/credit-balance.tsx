// What can be spent, and what is set aside, as it changes.
"use client";

import { Coins } from "lucide-react";

import { Link } from "@/components/ui/link";
import type { Credits } from "@/lib/api/client";
import { credits } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";

export function CreditBalance({ credits: { availableMillis, heldMillis } }: { credits: Credits }) {
  const t = useT();
  const locale = useLocale();
  const held = heldMillis > 0 ? t("credits.held", { n: credits(heldMillis, locale) }) : "";
  return (
    <Link
      href="/credits/"
      title={held || undefined}
      className="flex h-9 items-center gap-2 rounded-full border bg-card px-3 text-sm font-medium tabular-nums transition-colors hover:bg-muted"
    >
      <Coins aria-hidden className="size-4 text-primary" />
      <span data-testid="balance">
        <span className="sr-only">{t("credits.balance", { n: credits(availableMillis, locale) })}</span>
        <span aria-hidden>{credits(availableMillis, locale)}</span>
      </span>
      {held && (
        <span className="text-xs text-muted-foreground">
          <span className="sr-only">{held}</span>
          <span aria-hidden>−{credits(heldMillis, locale)}</span>
        </span>
      )}
    </Link>
  );
}
