// Everything that was asked for, newest first: what runs shows how far it is, what is done shows its pictures.
"use client";

import { ImagePlus } from "lucide-react";

import { JobCard } from "@/components/features/jobs/job-card";
import { Button } from "@/components/ui/button";
import { Empty, Notice, Skeleton } from "@/components/ui/states";
import { useJobs } from "@/lib/api/queries";
import { type Key, useT } from "@/lib/i18n";
import { useFlag } from "@/lib/telemetry/flags";
import { useDraft } from "@/stores/draft";

const EXAMPLES: readonly Key[] = ["create.empty.one", "create.empty.two", "create.empty.three"];

export function JobFeed({ signedIn, asking }: { signedIn: boolean; asking: boolean }) {
  const t = useT();
  const jobs = useJobs(signedIn);
  const list = jobs.data?.pages.flatMap((page) => page.data) ?? [];
  if (asking || (signedIn && jobs.isPending)) return <Waiting />;
  return (
    <section aria-labelledby="results" className="grid gap-4">
      <h2 id="results" className="sr-only">
        {t("create.results")}
      </h2>
      {jobs.error && (
        <Notice
          title={jobs.error.message}
          actions={
            <Button look="outline" size="small" onClick={() => void jobs.refetch()}>
              {t("ui.retry")}
            </Button>
          }
        />
      )}
      {list.length === 0 && !jobs.error && <First />}
      <ol className="grid gap-4">
        {list.map((job) => (
          <li key={job.id}>
            <JobCard job={job} />
          </li>
        ))}
      </ol>
      {jobs.hasNextPage && (
        <Button
          look="outline"
          className="justify-self-center"
          disabled={jobs.isFetchingNextPage}
          onClick={() => void jobs.fetchNextPage()}
        >
          {t("ui.more")}
        </Button>
      )}
    </section>
  );
}

/** Nothing was made yet: three prompts to start with. */
function First() {
  const t = useT();
  const change = useDraft((store) => store.change);
  const examples = useFlag("create-no-examples") ? [] : EXAMPLES;
  return (
    <Empty
      className="min-h-[60vh] content-center"
      icon={<ImagePlus aria-hidden />}
      title={t("create.empty.title")}
      actions={examples.map((key) => (
        <Button
          key={key}
          look="outline"
          className="h-auto min-h-9 py-2 whitespace-normal"
          onClick={() => {
            change({ prompt: t(key) });
            document.querySelector<HTMLElement>("[data-shortcut=prompt]")?.focus();
          }}
        >
          {t(key)}
        </Button>
      ))}
    >
      {t("create.empty.words")}
    </Empty>
  );
}

function Waiting() {
  const t = useT();
  return (
    <div className="grid gap-4">
      <p className="sr-only" role="status">
        {t("ui.loading")}
      </p>
      <Skeleton className="h-64 rounded-lg" />
      <Skeleton className="h-64 rounded-lg" />
    </div>
  );
}
