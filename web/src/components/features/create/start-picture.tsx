// A picture to start from: dropped here, pasted anywhere on the page, or chosen.
"use client";

import { useMutation } from "@tanstack/react-query";
import { ImageUp } from "lucide-react";
import { type DragEvent, lazy, Suspense, useEffect, useRef, useState } from "react";

import { Skeleton } from "@/components/ui/states";
import type { ModelCard } from "@/lib/api/client";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";
import { useDraft } from "@/stores/draft";

const Taken = lazy(async () => ({ default: (await import("./taken")).Taken }));

/** Side of a square with as many pixels as a result has, where the model does not say. */
const BASE = 512;

export function StartPicture({ card }: { card: ModelCard | undefined }) {
  const t = useT();
  const init = useDraft((store) => store.draft.extra.init);
  const chooser = useRef<HTMLInputElement>(null);
  const zone = useRef<HTMLButtonElement>(null);
  const [over, setOver] = useState(false);
  const base = card?.defaults.width ?? BASE;
  const take = useMutation({
    mutationFn: async (file: File) => (await import("./take-start")).takeStart(file, { base }),
  });
  const { mutate } = take;
  usePasted(mutate);
  const drag = (event: DragEvent, here: boolean) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    setOver(here);
  };
  const drop = (event: DragEvent) => {
    drag(event, false);
    // Elsewhere on the page a file is asked for its settings.
    event.stopPropagation();
    const [file] = event.dataTransfer.files;
    if (file) mutate(file);
  };
  return (
    <div
      className="grid gap-1.5"
      onDragOver={(event) => drag(event, true)}
      onDragLeave={(event) => drag(event, false)}
      onDrop={drop}
      data-testid="start"
    >
      <p id="start" className="text-sm font-medium">
        {t("start.title")}
      </p>
      <input
        ref={chooser}
        type="file"
        accept="image/png,image/jpeg,image/webp"
        hidden
        data-testid="start-file"
        onChange={(event) => {
          const [file] = event.target.files ?? [];
          // The same file may be chosen again.
          event.target.value = "";
          if (file) mutate(file);
        }}
      />
      {init ? (
        <Suspense fallback={<Skeleton className="h-24" />}>
          <Taken
            init={init}
            onRemoved={() => {
              take.reset();
              // The button that did it is gone: the keyboard stays where it was.
              requestAnimationFrame(() => zone.current?.focus());
            }}
          />
        </Suspense>
      ) : (
        <button
          ref={zone}
          type="button"
          aria-describedby="start"
          aria-busy={take.isPending}
          onClick={() => chooser.current?.click()}
          className={cn(
            "flex min-h-11 items-center gap-2 rounded-md border border-dashed border-input px-3 py-2 text-left text-[13px] text-muted-foreground transition-colors hover:bg-muted",
            over && "border-primary bg-accent text-accent-foreground",
          )}
        >
          <ImageUp aria-hidden className="size-4 shrink-0" />
          {t(take.isPending ? "start.sending" : "start.choose")}
        </button>
      )}
      <p role="status" className="sr-only">
        {init && t("start.there")}
      </p>
      {take.error && (
        <p role="alert" className="text-xs font-medium text-destructive">
          {take.error.message}
        </p>
      )}
    </div>
  );
}

/** Pictures pasted anywhere on the page; text goes where it always went. */
function usePasted(take: (file: File) => void): void {
  useEffect(() => {
    const paste = (event: ClipboardEvent) => {
      const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
      if (!file) return;
      event.preventDefault();
      take(file);
    };
    window.addEventListener("paste", paste);
    return () => window.removeEventListener("paste", paste);
  }, [take]);
}
