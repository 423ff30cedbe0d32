// Requests from drafts and back.
import { expect, test } from "vitest";

import type { ResolvedRequest } from "@/lib/api/client";

import { draftOf, FRESH, requestOf, useDraft } from "./draft";

const resolved: ResolvedRequest = {
  model: "m",
  prompt: "a red circle",
  negativePrompt: "blur",
  width: 128,
  height: 64,
  steps: 9,
  guidanceScale: 2,
  sampler: "euler",
  seed: 7,
  images: 4,
  embedParameters: false,
  clipSkip: 0,
  guidanceRescale: 0,
  noise: "cpu",
  format: "png",
  hires: { width: 256, height: 128, strength: 0.5 },
};

test("what the model decides is left out", () => {
  expect(requestOf({ ...FRESH, prompt: " a red circle " }, "m")).toEqual({
    model: "m",
    prompt: "a red circle",
    images: 1,
  });
});

test("reuse asks for the same picture, remix for others like it", () => {
  const { seed: _, clipSkip: _1, guidanceRescale: _2, noise: _3, format: _4, ...others } = resolved;
  expect(requestOf(draftOf(resolved, null), "m")).toEqual(others);
  expect(requestOf(draftOf(resolved, 9), "m")).toEqual({ ...others, seed: 9, images: 1 });
});

test("a picture to start from is a part of the request until it is taken away", () => {
  const { change, start } = useDraft.getState();
  change({ ...FRESH, extra: { noise: "nv" } });
  start({ image: "inputs/a/b.png", strength: 0.5 });
  expect(requestOf(useDraft.getState().draft, "m")).toMatchObject({ noise: "nv", init: { strength: 0.5 } });
  start(null);
  expect(requestOf(useDraft.getState().draft, "m")).toEqual({ model: "m", prompt: "", images: 1, noise: "nv" });
});
