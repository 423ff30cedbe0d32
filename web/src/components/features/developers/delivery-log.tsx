// What an endpoint was told in the last thirty days, with what it answered; told again at a press.
"use client";

import { ChevronDown, RotateCcw } from "lucide-react";
import { useState } from "react";

import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { type Delivery, useDeliveries, useReplay } from "@/lib/api/webhooks";
import { ago, duration } from "@/lib/format";
import { type Key, useLocale, useT } from "@/lib/i18n";
import { useNow } from "@/lib/use-now";

const STATES: Record<string, { key: Key; look: "plain" | "good" | "bad" }> = {
  waiting: { key: "hooks.state.waiting", look: "plain" },
  delivered: { key: "hooks.state.delivered", look: "good" },
  failed: { key: "hooks.state.failed", look: "bad" },
};

export function DeliveryLog({ id }: { id: string }) {
  const t = useT();
  const [open, setOpen] = useState(false);
  return (
    <details className="group border-t" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="flex cursor-pointer list-none items-center justify-between rounded-b-md px-3 py-2 text-[13px] font-medium select-none">
        {t("hooks.log")}
        <ChevronDown aria-hidden className="size-4 transition-transform group-open:rotate-180" />
      </summary>
      {open && <Log id={id} />}
    </details>
  );
}

function Log({ id }: { id: string }) {
  const t = useT();
  const log = useDeliveries(id);
  const lines = log.data?.pages.flatMap(({ data }) => data) ?? [];
  return (
    <div className="border-t px-5 py-2">
      <Unread of={log} />
      {log.isPending && <Skeleton className="my-2 h-16" />}
      {log.data && lines.length === 0 && <p className="py-2 text-sm text-muted-foreground">{t("hooks.log.none")}</p>}
      {lines.length > 0 && (
        <Table
          label={t("hooks.log")}
          heads={[t("hooks.log.event"), t("hooks.log.answer"), t("hooks.log.tries"), t("money.when"), ""]}
        >
          {lines.map((delivery) => (
            <Line key={delivery.id} id={id} delivery={delivery} />
          ))}
        </Table>
      )}
      {log.hasNextPage && (
        <Button look="outline" size="small" className="my-2" onClick={() => void log.fetchNextPage()}>
          {t("ui.more")}
        </Button>
      )}
    </div>
  );
}

function Line({ id, delivery }: { id: string; delivery: Delivery }) {
  const t = useT();
  const locale = useLocale();
  const now = useNow();
  const replay = useReplay();
  const language = locale === "pseudo" ? "en" : locale;
  const { event, state, status, error, attempts, tookMs, createdMs, jobId } = delivery;
  const known = STATES[state];
  const answer = [status, tookMs != null && duration(tookMs, language)].filter(Boolean).join(" · ");
  return (
    <tr data-delivery={state}>
      <td>
        <code translate="no" className="font-mono text-xs">
          {event}
        </code>
        {jobId && (
          <code translate="no" className="block font-mono text-xs text-muted-foreground">
            {jobId}
          </code>
        )}
      </td>
      <td>
        <Badge look={known?.look ?? "plain"}>{known ? t(known.key) : state}</Badge>
        <span translate="no" className="ml-2 text-xs whitespace-nowrap text-muted-foreground tabular-nums">
          {answer}
        </span>
        {error && state !== "delivered" && (
          <span translate="no" className="mt-1 block max-w-96 text-xs text-muted-foreground">
            {error}
          </span>
        )}
      </td>
      <td className="tabular-nums">{attempts}</td>
      <td translate="no" className="whitespace-nowrap">
        {ago(createdMs, now, language)}
      </td>
      <td>
        <Button
          look="outline"
          size="small"
          disabled={state === "waiting" || replay.isPending}
          onClick={() => replay.mutate({ id, delivery: delivery.id })}
        >
          <RotateCcw aria-hidden /> {t("hooks.replay")}
        </Button>
      </td>
    </tr>
  );
}
