// The picture's shape: a ratio, lying or standing, and its size in the steps the API takes.
"use client";

import { ArrowLeftRight } from "lucide-react";
import { useState } from "react";

import { Button } from "@/components/ui/button";
import { Segmented } from "@/components/ui/segmented";
import { Slider } from "@/components/ui/slider";
import { LIMITS } from "@/lib/api/limits.gen";
import type { ModelCard } from "@/lib/api/client";
import { useT } from "@/lib/i18n";
import { fitted, type Ratio, RATIOS, ratioOf, same, type Shape, shapeOf, type Size, sizeOf } from "@/lib/shape";

/** Largest side of a square offered by the slider; above it every model here only repeats itself. */
const BASE_MAX = 1536;

interface ShapePickerProps {
  card: ModelCard | undefined;
  width: number | null;
  height: number | null;
  onChange: (size: Size) => void;
}

export function ShapePicker({ card, width, height, onChange }: ShapePickerProps) {
  const t = useT();
  const own = card?.defaults.width ?? 512;
  const now: Size = { width: width ?? own, height: height ?? card?.defaults.height ?? own };
  // What was pressed counts while the size is what came of it: a square lies or stands as it was pressed.
  const [pressed, setPressed] = useState<(Shape & { ratio: Ratio }) | null>(null);
  const kept = pressed && same(sizeOf(pressed.ratio, pressed.base, pressed.upright), now);
  const { ratio, upright, base } = kept ? pressed : shapeOf(now);

  const take = (next: { ratio?: Ratio; upright?: boolean; base?: number }) => {
    const all = { ratio, upright, base, ...next };
    const chosen = all.ratio && { ...all, ratio: all.ratio };
    setPressed(chosen);
    const turned = all.upright === upright ? now : { width: now.height, height: now.width };
    onChange(chosen ? sizeOf(chosen.ratio, chosen.base, chosen.upright) : fitted(turned, all.base));
  };

  return (
    <div className="grid gap-1.5">
      <div className="flex items-baseline justify-between">
        <p className="text-sm font-medium">{t("create.shape")}</p>
        <p className="text-xs text-muted-foreground tabular-nums" data-testid="size">
          {now.width} × {now.height}
        </p>
      </div>
      <div className="flex gap-1.5">
        <Segmented
          className="flex-1"
          label={t("create.shape")}
          value={ratio}
          onChange={(next) => take({ ratio: next })}
          choices={RATIOS.map((value) => ({
            value,
            name: value,
            label: (
              <span className="grid justify-items-center gap-1">
                <Drawn ratio={value} upright={upright} />
                <span className="text-xs">{upright ? value.split(":").reverse().join(":") : value}</span>
              </span>
            ),
          }))}
        />
        <Button
          look="secondary"
          className="h-auto px-2.5"
          aria-label={t("create.shape.swap")}
          aria-pressed={upright}
          onClick={() => take({ upright: !upright })}
        >
          <ArrowLeftRight aria-hidden />
        </Button>
      </div>
      <Slider
        label={t("create.size")}
        value={base}
        min={LIMITS.width.min}
        max={BASE_MAX}
        step={LIMITS.width.multipleOf}
        onChange={(next) => take({ base: next })}
      />
    </div>
  );
}

/** The ratio as a small frame. */
function Drawn({ ratio, upright }: { ratio: Ratio; upright: boolean }) {
  const long = 18;
  const short = Math.round(long / ratioOf(ratio));
  const [width, height] = upright ? [short, long] : [long, short];
  return (
    <svg aria-hidden viewBox="0 0 20 20" className="size-5">
      <rect
        x={(20 - width) / 2}
        y={(20 - height) / 2}
        width={width}
        height={height}
        rx="2"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.6"
      />
    </svg>
  );
}
