// One job: what was asked for, where it stands, its pictures.
"use client";

import { ClipboardCopy, Copy, Download, RefreshCw, Shuffle, X } from "lucide-react";
import { memo } from "react";

import { isOpen, type Stand, standOf } from "@/components/features/jobs/stand";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { say } from "@/components/ui/toast";
import type { Job } from "@/lib/api/client";
import { useLive } from "@/lib/api/live";
import { useCancelJob, useMakeJob } from "@/lib/api/queries";
import { copyText, randomId } from "@/lib/browser";
import { cn } from "@/lib/cn";
import { credits } from "@/lib/format";
import { type Translate, useLocale, useT } from "@/lib/i18n";
import { draftOf, requestOf, useDraft } from "@/stores/draft";

export const JobCard = memo(function JobCard({ job }: { job: Job }) {
  const t = useT();
  const stand = standOf(
    job,
    useLive((live) => live.jobs[job.id]),
  );
  const { request } = job;
  return (
    <article
      aria-label={request.prompt}
      data-stand={stand.kind}
      data-job={job.id}
      className="grid gap-3 rounded-lg border bg-card p-4 shadow-raised"
    >
      <header className="flex flex-wrap items-start justify-between gap-x-4 gap-y-2">
        <div className="grid min-w-0 flex-1 basis-64 gap-1.5">
          <p translate="no" className="line-clamp-2 text-[15px] leading-snug break-words">
            {request.prompt}
          </p>
          <div className="flex flex-wrap gap-1.5">
            <Badge translate="no">{request.model}</Badge>
            <Badge>
              {request.width} × {request.height}
            </Badge>
            <Badge>{t("job.images", { n: request.images })}</Badge>
          </div>
        </div>
        <Actions job={job} stand={stand} />
      </header>
      <Pictures job={job} stand={stand} />
      <Foot job={job} stand={stand} />
    </article>
  );
});

function Actions({ job, stand }: { job: Job; stand: Stand }) {
  const t = useT();
  const change = useDraft((store) => store.change);
  const cancel = useCancelJob();
  const take = (seed: number | null) => {
    change(draftOf(job.request, seed));
    document.querySelector<HTMLElement>("[data-shortcut=prompt]")?.focus();
  };
  if (isOpen(stand)) {
    return (
      <Button
        look="outline"
        size="small"
        disabled={stand.kind === "cancelling" || cancel.isPending}
        onClick={() => cancel.mutate(job.id)}
      >
        <X aria-hidden /> {t("job.cancel")}
      </Button>
    );
  }
  if (stand.kind !== "complete") return <Again job={job} stand={stand} />;
  return (
    <div className="flex gap-1.5">
      <Button look="secondary" size="small" title={t("job.remix.hint")} onClick={() => take(null)}>
        <Shuffle aria-hidden /> {t("job.remix")}
      </Button>
      <Button look="secondary" size="small" title={t("job.reuse.hint")} onClick={() => take(job.request.seed)}>
        <Copy aria-hidden /> {t("job.reuse")}
      </Button>
    </div>
  );
}

/** For a job that made nothing: the same once more, and what helps whoever is asked why. */
function Again({ job, stand }: { job: Job; stand: Stand }) {
  const t = useT();
  const make = useMakeJob();
  const { request } = job;
  const again = () => {
    const same = requestOf({ ...draftOf(request, request.seed), images: request.images }, request.model);
    make.mutate({ request: same, key: randomId() }, { onError: (error) => say({ text: error.message }) });
  };
  const report = (message: string) =>
    void copyText(`${job.id}: ${message}`).then((done) => done && say({ text: t("ui.copied") }));
  return (
    <div className="flex flex-wrap gap-1.5">
      <Button look="secondary" size="small" disabled={make.isPending} onClick={again}>
        <RefreshCw aria-hidden /> {t("job.retry")}
      </Button>
      {stand.kind === "failed" && (
        <Button look="outline" size="small" title={t("job.report.hint")} onClick={() => report(stand.message)}>
          <ClipboardCopy aria-hidden /> {t("job.report")}
        </Button>
      )}
    </div>
  );
}

/** Frames of the right shape from the first moment, so that nothing jumps when the pictures come. */
function Pictures({ job, stand }: { job: Job; stand: Stand }) {
  if (stand.kind === "failed" || stand.kind === "cancelled") return null;
  const { images, hires, width, height } = job.request;
  const [wide, high] = hires ? [hires.width, hires.height] : [width, height];
  return (
    <ul className={cn("grid gap-2.5", images === 1 ? "max-w-sm grid-cols-1" : "grid-cols-2 xl:grid-cols-4")}>
      {Array.from({ length: images }, (_, n) => (
        <li
          key={n}
          style={{ aspectRatio: `${wide} / ${high}` }}
          className={cn(
            "group relative overflow-hidden rounded-md bg-muted",
            isOpen(stand) && (stand.kind === "running" || stand.kind === "assigned") && "animate-shimmer",
          )}
        >
          <Preview job={job.id} n={n} />
          <Picture job={job} n={n} />
        </li>
      ))}
    </ul>
  );
}

/** How it looks so far. Said by the progress bar to those who do not see it. */
function Preview({ job, n }: { job: string; n: number }) {
  const preview = useLive((live) => live.previews[job]?.[n]);
  return preview && <img src={preview} alt="" data-preview className="absolute inset-0 size-full object-cover" />;
}

function Picture({ job, n }: { job: Job; n: number }) {
  const t = useT();
  const output = job.outputs[n];
  if (!output) return null;
  const file = `${output.url}?inline=true`;
  return (
    <>
      <img
        src={file}
        alt={t("job.picture", { n: n + 1, prompt: job.request.prompt })}
        width={output.width}
        height={output.height}
        loading="lazy"
        decoding="async"
        className="relative size-full animate-appear object-cover"
      />
      <a
        href={file}
        download={`tintype-${output.seed}.${job.request.format ?? "png"}`}
        aria-label={t("job.download", { n: n + 1 })}
        className="absolute right-2 bottom-2 grid size-9 place-items-center rounded-md bg-black/65 text-white focus-visible:opacity-100 md:opacity-0 md:group-hover:opacity-100 md:focus-visible:opacity-100"
      >
        <Download aria-hidden className="size-4" />
      </a>
    </>
  );
}

function Foot({ job, stand }: { job: Job; stand: Stand }) {
  const t = useT();
  const locale = useLocale();
  const price = credits(job.priceMillis, locale);
  return (
    <footer className="grid gap-2 text-[13px] text-muted-foreground">
      {stand.kind === "running" && stand.steps > 0 && <Bar done={stand.step} of={stand.steps} />}
      <p
        role={isOpen(stand) ? "status" : undefined}
        className={cn("tabular-nums", stand.kind === "failed" && "text-destructive")}
      >
        {sentence(stand, price, t)}{" "}
        {stand.kind === "failed" && (
          <Link href="/credits/" className="underline underline-offset-4">
            {t("job.ledger")}
          </Link>
        )}
      </p>
      {stand.kind === "failed" && <p>{stand.message}</p>}
    </footer>
  );
}

function sentence(stand: Stand, price: string, t: Translate): string {
  switch (stand.kind) {
    case "queued":
    case "assigned":
    case "preempted":
      return stand.attempt > 1 ? t("job.attempt", { n: stand.attempt }) : t(`job.${stand.kind}`);
    case "running":
      return t("job.running", { step: stand.step, steps: stand.steps });
    case "complete":
      return t("job.complete", { credits: price });
    case "failed":
      return t("job.failed", { credits: price });
    case "cancelled":
      return t("job.cancelled");
    case "cancelling":
      return t("job.cancelling");
  }
}

function Bar({ done, of }: { done: number; of: number }) {
  const t = useT();
  return (
    <div
      role="progressbar"
      aria-label={t("job.progress")}
      aria-valuenow={done}
      aria-valuemin={0}
      aria-valuemax={of}
      className="h-1.5 overflow-hidden rounded-full bg-muted"
    >
      <div
        data-bar
        className="h-full rounded-full bg-primary transition-[width] duration-300"
        style={{ width: `${(100 * done) / of}%` }}
      />
    </div>
  );
}
