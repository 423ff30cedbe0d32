// One picture in the grid: opened, starred, chosen.
"use client";

import { Check, Star } from "lucide-react";
import { memo } from "react";

import { choose, useGallery } from "@/components/features/gallery/store";
import { Link } from "@/components/ui/link";
import { fileOf, type Picture } from "@/lib/api/gallery";
import { cn } from "@/lib/cn";
import { useT } from "@/lib/i18n";

const corner =
  "absolute grid size-8 place-items-center rounded-md bg-black/65 text-white md:[@media(hover:hover)]:opacity-0 md:[@media(hover:hover)]:group-hover:opacity-100 md:[@media(hover:hover)]:group-focus-within:opacity-100 focus-visible:opacity-100";

interface TileProps {
  index: number;
  picture: Picture | undefined;
  /** Puts a star on it or takes it off; the same function for all tiles, so that none is drawn anew for it. */
  onStar: (picture: Picture) => void;
}

export const Tile = memo(function Tile({ index, picture, onStar }: TileProps) {
  const t = useT();
  const chosen = useGallery((gallery) => (picture ? gallery.chosen.has(picture.id) : false));
  const choosing = useGallery((gallery) => gallery.chosen.size > 0);
  if (!picture) return <li data-index={index} data-pending className="animate-shimmer rounded-md bg-muted" />;
  const star = () => onStar(picture);
  const toggle = () => {
    const next = new Set(useGallery.getState().chosen);
    if (!next.delete(picture.id)) next.add(picture.id);
    choose(next);
  };
  return (
    <li data-index={index} className="group relative min-h-0 overflow-hidden rounded-md bg-muted">
      <Link
        href={`/g/${picture.id}/`}
        prefetch={false}
        className="block size-full focus-visible:-outline-offset-2"
        onKeyDown={(event) => {
          if (event.key === "s") star();
          if (event.key === " ") {
            event.preventDefault();
            toggle();
          }
        }}
        onClick={(event) => {
          if (!choosing) return;
          event.preventDefault();
          toggle();
        }}
      >
        <img
          src={fileOf(picture)}
          alt={picture.prompt}
          loading="lazy"
          decoding="async"
          className={cn("size-full object-cover transition-transform", chosen && "scale-90 rounded-md")}
        />
      </Link>
      <button
        type="button"
        role="checkbox"
        aria-checked={chosen}
        aria-label={t("gallery.choose", { prompt: picture.prompt })}
        onClick={toggle}
        className={cn(
          corner,
          "top-1.5 left-1.5",
          chosen && "bg-primary text-primary-foreground md:[@media(hover:hover)]:opacity-100",
          choosing && "md:[@media(hover:hover)]:opacity-100",
        )}
      >
        <Check aria-hidden className={cn("size-4", !chosen && "opacity-50")} />
      </button>
      <button
        type="button"
        aria-pressed={picture.starred}
        aria-label={t("gallery.star", { prompt: picture.prompt })}
        onClick={star}
        className={cn(corner, "top-1.5 right-1.5", picture.starred && "md:[@media(hover:hover)]:opacity-100")}
      >
        <Star aria-hidden className={cn("size-4", picture.starred && "fill-current text-amber-300")} />
      </button>
    </li>
  );
});
