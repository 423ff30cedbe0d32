// The map of the GPUs, live: each with what it holds and what it works on; the queues; and why jobs wait.
"use client";

import { Cpu, MonitorOff } from "lucide-react";

import { verdictWords } from "@/components/features/admin/verdict";
import { Badge } from "@/components/ui/badge";
import { Card } from "@/components/ui/card";
import { Empty, Skeleton } from "@/components/ui/states";
import { Table } from "@/components/ui/table";
import { Unread } from "@/components/ui/unread";
import { type Cluster, type Gpu, type OpenJob, useCluster, type WorkerStanding } from "@/lib/api/admin";
import { ago, bytes, duration } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";
import { decimal } from "@/lib/numbers";

export function ClusterMap() {
  const cluster = useCluster();
  if (cluster.isPending) return <Skeleton className="h-72 rounded-lg" />;
  return (
    <div className="grid grid-cols-1 gap-6">
      <Unread of={cluster} />
      {cluster.data && (
        <>
          <Workers cluster={cluster.data} />
          <Waiting cluster={cluster.data} />
          <Queues cluster={cluster.data} />
        </>
      )}
    </div>
  );
}

function Workers({ cluster }: { cluster: Cluster }) {
  const t = useT();
  const { workers, atMs } = cluster;
  if (workers.length === 0)
    return (
      <Empty icon={<MonitorOff aria-hidden />} title={t("admin.gpus.none")}>
        {t("admin.gpus.none.words")}
      </Empty>
    );
  return (
    <Card title={t("admin.gpus")} words={t("admin.gpus.words", { n: workers.length })}>
      <ul className="grid grid-cols-1 gap-3 md:grid-cols-2 xl:grid-cols-3">
        {workers.map((worker) => (
          <Worker key={worker.worker} worker={worker} nowMs={atMs} />
        ))}
      </ul>
    </Card>
  );
}

function Worker({ worker, nowMs }: { worker: WorkerStanding; nowMs: number }) {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const { worker: name, pool, idle, unwell, models, gpus, jobs, lastHeardMs } = worker;
  return (
    <li data-worker={name} className="grid min-w-0 grid-cols-1 content-start gap-3 rounded-md border p-4">
      <div className="flex items-start justify-between gap-3">
        <div translate="no" className="grid min-w-0 gap-0.5">
          <span className="truncate font-mono text-[13px] font-medium">{name}</span>
          <span className="text-xs text-muted-foreground">{pool}</span>
        </div>
        {unwell ? (
          <Badge look="bad">{t("admin.gpus.unwell")}</Badge>
        ) : (
          <Badge look={idle ? "plain" : "good"}>{t(idle ? "admin.gpus.idle" : "admin.gpus.busy")}</Badge>
        )}
      </div>
      {unwell && <p className="text-xs text-destructive">{unwell.message}</p>}
      {gpus.map((gpu) => (
        <GpuLine key={gpu.uuid} gpu={gpu} />
      ))}
      {jobs.map(({ job, step, steps }) => (
        <div key={job} className="grid grid-cols-1 gap-1">
          <p className="flex justify-between gap-3 text-xs">
            <code translate="no" className="truncate font-mono text-muted-foreground">
              {job}
            </code>
            <span className="whitespace-nowrap tabular-nums">{t("job.running", { step, steps })}</span>
          </p>
          <Meter label={t("job.progress")} share={steps > 0 ? step / steps : 0} />
        </div>
      ))}
      <p translate="no" className="flex flex-wrap gap-1.5">
        {models.map((model) => (
          <Badge key={model} look="warm">
            {model}
          </Badge>
        ))}
      </p>
      <p className="text-xs text-muted-foreground">
        {t("admin.gpus.heard", { when: ago(lastHeardMs, nowMs, language) })}
      </p>
    </li>
  );
}

function GpuLine({ gpu }: { gpu: Gpu }) {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const { name, vramTotalBytes, vramFreeBytes, utilisationPercent, temperatureCelsius, powerMilliwatts, xidCount } =
    gpu;
  const used = vramTotalBytes - vramFreeBytes;
  const read = [
    utilisationPercent != null && `${utilisationPercent} %`,
    temperatureCelsius != null && `${temperatureCelsius} °C`,
    powerMilliwatts != null && `${Math.round(powerMilliwatts / 1000)} W`,
  ].filter(Boolean);
  return (
    <div className="grid gap-1">
      <p className="flex items-center justify-between gap-3 text-xs">
        <span translate="no" className="flex items-center gap-1.5">
          <Cpu aria-hidden className="size-3.5 text-muted-foreground" /> {name}
        </span>
        <span translate="no" className="text-muted-foreground tabular-nums">
          {bytes(used, language)} / {bytes(vramTotalBytes, language)}
        </span>
      </p>
      <Meter label={t("admin.gpus.memory")} share={vramTotalBytes > 0 ? used / vramTotalBytes : 0} />
      {(read.length > 0 || (xidCount ?? 0) > 0) && (
        <p translate="no" className="flex gap-2 text-xs text-muted-foreground tabular-nums">
          {read.join(" · ")}
          {(xidCount ?? 0) > 0 && <span className="font-medium text-destructive">XID {xidCount}</span>}
        </p>
      )}
    </div>
  );
}

function Meter({ label, share }: { label: string; share: number }) {
  const percent = Math.round(100 * Math.min(1, Math.max(0, share)));
  return (
    <div
      role="meter"
      aria-label={label}
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
      className="h-1.5 overflow-hidden rounded-full bg-muted"
    >
      <div data-bar className="h-full rounded-full bg-primary" style={{ width: `${percent}%` }} />
    </div>
  );
}

function Waiting({ cluster: { jobs, atMs } }: { cluster: Cluster }) {
  const t = useT();
  return (
    <Card title={t("admin.open")} words={t("admin.open.words")}>
      {jobs.length === 0 && <p className="text-sm text-muted-foreground">{t("admin.open.none")}</p>}
      {jobs.length > 0 && (
        <Table
          label={t("admin.open")}
          heads={[t("admin.job"), t("create.model"), t("admin.queue"), t("admin.why"), t("admin.starts")]}
        >
          {jobs.map((job) => (
            <JobLine key={job.id} job={job} nowMs={atMs} />
          ))}
        </Table>
      )}
    </Card>
  );
}

function JobLine({ job, nowMs }: { job: OpenJob; nowMs: number }) {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  const { id, model, queue, verdict, startsMs, createdMs } = job;
  return (
    <tr data-open-job={id}>
      <td translate="no">
        <code className="font-mono text-xs">{id}</code>
        <span className="block text-xs text-muted-foreground">{ago(createdMs, nowMs, language)}</span>
      </td>
      <td translate="no" className="whitespace-nowrap">
        {model}
      </td>
      <td translate="no" className="whitespace-nowrap">
        {queue ?? "–"}
      </td>
      <td data-verdict={verdict?.kind}>{verdict ? verdictWords(verdict, t) : t("verdict.none")}</td>
      <td translate="no" className="whitespace-nowrap tabular-nums">
        {startsMs && verdict?.kind !== "running" ? duration(Math.max(0, startsMs - nowMs), language) : "–"}
      </td>
    </tr>
  );
}

function Queues({ cluster: { queues } }: { cluster: Cluster }) {
  const t = useT();
  const locale = useLocale();
  const language = locale === "pseudo" ? "en" : locale;
  if (queues.length === 0) return null;
  return (
    <Card title={t("admin.queues")} words={t("admin.queues.words")}>
      <Table
        label={t("admin.queues")}
        heads={[
          t("admin.queue"),
          t("admin.queues.weight"),
          t("status.running"),
          t("status.waiting"),
          t("admin.queues.quota"),
          t("admin.queues.served"),
        ]}
      >
        {queues.map(({ queue, weight, running, waiting, runningMax, servedMs }) => (
          <tr key={queue} className="tabular-nums">
            <td translate="no">{queue}</td>
            <td>{decimal(weight, language)}</td>
            <td>{decimal(running, language)}</td>
            <td>{decimal(waiting, language)}</td>
            <td>{runningMax === undefined || runningMax === null ? "–" : decimal(runningMax, language)}</td>
            <td translate="no">{duration(servedMs, language)}</td>
          </tr>
        ))}
      </Table>
    </Card>
  );
}
