// A collection as whoever has its link sees it: its name and its pictures, each larger when it is pressed.
"use client";

import { type ReactNode, useState } from "react";

import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { PageHead } from "@/components/ui/page-head";
import { Skeleton } from "@/components/ui/states";
import { Unread } from "@/components/ui/unread";
import { ApiFailure } from "@/lib/api/client";
import { fileOf, useSharedCollection } from "@/lib/api/gallery";
import { useT } from "@/lib/i18n";

interface SharedCollectionProps {
  token: string | null;
  /** What is shown where nothing is shared. */
  otherwise: ReactNode;
}

export function SharedCollection({ token, otherwise }: SharedCollectionProps) {
  const t = useT();
  const collection = useSharedCollection(token);
  const [large, setLarge] = useState<string | null>(null);
  if (collection.error instanceof ApiFailure && collection.error.status === 404) return otherwise;
  if (collection.error) return <Unread of={collection} />;
  const [first] = collection.data?.pages ?? [];
  if (!first) return <Skeleton className="h-[60vh] rounded-lg" />;
  const pictures = collection.data?.pages.flatMap(({ data }) => data) ?? [];
  const shown = pictures.find(({ key }) => key === large);
  return (
    <>
      <PageHead title={first.name} words={t("collections.seen")}>
        <p className="text-sm text-muted-foreground tabular-nums">{t("gallery.count", { n: first.images })}</p>
      </PageHead>
      <ul className="grid grid-cols-2 gap-2 sm:grid-cols-3 lg:grid-cols-5">
        {pictures.map((picture, n) => (
          <li key={picture.key}>
            <button
              type="button"
              aria-label={t("share.nth", { n: n + 1 })}
              onClick={() => setLarge(picture.key)}
              className="block aspect-square w-full overflow-hidden rounded-md bg-muted"
            >
              <img src={fileOf(picture)} alt="" loading="lazy" decoding="async" className="size-full object-cover" />
            </button>
          </li>
        ))}
      </ul>
      {collection.hasNextPage && (
        <Button
          look="outline"
          className="mx-auto mt-6 flex"
          disabled={collection.isFetchingNextPage}
          onClick={() => void collection.fetchNextPage()}
        >
          {t("ui.more")}
        </Button>
      )}
      <Dialog open={Boolean(shown)} onOpenChange={() => setLarge(null)} title={first.name}>
        {shown && (
          <img
            src={fileOf(shown)}
            alt={t("share.picture")}
            width={shown.width}
            height={shown.height}
            className="h-auto max-h-[75vh] w-full rounded-md object-contain"
          />
        )}
      </Dialog>
    </>
  );
}
