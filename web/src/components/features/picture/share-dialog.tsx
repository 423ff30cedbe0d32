// A link to one picture for whoever has it, until its owner takes it back.
"use client";

import { ShareLink } from "@/components/features/picture/share-link";
import { Dialog } from "@/components/ui/dialog";
import { Switch } from "@/components/ui/switch";
import { type Picture, useShare } from "@/lib/api/gallery";
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
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title={t("share.title")} description={t("share.words")}>
      <ShareLink
        token={shared?.token ?? null}
        busy={share.isPending}
        error={share.error}
        onShare={(on) => share.mutate(on ? "picture" : "nobody")}
      >
        <label className="flex items-center justify-between gap-4 text-sm">
          {t("share.settings")}
          <Switch
            checked={shared?.settings ?? false}
            disabled={share.isPending}
            onCheckedChange={(on) => share.mutate(on ? "settings" : "picture")}
          />
        </label>
      </ShareLink>
    </Dialog>
  );
}
