// A few choices side by side, one of them taken. Radio buttons underneath, so that arrow keys work as people expect.
"use client";

import { type ReactNode, useId } from "react";

import { cn } from "@/lib/cn";

interface Choice<T extends string | number> {
  value: T;
  label: ReactNode;
  /** What is read out, where `label` is a drawing. */
  name?: string;
}

interface SegmentedProps<T extends string | number> {
  label: string;
  value: T | null;
  choices: readonly Choice<T>[];
  onChange: (value: T) => void;
  className?: string;
}

export function Segmented<T extends string | number>(props: SegmentedProps<T>) {
  const { label, value, choices, onChange, className } = props;
  const group = useId();
  return (
    <fieldset className={cn("flex gap-1 rounded-md bg-muted p-1", className)}>
      <legend className="sr-only">{label}</legend>
      {choices.map((choice) => (
        <label
          key={choice.value}
          className="relative grid min-h-8 flex-1 cursor-pointer place-items-center rounded-sm px-2 py-1 text-[13px] font-medium text-muted-foreground transition-colors hover:text-foreground has-checked:bg-card has-checked:text-foreground has-checked:shadow-xs has-focus-visible:outline-2 has-focus-visible:outline-ring"
        >
          <input
            type="radio"
            name={group}
            aria-label={choice.name}
            checked={choice.value === value}
            onChange={() => onChange(choice.value)}
            className="absolute inset-0 cursor-pointer opacity-0"
          />
          {choice.label}
        </label>
      ))}
    </fieldset>
  );
}
