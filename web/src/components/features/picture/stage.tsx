// The picture itself, its neighbours one key away.
"use client";

import { ChevronLeft, ChevronRight, ZoomIn, ZoomOut } from "lucide-react";
import { useEffect, useState } from "react";

import { useGallery } from "@/components/features/gallery/store";
import { Button } from "@/components/ui/button";
import { replacePath } from "@/lib/address";
import { fileOf, type Picture } from "@/lib/api/gallery";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";
import { isTyping } from "@/lib/keys";

/** What of a picture is shown large; shared ones have no more. */
type Shown = Pick<Picture, "id" | "file" | "prompt" | "width" | "height">;

export function Stage({ picture }: { picture: Shown }) {
  const t = useT();
  const [zoomed, setZoomed] = useState(false);
  const [before, after] = useNeighbours(picture.id);
  useEffect(() => {
    const walk = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      const next = event.key === "ArrowLeft" ? before : event.key === "ArrowRight" ? after : undefined;
      if (next) replacePath(`/g/${next}/`);
    };
    window.addEventListener("keydown", walk);
    return () => window.removeEventListener("keydown", walk);
  }, [before, after]);
  return (
    <div className="relative grid min-h-[50vh] place-items-center overflow-hidden rounded-lg border bg-muted lg:min-h-[calc(100dvh-9rem)]">
      <div
        tabIndex={zoomed ? 0 : undefined}
        role={zoomed ? "group" : undefined}
        aria-label={zoomed ? picture.prompt : undefined}
        className={cn("size-full", zoomed ? "max-h-[85vh] overflow-auto" : "grid place-items-center p-4")}
      >
        <img
          src={fileOf(picture)}
          alt={picture.prompt}
          width={picture.width}
          height={picture.height}
          className={cn(
            "rounded-sm",
            zoomed
              ? "w-[200%] max-w-none"
              : "h-auto max-h-[80vh] w-auto min-w-[min(100%,28rem)] max-w-full object-contain",
          )}
        />
      </div>
      <div className="absolute right-3 bottom-3 flex gap-1.5">
        {before && (
          <Button
            look="secondary"
            size="icon"
            aria-label={t("picture.before")}
            onClick={() => replacePath(`/g/${before}/`)}
          >
            <ChevronLeft aria-hidden />
          </Button>
        )}
        {after && (
          <Button
            look="secondary"
            size="icon"
            aria-label={t("picture.after")}
            onClick={() => replacePath(`/g/${after}/`)}
          >
            <ChevronRight aria-hidden />
          </Button>
        )}
        <Button
          look="secondary"
          size="icon"
          aria-pressed={zoomed}
          aria-label={t("picture.zoom")}
          onClick={() => setZoomed(!zoomed)}
        >
          {zoomed ? <ZoomOut aria-hidden /> : <ZoomIn aria-hidden />}
        </Button>
      </div>
    </div>
  );
}

/** Those beside it in the gallery it was opened from. */
function useNeighbours(id: string): [string | undefined, string | undefined] {
  const strip = useGallery((gallery) => gallery.strip);
  const index = strip?.find(id) ?? -1;
  return index < 0 ? [undefined, undefined] : [strip?.at(index - 1)?.id, strip?.at(index + 1)?.id];
}
