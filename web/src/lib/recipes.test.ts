// Requests as other programs send them.
import { expect, test } from "vitest";

import { recipe } from "./recipes";

const request = { model: "m", prompt: "a cat's eye", seed: 7, embedParameters: false };

test("curl gets a body its shell leaves alone", () => {
  const text = recipe("curl", request, "https://x");
  expect(text).toContain("https://x/api/v1/jobs");
  expect(text).toContain(`cat'\\''s eye`);
  expect(text).toContain("$TINTYPE_API_KEY");
});

test("Python says True and False", () => {
  expect(recipe("python", request, "https://x")).toContain('"embedParameters": False');
});

test("kubectl gets a job whose request is this one", () => {
  expect(recipe("kubectl", request, "https://x")).toContain('    prompt: "a cat\'s eye"\n    seed: 7');
});
