// Which model draws: its card, and whether it is in some worker's memory now.
"use client";

import { Check, ChevronsUpDown, Flame, Snowflake } from "lucide-react";
import { useState } from "react";

import { Badge } from "@/components/ui/badge";
import { Dialog } from "@/components/ui/dialog";
import { Skeleton } from "@/components/ui/states";
import type { ModelCard } from "@/lib/api/client";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";

interface Models {
  data: ModelCard[];
  warm: string[];
}

interface ModelPickerProps {
  models: Models | undefined;
  loading: boolean;
  card: ModelCard | undefined;
  onChoose: (name: string) => void;
}

export function ModelPicker({ models, loading, card, onChoose }: ModelPickerProps) {
  const t = useT();
  const [open, setOpen] = useState(false);
  if (loading || !models) {
    return (
      <div className="grid gap-1.5">
        <p className="text-sm font-medium">{t("create.model")}</p>
        {loading ? (
          <Skeleton className="h-16" />
        ) : (
          <p className="grid h-16 items-center rounded-md border border-dashed px-3 text-sm text-muted-foreground">
            {t("create.model.door")}
          </p>
        )}
      </div>
    );
  }
  if (!card) return <p className="text-sm text-muted-foreground">{t("create.model.none")}</p>;
  const warm = (name: string) => models.warm.includes(name);
  return (
    <div className="grid gap-1.5">
      <p className="text-sm font-medium">{t("create.model")}</p>
      <button
        type="button"
        onClick={() => setOpen(true)}
        className="flex min-h-16 items-center gap-3 rounded-md border border-input bg-card p-3 text-left transition-colors hover:bg-muted"
      >
        <Name card={card} />
        <Warmth warm={warm(card.name)} />
        <ChevronsUpDown aria-hidden className="size-4 text-muted-foreground" />
      </button>
      <Dialog open={open} onOpenChange={setOpen} title={t("create.model")}>
        <ul className="grid gap-2">
          {models.data
            .filter((one) => one.kind === undefined || one.kind === "checkpoint")
            .map((one) => (
              <li key={one.name}>
                <button
                  type="button"
                  aria-pressed={one.name === card.name}
                  onClick={() => {
                    onChoose(one.name);
                    setOpen(false);
                  }}
                  className={cn(
                    "flex w-full items-start gap-3 rounded-md border p-3 text-left transition-colors hover:bg-muted",
                    one.name === card.name && "border-primary",
                  )}
                >
                  <Name card={one} whole />
                  <Warmth warm={warm(one.name)} />
                  <Check
                    aria-hidden
                    className={cn("mt-0.5 size-4 text-primary", one.name !== card.name && "invisible")}
                  />
                </button>
              </li>
            ))}
        </ul>
      </Dialog>
    </div>
  );
}

function Name({ card, whole = false }: { card: ModelCard; whole?: boolean }) {
  return (
    <span translate="no" className="grid min-w-0 flex-1 gap-0.5">
      <span className="truncate text-sm font-medium">{card.name}</span>
      <span className={cn("text-xs text-muted-foreground", !whole && "truncate")}>
        {card.description || card.family}
      </span>
    </span>
  );
}

function Warmth({ warm }: { warm: boolean }) {
  const t = useT();
  const Icon = warm ? Flame : Snowflake;
  return (
    <Badge look={warm ? "warm" : "plain"} title={t(warm ? "create.model.warm.hint" : "create.model.cold.hint")}>
      <Icon aria-hidden className="size-3" />
      {t(warm ? "create.model.warm" : "create.model.cold")}
    </Badge>
  );
}
