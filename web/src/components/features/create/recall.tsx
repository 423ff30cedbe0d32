// Settings out of a picture's file: dropped anywhere on the page, or chosen by button, which fingers and keyboards can do too.
"use client";

import { FileImage } from "lucide-react";
import { useCallback, useEffect, useRef } from "react";

import { Button } from "@/components/ui/button";
import { say } from "@/components/ui/toast";
import { useT } from "@/lib/i18n";
import { useDraft } from "@/stores/draft";

export function Recall() {
  const t = useT();
  const change = useDraft((store) => store.change);
  const chooser = useRef<HTMLInputElement>(null);
  const take = useCallback(
    async (file: File | undefined) => {
      if (!file) return;
      const { FILE_MAX, settingsOf } = await import("@/lib/settings-of");
      const settings = file.size <= FILE_MAX ? settingsOf(new Uint8Array(await file.arrayBuffer())) : null;
      if (settings) change(settings);
      say({ text: t(settings ? "create.recall.done" : "create.recall.none") });
    },
    [change, t],
  );
  useDropped(take);
  return (
    <>
      <input
        ref={chooser}
        type="file"
        accept="image/png,image/jpeg,image/webp"
        hidden
        data-testid="recall"
        onChange={(event) => {
          void take(event.target.files?.[0]);
          // The same file may be chosen again.
          event.target.value = "";
        }}
      />
      <Button
        look="ghost"
        size="small"
        className="-mt-3 -ml-3 justify-self-start text-xs"
        onClick={() => chooser.current?.click()}
      >
        <FileImage aria-hidden /> {t("create.recall")}
      </Button>
    </>
  );
}

/** Files dropped anywhere on the page; the browser would open them instead. */
function useDropped(take: (file: File | undefined) => Promise<void>): void {
  useEffect(() => {
    const over = (event: DragEvent) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    };
    const drop = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      void take(event.dataTransfer.files[0]);
    };
    window.addEventListener("dragover", over);
    window.addEventListener("drop", drop);
    return () => {
      window.removeEventListener("dragover", over);
      window.removeEventListener("drop", drop);
    };
  }, [take]);
}
