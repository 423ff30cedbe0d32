// Everything most people leave alone: fetched when it is first opened, for most never do.
"use client";

import { ChevronDown } from "lucide-react";
import { lazy, memo, Suspense, useState } from "react";

import type { SettingsProps } from "@/components/features/create/settings";
import { Skeleton } from "@/components/ui/states";
import { useT } from "@/lib/i18n";

const Settings = lazy(async () => ({ default: (await import("./settings")).Settings }));

export const Advanced = memo(function Advanced(props: SettingsProps) {
  const t = useT();
  const [opened, setOpened] = useState(false);
  return (
    <details className="group rounded-md border bg-card" onToggle={() => setOpened(true)}>
      <summary className="flex cursor-pointer list-none items-center justify-between rounded-md px-3 py-2.5 text-sm font-medium select-none">
        {t("create.advanced")}
        <ChevronDown aria-hidden className="size-4 transition-transform group-open:rotate-180" />
      </summary>
      {opened && (
        <Suspense fallback={<Skeleton className="m-3 h-40" />}>
          <Settings {...props} />
        </Suspense>
      )}
    </details>
  );
});
