// A link to one picture for whoever has it, until its owner takes it back.
"use client";

import { Copy, Link2, Link2Off } from "lucide-react";

import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Input } from "@/components/ui/field";
import { Notice } from "@/components/ui/states";
import { Switch } from "@/components/ui/switch";
import { say } from "@/components/ui/toast";
import { type Picture, useShare } from "@/lib/api/gallery";
import { copyText } from "@/lib/browser";
import { useT } from "@/lib/i18n";

interface ShareDialogProps {
  picture: Picture;
  open: boolean;
  onOpenChange: (open: boolean) => void;
}

export function ShareDialog({ picture, open, onOpenChange }: ShareDialogProps) {
  const t = useT();
  const share = useShare(picture.id);
  const { shared } = picture;
  const link = open && shared ? `${window.location.origin}/g/${shared.token}/` : "";
  const copy = () => void copyText(link).then((done) => done && say({ text: t("ui.copied") }));
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title={t("share.title")} description={t("share.words")}>
      {share.error && <Notice title={share.error.message} />}
      {shared ? (
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
          <label className="flex items-center justify-between gap-4 text-sm">
            {t("share.settings")}
            <Switch
              checked={shared.settings}
              disabled={share.isPending}
              onCheckedChange={(on) => share.mutate(on ? "settings" : "picture")}
            />
          </label>
          <Button
            look="outline"
            className="justify-self-start text-destructive"
            disabled={share.isPending}
            onClick={() => share.mutate("nobody")}
          >
            <Link2Off aria-hidden /> {t("share.end")}
          </Button>
        </>
      ) : (
        <Button disabled={share.isPending} onClick={() => share.mutate("picture")}>
          <Link2 aria-hidden /> {t("share.begin")}
        </Button>
      )}
    </Dialog>
  );
}
