// Single keys that work anywhere, and the list of all of them under `?`. All but the list's own can be switched off.
"use client";

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { Dialog } from "@/components/ui/dialog";
import { useLive } from "@/lib/api/live";
import { useCancelJob } from "@/lib/api/queries";
import { type Key, useT } from "@/lib/i18n";
import { isTyping } from "@/lib/keys";
import { usePathname, useRouter } from "@/lib/navigation";
import { useUi } from "@/stores/ui";

const LIST: readonly [string, Key][] = [
  ["Ctrl/⌘ Enter", "keys.generate"],
  ["/", "keys.prompt"],
  ["g", "keys.gallery"],
  ["Shift X", "keys.cancel"],
  ["← →", "keys.walk"],
  ["s", "keys.star"],
  ["r", "keys.remix"],
  ["u", "upscale.title"],
  ["e", "edit.open"],
  ["d", "keys.download"],
  ["Del", "keys.delete"],
  ["?", "keys.help"],
];

export function Shortcuts() {
  const t = useT();
  const [open, setOpen] = useState(false);
  useKeys(() => setOpen(true));
  return (
    <Dialog open={open} onOpenChange={setOpen} title={t("keys.title")}>
      <dl className="grid grid-cols-[auto_1fr] items-center gap-x-6 gap-y-2.5 text-sm">
        {LIST.map(([keys, label]) => (
          <div key={keys} className="contents">
            <dt>
              <kbd className="rounded-sm border bg-muted px-2 py-1 font-mono text-xs">{keys}</kbd>
            </dt>
            <dd>{t(label)}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

function useKeys(help: () => void): void {
  const router = useRouter();
  const path = usePathname();
  const client = useQueryClient();
  const shortcuts = useUi((ui) => ui.shortcuts);
  const { mutate: cancel } = useCancelJob();
  useEffect(() => {
    const write = () => {
      const prompt = document.querySelector<HTMLElement>("[data-shortcut=prompt], [data-shortcut=search]");
      if (prompt) prompt.focus();
      else router.push("/");
    };
    const cancelNewest = () => {
      const open = Object.values(useLive.getState().jobs).filter(
        ({ state }) => state !== "Complete" && state !== "Failed",
      );
      // What only waits is taken where nothing runs.
      const running = open.filter(({ state }) => state === "Assigned" || state === "Running");
      const newest = (running.length > 0 ? running : open)
        .map(({ job }) => job)
        .sort()
        .at(-1);
      if (newest) cancel(newest);
    };
    const keys: Record<string, () => void> = { "/": write, g: () => router.push("/gallery/"), X: cancelNewest };
    const press = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      const run = event.key === "?" ? help : shortcuts ? keys[event.key] : undefined;
      if (!run) return;
      event.preventDefault();
      run();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, [router, path, client, shortcuts, cancel, help]);
}
