// What Sentry is told of an address.
import { expect, test } from "vitest";

import { bare } from "./sentry";

test("an address says which screen it was, and neither what was searched for nor whose link it is", () => {
  const told = (url: string) => bare({ type: undefined, request: { url } }).request?.url;
  expect(told("https://a.example/gallery/?q=a+secret#x")).toBe("https://a.example/gallery/");
  expect(told("https://a.example/g/0c6a2f3e-6f0e-4f6a-9a55-2d0c0f4b7a11/")).toBe("https://a.example/g/_/");
});
