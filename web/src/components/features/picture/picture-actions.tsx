// What can be done with it.
"use client";

import {
  Blend,
  Brush,
  Code,
  Copy,
  Download,
  FolderPlus,
  ImageUp,
  Link2,
  Maximize,
  Shuffle,
  Star,
  Trash2,
} from "lucide-react";
import { useEffect, useState } from "react";

import { CollectDialog } from "@/components/features/gallery/collect-dialog";
import { change, remove } from "@/components/features/gallery/store";
import { ShareDialog } from "@/components/features/picture/share-dialog";
import { DISTANCES, useAgain } from "@/components/features/picture/use-again";
import { Button } from "@/components/ui/button";
import { Link } from "@/components/ui/link";
import { Menu } from "@/components/ui/menu";
import { say } from "@/components/ui/toast";
import { fileOf, type Picture, useBulk } from "@/lib/api/gallery";
import { copyText } from "@/lib/browser";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";
import { isTyping } from "@/lib/keys";
import { useRouter } from "@/lib/navigation";
import { type Recipe, recipe } from "@/lib/recipes";
import { draftOfSettings, useDraft } from "@/stores/draft";
import { useUi } from "@/stores/ui";

const RECIPES: readonly Recipe[] = ["curl", "python", "kubectl"];

export function PictureActions({ picture }: { picture: Picture }) {
  const t = useT();
  const again = useAgain(picture);
  const act = useActions(picture, again.upscale);
  const [sharing, setSharing] = useState(false);
  const [collecting, setCollecting] = useState(false);
  return (
    <div className="grid gap-2">
      <div className="grid grid-cols-2 gap-2">
        <Button title={t("job.remix.hint")} onClick={act.remix}>
          <Shuffle aria-hidden /> {t("job.remix")}
        </Button>
        <Button look="secondary" title={t("job.reuse.hint")} onClick={act.reuse}>
          <Copy aria-hidden /> {t("job.reuse")}
        </Button>
        <Menu
          trigger={
            <Button look="secondary" disabled={again.busy}>
              <Blend aria-hidden /> {t("vary.title")}
            </Button>
          }
          items={DISTANCES.map(({ label, strength }) => ({ label: t(label), run: () => again.vary(strength) }))}
        />
        <Button
          look="secondary"
          title={t(again.upscale ? "upscale.hint" : "upscale.most")}
          disabled={again.busy || !again.upscale}
          onClick={() => again.upscale?.()}
        >
          <Maximize aria-hidden /> {t("upscale.title")}
        </Button>
      </div>
      <div className="flex flex-wrap gap-2">
        <Button look="outline" aria-pressed={picture.starred} onClick={act.star}>
          <Star aria-hidden className={cn(picture.starred && "fill-current text-warning")} /> {t("gallery.doStar")}
        </Button>
        <Button look="outline" onClick={() => setSharing(true)}>
          <Link2 aria-hidden className={cn(picture.shared && "text-success")} /> {t("share.open")}
        </Button>
        <Button look="outline" onClick={() => setCollecting(true)}>
          <FolderPlus aria-hidden /> {t("gallery.collect")}
        </Button>
        <Button look="outline" title={t("start.use.hint")} disabled={again.busy} onClick={again.start}>
          <ImageUp aria-hidden /> {t("start.use")}
        </Button>
        <Button asChild look="outline">
          <Link href={`/edit/?id=${picture.id}`}>
            <Brush aria-hidden /> {t("edit.open")}
          </Link>
        </Button>
        <Button asChild look="outline">
          <a href={fileOf(picture)} download={nameOf(picture)}>
            <Download aria-hidden /> {t("picture.download")}
          </a>
        </Button>
        <Menu
          trigger={
            <Button look="outline">
              <Code aria-hidden /> {t("picture.code")}
            </Button>
          }
          items={RECIPES.map((kind) => ({
            label: t("picture.copyAs", { name: kind }),
            run: () => {
              const text = recipe(kind, picture.settings, window.location.origin);
              void copyText(text).then((done) => done && say({ text: t("ui.copied") }));
            },
          }))}
        />
        <Button look="outline" className="text-destructive" onClick={act.drop}>
          <Trash2 aria-hidden /> {t("ui.delete")}
        </Button>
      </div>
      <ShareDialog picture={picture} open={sharing} onOpenChange={setSharing} />
      <CollectDialog ids={[picture.id]} open={collecting} onOpenChange={setCollecting} />
    </div>
  );
}

const nameOf = ({ seed, format }: Picture) => `tintype-${seed}.${format === "jpeg" ? "jpg" : format}`;

function useActions(picture: Picture, upscale: (() => void) | null) {
  const t = useT();
  const router = useRouter();
  const bulk = useBulk();
  const setDraft = useDraft((store) => store.change);
  const shortcuts = useUi((ui) => ui.shortcuts);
  const ids = new Set([picture.id]);
  const failed = (error: Error) => say({ text: error.message });
  const take = (seed: number | null) => {
    setDraft(draftOfSettings(picture.settings, seed));
    router.push("/");
  };
  const act = {
    remix: () => take(null),
    reuse: () => take(picture.seed),
    star: () => {
      change(ids, { starred: !picture.starred });
      bulk.mutate({ ids: [picture.id], action: picture.starred ? "unstar" : "star" }, { onError: failed });
    },
    drop: () =>
      bulk.mutate(
        { ids: [picture.id], action: "delete" },
        {
          onError: failed,
          onSuccess: () => {
            remove(ids);
            say({
              text: t("gallery.deleted", { n: 1 }),
              action: {
                label: t("ui.undo"),
                run: () => bulk.mutate({ ids: [picture.id], action: "restore" }, { onError: failed }),
              },
            });
            router.push("/gallery/");
          },
        },
      ),
    download: () =>
      Object.assign(document.createElement("a"), { href: fileOf(picture), download: nameOf(picture) }).click(),
  };
  useEffect(() => {
    if (!shortcuts) return;
    const press = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      const keys: Record<string, (() => void) | null> = {
        s: act.star,
        r: act.remix,
        u: upscale,
        e: () => router.push(`/edit/?id=${picture.id}`),
        d: act.download,
        Delete: act.drop,
      };
      keys[event.key]?.();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  });
  return act;
}
