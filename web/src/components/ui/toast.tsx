// A word about what was just done, and the way back.
"use client";

import { useEffect } from "react";
import { create } from "zustand";

import { Button } from "@/components/ui/button";

/** How long a way back is offered. */
const SHOWN_MS = 10_000;

interface Toast {
  text: string;
  action?: { label: string; run: () => void };
}

const useToast = create<{ toast: Toast | null }>(() => ({ toast: null }));

export const say = (toast: Toast) => useToast.setState({ toast });

export function Toaster() {
  const toast = useToast((state) => state.toast);
  useEffect(() => {
    if (!toast) return;
    const timer = setTimeout(() => useToast.setState({ toast: null }), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [toast]);
  return (
    <div
      role="status"
      aria-live="polite"
      className="pointer-events-none fixed inset-x-0 bottom-20 z-50 grid justify-items-center px-4 md:bottom-6"
    >
      {toast && (
        <div className="pointer-events-auto flex animate-appear items-center gap-4 rounded-md bg-foreground py-2 pr-2 pl-4 text-sm text-background shadow-raised">
          {toast.text}
          {toast.action && (
            <Button
              look="ghost"
              size="small"
              className="text-background hover:bg-background/15 hover:text-background"
              onClick={() => {
                toast.action?.run();
                useToast.setState({ toast: null });
              }}
            >
              {toast.action.label}
            </Button>
          )}
        </div>
      )}
    </div>
  );
}
