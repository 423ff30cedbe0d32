// The settings behind "Advanced".
"use client";

import { Dices, RotateCcw, X } from "lucide-react";

import { Button } from "@/components/ui/button";
import { Field, Input, Select, Textarea } from "@/components/ui/field";
import { Slider } from "@/components/ui/slider";
import { Switch } from "@/components/ui/switch";
import type { ModelCard, Sampler } from "@/lib/api/client";
import { LIMITS, SAMPLERS } from "@/lib/api/limits.gen";
import { useT } from "@/lib/i18n";
import type { Draft } from "@/stores/draft";

export interface SettingsProps {
  card: ModelCard | undefined;
  draft: Draft;
  onChange: (part: Partial<Draft>) => void;
}

export function Settings({ card, draft, onChange }: SettingsProps) {
  const t = useT();
  const steps = draft.steps ?? card?.defaults.steps ?? LIMITS.steps.min;
  const guidance = draft.guidanceScale ?? card?.defaults.guidanceScale ?? LIMITS.guidanceScale.min;
  return (
    <div className="grid gap-5 border-t p-3">
      <Field label={t("create.negative")}>
        {(ids) => (
          <Textarea
            {...ids}
            value={draft.negativePrompt}
            maxLength={LIMITS.negativePrompt.max}
            placeholder={t("create.negative.placeholder")}
            onChange={(event) => onChange({ negativePrompt: event.target.value })}
            className="field-sizing-content max-h-40 min-h-16"
          />
        )}
      </Field>
      <Numbered label={t("create.steps")} hint={t("create.steps.hint")} value={steps}>
        <Slider
          label={t("create.steps")}
          value={steps}
          {...LIMITS.steps}
          onChange={(next) => onChange({ steps: next })}
        />
      </Numbered>
      <Numbered label={t("create.guidance")} hint={t("create.guidance.hint")} value={guidance}>
        <Slider
          label={t("create.guidance")}
          value={guidance}
          {...LIMITS.guidanceScale}
          step={0.5}
          onChange={(next) => onChange({ guidanceScale: next })}
        />
      </Numbered>
      <Field label={t("create.sampler")}>
        {(ids) => (
          <Select
            {...ids}
            value={draft.sampler ?? ""}
            onChange={(event) => onChange({ sampler: (event.target.value || null) as Sampler | null })}
          >
            <option value="">{t("create.sampler.model", { name: card?.defaults.sampler ?? "–" })}</option>
            {SAMPLERS.map((sampler) => (
              <option key={sampler} value={sampler} translate="no">
                {sampler}
              </option>
            ))}
          </Select>
        )}
      </Field>
      <SeedField seed={draft.seed} onChange={(seed) => onChange({ seed })} />
      <label className="flex items-center justify-between gap-4">
        <span className="grid gap-0.5">
          <span className="text-sm font-medium">{t("create.embed")}</span>
          <span className="text-xs text-muted-foreground">{t("create.embed.hint")}</span>
        </span>
        <Switch
          checked={draft.embedParameters}
          onCheckedChange={(embedParameters) => onChange({ embedParameters })}
          aria-label={t("create.embed")}
        />
      </label>
      <Button
        look="outline"
        size="small"
        className="justify-self-start"
        onClick={() =>
          onChange({ steps: null, guidanceScale: null, sampler: null, width: null, height: null, seed: null })
        }
      >
        <RotateCcw aria-hidden /> {t("create.reset")}
      </Button>
    </div>
  );
}

interface NumberedProps {
  label: string;
  hint: string;
  value: number;
  children: React.ReactNode;
}

function Numbered({ label, hint, value, children }: NumberedProps) {
  return (
    <div className="grid gap-1">
      <div className="flex items-baseline justify-between">
        <p className="text-sm font-medium">{label}</p>
        <p className="text-sm tabular-nums">{value}</p>
      </div>
      {children}
      <p className="text-xs text-muted-foreground">{hint}</p>
    </div>
  );
}

function SeedField({ seed, onChange }: { seed: number | null; onChange: (seed: number | null) => void }) {
  const t = useT();
  const { min, max } = LIMITS.seed;
  return (
    <Field label={t("create.seed")}>
      {(ids) => (
        <div className="flex gap-1.5">
          <Input
            {...ids}
            inputMode="numeric"
            value={seed ?? ""}
            placeholder={t("create.seed.random")}
            onChange={(event) => {
              const digits = event.target.value.replace(/\D/g, "");
              onChange(digits === "" ? null : Math.min(max, Math.max(min, Number(digits))));
            }}
          />
          <Button
            look="secondary"
            className="px-2.5"
            aria-label={t("create.seed.dice")}
            onClick={() => onChange(Math.floor(Math.random() * 2 ** 32))}
          >
            <Dices aria-hidden />
          </Button>
          <Button
            look="secondary"
            className="px-2.5"
            aria-label={t("create.seed.clear")}
            disabled={seed === null}
            onClick={() => onChange(null)}
          >
            <X aria-hidden />
          </Button>
        </div>
      )}
    </Field>
  );
}
