// The prompt's length, counted as people count.
import { expect, test } from "vitest";

import { promptMisfit } from "./prompt";

test.each([
  ["  a circle  ", -2],
  ["a red circle", 0],
  ["x".repeat(500), 0],
  ["x".repeat(507), 7],
  ["🟥".repeat(10), 0],
])("a prompt has 10 to 500 characters, spaces around it aside: %s", (prompt, misfit) => {
  expect(promptMisfit(prompt)).toBe(misfit);
});
