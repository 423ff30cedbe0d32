// Strokes: under way, undone, redone.
import { expect, test } from "vitest";

import { begin, BLANK, extend, isBlank, redo, type Stroke, undo } from "./strokes";

const stroke = (x: number): Stroke => ({ kind: "brush", width: 0.1, points: [{ x, y: 0 }] });

test("strokes are undone and redone in their order, and a new one ends the redoing", () => {
  const two = begin(begin(BLANK, stroke(1)), stroke(2));
  const one = undo(two);
  expect(one.strokes).toEqual([stroke(1)]);
  expect(redo(one).strokes).toEqual(two.strokes);
  expect(undo(undo(undo(two))).strokes).toEqual([]);
  const other = begin(one, stroke(3));
  expect(redo(other)).toBe(other);
});

test("the stroke under way goes on, and no other", () => {
  const painting = extend(begin(begin(BLANK, stroke(1)), stroke(2)), { x: 5, y: 5 });
  expect(painting.strokes.map(({ points }) => points.length)).toEqual([1, 2]);
});

test("nothing painted is nothing; everything painted by inverting is something", () => {
  expect(isBlank(BLANK)).toBe(true);
  expect(isBlank({ ...BLANK, inverted: true })).toBe(false);
});
