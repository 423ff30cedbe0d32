// Whether the studio may tell how it is used: asked once, where the server names somebody to tell, and nothing is told before.
// Comes after the page: nobody waits for it.
"use client";

import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";

import { Button } from "@/components/ui/button";
import { useStudioSettings } from "@/lib/api/session";
import { randomId } from "@/lib/browser";
import { useT } from "@/lib/i18n";
import { useFlags } from "@/lib/telemetry/flags";
import { askFlags, tell } from "@/lib/telemetry/posthog";
import { tellErrors } from "@/lib/telemetry/sentry";
import { watchJobs } from "@/lib/telemetry/usage";
import { useUi } from "@/stores/ui";

export default function Consent() {
  const t = useT();
  const consent = useUi((ui) => ui.consent);
  const setConsent = useUi((ui) => ui.setConsent);
  const { posthog, sentryDsn } = useStudioSettings().data ?? {};
  useUsage(posthog, consent);
  useErrors(sentryDsn, consent);
  if (consent !== null || !(posthog || sentryDsn)) return null;
  return (
    <section
      aria-labelledby="consent"
      className="mx-4 mt-4 grid gap-3 rounded-lg border bg-card p-4 shadow-raised lg:fixed lg:right-6 lg:bottom-6 lg:z-40 lg:m-0 lg:max-w-sm"
    >
      <div className="grid gap-1">
        <h2 id="consent" className="text-sm font-semibold">
          {t("consent.title")}
        </h2>
        <p className="text-[13px] text-muted-foreground">{t("consent.words")}</p>
      </div>
      <div className="flex flex-wrap gap-2">
        <Button size="small" look="outline" onClick={() => setConsent(randomId())}>
          {t("consent.yes")}
        </Button>
        <Button size="small" look="outline" onClick={() => setConsent(false)}>
          {t("consent.no")}
        </Button>
      </div>
    </section>
  );
}

type Settings = NonNullable<ReturnType<typeof useStudioSettings>["data"]>;
type ConsentState = string | false | null;

function useUsage(posthog: Settings["posthog"], consent: ConsentState): void {
  const client = useQueryClient();
  useEffect(() => {
    if (!posthog || !consent) return;
    void askFlags(posthog, consent);
    const stop = watchJobs(client, ({ request, priceMillis }) => {
      const { model, prompt, images } = request;
      const told = { model, images, prompt_length: [...prompt].length, credits_spent: priceMillis / 1000 };
      void tell(posthog, consent, "image_generated", told);
    });
    return () => {
      stop();
      useFlags.setState({ flags: {} });
    };
  }, [client, posthog, consent]);
}

function useErrors(dsn: Settings["sentryDsn"], consent: ConsentState): void {
  useEffect(() => {
    if (!dsn || !consent) return;
    let gone = false;
    const begun = tellErrors(dsn).then((stop) => (gone ? stop() : stop));
    return () => {
      gone = true;
      void begun.then((stop) => stop?.());
    };
  }, [dsn, consent]);
}
