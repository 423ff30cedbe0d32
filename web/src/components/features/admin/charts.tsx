// The administrator's charts: the cluster in these minutes, and how jobs of all accounts ended in the last hours and days. With links to
// the dashboards, where whoever runs the server has said where they are.
"use client";

import "@/lib/i18n/charts";

import { ExternalLink } from "lucide-react";
import { useState } from "react";

import { Chart } from "@/components/features/admin/chart";
import { DASHBOARDS } from "@/components/features/admin/dashboards";
import { Card } from "@/components/ui/card";
import { Segmented } from "@/components/ui/segmented";
import { Skeleton } from "@/components/ui/states";
import { Unread } from "@/components/ui/unread";
import { type HistoryBy, type Stretch, useHistory, useSamples } from "@/lib/api/admin";
import { credits, duration } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";
import { dayInUtc, decimal, minute } from "@/lib/numbers";

export function Charts() {
  const [by, setBy] = useState<HistoryBy>("hour");
  const history = useHistory(by);
  return (
    <div className="grid grid-cols-1 gap-6">
      <Now />
      <Past by={by} onChange={setBy} history={history} />
      {history.data?.grafanaUrl && <Dashboards url={history.data.grafanaUrl} />}
    </div>
  );
}

const useLanguage = () => {
  const locale = useLocale();
  return locale === "pseudo" ? "en" : locale;
};

function Now() {
  const t = useT();
  const language = useLanguage();
  const seen = useSamples();
  const samples = seen.data ?? [];
  const moments = samples.map(({ atMs }) => new Date(atMs).toLocaleTimeString(language));
  return (
    <Card title={t("charts.now")} words={t("charts.now.words")}>
      <Unread of={seen} />
      {!seen.error && samples.length < 2 && <Skeleton className="h-48" />}
      {samples.length > 1 && (
        <div className="grid grid-cols-1 gap-3 lg:grid-cols-2">
          <Chart
            title={t("charts.load")}
            kind="lines"
            moments={moments}
            say={(value) => decimal(value, language)}
            series={[
              { name: t("status.running"), look: "main", values: samples.map(({ running }) => running) },
              { name: t("status.waiting"), look: "quiet", values: samples.map(({ waiting }) => waiting) },
            ]}
          />
          {samples.some(({ busy }) => busy !== null) ? (
            <Chart
              title={t("charts.busy")}
              kind="lines"
              top={100}
              moments={moments}
              say={(value) => `${Math.round(value)} %`}
              series={[{ name: t("charts.busy"), look: "main", values: samples.map(({ busy }) => busy) }]}
            />
          ) : (
            <p className="grid place-items-center rounded-md border border-dashed p-4 text-center text-sm text-muted-foreground">
              {t("charts.busy.none")}
            </p>
          )}
        </div>
      )}
    </Card>
  );
}

interface PastProps {
  by: HistoryBy;
  onChange: (by: HistoryBy) => void;
  history: ReturnType<typeof useHistory>;
}

function Past({ by, onChange, history }: PastProps) {
  const t = useT();
  return (
    <Card
      title={t("charts.past")}
      words={t("charts.past.words")}
      aside={
        <Segmented
          className="w-max whitespace-nowrap"
          label={t("charts.span")}
          value={by}
          onChange={onChange}
          choices={(["hour", "day"] as const).map((value) => ({ value, label: t(`charts.${value}`) }))}
        />
      }
    >
      <Unread of={history} />
      {history.isPending && <Skeleton className="h-96" />}
      {history.data && <Stretches by={by} stretches={history.data.data} />}
    </Card>
  );
}

function Stretches({ by, stretches }: { by: HistoryBy; stretches: readonly Stretch[] }) {
  const t = useT();
  const language = useLanguage();
  const moments = stretches.map(({ atMs }) => (by === "hour" ? minute(atMs, language) : dayInUtc(atMs, language)));
  const values = (of: (stretch: Stretch) => number | null | undefined) => stretches.map((one) => of(one) ?? null);
  const time = (ms: number) => duration(ms, language);
  const shared = { kind: "bars", moments } as const;
  const one = (name: string, of: (stretch: Stretch) => number | null | undefined) =>
    [{ name, look: "main", values: values(of) }] as const;
  return (
    <div className="grid grid-cols-1 gap-3 lg:grid-cols-2">
      <Chart
        {...shared}
        title={t("charts.jobs")}
        say={(value) => decimal(value, language)}
        series={[
          { name: t("charts.done"), look: "main", values: values(({ done }) => done) },
          { name: t("charts.failed"), look: "bad", values: values(({ failed }) => failed) },
          { name: t("charts.cancelled"), look: "quiet", values: values(({ cancelled }) => cancelled) },
        ]}
      />
      <Chart
        {...shared}
        title={t("charts.spent")}
        say={(value) => credits(value, language)}
        series={one(t("charts.spent"), ({ spentMillis }) => spentMillis)}
      />
      <Chart {...shared} title={t("charts.gpu")} say={time} series={one(t("charts.gpu"), ({ gpuMs }) => gpuMs)} />
      <Chart
        {...shared}
        title={t("charts.waited")}
        say={time}
        series={one(t("charts.waited"), ({ waitedMs }) => waitedMs)}
      />
    </div>
  );
}

function Dashboards({ url }: { url: string }) {
  const t = useT();
  return (
    <Card title={t("charts.grafana")} words={t("charts.grafana.words")}>
      <ul className="flex flex-wrap gap-2">
        {DASHBOARDS.map((name) => (
          <li key={name}>
            <a
              href={`${url}/d/tintype-${name}`}
              target="_blank"
              rel="noreferrer"
              className="flex items-center gap-1.5 rounded-md border px-3 py-2 text-sm transition-colors hover:bg-muted"
            >
              {t(`charts.grafana.${name}`)} <ExternalLink aria-hidden className="size-3.5 text-muted-foreground" />
            </a>
          </li>
        ))}
      </ul>
    </Card>
  );
}
