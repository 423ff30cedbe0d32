// What is said below the pictures of a job: where it stands, what it waits for, how long that takes, what it cost.
"use client";

import type { ReactNode } from "react";

import { isOpen, type Stand } from "@/components/features/jobs/stand";
import { waitWords } from "@/components/features/jobs/wait";
import { Link } from "@/components/ui/link";
import type { Job } from "@/lib/api/client";
import { type Outlook, useLive } from "@/lib/api/live";
import { cn } from "@/lib/cn";
import { credits, duration } from "@/lib/format";
import { type Translate, useLocale, useT } from "@/lib/i18n";
import { useSecond } from "@/lib/use-now";

export function JobFoot({ job, stand }: { job: Job; stand: Stand }) {
  const t = useT();
  const locale = useLocale();
  const outlook = useLive((live) => live.outlooks[job.id]);
  const open = isOpen(stand);
  return (
    <footer className="grid gap-2 text-[13px] text-muted-foreground">
      {stand.kind === "running" && stand.steps > 0 && (
        <Bar label={t("job.progress")} done={stand.step} of={stand.steps} />
      )}
      {stand.kind === "loading" && outlook && <Loading outlook={outlook} />}
      <p className={cn("tabular-nums", (stand.kind === "failed" || stand.kind === "blocked") && "text-destructive")}>
        <span role={open ? "status" : undefined}>
          {sentence(stand, job, outlook, t, locale === "pseudo" ? "en" : locale)}
        </span>
        {open && outlook?.times && stand.kind !== "cancelling" && <Time stand={stand} outlook={outlook} />}{" "}
        {(stand.kind === "failed" || stand.kind === "blocked") && (
          <Link href="/credits/" className="underline underline-offset-4">
            {t("job.ledger")}
          </Link>
        )}
      </p>
      {(stand.kind === "failed" || stand.kind === "blocked") && <p>{stand.message}</p>}
      {stand.kind === "blocked" && <p>{t("job.blocked.appeal")}</p>}
    </footer>
  );
}

function sentence(stand: Stand, job: Job, outlook: Outlook | undefined, t: Translate, language: string): string {
  const price = credits(job.priceMillis, language);
  const moved = "attempt" in stand && stand.attempt > 1 && t("job.attempt", { n: stand.attempt });
  const all = (...parts: (string | false | null | undefined)[]) => parts.filter(Boolean).join(" · ");
  switch (stand.kind) {
    case "queued": {
      if (!outlook) return moved || t("job.queued");
      const line = outlook.times && t("job.line", { n: outlook.times.ahead + 1 });
      return all(moved, line, waitWords(outlook, t, language));
    }
    case "assigned":
    case "preempted":
      return moved || t(`job.${stand.kind}`);
    case "loading":
      return all(moved, t("job.loading", { model: job.request.model }));
    case "running":
      return all(moved, t("job.running", { step: stand.step, steps: stand.steps }));
    case "complete":
      return t("job.complete", { credits: price });
    case "failed":
      return t("job.failed", { credits: price });
    case "blocked":
      return t("job.blocked", { credits: price });
    case "cancelled":
      return t("job.cancelled");
    case "cancelling":
      return t("job.cancelling");
  }
}

/** How far from what was heard the moment is, by the server's clock. */
const since = (outlook: Outlook, now: number) => outlook.nowMs + Math.max(0, now - outlook.heardMs);

/** When it begins, or is done: beside what is said aloud, for it changes every second. */
function Time({ stand, outlook }: { stand: Stand; outlook: Outlook }): ReactNode {
  const t = useT();
  const locale = useLocale();
  const now = useSecond();
  if (!outlook.times || now === 0) return null;
  const { startsMs, endsMs, loadMs } = outlook.times;
  const [key, at] =
    stand.kind === "queued"
      ? (["job.startsIn", startsMs] as const)
      : stand.kind === "loading"
        ? (["job.left", startsMs + loadMs] as const)
        : (["job.left", endsMs] as const);
  const left = at - since(outlook, now);
  // What should have been over says nothing.
  if (left < 500) return null;
  const time = duration(Math.ceil(left / 1000) * 1000, locale === "pseudo" ? "en" : locale);
  return <span data-left> · {t(key, { time })}</span>;
}

/** How much of loading its model is over, by how long it took of late. */
function Loading({ outlook }: { outlook: Outlook }) {
  const t = useT();
  const now = useSecond();
  const { startsMs = 0, loadMs = 0 } = outlook.times ?? {};
  const done = Math.min(loadMs, Math.max(0, since(outlook, now) - startsMs));
  return <Bar label={t("job.loading.progress")} done={done} of={loadMs} />;
}

function Bar({ label, done, of }: { label: string; done: number; of: number }) {
  return (
    <div
      role="progressbar"
      aria-label={label}
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
