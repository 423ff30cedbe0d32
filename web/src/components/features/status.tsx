// How the service is: its parts, and the queue now.
"use client";

import "@/lib/i18n/desk";

import { useQuery } from "@tanstack/react-query";
import { CircleAlert, CircleCheck, CircleX } from "lucide-react";

import { Card } from "@/components/ui/card";
import { PageHead } from "@/components/ui/page-head";
import { Notice, Skeleton } from "@/components/ui/states";
import { api, unwrap } from "@/lib/api/client";
import type { Condition } from "@/lib/api/schema.gen";
import { duration } from "@/lib/format";
import { type Key, useLocale, useT } from "@/lib/i18n";
import { decimal } from "@/lib/numbers";

/** How often it is looked at; the server reads itself as often. */
const EVERY_MS = 5_000;

const LOOKS = {
  operational: { icon: CircleCheck, tint: "text-success" },
  degraded: { icon: CircleAlert, tint: "text-warning" },
  down: { icon: CircleX, tint: "text-destructive" },
} as const satisfies Record<Condition, unknown>;

const PARTS: Record<string, Key> = {
  api: "status.api",
  database: "status.database",
  scheduler: "status.scheduler",
  workers: "status.workers",
};

export function Status() {
  const t = useT();
  const locale = useLocale();
  const status = useQuery({
    queryKey: ["status"],
    queryFn: ({ signal }) => unwrap(api.GET("/api/v1/status", { signal })),
    refetchInterval: EVERY_MS,
    retry: false,
  });
  const now = status.data;
  return (
    <div className="mx-auto max-w-3xl">
      <PageHead title={t("nav.status")} words={t("status.words")} />
      {status.isPending && <Skeleton className="mb-6 h-16 rounded-lg" />}
      {now && !status.error && <Verdict status={now.status} />}
      {status.isPending && (
        <Card title={t("status.parts")}>
          <Skeleton className="h-29" />
        </Card>
      )}
      {status.error && <Notice title={t("status.lost")}>{t("status.lost.words")}</Notice>}
      {now && !status.error && (
        <div className="grid gap-6">
          <Card title={t("status.parts")}>
            <ul className="grid gap-3">
              {now.components.map((part) => {
                const { icon: Icon, tint } = LOOKS[part.status];
                const name = PARTS[part.name];
                return (
                  <li key={part.name} className="flex items-center gap-3 text-sm">
                    <Icon aria-hidden className={`size-5 ${tint}`} />
                    <span className="font-medium">{name ? t(name) : part.name}</span>
                    <span className={`ml-auto ${tint}`}>{t(`status.${part.status}`)}</span>
                  </li>
                );
              })}
            </ul>
          </Card>
          {now.queue && (
            <Card title={t("status.queue")}>
              <dl className="grid grid-cols-3 gap-4 text-sm">
                <Figure label={t("status.waiting")} value={decimal(now.queue.waiting, locale)} />
                <Figure label={t("status.running")} value={decimal(now.queue.running, locale)} />
                <Figure
                  label={t("status.startsIn")}
                  value={now.queue.startsIn ? duration(now.queue.startsIn.p50Ms, locale === "de" ? "de" : "en") : "–"}
                />
              </dl>
            </Card>
          )}
          <p className="text-xs text-muted-foreground">{t("status.version", { version: now.version })}</p>
        </div>
      )}
    </div>
  );
}

/** All of it in one sentence. */
function Verdict({ status }: { status: Condition }) {
  const t = useT();
  const { icon: Icon, tint } = LOOKS[status];
  return (
    <p className="mb-6 flex h-16 items-center gap-3 rounded-lg border bg-card px-5 font-semibold shadow-raised">
      <Icon aria-hidden className={`size-6 ${tint}`} />
      {t(`status.all.${status}`)}
    </p>
  );
}

function Figure({ label, value }: { label: string; value: string }) {
  return (
    <div>
      <dt className="text-muted-foreground">{label}</dt>
      <dd className="mt-0.5 text-xl font-semibold tabular-nums">{value}</dd>
    </div>
  );
}
