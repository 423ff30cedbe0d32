// The generator: prompt, model, shape, count, the rest in a drawer, the price before anything is pressed.
"use client";

import { Sparkles } from "lucide-react";
import { type SyntheticEvent, useEffect, useRef, useState } from "react";

import { Advanced } from "@/components/features/create/advanced";
import { ModelPicker } from "@/components/features/create/model-picker";
import { PriceLine } from "@/components/features/create/price-line";
import { PromptField } from "@/components/features/create/prompt-field";
import { Refused } from "@/components/features/create/refused";
import { promptMisfit } from "@/components/features/create/prompt";
import { Recall } from "@/components/features/create/recall";
import { ShapePicker } from "@/components/features/create/shape-picker";
import { StartPicture } from "@/components/features/create/start-picture";
import { StylePicker } from "@/components/features/create/style-picker";
import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { Segmented } from "@/components/ui/segmented";
import type { Me, ModelCard, Quote } from "@/lib/api/client";
import { useMakeJob, useModels, useRestingQuote } from "@/lib/api/queries";
import { randomId } from "@/lib/browser";
import { useT } from "@/lib/i18n";
import { requestOf, useDraft } from "@/stores/draft";

const COUNTS = [1, 2, 4, 8].map((value) => ({ value, label: String(value) }));
/** How long a job waits for credits to be bought. */
const WAITS_MS = 30 * 60_000;

export function ImageGenerator({ me }: { me: Me | null | undefined }) {
  const t = useT();
  const { draft, change, remember, wait } = useDraft();
  const models = useModels(Boolean(me));
  const card = chosen(models.data?.data, draft.model);
  const request = card ? requestOf(draft, card.name) : null;
  const fits = promptMisfit(draft.prompt) === 0;
  // A price does not depend on the prompt, so it is there before the first letter.
  const quote = useRestingQuote(request && { ...request, prompt: "" });
  const make = useMakeJob();
  const prompt = useRef<HTMLTextAreaElement>(null);
  const [tried, setTried] = useState(false);
  const submit = (event?: SyntheticEvent) => {
    event?.preventDefault();
    setTried(true);
    if (!fits) return prompt.current?.focus();
    if (!request) return;
    remember(draft.prompt.trim());
    // One key a press: what is sent twice by the network is one job.
    make.mutate({ request, key: randomId(), tariff: quote.data?.tariff });
  };
  useWaiting(quote.isPlaceholderData ? undefined : quote.data, Boolean(request) && fits, submit);
  return (
    <form
      onSubmit={submit}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
      }}
      noValidate
      aria-label={t("create.title")}
      className="grid gap-5 lg:sticky lg:top-20 lg:flex lg:max-h-[calc(100dvh-6.5rem)] lg:flex-col lg:gap-3"
    >
      {/* On a desk this scrolls by itself, above what is pressed in the end: nothing is covered by it. */}
      <div className="grid gap-5 lg:min-h-0 lg:gap-4 lg:overflow-y-auto lg:pr-2 lg:pb-1 lg:pl-1">
        <PromptField value={draft.prompt} showErrors={tried} field={prompt} onChange={(prompt) => change({ prompt })} />
        <Recall />
        {me !== null && <StartPicture card={card} />}
        <StylePicker style={draft.style ?? null} onChange={(style) => change({ style })} />
        <ModelPicker
          models={models.data}
          loading={models.isPending && me !== null}
          card={card}
          onChoose={(model) =>
            change({ model, width: null, height: null, steps: null, guidanceScale: null, sampler: null })
          }
        />
        <ShapePicker card={card} width={draft.width} height={draft.height} onChange={change} />
        <div className="grid gap-1.5">
          <p className="text-sm font-medium">{t("create.images")}</p>
          <Segmented
            label={t("create.images")}
            value={draft.images}
            choices={COUNTS}
            onChange={(images) => change({ images })}
          />
        </div>
        <Advanced card={card} draft={draft} onChange={change} />
      </div>
      <div className="sticky bottom-16 [@media(max-height:32rem)]:static z-10 -mx-1 grid gap-2.5 rounded-lg border bg-card p-3 shadow-raised md:bottom-2 lg:static lg:mx-0">
        <Refused
          failure={make.error}
          quote={quote.data}
          images={draft.images}
          onFewer={(images) => change({ images })}
          onBuy={() => wait(Date.now())}
        />
        <PriceLine quote={quote} signedIn={me !== null} />
        {me === null ? (
          <Button asChild size="large">
            <Link href="/welcome/">{t("create.signIn")}</Link>
          </Button>
        ) : (
          <Button type="submit" size="large" disabled={make.isPending || !card} title={t("create.generate.keys")}>
            <Sparkles aria-hidden /> {t("create.generate")}
          </Button>
        )}
      </div>
    </form>
  );
}

/** Makes the job that was set aside for want of credits, once they are there. */
function useWaiting(quote: Quote | undefined, fits: boolean, make: () => void): void {
  const since = useDraft((store) => store.waitingSince);
  const there = quote !== undefined && quote.availableMillis >= quote.priceMillis;
  useEffect(() => {
    const { waitingSince, wait } = useDraft.getState();
    if (waitingSince === null || !there || !fits) return;
    wait(null);
    // What was set aside long ago is not what somebody expects to pay for now.
    if (Date.now() - waitingSince < WAITS_MS) make();
  }, [since, there, fits, make]);
}

/** The checkpoint that is meant: the chosen one if it is there, else the first. */
function chosen(cards: readonly ModelCard[] | undefined, name: string): ModelCard | undefined {
  const checkpoints = cards?.filter((card) => card.kind === undefined || card.kind === "checkpoint");
  return checkpoints?.find((card) => card.name === name) ?? checkpoints?.[0];
}
