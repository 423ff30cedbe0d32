// Styles and what they add.
import { expect, test } from "vitest";

import { FRESH, requestOf } from "@/stores/draft";

import { styled } from "./styles";

test("a style adds its words to the prompt and to what it keeps away from", () => {
  const [prompt, negative] = styled("ink", "a fox", "blur");
  expect(prompt).toMatch(/^a fox, ink drawing/);
  expect(negative).toBe("blur, photograph");
  expect(styled("film", "a fox", "")[1]).toBe("");
});

test("no style, and one that is no longer there, add nothing", () => {
  for (const name of [null, undefined, "", "toString"])
    expect(styled(name, "a fox", "blur")).toEqual(["a fox", "blur"]);
});

test("the request has the words, the draft only the name", () => {
  const draft = { ...FRESH, prompt: "a fox", style: "pixel" };
  expect(requestOf(draft, "m").prompt).toBe("a fox, pixel art, limited palette");
  expect(draft.prompt).toBe("a fox");
});
