// The place of the API's reference, which is fetched with all that draws it when somebody comes to it.
"use client";

import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useRef } from "react";

import type { OpenApi } from "@/components/features/developers/operations";
import { Card } from "@/components/ui/card";
import { Skeleton } from "@/components/ui/states";
import { Unread } from "@/components/ui/unread";
import { useT } from "@/lib/i18n";
import { useSeen } from "@/lib/use-seen";

const Routes = lazy(async () => ({ default: (await import("./routes")).Routes }));

export function ApiReference() {
  const t = useT();
  const frame = useRef<HTMLDivElement>(null);
  const seen = useSeen(frame);
  const document = useQuery({
    queryKey: ["openapi"],
    queryFn: async ({ signal }) => (await (await fetch("/openapi.json", { signal })).json()) as OpenApi,
    staleTime: Infinity,
    // Long, and at the end of the screen: for who comes to it.
    enabled: seen,
  });
  return (
    <Card title={t("dev.api")} words={t("dev.api.words")}>
      <Unread of={document} />
      {document.isPending && (
        <div ref={frame} className="h-64">
          {seen && <Skeleton className="h-64" />}
        </div>
      )}
      {document.data && (
        <Suspense fallback={<Skeleton className="h-64" />}>
          <Routes document={document.data} />
        </Suspense>
      )}
    </Card>
  );
}
