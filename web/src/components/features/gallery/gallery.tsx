// The gallery: find it again. Search and filters above, a grid with a true scroll bar below.
"use client";

import "@/lib/i18n/shelf";

import { useQueryClient } from "@tanstack/react-query";
import { ImageOff, Images } from "lucide-react";
import { lazy, Suspense, useDeferredValue, useEffect, useMemo, useState } from "react";

import { Grid } from "@/components/features/gallery/grid";
import { moreOf } from "@/components/features/gallery/more-filters";
import { open, useGallery } from "@/components/features/gallery/store";
import { Toolbar } from "@/components/features/gallery/toolbar";
import { SignedIn } from "@/components/features/signed-in";
import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { PageHead } from "@/components/ui/page-head";
import { Empty, Notice, Skeleton } from "@/components/ui/states";
import type { Filter } from "@/lib/api/gallery";
import { useT } from "@/lib/i18n";
import { useQueryState } from "@/lib/use-query-state";

/** Fetched when something is chosen. */
const BulkBar = lazy(async () => ({ default: (await import("./bulk-bar")).BulkBar }));

export function Gallery() {
  return <SignedIn>{() => <Pictures />}</SignedIn>;
}

function useFilter(): Filter {
  const [params] = useQueryState();
  return useMemo(() => {
    const [q, model, collection] = ["q", "model", "collection"].map((name) => params.get(name));
    return {
      ...(q && { q }),
      ...(model && { model }),
      ...(collection && { collection }),
      ...(params.has("starred") && { starred: true }),
      ...moreOf(params),
    };
  }, [params]);
}

function Pictures() {
  const t = useT();
  const filter = useFilter();
  const error = useGallery((gallery) => gallery.error);
  // The grid is drawn in small steps.
  const strip = useDeferredValue(useGallery((gallery) => gallery.strip));
  useReopened(filter);
  const chosen = useGallery((gallery) => gallery.chosen.size > 0);
  const [acted, setActed] = useState(false);
  // It stays: what it has begun may end after nothing is chosen any more.
  if (chosen && !acted) setActed(true);
  const narrowed = Object.keys(filter).length > 0;
  return (
    <>
      <PageHead title={t("gallery.title")} words={t("gallery.words")}>
        {strip ? (
          <p className="text-sm text-muted-foreground tabular-nums">{t("gallery.count", { n: strip.length })}</p>
        ) : (
          <Skeleton className="h-5 w-24" />
        )}
      </PageHead>
      <Toolbar filter={filter} />
      {error && (
        <Notice
          className="mb-4"
          title={t("gallery.failed")}
          actions={
            <Button look="outline" size="small" onClick={() => void open(filter)}>
              {t("ui.retry")}
            </Button>
          }
        >
          {error.message}
        </Notice>
      )}
      {!strip && !error && <Loading />}
      {strip && strip.length > 0 && <Grid strip={strip} filter={filter} />}
      {strip && strip.length === 0 && !narrowed && (
        <Empty
          icon={<Images aria-hidden />}
          title={t("gallery.empty.title")}
          actions={
            <Button asChild>
              <Link href="/">{t("lost.home")}</Link>
            </Button>
          }
        >
          {t("gallery.empty.words")}
        </Empty>
      )}
      {strip && strip.length === 0 && narrowed && (
        <Empty icon={<ImageOff aria-hidden />} title={t("gallery.none.title")}>
          {t("gallery.none.words")}
        </Empty>
      )}
      {acted && (
        <Suspense fallback={null}>
          <BulkBar filter={filter} />
        </Suspense>
      )}
    </>
  );
}

/** Opens the list, and again when something has changed that this page did not do itself: a job has ended, a gap is over. */
function useReopened(filter: Filter): void {
  const client = useQueryClient();
  useEffect(() => {
    void open(filter);
    return client.getQueryCache().subscribe(({ type, query }) => {
      const changed = type === "updated" && query.queryKey[0] === "images" && query.state.isInvalidated;
      if (changed) void open(filter);
    });
  }, [client, filter]);
}

function Loading() {
  const t = useT();
  return (
    <div className="grid grid-cols-3 gap-2 pt-12 sm:grid-cols-4 lg:grid-cols-6">
      <p className="sr-only" role="status">
        {t("ui.loading")}
      </p>
      {Array.from({ length: 18 }, (_, n) => (
        <Skeleton key={n} className="aspect-square" />
      ))}
    </div>
  );
}
