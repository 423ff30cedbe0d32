// The picture the next one starts from, and how much of it is redrawn.
"use client";

import { X } from "lucide-react";
import { useState } from "react";

import { Button } from "@/components/ui/button";
import { Slider } from "@/components/ui/slider";
import { fileOfKey } from "@/lib/api/assets";
import { LIMITS } from "@/lib/api/limits.gen";
import { useT } from "@/lib/i18n";
import { type Start, useDraft } from "@/stores/draft";

interface TakenProps {
  init: Start;
  onRemoved: () => void;
}

export function Taken({ init, onRemoved }: TakenProps) {
  const t = useT();
  const start = useDraft((store) => store.start);
  /** The file that could not be shown: uploads are kept for a while only. */
  const [gone, setGone] = useState<string | null>(null);
  const { image, mask } = init;
  const percent = Math.round((init.strength ?? LIMITS.strength.max) * 100);
  return (
    <div className="grid grid-cols-[auto_minmax(0,1fr)_auto] items-start gap-3 rounded-md border bg-card p-3">
      {gone === image ? (
        <p role="alert" className="col-span-2 text-xs font-medium text-destructive">
          {t("start.gone")}
        </p>
      ) : (
        <>
          <img
            src={fileOfKey(image)}
            alt={t("start.alt")}
            onError={() => setGone(image)}
            className="size-20 rounded-sm bg-muted object-contain"
          />
          <div className="grid gap-1">
            <div className="flex items-baseline justify-between text-sm">
              <p className="font-medium">{t("start.strength")}</p>
              <p className="tabular-nums">{percent} %</p>
            </div>
            <Slider
              label={t("start.strength")}
              value={percent}
              min={LIMITS.strength.min * 100}
              max={LIMITS.strength.max * 100}
              onChange={(now) => start({ ...init, strength: now / 100 })}
            />
            <p className="text-xs text-muted-foreground">{t(mask ? "start.masked" : "start.strength.hint")}</p>
          </div>
        </>
      )}
      <Button
        look="ghost"
        size="icon"
        aria-label={t("start.remove")}
        title={t("start.remove")}
        onClick={() => {
          start(null);
          onRemoved();
        }}
      >
        <X aria-hidden />
      </Button>
    </div>
  );
}
