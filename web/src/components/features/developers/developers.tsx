// For people whose programs make pictures: keys, and every route with what it takes and gives.
"use client";

import "@/lib/i18n/desk";

import { ApiReference } from "@/components/features/developers/api-reference";
import { Keys } from "@/components/features/developers/keys";
import { Usage } from "@/components/features/developers/usage";
import { Webhooks } from "@/components/features/developers/webhooks";
import { SignedIn } from "@/components/features/signed-in";
import { PageHead } from "@/components/ui/page-head";
import { useT } from "@/lib/i18n";

export function Developers() {
  const t = useT();
  return (
    <SignedIn>
      {() => (
        <>
          <PageHead title={t("nav.developers")} words={t("dev.words")} />
          <div className="grid grid-cols-1 gap-6">
            <Keys />
            <Webhooks />
            <Usage />
            <ApiReference />
          </div>
        </>
      )}
    </SignedIn>
  );
}
