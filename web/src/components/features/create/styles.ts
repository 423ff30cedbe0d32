// Styles: words that are added to a prompt, and words it keeps away from.
import type { Key } from "@/lib/i18n";

export interface Style {
  label: Key;
  words: string;
  without?: string;
}

/** In the order they are offered. The words are English: that is what models were taught with. */
export const STYLES = {
  photo: { label: "style.photo", words: "photograph, natural light, 35mm, sharp focus", without: "drawing, painting" },
  film: { label: "style.film", words: "film still, cinematic light, shallow depth of field" },
  tintype: { label: "style.tintype", words: "tintype photograph, wet plate, monochrome, soft vignette" },
  watercolour: { label: "style.watercolour", words: "watercolour painting, soft washes, paper texture" },
  oil: { label: "style.oil", words: "oil painting, visible brush strokes, rich colours" },
  ink: { label: "style.ink", words: "ink drawing, fine lines, cross-hatching", without: "photograph" },
  comic: { label: "style.comic", words: "comic art, bold outlines, flat colours", without: "photograph" },
  model: { label: "style.model", words: "3d render, soft studio light, smooth materials" },
  pixel: { label: "style.pixel", words: "pixel art, limited palette" },
} as const satisfies Record<string, Style>;

export type StyleName = keyof typeof STYLES;

const isStyle = (name: string): name is StyleName => Object.hasOwn(STYLES, name);

const joined = (...parts: readonly (string | undefined)[]) => parts.filter(Boolean).join(", ");

/** Prompt and negative prompt with a style's words; as they are for no style, and for one that is no longer offered. */
export function styled(name: string | null | undefined, prompt: string, negative: string): [string, string] {
  if (!name || !isStyle(name)) return [prompt, negative];
  const { words, without }: Style = STYLES[name];
  return [joined(prompt, words), joined(negative, without)];
}
