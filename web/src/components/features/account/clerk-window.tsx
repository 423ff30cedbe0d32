// Clerk's own window, in which people sign in or up. Opened by a press: before it, nothing of Clerk's is on the page.
"use client";

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";

import { Button } from "@/components/ui/button";
import { Notice, Skeleton } from "@/components/ui/states";
import { keys } from "@/lib/api/queries";
import type { ClerkWindow as Settings } from "@/lib/api/schema.gen";
import { enterBy, loadClerk } from "@/lib/clerk";
import { useT } from "@/lib/i18n";

interface ClerkWindowProps {
  settings: Settings;
  onEntered: () => void;
}

export function ClerkWindow({ settings, onEntered }: ClerkWindowProps) {
  const t = useT();
  const [open, setOpen] = useState(false);
  if (open) return <Window settings={settings} onEntered={onEntered} />;
  return (
    <Button look="outline" onClick={() => setOpen(true)}>
      {t("login.with", { name: "Clerk" })}
    </Button>
  );
}

function Window({ settings, onEntered }: ClerkWindowProps) {
  const t = useT();
  const frame = useRef<HTMLDivElement>(null);
  const client = useQueryClient();
  const [stand, setStand] = useState<"loading" | "shown" | Error>("loading");
  useEffect(() => {
    const node = frame.current;
    if (!node) return;
    let gone = false;
    let entered = false;
    const undo: (() => void)[] = [];
    const failed = (error: unknown) => !gone && setStand(error instanceof Error ? error : new Error(String(error)));
    const show = async () => {
      const clerk = await loadClerk(settings);
      if (gone) return;
      const enter = ({ session }: { session?: typeof clerk.session }) => {
        if (!session || entered) return;
        entered = true;
        const done = async () => {
          await enterBy(session);
          client.removeQueries({ predicate: (query) => query.queryKey[0] !== keys.me[0] });
          await client.invalidateQueries({ queryKey: keys.me });
          onEntered();
        };
        done().catch(failed);
      };
      // Called at once too, for who is signed in with Clerk already.
      undo.push(clerk.addListener(enter));
      if (!clerk.session) {
        clerk.mountSignIn(node, { routing: "hash" });
        undo.push(() => clerk.unmountSignIn(node));
      }
      setStand("shown");
    };
    show().catch(failed);
    return () => {
      gone = true;
      undo.forEach((step) => step());
    };
  }, [settings, client, onEntered]);
  return (
    <>
      {stand === "loading" && <Skeleton className="h-64" />}
      {stand instanceof Error && <Notice title={t("login.clerk.failed")}>{stand.message}</Notice>}
      <div ref={frame} data-testid="clerk" />
    </>
  );
}
