// Charts say in words and in a table what they draw.
import { readdirSync } from "node:fs";

import { cleanup, render, screen, within } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";

import "@/lib/i18n/charts";

import { Chart, highest, type Series } from "./chart";
import { DASHBOARDS } from "./dashboards";

afterEach(cleanup);

const JOBS: Series[] = [
  { name: "Done", look: "main", values: [3, 0, 5] },
  { name: "Failed", look: "bad", values: [1, null, 1] },
];

test("bars stand on each other, lines do not", () => {
  expect([highest(JOBS, "bars"), highest(JOBS, "lines"), highest([], "bars")]).toEqual([6, 5, 0]);
});

test("a chart is a picture with a name that says it, and a table with every figure", () => {
  const { container } = render(
    <Chart title="Jobs" kind="bars" series={JOBS} moments={["one", "two", "three"]} say={(value) => `${value} jobs`} />,
  );
  screen.getByRole("img", { name: "Jobs: 6 jobs last, 6 jobs at most" });
  const rows = within(container.querySelector("tbody") as HTMLElement).getAllByRole("row", { hidden: true });
  expect(rows.map((row) => [...row.children].map(({ textContent }) => textContent))).toEqual([
    ["one", "3 jobs", "1 jobs"],
    ["two", "0 jobs", "–"],
    ["three", "5 jobs", "1 jobs"],
  ]);
  // The highest point reaches the top, what stands on another begins where that ends.
  const bars = [...container.querySelectorAll("rect")].map((bar) =>
    ["x", "y", "height"].map((name) => Number(bar.getAttribute(name))),
  );
  expect(bars.length).toBe(4);
  const [, , , failed] = bars;
  const [, done] = bars;
  expect(failed?.[1]).toBeCloseTo(0);
  expect(failed?.[0]).toBe(done?.[0]);
  expect((failed?.[1] ?? 0) + (failed?.[2] ?? 0)).toBeCloseTo(done?.[1] ?? -1);
});

test("nothing at all is drawn as nothing", () => {
  const none: Series[] = [{ name: "Done", look: "main", values: [0, 0] }];
  const { container } = render(
    <Chart title="Jobs" kind="bars" series={none} moments={["one", "two"]} say={(value) => `${value}`} />,
  );
  expect(container.querySelectorAll("rect").length).toBe(0);
  expect(container.innerHTML).not.toContain("NaN");
});

test("links lead to every dashboard that comes with the chart, and to no other", () => {
  const files = readdirSync("../charts/tintype/monitoring/dashboards");
  expect(DASHBOARDS.map((name) => `tintype-${name}.json`).sort()).toEqual(files.sort());
});
