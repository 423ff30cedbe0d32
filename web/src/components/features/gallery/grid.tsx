// The grid: as high as all pictures together from the start, drawn where one looks. Arrow keys walk through it.
"use client";

import { useWindowVirtualizer } from "@tanstack/react-virtual";
import {
  type KeyboardEvent,
  startTransition,
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";

import { landmarks, type Row, rowsOf } from "@/components/features/gallery/rows";
import { change, keepScroll, need, useGallery } from "@/components/features/gallery/store";
import type { Strip } from "@/components/features/gallery/strip";
import { Tile } from "@/components/features/gallery/tile";
import { type Filter, type Picture, useBulk } from "@/lib/api/gallery";
import { useLocale, useT } from "@/lib/i18n";
import { month, shortMonth } from "@/lib/numbers";

const GAP = 8;
const HEAD = 48;
/** Narrowest tile on a desk and on a phone. */
const TILE = 190;
const TILE_PHONE = 108;
const PHONE_WIDTH = 640;
/** Rows drawn beyond what is seen. */
const OVERSCAN = 4;

export function Grid({ strip, filter }: { strip: Strip<Picture>; filter: Filter }) {
  const t = useT();
  const frame = useRef<HTMLDivElement>(null);
  const { width, top } = useBox(frame);
  const columns = Math.max(2, Math.floor((width + GAP) / ((width < PHONE_WIDTH ? TILE_PHONE : TILE) + GAP)));
  const tile = (width - GAP * (columns - 1)) / columns;
  const rows = useMemo(() => rowsOf(strip.days, columns), [strip.days, columns]);
  const virtual = useWindowVirtualizer({
    count: width > 0 ? rows.length : 0,
    estimateSize: (index) => (rows[index]?.kind === "head" ? HEAD : tile + GAP),
    overscan: OVERSCAN,
    scrollMargin: top,
    // What comes into sight is drawn beyond it already: a frame is not held up for it.
    useFlushSync: false,
    getItemKey: (index) => keyOf(rows[index]),
  });
  useEffect(() => virtual.measure(), [virtual, tile, rows]);
  usePlaceKept(width > 0);

  const star = useStar();
  const shown = virtual.getVirtualItems();
  const [from, to] = rangeOf(shown.map(({ index }) => rows[index]));
  useEffect(() => void need(filter, from, to), [filter, from, to, strip]);

  const walk = useCallback(
    (event: KeyboardEvent<HTMLElement>) => {
      const moves: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
      const move = moves[event.key];
      const at = Number((event.target as HTMLElement).closest<HTMLElement>("[data-index]")?.dataset.index);
      if (move === undefined || Number.isNaN(at)) return;
      const next = Math.min(strip.length - 1, Math.max(0, at + move));
      event.preventDefault();
      virtual.scrollToIndex(rows.findIndex((row) => row.kind === "pictures" && row.from <= next && next < row.to));
      // Drawn by the next frame.
      requestAnimationFrame(() =>
        document.querySelector<HTMLElement>(`[data-index="${next}"] a`)?.focus({ preventScroll: true }),
      );
    },
    [columns, rows, strip.length, virtual],
  );

  return (
    <div className="flex gap-6">
      <div ref={frame} className="min-w-0 flex-1" onKeyDown={walk}>
        <div className="relative" style={{ height: virtual.getTotalSize() }}>
          {shown.map(({ index, key, start }) => {
            const row = rows[index];
            return (
              row && (
                <div
                  key={key}
                  className="absolute inset-x-0 top-0"
                  style={{ transform: `translateY(${start - top}px)` }}
                >
                  {row.kind === "head" ? (
                    <Head atMs={row.atMs} images={row.images} />
                  ) : (
                    <ul
                      className="grid"
                      style={{ gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`, gap: GAP, height: tile }}
                    >
                      {Array.from({ length: row.to - row.from }, (_, n) => (
                        <Tile key={row.from + n} index={row.from + n} picture={strip.at(row.from + n)} onStar={star} />
                      ))}
                    </ul>
                  )}
                </div>
              )
            );
          })}
        </div>
      </div>
      <nav aria-label={t("gallery.dates")} className="sticky top-20 hidden w-20 shrink-0 self-start lg:block">
        <ul className="grid gap-0.5 border-l text-[13px]">
          {landmarks(rows).map(({ name, row }) => (
            <li key={name}>
              <button
                type="button"
                onClick={() => virtual.scrollToIndex(row, { align: "start" })}
                className="w-full rounded-r-sm px-3 py-1 text-left text-muted-foreground tabular-nums hover:bg-muted hover:text-foreground"
              >
                <span translate="no">
                  <Landmark name={name} />
                </span>
              </button>
            </li>
          ))}
        </ul>
      </nav>
    </div>
  );
}

/** Shown at once; taken back if the server says no. */
function useStar(): (picture: Picture) => void {
  const { mutate } = useBulk();
  return useCallback(
    ({ id, starred }) => {
      const ids = new Set([id]);
      change(ids, { starred: !starred });
      mutate({ ids: [id], action: starred ? "unstar" : "star" }, { onError: () => change(ids, { starred }) });
    },
    [mutate],
  );
}

function Landmark({ name }: { name: string }) {
  const locale = useLocale();
  if (name.length === 4) return name;
  return shortMonth(Date.parse(`${name}-01T00:00:00Z`), locale);
}

function Head({ atMs, images }: { atMs: number; images: number }) {
  const t = useT();
  const locale = useLocale();
  return (
    <h2 className="flex h-12 items-center gap-3 text-sm font-semibold">
      <span translate="no">{month(atMs, locale)}</span>{" "}
      <span className="font-normal text-muted-foreground">{t("job.images", { n: images })}</span>
    </h2>
  );
}

const keyOf = (row: Row | undefined) => (row?.kind === "head" ? row.month : `${row?.from}`);

/** First and last picture of what is drawn. */
function rangeOf(rows: readonly (Row | undefined)[]): [number, number] {
  const pictures = rows.filter((row) => row?.kind === "pictures");
  return [pictures.at(0)?.from ?? 0, pictures.at(-1)?.to ?? 0];
}

/** How wide the grid is, and how far below the top of the page. */
function useBox(frame: React.RefObject<HTMLElement | null>): { width: number; top: number } {
  const [box, setBox] = useState({ width: 0, top: 0 });
  useLayoutEffect(() => {
    const element = frame.current;
    if (!element) return;
    const observer = new ResizeObserver(() => {
      const box = { width: element.clientWidth, top: element.getBoundingClientRect().top + window.scrollY };
      startTransition(() => setBox(box));
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [frame]);
  return box;
}

/** Goes back to where one was, and remembers where one is. */
function usePlaceKept(ready: boolean): void {
  useLayoutEffect(() => {
    if (!ready) return;
    window.scrollTo(0, useGallery.getState().scroll);
    const keep = () => keepScroll(window.scrollY);
    window.addEventListener("scroll", keep, { passive: true });
    return () => window.removeEventListener("scroll", keep);
  }, [ready]);
}
