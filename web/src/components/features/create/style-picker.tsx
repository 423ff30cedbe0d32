// A style for the prompt: one of a few, or none.
"use client";

import { type StyleName, STYLES } from "@/components/features/create/styles";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";

const NAMES = Object.keys(STYLES) as StyleName[];

interface StylePickerProps {
  style: string | null;
  onChange: (style: string | null) => void;
}

export function StylePicker({ style, onChange }: StylePickerProps) {
  const t = useT();
  return (
    <div className="grid gap-1.5">
      <p id="style" className="text-sm font-medium">
        {t("style.title")}
      </p>
      <div role="group" aria-labelledby="style" className="flex flex-wrap gap-1.5">
        {NAMES.map((name) => {
          const chosen = style === name;
          return (
            <button
              key={name}
              type="button"
              aria-pressed={chosen}
              title={STYLES[name].words}
              onClick={() => onChange(chosen ? null : name)}
              className={cn(
                "rounded-full border px-3 py-1 text-[13px] text-muted-foreground transition-colors hover:bg-muted hover:text-foreground",
                chosen && "border-primary bg-accent font-medium text-accent-foreground hover:bg-accent",
              )}
            >
              {t(STYLES[name].label)}
            </button>
          );
        })}
      </div>
    </div>
  );
}
