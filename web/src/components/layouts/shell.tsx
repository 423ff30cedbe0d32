// Everything around a page: header, footer, the bar on a phone, and what all pages share.
"use client";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";

import { BottomBar } from "@/components/layouts/bottom-bar";
import { Footer } from "@/components/layouts/footer";
import { Header } from "@/components/layouts/header";
import { Shortcuts } from "@/components/layouts/shortcuts";
import { Toaster } from "@/components/ui/toast";
import { ApiFailure } from "@/lib/api/client";
import { useLive, useLiveStream } from "@/lib/api/live";
import { useMe } from "@/lib/api/queries";
import { useT } from "@/lib/i18n";
import { useDraft } from "@/stores/draft";
import { useTheme, useUi } from "@/stores/ui";

const Consent = lazy(() => import("@/components/features/consent"));

/** Repeats of a question before it counts as failed; refusals are not repeated. */
const RETRIES = 3;

const newClient = () =>
  new QueryClient({
    defaultOptions: {
      queries: {
        retry: (count, failure) => count < RETRIES && !(failure instanceof ApiFailure && !failure.passing),
        retryDelay: (count) => 400 * 2 ** count,
        staleTime: 5_000,
        // The server on this machine is there without a network.
        networkMode: "always",
      },
      mutations: { networkMode: "always" },
    },
  });

export function Shell({ children }: { children: ReactNode }) {
  const [client] = useState(newClient);
  return (
    <QueryClientProvider client={client}>
      <Frame>{children}</Frame>
    </QueryClientProvider>
  );
}

function Frame({ children }: { children: ReactNode }) {
  const t = useT();
  useTheme();
  const [kept, setKept] = useState(false);
  useEffect(() => {
    // What this browser keeps is read after the first drawing, which must be what the server sent.
    void useDraft.persist.rehydrate();
    void Promise.resolve(useUi.persist.rehydrate()).then(() => whenIdle(() => setKept(true)));
  }, []);
  return (
    <div className="flex min-h-dvh flex-col">
      <a
        href="#content"
        className="sr-only z-50 rounded-md bg-primary px-4 py-2 text-primary-foreground focus:not-sr-only focus:fixed focus:top-3 focus:left-3"
      >
        {t("ui.skip")}
      </a>
      <Header />
      <Connection />
      {kept && (
        <Suspense fallback={null}>
          <Consent />
        </Suspense>
      )}
      <main
        id="content"
        tabIndex={-1}
        // The footer begins below what is seen first: it does not jump when a page gets its content.
        className="mx-auto min-h-[calc(100dvh-3.5rem)] w-full max-w-[100rem] flex-1 px-4 py-6 focus:outline-none sm:px-6"
      >
        {children}
      </main>
      <Footer />
      <BottomBar />
      <Toaster />
      <Shortcuts />
    </div>
  );
}

/** Keeps the page's stream open, and says when it is lost. */
function Connection() {
  const t = useT();
  const connected = useLive((live) => live.connected);
  useLiveStream(Boolean(useMe().data));
  return (
    <div role="status" aria-live="polite">
      {!connected && (
        <p className="border-b bg-accent px-4 py-2 text-center text-sm text-accent-foreground">{t("live.lost")}</p>
      )}
    </div>
  );
}

/** Longest that what nobody waits for is put off. */
const IDLE_MS = 2_000;

/** Once there is nothing better to do; Safari does not say when that is. */
function whenIdle(run: () => void): void {
  if ("requestIdleCallback" in window) window.requestIdleCallback(run, { timeout: IDLE_MS });
  else setTimeout(run, IDLE_MS);
}
