// The gallery as it was left: its pictures, what is chosen, how far it was scrolled. In memory, for as long as the page lives,
// so that going into a picture and back is the same place.
"use client";

import { create } from "zustand";

import { askDays, askRun, type Filter, type Picture } from "@/lib/api/gallery";

import { Strip } from "./strip";

interface GalleryState {
  /** Of which list the strip is. */
  key: string;
  strip: Strip<Picture> | null;
  error: Error | null;
  chosen: ReadonlySet<string>;
  scroll: number;
}

const EMPTY: GalleryState = { key: "", strip: null, error: null, chosen: new Set(), scroll: 0 };

export const useGallery = create<GalleryState>(() => EMPTY);

const { getState, setState } = useGallery;
const asked = new Set<string>();

/** Opens a list; what is here of it stays while its days are counted anew. */
export async function open(filter: Filter): Promise<void> {
  const key = JSON.stringify(filter);
  if (getState().key !== key) setState({ ...EMPTY, key });
  asked.clear();
  try {
    // The head comes with it, before the old strip goes, so that nothing flickers.
    const [{ data }, first] = await Promise.all([askDays(filter), askRun(filter, "newest")]);
    const now = getState();
    if (now.key !== key) return;
    // What is on the screen stays there until it has been asked for anew.
    setState({ strip: Strip.of<Picture>(data).filled(0, first.data).over(now.strip), error: null });
  } catch (error) {
    if (getState().key === key) setState({ error: error as Error });
  }
}

/** Fetches what is missing between two places. Asked again by every scroll: what is on its way is not asked for twice. */
export async function need(filter: Filter, from: number, to: number): Promise<void> {
  const { key, strip } = getState();
  const run = strip?.missing(from, to);
  if (!strip || !run) return;
  const name = `${key} ${run.start} ${strip.length}`;
  if (asked.has(name)) return;
  asked.add(name);
  try {
    const page = await askRun(filter, "after" in run ? { cursor: run.after } : { to: run.before });
    const now = getState();
    // The list was changed meanwhile: places have moved.
    if (now.key !== key || !now.strip || now.strip.length !== strip.length) return;
    setState({ strip: now.strip.filled(run.start, page.data), error: null });
    if (page.data.length > 0) void need(filter, from, to);
  } catch (error) {
    setState({ error: error as Error });
  } finally {
    asked.delete(name);
  }
}

export function change(ids: ReadonlySet<string>, part: Partial<Picture>): void {
  setState(({ strip }) => ({ strip: strip?.changed(ids, (picture) => ({ ...picture, ...part })) ?? null }));
}

export function remove(ids: ReadonlySet<string>): void {
  setState(({ strip, chosen }) => ({
    strip: strip?.without(ids) ?? null,
    chosen: new Set([...chosen].filter((id) => !ids.has(id))),
  }));
}

export const choose = (chosen: ReadonlySet<string>) => setState({ chosen });
export const keepScroll = (scroll: number) => setState({ scroll });
