// Sizes of pictures: a ratio and an area, in the steps the API takes.
import { LIMITS } from "@/lib/api/limits.gen";

export const RATIOS = ["1:1", "4:3", "3:2", "16:9", "21:9"] as const;
export type Ratio = (typeof RATIOS)[number];

export interface Size {
  width: number;
  height: number;
}

const { min, max, multipleOf } = LIMITS.width;

/** The nearest side the API takes. */
export const side = (pixels: number): number =>
  Math.min(max, Math.max(min, Math.round(pixels / multipleOf) * multipleOf));

export function ratioOf(ratio: Ratio): number {
  const [wide = 1, high = 1] = ratio.split(":").map(Number);
  return wide / high;
}

/** The size nearest to a picture's shape, with about as many pixels as `base` squared. */
export function fitted({ width, height }: Size, base: number): Size {
  const ratio = Math.sqrt(width / height);
  return { width: side(base * ratio), height: side(base / ratio) };
}

/** About as many pixels as `base` squared, in this ratio; upright where `upright` says so. */
export function sizeOf(ratio: Ratio, base: number, upright: boolean): Size {
  const wide = ratioOf(ratio);
  return fitted(upright ? { width: 1, height: wide } : { width: wide, height: 1 }, base);
}

/** A size as people choose it; no ratio where it is none of those offered. */
export interface Shape {
  ratio: Ratio | null;
  upright: boolean;
  /** Side of a square of about as many pixels. */
  base: number;
}

/** What was chosen when this size came of it: the ratio that gives it, lying or standing. */
export function shapeOf(size: Size): Shape {
  const { width, height } = size;
  const upright = height > width;
  const near = side(Math.sqrt(width * height));
  // The steps of the two sides can bring the area a little away from that of the square.
  for (const base of [near, near - multipleOf, near + multipleOf]) {
    const ratio = RATIOS.find((one) => same(sizeOf(one, base, upright), size));
    if (ratio) return { ratio, upright, base };
  }
  return { ratio: null, upright, base: near };
}

export const same = (one: Size, other: Size): boolean => one.width === other.width && one.height === other.height;
