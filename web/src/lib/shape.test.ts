// Sizes are such as the API takes.
import { expect, test } from "vitest";

import { LIMITS } from "./api/limits.gen";
import { fitted, RATIOS, shapeOf, side, sizeOf } from "./shape";

test("every ratio at every size is in the API's steps and limits", () => {
  for (const ratio of RATIOS) {
    for (let base = 64; base <= 2048; base += 64) {
      for (const upright of [false, true]) {
        const size = sizeOf(ratio, base, upright);
        for (const pixels of [size.width, size.height]) {
          expect(pixels % LIMITS.width.multipleOf).toBe(0);
          expect(pixels).toBeGreaterThanOrEqual(LIMITS.width.min);
          expect(pixels).toBeLessThanOrEqual(LIMITS.width.max);
        }
        expect(upright ? size.height : size.width).toBeGreaterThanOrEqual(upright ? size.width : size.height);
      }
    }
  }
});

test("a ratio keeps about the pixels of its square", () => {
  expect(sizeOf("16:9", 512, false)).toEqual({ width: 704, height: 384 });
  expect(sizeOf("16:9", 512, true)).toEqual({ width: 384, height: 704 });
  expect(side(1)).toBe(64);
});

test("a picture's shape is kept as far as the API's steps let it", () => {
  expect(fitted({ width: 4000, height: 3000 }, 512)).toEqual({ width: 576, height: 448 });
  expect(fitted({ width: 3000, height: 4000 }, 512)).toEqual({ width: 448, height: 576 });
  expect(fitted({ width: 64, height: 64 }, 64)).toEqual({ width: 64, height: 64 });
  expect(fitted({ width: 9000, height: 10 }, 512).height).toBe(LIMITS.height.min);
});

test("a size is told by the ratio it was chosen with", () => {
  for (const ratio of RATIOS) {
    for (let base = 512; base <= 1536; base += 64) {
      for (const upright of [false, true]) {
        const size = sizeOf(ratio, base, upright);
        const told = shapeOf(size);
        // Two ratios may give the same size in the API's steps: then either is true.
        expect(told.ratio && sizeOf(told.ratio, told.base, told.upright), `${ratio} ${base}`).toEqual(size);
      }
    }
  }
  expect(shapeOf({ width: 704, height: 384 })).toEqual({ ratio: "16:9", upright: false, base: 512 });
  expect(shapeOf({ width: 384, height: 704 })).toEqual({ ratio: "16:9", upright: true, base: 512 });
  expect(shapeOf({ width: 512, height: 512 })).toEqual({ ratio: "1:1", upright: false, base: 512 });
  expect(shapeOf({ width: 1024, height: 192 })).toEqual({ ratio: null, upright: false, base: 448 });
});
