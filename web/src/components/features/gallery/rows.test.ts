// Rows and landmarks of the grid.
import { expect, test } from "vitest";

import { landmarks, rowsOf } from "./rows";

const at = (day: string) => Date.parse(`${day}T00:00:00Z`);

test("a month has a head and as many rows as its pictures need; no row is of two months", () => {
  const rows = rowsOf(
    [
      { fromMs: at("2026-11-26"), images: 3 },
      { fromMs: at("2026-11-02"), images: 2 },
      { fromMs: at("2026-10-31"), images: 1 },
    ],
    4,
  );
  expect(rows).toEqual([
    { kind: "head", month: "2026-11", atMs: at("2026-11-26"), images: 5 },
    { kind: "pictures", from: 0, to: 4 },
    { kind: "pictures", from: 4, to: 5 },
    { kind: "head", month: "2026-10", atMs: at("2026-10-31"), images: 1 },
    { kind: "pictures", from: 5, to: 6 },
  ]);
  expect(landmarks(rows)).toEqual([
    { name: "2026-11", row: 0 },
    { name: "2026-10", row: 3 },
  ]);
});

test("many months are told by their years", () => {
  const days = Array.from({ length: 30 }, (_, n) => ({ fromMs: Date.UTC(2026, 10 - n, 1), images: 1 }));
  expect(landmarks(rowsOf(days, 4)).map(({ name }) => name)).toEqual(["2026", "2025", "2024"]);
});
