// Pictures pixel by pixel, as the browser reads them.
import type { Page } from "playwright-core";

export interface Pixels {
  width: number;
  height: number;
  /** Four bytes each: red, green, blue, alpha. */
  data: number[];
}

export interface Region {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** The files of somebody's newest pictures, newest first. */
export const newest = (page: Page, count: number): Promise<string[]> =>
  page.evaluate(async (limit) => {
    const { data } = (await (await fetch(`/api/v1/images?limit=${limit}`)).json()) as { data: { file: string }[] };
    return data.map(({ file }) => `${file}?inline=true`);
  }, count);

export const pixelsOf = (page: Page, file: string): Promise<Pixels> =>
  page.evaluate(async (url) => {
    const bitmap = await createImageBitmap(await (await fetch(url)).blob());
    const { width, height } = bitmap;
    const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d")!;
    context.drawImage(bitmap, 0, 0);
    return { width, height, data: [...context.getImageData(0, 0, width, height).data] };
  }, file);

/** How far apart two pictures are in a region of the first, each pixel by the sum over its colours; `at` is where the second begins. */
export function apart(one: Pixels, other: Pixels, region: Region, at = { x: 0, y: 0 }): { most: number; mean: number } {
  const found: number[] = [];
  for (let y = region.top; y < region.bottom; y++) {
    for (let x = region.left; x < region.right; x++) {
      const [a, b] = [4 * (y * one.width + x), 4 * ((y - at.y) * other.width + x - at.x)];
      found.push([0, 1, 2].reduce((sum, n) => sum + Math.abs((one.data[a + n] ?? 0) - (other.data[b + n] ?? 0)), 0));
    }
  }
  return { most: Math.max(...found), mean: found.reduce((sum, value) => sum + value, 0) / found.length };
}
