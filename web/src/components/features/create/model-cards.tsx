// Models to choose from: what each would cost and take with what is asked for now, and how its pictures look.
"use client";

import { useQuery } from "@tanstack/react-query";
import { Check, ImageIcon } from "lucide-react";

import { Name, Warmth } from "@/components/features/create/model-name";
import type { ModelCard } from "@/lib/api/client";
import { askRun, fileOf } from "@/lib/api/gallery";
import { useQuote } from "@/lib/api/queries";
import { cn } from "@/lib/cn";
import { credits, duration } from "@/lib/format";
import { useLocale, useT } from "@/lib/i18n";
import { requestOf, useDraft } from "@/stores/draft";

interface ModelCardsProps {
  models: readonly ModelCard[];
  /** Names of those in some worker's memory. */
  warm: readonly string[];
  card: ModelCard;
  onChoose: (name: string) => void;
}

export function ModelCards({ models, warm, card, onChoose }: ModelCardsProps) {
  return (
    <ul className="grid gap-2">
      {models.map((one) => (
        <li key={one.name}>
          <button
            type="button"
            aria-pressed={one.name === card.name}
            onClick={() => onChoose(one.name)}
            className={cn(
              "flex w-full items-start gap-3 rounded-md border p-3 text-left transition-colors hover:bg-muted",
              one.name === card.name && "border-primary",
            )}
          >
            <Sample model={one.name} />
            <span className="grid min-w-0 flex-1 gap-1">
              <Name card={one} whole />
              <Costs model={one.name} />
            </span>
            <Warmth warm={warm.includes(one.name)} />
            <Check aria-hidden className={cn("mt-0.5 size-4 text-primary", one.name !== card.name && "invisible")} />
          </button>
        </li>
      ))}
    </ul>
  );
}

/** The newest picture it made; a frame where it has made none yet. */
function Sample({ model }: { model: string }) {
  const newest = useQuery({
    queryKey: ["images", "sample", model],
    queryFn: async () => (await askRun({ model }, "newest", 1)).data[0] ?? null,
  });
  return (
    <span className="grid size-14 flex-none place-items-center overflow-hidden rounded-sm bg-muted text-muted-foreground">
      {newest.data ? (
        <img src={fileOf(newest.data)} alt="" className="size-full object-cover" />
      ) : (
        <ImageIcon aria-hidden className="size-5" />
      )}
    </span>
  );
}

/** Its price, and how long it runs: by its own settings where another model's would be asked for. */
function Costs({ model }: { model: string }) {
  const t = useT();
  const locale = useLocale();
  const draft = useDraft((store) => store.draft);
  const own = { width: null, height: null, steps: null, guidanceScale: null, sampler: null };
  const asked = draft.model === model ? draft : { ...draft, ...own };
  const quote = useQuote({ ...requestOf(asked, model), prompt: "" });
  if (!quote.data) return <span className="text-xs text-muted-foreground">…</span>;
  const language = locale === "pseudo" ? "en" : locale;
  const { images, priceMillis, takes } = quote.data;
  const price = t("create.price", { images, credits: credits(priceMillis, language) });
  const time = takes && t("create.price.time", { time: duration(takes.p50Ms, language) });
  return (
    <span data-costs className="text-xs text-muted-foreground tabular-nums">
      {[price, time].filter(Boolean).join(" · ")}
    </span>
  );
}
