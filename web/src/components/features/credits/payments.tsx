// What was paid; invoices and cards are with the payment provider.
"use client";

import { ExternalLink } from "lucide-react";

import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Notice, Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { type Payment, usePayments, usePlans, usePortal } from "@/lib/api/wallet";
import { credits, dateTime, money } from "@/lib/format";
import { type Key, useLocale, useT } from "@/lib/i18n";

const KINDS: Record<string, Key> = {
  pack: "money.payment.pack",
  month: "money.payment.month",
  top_up: "money.payment.topUp",
};

export function Payments() {
  const t = useT();
  const payments = usePayments();
  const plans = usePlans();
  const portal = usePortal();
  const list = payments.data ?? [];
  if (!plans.data?.selling && list.length === 0 && !payments.error) return null;
  return (
    <Card
      title={t("money.payments")}
      words={t("money.payments.words")}
      aside={
        plans.data?.selling && (
          <Button look="outline" size="small" disabled={portal.isPending} onClick={() => portal.mutate()}>
            <ExternalLink aria-hidden /> {t("money.portal")}
          </Button>
        )
      }
    >
      <Unread of={payments} />
      {portal.error && <Notice title={portal.error.message} />}
      {payments.isPending && <Skeleton className="h-20" />}
      {payments.data && list.length === 0 && (
        <p className="text-sm text-muted-foreground">{t("money.payments.none")}</p>
      )}
      {list.length > 0 && (
        <Table
          label={t("money.payments")}
          heads={[t("money.when"), t("money.what"), t("nav.credits"), t("money.paid")]}
        >
          {list.map((payment) => (
            <Row key={payment.id} payment={payment} />
          ))}
        </Table>
      )}
    </Card>
  );
}

function Row({ payment }: { payment: Payment }) {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const { id, kind, creditsMillis, takenBackMillis, amountMinor, currency, createdMs } = payment;
  const name = KINDS[kind];
  return (
    <tr data-payment={id}>
      <td translate="no" className="whitespace-nowrap text-muted-foreground tabular-nums">
        {dateTime(createdMs, language)}
      </td>
      <td>
        {name ? t(name) : kind}
        {takenBackMillis > 0 && (
          <span className="block text-xs text-muted-foreground">
            {t("money.takenBack", { n: credits(takenBackMillis, language) })}
          </span>
        )}
      </td>
      <td className="tabular-nums">{credits(creditsMillis, language)}</td>
      <td translate="no" className="whitespace-nowrap tabular-nums">
        {money(amountMinor, currency, language)}
      </td>
    </tr>
  );
}
