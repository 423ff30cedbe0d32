// A secret that is shown this once, to be copied.
"use client";

import { Check, Copy, KeyRound } from "lucide-react";
import { useState } from "react";

import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { copyText } from "@/lib/browser";
import { useT } from "@/lib/i18n";

interface ShownOnceProps {
  title: string;
  words: string;
  secret: string;
  onClose: () => void;
}

export function ShownOnce({ title, words, secret, onClose }: ShownOnceProps) {
  const t = useT();
  const [copied, setCopied] = useState(false);
  return (
    <Dialog open onOpenChange={onClose} title={title} description={words}>
      <div className="flex items-center gap-2 rounded-md bg-muted p-3">
        <KeyRound aria-hidden className="size-4 shrink-0 text-primary" />
        <code data-testid="secret" translate="no" className="min-w-0 flex-1 font-mono text-xs break-all">
          {secret}
        </code>
        <Button look="secondary" size="small" onClick={() => void copyText(secret).then(setCopied)}>
          {copied ? <Check aria-hidden /> : <Copy aria-hidden />} {t(copied ? "ui.copied" : "ui.copy")}
        </Button>
      </div>
      <Button className="justify-self-end" onClick={onClose}>
        {t("ui.close")}
      </Button>
    </Dialog>
  );
}
