// The book: a line for every payment, gift and job.
"use client";

import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { useEntries, type WalletLine } from "@/lib/api/wallet";
import { credits, dateTime } from "@/lib/format";
import { type Key, type Translate, useLocale, useT } from "@/lib/i18n";
import { cn } from "@/lib/cn";

export function Entries() {
  const t = useT();
  const entries = useEntries();
  const lines = entries.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <Card title={t("money.book")} words={t("money.book.words")}>
      <Unread of={entries} />
      {entries.isPending && <Skeleton className="h-40" />}
      {entries.data && (
        <Table label={t("money.book")} heads={[t("money.when"), t("money.what"), t("nav.credits")]}>
          {lines.map((line) => (
            <Line key={`${line.atMs} ${line.kind} ${line.jobId ?? line.paymentId ?? ""}`} line={line} />
          ))}
        </Table>
      )}
      {entries.hasNextPage && (
        <Button look="outline" size="small" className="mt-4" onClick={() => void entries.fetchNextPage()}>
          {t("ui.more")}
        </Button>
      )}
    </Card>
  );
}

function Line({ line }: { line: WalletLine }) {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const { changeMillis, heldMillis = 0 } = line;
  const running = line.kind === "hold";
  return (
    <tr data-line={line.kind}>
      <td translate="no" className="text-muted-foreground tabular-nums sm:whitespace-nowrap">
        {dateTime(line.atMs, language)}
      </td>
      <td>
        {what(line, t)}
        {line.jobId && (
          <span translate="no" className="block font-mono text-xs break-all text-muted-foreground">
            {line.jobId}
          </span>
        )}
      </td>
      <td className={cn("whitespace-nowrap tabular-nums", changeMillis > 0 && "text-success")}>
        {running ? t("money.heldNow", { n: credits(heldMillis, language) }) : signed(changeMillis, language)}
      </td>
    </tr>
  );
}

const signed = (millis: number, language: string) =>
  millis === 0 ? "0" : `${millis > 0 ? "+" : "−"}${credits(Math.abs(millis), language)}`;

const KINDS: Record<string, Key> = {
  hold: "money.kind.hold",
  capture: "money.kind.capture",
  void: "money.kind.void",
  expire: "money.kind.expire",
  lapse: "money.kind.lapse",
  take_back: "money.kind.take_back",
};

const SOURCES: Record<string, Key> = {
  promo: "money.source.promo",
  admin: "money.source.admin",
  refund: "money.source.refund",
  subscription: "money.source.subscription",
  purchase: "money.source.purchase",
};

/** What a line is of. A word the server learned later is shown as it is. */
function what({ kind, source }: WalletLine, t: Translate): string {
  const key = kind === "grant" ? SOURCES[source ?? ""] : KINDS[kind];
  return key ? t(key) : kind;
}

export const sourceName = (source: string, t: Translate) => {
  const key = SOURCES[source];
  return key ? t(key) : source;
};
