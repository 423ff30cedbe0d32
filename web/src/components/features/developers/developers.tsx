// For people whose programs make pictures: keys, and every route with what it takes and gives.
"use client";

import "@/lib/i18n/desk";

import { Suspense } from "react";

import { ApiReference } from "@/components/features/developers/api-reference";
import { Keys } from "@/components/features/developers/keys";
import { Usage } from "@/components/features/developers/usage";
import { Webhooks } from "@/components/features/developers/webhooks";
import { SignedIn } from "@/components/features/signed-in";
import { PageHead } from "@/components/ui/page-head";
import { useT } from "@/lib/i18n";

const PARTS = [Keys, Webhooks, Usage, ApiReference] as const;

export function Developers() {
  const t = useT();
  return (
    <SignedIn>
      {() => (
        <>
          <PageHead title={t("nav.developers")} words={t("dev.words")} />
          <div className="grid grid-cols-1 gap-6">
            {PARTS.map((Part, n) => (
              // Each is taken over from the exported page in a task of its own, between which the page answers.
              <Suspense key={n} fallback={null}>
                <Part />
              </Suspense>
            ))}
          </div>
        </>
      )}
    </SignedIn>
  );
}
