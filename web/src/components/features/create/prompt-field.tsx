// The prompt: grows with what is written, counts it, and remembers what was written before (↑ in an empty line).
"use client";

import { type KeyboardEvent, type RefObject, useRef } from "react";

import { PROMPT_MAX, PROMPT_MIN, promptMisfit } from "@/components/features/create/prompt";
import { Field, Textarea } from "@/components/ui/field";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";
import { useDraft } from "@/stores/draft";

interface PromptFieldProps {
  value: string;
  showErrors: boolean;
  /** To go to when it does not fit. */
  field: RefObject<HTMLTextAreaElement | null>;
  onChange: (prompt: string) => void;
}

export function PromptField({ value, showErrors, field, onChange }: PromptFieldProps) {
  const t = useT();
  const history = useDraft((store) => store.history);
  const at = useRef(-1);
  const misfit = promptMisfit(value);
  const tooLong = misfit > 0 ? t("create.prompt.long", { n: misfit }) : undefined;
  const tooShort = misfit < 0 && showErrors ? t("create.prompt.short", { n: -misfit }) : undefined;

  const recall = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    const up = event.key === "ArrowUp" && (value === "" || at.current >= 0);
    const down = event.key === "ArrowDown" && at.current >= 0;
    if (!up && !down) {
      if (event.key.length === 1) at.current = -1;
      return;
    }
    const next = at.current + (up ? 1 : -1);
    if (next >= history.length) return;
    event.preventDefault();
    at.current = next;
    onChange(history[next] ?? "");
  };

  return (
    <Field
      label={t("create.prompt")}
      hint={t("create.prompt.hint", { min: PROMPT_MIN, max: PROMPT_MAX })}
      error={tooLong ?? tooShort}
      aside={
        <span className={cn("text-xs text-muted-foreground tabular-nums", tooLong && "text-destructive")}>
          {[...value.trim()].length}/{PROMPT_MAX}
        </span>
      }
    >
      {(ids) => (
        <Textarea
          {...ids}
          ref={field}
          name="prompt"
          value={value}
          onChange={(event) => onChange(event.target.value)}
          onKeyDown={recall}
          placeholder={t("create.prompt.placeholder")}
          className="field-sizing-content max-h-64 min-h-24 text-[15px]"
          data-shortcut="prompt"
        />
      )}
    </Field>
  );
}
