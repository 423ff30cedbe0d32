// The API said no: why, and what can be done about it. The form keeps everything.
"use client";

import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { Notice } from "@/components/ui/states";
import { ApiFailure, type Quote } from "@/lib/api/client";
import { credits } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";

interface RefusedProps {
  failure: Error | null;
  quote: Quote | undefined;
  images: number;
  onFewer: (images: number) => void;
  /** Somebody goes to buy credits. */
  onBuy?: () => void;
}

export function Refused({ failure, quote, images, onFewer, onBuy }: RefusedProps) {
  const t = useT();
  const locale = useLocale();
  const broke = failure instanceof ApiFailure && failure.code === "insufficient_quota";
  const missing = quote ? quote.priceMillis - quote.availableMillis : 0;
  if (quote && (broke || missing > 0) && missing > 0) {
    const fewer = Math.floor((quote.availableMillis * images) / quote.priceMillis);
    return (
      <Notice
        title={t("create.short.title", { n: credits(missing, locale) })}
        actions={
          <>
            <Button asChild size="small">
              <Link href="/credits/" onClick={onBuy}>
                {t("create.short.buy")}
              </Link>
            </Button>
            {fewer > 0 && (
              <Button look="outline" size="small" onClick={() => onFewer(fewer)}>
                {t("create.short.fewer", { n: fewer })}
              </Button>
            )}
          </>
        }
      >
        {t("create.short.words", {
          price: credits(quote.priceMillis, locale),
          available: credits(quote.availableMillis, locale),
        })}
      </Notice>
    );
  }
  if (!failure || broke) return null;
  return <Notice title={t("create.failed")}>{failure.message}</Notice>;
}
