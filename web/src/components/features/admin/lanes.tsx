// Work in the background: how each lane stands, and what was given up.
"use client";

import { RotateCcw, Trash2 } from "lucide-react";

import { Button } from "@/components/ui/button";
import { Card } from "@/components/ui/card";
import { Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { type Errand, useDeadErrands, useDiscardErrand, useLanes, useRetryErrand } from "@/lib/api/admin";
import { ago } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";
import { decimal } from "@/lib/numbers";
import { useNow } from "@/lib/use-now";

export function Lanes() {
  const t = useT();
  const locale = useLocale();
  const now = useNow();
  const language = locale === "pseudo" ? "en" : locale;
  const lanes = useLanes();
  const dead = useDeadErrands();
  return (
    <div className="grid grid-cols-1 gap-6">
      <Card title={t("admin.lanes")} words={t("admin.lanes.words")}>
        <Unread of={lanes} />
        {lanes.isPending && <Skeleton className="h-32" />}
        {lanes.data && (
          <Table
            label={t("admin.lanes")}
            heads={[
              t("admin.lanes.lane"),
              t("status.waiting"),
              t("status.running"),
              t("admin.lanes.dead"),
              t("admin.lanes.oldest"),
            ]}
          >
            {lanes.data.map(({ lane, waiting, running, dead: given, oldestDueMs }) => (
              <tr key={lane} className="tabular-nums">
                <td translate="no">{lane}</td>
                <td>{decimal(waiting, language)}</td>
                <td>{decimal(running, language)}</td>
                <td className={given > 0 ? "font-medium text-destructive" : undefined}>{decimal(given, language)}</td>
                <td translate="no">{oldestDueMs ? ago(oldestDueMs, now, language) : "–"}</td>
              </tr>
            ))}
          </Table>
        )}
      </Card>
      <Card title={t("admin.errands")} words={t("admin.errands.words")}>
        <Unread of={dead} />
        {dead.data?.length === 0 && <p className="text-sm text-muted-foreground">{t("admin.errands.none")}</p>}
        {dead.data && dead.data.length > 0 && (
          <Table
            label={t("admin.errands")}
            heads={[t("admin.lanes.lane"), t("hooks.log.tries"), t("admin.errands.error"), t("money.when"), ""]}
          >
            {dead.data.map((errand) => (
              <Line key={errand.id} errand={errand} />
            ))}
          </Table>
        )}
      </Card>
    </div>
  );
}

function Line({ errand: { id, lane, attempts, error, createdMs } }: { errand: Errand }) {
  const t = useT();
  const locale = useLocale();
  const now = useNow();
  const retry = useRetryErrand();
  const discard = useDiscardErrand();
  return (
    <tr>
      <td translate="no">{lane}</td>
      <td className="tabular-nums">{attempts}</td>
      <td translate="no" className="max-w-96 text-xs break-words">
        {error ?? "–"}
      </td>
      <td translate="no" className="whitespace-nowrap">
        {ago(createdMs, now, locale === "pseudo" ? "en" : locale)}
      </td>
      <td>
        <span className="flex justify-end gap-1.5">
          <Button look="outline" size="small" disabled={retry.isPending} onClick={() => retry.mutate(id)}>
            <RotateCcw aria-hidden /> {t("ui.retry")}
          </Button>
          <Button
            look="ghost"
            size="icon"
            aria-label={t("admin.errands.discard")}
            disabled={discard.isPending}
            onClick={() => discard.mutate(id)}
          >
            <Trash2 aria-hidden />
          </Button>
        </span>
      </td>
    </tr>
  );
}
