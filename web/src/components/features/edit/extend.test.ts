// Room around a picture: sizes the API takes, and the old picture inside.
import { expect, test } from "vitest";

import { LIMITS } from "@/lib/api/limits.gen";

import { isExtended, isTaken, NO_SIDES, PRESETS, sidesOf, withSides } from "./extend";

const { max, multipleOf } = LIMITS.width;

test("every preset gives a size the API takes, never a smaller one, with the old picture in the middle", () => {
  for (let width = 64; width <= max; width += 64) {
    for (let height = 64; height <= max; height += 192) {
      for (const preset of PRESETS) {
        const sides = sidesOf(preset, { width, height });
        const size = withSides({ width, height }, sides);
        expect(isTaken(size), `${preset} of ${width} x ${height}`).toBe(true);
        expect(Math.min(...Object.values(sides))).toBeGreaterThanOrEqual(0);
        expect(Math.abs(sides.left - sides.right) + Math.abs(sides.top - sides.bottom)).toBeLessThanOrEqual(2);
      }
    }
  }
});

test("presets do what they are called", () => {
  const size = { width: 512, height: 256 };
  expect(sidesOf("around", size)).toEqual({ top: 64, right: 128, bottom: 64, left: 128 });
  expect(sidesOf("wider", size)).toEqual({ top: 0, right: 128, bottom: 0, left: 128 });
  expect(sidesOf("taller", size)).toEqual({ top: 64, right: 0, bottom: 64, left: 0 });
  expect(withSides(size, sidesOf("square", size))).toEqual({ width: 512, height: 512 });
  expect(isExtended(sidesOf("square", { width: 64, height: 64 }))).toBe(false);
  // There is no more room than the API has.
  expect(isExtended(sidesOf("wider", { width: max, height: 64 }))).toBe(false);
});

test("a size the API does not take is known before it is sent", () => {
  const size = { width: 64, height: 64 };
  expect(isTaken(withSides(size, { ...NO_SIDES, left: multipleOf }))).toBe(true);
  expect(isTaken(withSides(size, { ...NO_SIDES, left: 40, right: 24 }))).toBe(true);
  expect(isTaken(withSides(size, { ...NO_SIDES, left: 40 }))).toBe(false);
  expect(isTaken(withSides(size, { ...NO_SIDES, top: max }))).toBe(false);
});
