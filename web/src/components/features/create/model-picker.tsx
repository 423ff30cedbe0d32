// Which model draws: its card, and whether it is in some worker's memory now.
"use client";

import { ChevronsUpDown } from "lucide-react";
import { lazy, Suspense, useState } from "react";

import { Name, Warmth } from "@/components/features/create/model-name";
import { Dialog } from "@/components/ui/dialog";
import { Skeleton } from "@/components/ui/states";
import type { ModelCard } from "@/lib/api/client";
import { useT } from "@/lib/i18n";

// What is asked of the server for each comes with the list, not with Create.
const ModelCards = lazy(async () => ({ default: (await import("./model-cards")).ModelCards }));

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
        <Suspense fallback={<Skeleton className="h-40" />}>
          <ModelCards
            models={models.data.filter((one) => one.kind === undefined || one.kind === "checkpoint")}
            warm={models.warm}
            card={card}
            onChoose={(name) => {
              onChoose(name);
              setOpen(false);
            }}
          />
        </Suspense>
      </Dialog>
    </div>
  );
}
