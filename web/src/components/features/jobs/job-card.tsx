// One job: what was asked for, where it stands, its pictures.
"use client";

import { ClipboardCopy, Copy, Download, RefreshCw, Shuffle, X } from "lucide-react";
import { memo } from "react";

import { JobFoot } from "@/components/features/jobs/job-foot";
import { isOpen, type Stand, standOf } from "@/components/features/jobs/stand";
import { Badge } from "@/components/ui/badge";
import { Button } from "@/components/ui/button";
import { say } from "@/components/ui/toast";
import type { Job } from "@/lib/api/client";
import { useLive } from "@/lib/api/live";
import { useCancelJob, useMakeJob } from "@/lib/api/queries";
import { copyText, randomId } from "@/lib/browser";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";
import { draftOf, requestOf, useDraft } from "@/stores/draft";

export const JobCard = memo(function JobCard({ job }: { job: Job }) {
  const t = useT();
  const stand = standOf(
    job,
    useLive((live) => live.jobs[job.id]),
    useLive((live) => live.outlooks[job.id]),
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
      <JobFoot job={job} stand={stand} />
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
  if (stand.kind === "blocked") {
    return (
      <div className="flex flex-wrap gap-1.5">
        <Button look="secondary" size="small" onClick={() => take(null)}>
          {t("job.editPrompt")}
        </Button>
        <Report job={job} message={stand.message} />
      </div>
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
  return (
    <div className="flex flex-wrap gap-1.5">
      <Button look="secondary" size="small" disabled={make.isPending} onClick={again}>
        <RefreshCw aria-hidden /> {t("job.retry")}
      </Button>
      {stand.kind === "failed" && <Report job={job} message={stand.message} />}
    </div>
  );
}

/** Copies what whoever runs the server needs to know. */
function Report({ job, message }: { job: Job; message: string }) {
  const t = useT();
  const report = () => void copyText(`${job.id}: ${message}`).then((done) => done && say({ text: t("ui.copied") }));
  return (
    <Button look="outline" size="small" title={t("job.report.hint")} onClick={report}>
      <ClipboardCopy aria-hidden /> {t("job.report")}
    </Button>
  );
}

/** Frames of the right shape from the first moment, so that nothing jumps when the pictures come. */
function Pictures({ job, stand }: { job: Job; stand: Stand }) {
  if (stand.kind === "failed" || stand.kind === "blocked" || stand.kind === "cancelled") return null;
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
            ["running", "loading", "assigned"].includes(stand.kind) && "animate-shimmer",
          )}
        >
          <Preview job={job.id} n={n} />
          <Picture job={job} n={n} />
        </li>
      ))}
    </ul>
  );
}

/** What is kept is pressed in the corner of what is seen; where nothing can be held over it, it is always there. */
const corner =
  "absolute right-2 bottom-2 grid size-9 place-items-center rounded-md bg-black/65 text-white focus-visible:opacity-100 md:[@media(hover:hover)]:opacity-0 md:[@media(hover:hover)]:group-hover:opacity-100 md:[@media(hover:hover)]:focus-visible:opacity-100";

/** How it looks so far, and to be kept as it is. Said by the progress bar to those who do not see it. */
function Preview({ job, n }: { job: string; n: number }) {
  const t = useT();
  const preview = useLive((live) => live.previews[job]?.[n]);
  if (!preview) return null;
  return (
    <>
      <img src={preview} alt="" data-preview className="absolute inset-0 size-full object-cover" />
      <a
        href={preview}
        download={`tintype-preview-${n + 1}.jpg`}
        aria-label={t("job.keep", { n: n + 1 })}
        className={corner}
      >
        <Download aria-hidden className="size-4" />
      </a>
    </>
  );
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
        className={corner}
      >
        <Download aria-hidden className="size-4" />
      </a>
    </>
  );
}
