// Takes a picture to start from: it is sent to the server, and the form names it. Fetched when there is one.
import { upload } from "@/lib/api/assets";
import { fitted, type Size } from "@/lib/shape";
import { type Draft, useDraft } from "@/stores/draft";

/** How much is redrawn unless somebody says: what it shows stays, how it is drawn does not. */
const STRENGTH = 0.6;

interface Wanted {
  /** About as many pixels as a square of this side. */
  base: number;
  /** What else the form is to say. */
  with?: Partial<Draft>;
}

export async function takeStart(file: Blob, wanted: Wanted): Promise<void> {
  const [asset, seen] = await Promise.all([upload(file), sizeAsSeen(file)]);
  const { draft, change } = useDraft.getState();
  const next = { ...draft, ...wanted.with };
  const strength = next.extra.init?.strength ?? STRENGTH;
  // An enlargement is of the size it was asked for, and a mask of the picture it was painted on.
  const { hires: _hires, ...extra } = next.extra;
  change({ ...next, ...fitted(seen ?? asset, wanted.base), extra: { ...extra, init: { image: asset.key, strength } } });
}

/** Its size with the side up that a camera says is up; null where this browser cannot tell. */
async function sizeAsSeen(file: Blob): Promise<Size | null> {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return null;
  const { width, height } = bitmap;
  bitmap.close();
  return { width, height };
}
