// What can be done to all that are chosen.
"use client";

import { FolderMinus, FolderPlus, Star, Trash2, X } from "lucide-react";
import { useState } from "react";

import { CollectDialog } from "@/components/features/gallery/collect-dialog";
import { change, choose, open, remove, useGallery } from "@/components/features/gallery/store";
import { Button } from "@/components/ui/button";
import { say } from "@/components/ui/toast";
import { type Filter, useBulk } from "@/lib/api/gallery";
import { useT } from "@/lib/i18n";

export function BulkBar({ filter }: { filter: Filter }) {
  const t = useT();
  const chosen = useGallery((gallery) => gallery.chosen);
  const [collecting, setCollecting] = useState(false);
  const bulk = useBulk();
  if (chosen.size === 0) return null;
  const ids = [...chosen];
  const failed = (error: Error) => say({ text: error.message });
  const star = () => {
    change(chosen, { starred: true });
    bulk.mutate({ ids, action: "star" }, { onError: failed });
    choose(new Set());
  };
  const drop = (action: "delete" | "uncollect") =>
    bulk.mutate(
      { ids, action, ...(filter.collection && { collection: filter.collection }) },
      {
        onError: failed,
        onSuccess: () => {
          remove(chosen);
          if (action === "delete") say({ text: t("gallery.deleted", { n: ids.length }), action: undo });
        },
      },
    );
  const undo = {
    label: t("ui.undo"),
    run: () => bulk.mutate({ ids, action: "restore" }, { onError: failed, onSuccess: () => void open(filter) }),
  };
  return (
    <div
      role="toolbar"
      aria-label={t("gallery.chosen", { n: chosen.size })}
      className="fixed inset-x-3 bottom-18 z-40 mx-auto flex w-fit max-w-full flex-wrap items-center justify-center gap-1.5 rounded-lg border bg-card p-2 shadow-raised md:bottom-6"
    >
      <span className="px-2 text-sm font-medium tabular-nums">{t("gallery.chosen", { n: chosen.size })}</span>
      <Button look="secondary" size="small" onClick={star}>
        <Star aria-hidden /> {t("gallery.doStar")}
      </Button>
      <Button look="secondary" size="small" onClick={() => setCollecting(true)}>
        <FolderPlus aria-hidden /> {t("gallery.collect")}
      </Button>
      {filter.collection && (
        <Button look="secondary" size="small" onClick={() => drop("uncollect")}>
          <FolderMinus aria-hidden /> {t("gallery.uncollect")}
        </Button>
      )}
      <Button look="secondary" size="small" className="text-destructive" onClick={() => drop("delete")}>
        <Trash2 aria-hidden /> {t("ui.delete")}
      </Button>
      <Button look="ghost" size="icon" aria-label={t("gallery.unchoose")} onClick={() => choose(new Set())}>
        <X aria-hidden />
      </Button>
      <CollectDialog ids={ids} open={collecting} onOpenChange={setCollecting} onDone={() => choose(new Set())} />
    </div>
  );
}
