// The strip: what is asked for, where it is put, what moves when something goes.
import { describe, expect, test } from "vitest";

import { Strip } from "./strip";

const DAY = 86_400_000;
const days = [
  { fromMs: 9 * DAY, images: 2 },
  { fromMs: 7 * DAY, images: 500 },
  { fromMs: 2 * DAY, images: 3 },
];
const run = (start: number, count: number) => Array.from({ length: count }, (_, n) => ({ id: `p${start + n}` }));

describe("a strip", () => {
  const empty = Strip.of<{ id: string }>(days);

  test("knows its length and days before any picture is here", () => {
    expect(empty.length).toBe(505);
    expect([0, 1, 2, 501, 502, 504].map((index) => empty.dayOf(index))).toEqual([0, 0, 1, 1, 2, 2]);
    expect(Strip.of([]).length).toBe(0);
    expect(Strip.of([]).missing(0, 10)).toBeNull();
  });

  test("asks from the day on where nothing is here, and after what is", () => {
    expect(empty.missing(0, 10)).toEqual({ start: 0, before: 10 * DAY });
    expect(empty.missing(503, 510)).toEqual({ start: 502, before: 3 * DAY });
    const some = empty.filled(2, run(2, 200));
    expect(some.missing(50, 150)).toBeNull();
    expect(some.missing(150, 250)).toEqual({ start: 202, after: "p201" });
    expect(some.missing(400, 410)).toEqual({ start: 202, after: "p201" });
  });

  test("closes up when pictures go, and keeps what is here in order", () => {
    const some = empty.filled(0, run(0, 6)).filled(502, run(502, 3));
    const fewer = some.without(new Set(["p0", "p1", "p3", "p503"]));
    expect(fewer.length).toBe(501);
    expect([0, 1, 2].map((index) => fewer.at(index)?.id)).toEqual(["p2", "p4", "p5"]);
    expect([499, 500].map((index) => fewer.at(index)?.id)).toEqual(["p502", "p504"]);
    expect(fewer.days[0]?.fromMs).toBe(7 * DAY);
    expect(fewer.find("p504")).toBe(500);
    expect(some.without(new Set(["unknown"]))).toBe(some);
  });

  test("counted anew shows what was here where it is now, and asks for it again", () => {
    const before = empty.filled(0, run(0, 2)).filled(2, run(2, 200)).filled(502, run(502, 3));
    const counted = [{ fromMs: 10 * DAY, images: 1 }, { fromMs: 9 * DAY, images: 3 }, ...days.slice(1)];
    const after = Strip.of<{ id: string }>(counted)
      .filled(0, [{ id: "new" }])
      .over(before);
    // The day of another number is empty until it has come; the others have moved by two.
    expect([0, 1, 2, 3, 4, 203, 204, 506].map((index) => after.at(index)?.id)).toEqual([
      ...["new", undefined, undefined, undefined, "p2", "p201", undefined, "p504"],
    ]);
    expect(after.missing(4, 10)).toEqual({ start: 4, before: 8 * DAY });
    const come = after.filled(4, [{ id: "p3" }, { id: "p4" }]);
    expect([4, 5, 6].map((index) => come.at(index)?.id)).toEqual(["p3", "p4", "p4"]);
    // A picture known in two places goes from where the newer answer has it.
    const fewer = come.without(new Set(["p4"]));
    expect([fewer.length, ...[4, 5, 6].map((index) => fewer.at(index)?.id)]).toEqual([506, "p3", undefined, "p5"]);
    expect(come.changed(new Set(["p201"]), ({ id }) => ({ id: `${id}!` })).at(203)?.id).toBe("p201!");
    expect(come.find("p504")).toBe(506);
    expect(Strip.of<{ id: string }>(counted).over(null).at(0)).toBeUndefined();
  });
});
