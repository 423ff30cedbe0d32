// What was used in the last thirty days, by day and key.
"use client";

import { useQuery } from "@tanstack/react-query";
import { useRef } from "react";

import { Card } from "@/components/ui/card";
import { NoneYet, Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { useKeys } from "@/lib/api/account";
import { api, unwrap } from "@/lib/api/client";
import { credits, duration } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";
import { dayInUtc, decimal } from "@/lib/numbers";
import { useSeen } from "@/lib/use-seen";

export function Usage() {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const frame = useRef<HTMLDivElement>(null);
  const seen = useSeen(frame);
  const usage = useQuery({
    queryKey: ["usage"],
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/usage", { signal })),
    // Below what a phone shows first: for who comes to it.
    enabled: seen,
  });
  const keys = useKeys();
  const nameOf = (key: string | null | undefined) =>
    key ? (keys.data?.find(({ id }) => id === key)?.name ?? key) : t("dev.usage.studio");
  return (
    <Card title={t("dev.usage")} words={t("dev.usage.words")}>
      <Unread of={usage} />
      {usage.isPending && (
        <div ref={frame} className="h-24">
          {seen && <Skeleton className="h-24" />}
        </div>
      )}
      {usage.data?.data.length === 0 && <NoneYet>{t("dev.usage.none")}</NoneYet>}
      {usage.data && usage.data.data.length > 0 && (
        <Table
          label={t("dev.usage")}
          heads={[
            t("dev.usage.day"),
            t("create.model"),
            t("dev.usage.key"),
            t("create.images"),
            t("dev.usage.failed"),
            t("dev.usage.gpu"),
            t("nav.credits"),
          ]}
        >
          {usage.data.data.map(({ dayMs, model, key, images, failed, gpuMs, spentMillis }) => (
            <tr key={`${dayMs} ${model} ${key ?? ""}`} className="tabular-nums">
              <td translate="no" className="whitespace-nowrap">
                {dayInUtc(dayMs, language)}
              </td>
              <td translate="no">{model}</td>
              <td>{nameOf(key)}</td>
              <td>{decimal(images, language)}</td>
              <td>{decimal(failed, language)}</td>
              <td translate="no" className="whitespace-nowrap">
                {duration(gpuMs, language)}
              </td>
              <td>{credits(spentMillis, language)}</td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}
