// What a dialog is made of; `ui/dialog` fetches it when one opens.
"use client";

import * as Radix from "@radix-ui/react-dialog";
import { X } from "lucide-react";
import { type ReactNode, useState } from "react";

import { Button } from "@/components/ui/button";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";

export interface DialogProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  description?: string;
  className?: string;
  children: ReactNode;
}

export default function DialogParts({ open, onOpenChange, title, description, className, children }: DialogProps) {
  const t = useT();
  // Radix gives the focus back to a trigger inside its root, and these dialogs are opened by whatever is pressed.
  const [opener] = useState(() => (document.activeElement instanceof HTMLElement ? document.activeElement : null));
  const giveBack = (event: Event) => {
    event.preventDefault();
    if (opener?.isConnected) opener.focus();
  };
  return (
    <Radix.Root open={open} onOpenChange={onOpenChange}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-50 animate-appear bg-black/60" />
        <Radix.Content
          onCloseAutoFocus={giveBack}
          {...(!description && { "aria-describedby": undefined })}
          className={cn(
            "fixed z-50 flex max-h-[88dvh] animate-appear flex-col gap-4 overflow-y-auto border bg-card p-5 shadow-raised focus:outline-none",
            "inset-x-0 bottom-0 rounded-t-lg sm:inset-auto sm:top-1/2 sm:left-1/2 sm:w-[min(92vw,32rem)] sm:-translate-x-1/2 sm:-translate-y-1/2 sm:rounded-lg",
            className,
          )}
        >
          <div className="flex items-start justify-between gap-4">
            <div className="grid gap-1">
              <Radix.Title className="text-lg font-semibold tracking-tight">{title}</Radix.Title>
              {description && (
                <Radix.Description className="text-sm text-muted-foreground">{description}</Radix.Description>
              )}
            </div>
            <Radix.Close asChild>
              <Button look="ghost" size="icon" aria-label={t("ui.close")} className="-mt-1 -mr-2">
                <X aria-hidden />
              </Button>
            </Radix.Close>
          </div>
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
