// Room around the picture: by a preset or in pixels, a side at a time.
"use client";

import { Expand, Undo2 } from "lucide-react";
import { useState } from "react";

import {
  isExtended,
  isTaken,
  NO_SIDES,
  type Preset,
  PRESETS,
  type Sides,
  sidesOf,
  withSides,
} from "@/components/features/edit/extend";
import { Button } from "@/components/ui/button";
import { Field, Input } from "@/components/ui/field";
import { LIMITS } from "@/lib/api/limits.gen";
import { type Key, useT } from "@/lib/i18n";
import type { Size } from "@/lib/shape";

const NAMES: Record<Preset, Key> = {
  around: "extend.around",
  wider: "extend.wider",
  taller: "extend.taller",
  square: "extend.square",
};
const SIDES = [
  ["left", "extend.left"],
  ["right", "extend.right"],
  ["top", "extend.top"],
  ["bottom", "extend.bottom"],
] as const satisfies readonly (readonly [keyof Sides, Key])[];

interface ExtendPanelProps {
  /** The picture's own. */
  size: Size;
  /** What it has now. */
  sides: Sides;
  onExtend: (sides: Sides) => void;
}

export function ExtendPanel({ size, sides, onExtend }: ExtendPanelProps) {
  const t = useT();
  const [wanted, setWanted] = useState(sides);
  const next = withSides(size, wanted);
  const taken = isTaken(next);
  const same = SIDES.every(([side]) => wanted[side] === sides[side]);
  const ready = taken && !same && isExtended(wanted);
  const { min, max, multipleOf } = LIMITS.width;
  const take = (now: Sides) => {
    setWanted(now);
    onExtend(now);
  };
  return (
    <details className="group rounded-md border bg-card">
      <summary className="cursor-pointer rounded-md px-3 py-2.5 text-sm font-medium select-none">
        {t("extend.title")}
      </summary>
      <div className="grid gap-4 border-t p-3">
        <p className="text-xs text-muted-foreground">{t("extend.words")}</p>
        <div role="group" aria-label={t("extend.presets")} className="flex flex-wrap gap-1.5">
          {PRESETS.map((preset) => {
            const these = sidesOf(preset, size);
            return (
              <Button
                key={preset}
                look="outline"
                size="small"
                disabled={!isExtended(these)}
                onClick={() => setWanted(these)}
              >
                {t(NAMES[preset])}
              </Button>
            );
          })}
        </div>
        <div className="grid grid-cols-2 gap-3">
          {SIDES.map(([side, label]) => (
            <Field key={side} label={t(label)}>
              {(ids) => (
                <Input
                  {...ids}
                  type="number"
                  inputMode="numeric"
                  min={0}
                  max={max}
                  step={multipleOf / 2}
                  value={wanted[side]}
                  aria-invalid={!taken}
                  onKeyDown={(event) => {
                    if (event.key !== "Enter") return;
                    // Else it would send the form around it.
                    event.preventDefault();
                    if (ready) onExtend(wanted);
                  }}
                  onChange={(event) =>
                    setWanted({ ...wanted, [side]: Math.max(0, Math.round(Number(event.target.value)) || 0) })
                  }
                />
              )}
            </Field>
          ))}
        </div>
        {taken ? (
          <p className="text-sm tabular-nums" data-testid="extended">
            {next.width} × {next.height}
          </p>
        ) : (
          <p role="alert" className="text-xs font-medium text-destructive">
            {t("extend.misfit", { width: String(next.width), height: String(next.height), min, max, step: multipleOf })}
          </p>
        )}
        <div className="flex flex-wrap gap-2">
          <Button look="secondary" disabled={!ready} onClick={() => onExtend(wanted)}>
            <Expand aria-hidden /> {t("extend.do")}
          </Button>
          <Button look="outline" disabled={!isExtended(sides)} onClick={() => take(NO_SIDES)}>
            <Undo2 aria-hidden /> {t("extend.undo")}
          </Button>
        </div>
      </div>
    </details>
  );
}
