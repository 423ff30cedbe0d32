// The screen where pictures are made: the generator on one side, what it makes on the other.
"use client";

import { ImageGenerator } from "@/components/features/create/image-generator";
import { JobFeed } from "@/components/features/jobs/job-feed";
import { useWho } from "@/lib/api/queries";
import { useT } from "@/lib/i18n";

export function Create() {
  const t = useT();
  const who = useWho();
  const me = who instanceof Error ? undefined : who;
  return (
    <div className="grid items-start gap-8 lg:grid-cols-[24rem_minmax(0,1fr)]">
      <h1 className="sr-only">{t("create.title")}</h1>
      <ImageGenerator me={me} />
      <JobFeed signedIn={Boolean(me)} asking={who === undefined} />
    </div>
  );
}
