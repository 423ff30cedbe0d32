// A link for whoever is given it, until it is taken back: made, copied, ended.
"use client";

import { Copy, Link2, Link2Off } from "lucide-react";
import type { ReactNode } from "react";

import { Button } from "@/components/ui/button";
import { Input } from "@/components/ui/field";
import { Notice } from "@/components/ui/states";
import { say } from "@/components/ui/toast";
import { copyText } from "@/lib/browser";
import { useT } from "@/lib/i18n";

interface ShareLinkProps {
  /** The secret in it; null where nothing is shared. */
  token: string | null;
  busy: boolean;
  error: Error | null;
  onShare: (on: boolean) => void;
  /** What else there is to say about a link that is there. */
  children?: ReactNode;
}

export function ShareLink({ token, busy, error, onShare, children }: ShareLinkProps) {
  const t = useT();
  const link = token ? `${window.location.origin}/g/${token}/` : "";
  const copy = () => void copyText(link).then((done) => done && say({ text: t("ui.copied") }));
  return (
    <>
      {error && <Notice title={error.message} />}
      {token ? (
        <>
          <div className="flex gap-2">
            <Input
              readOnly
              aria-label={t("share.link")}
              value={link}
              className="font-mono text-[13px]"
              onFocus={(event) => event.target.select()}
            />
            <Button onClick={copy}>
              <Copy aria-hidden /> {t("ui.copy")}
            </Button>
          </div>
          {children}
          <Button
            look="outline"
            className="justify-self-start text-destructive"
            disabled={busy}
            onClick={() => onShare(false)}
          >
            <Link2Off aria-hidden /> {t("share.end")}
          </Button>
        </>
      ) : (
        <Button disabled={busy} onClick={() => onShare(true)}>
          <Link2 aria-hidden /> {t("share.begin")}
        </Button>
      )}
    </>
  );
}
