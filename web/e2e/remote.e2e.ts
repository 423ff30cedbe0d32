// The studio served by somebody else, in front of an API elsewhere: built as for Vercel, and served as its configuration says.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, expect, inject, test } from "vitest";

import { withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";
import { Vercel } from "./support/vercel";

const script = fileURLToPath(new URL("../scripts/vercel.mjs", import.meta.url));

const visit = withBrowser();
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tt-vercel-"));
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
});

const build = (api: string) =>
  execFileSync(process.execPath, [script, folder], { env: { ...process.env, TINTYPE_URL: api }, stdio: "pipe" });

test("built for Vercel, pages come from there and everything else from the API, under one origin", async () => {
  expect(() => build("nowhere"), "an address that is none").toThrow("set TINTYPE_URL");
  build(inject("url"));
  const vercel = await Vercel.start(folder);
  const somebody = await visit({ url: vercel.url });
  const { page } = somebody;
  const answer = await page.goto("/");
  expect(answer?.headers()["content-security-policy"]).toContain("script-src 'self' 'sha256-");
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 1);
  await page.goto("/gallery");
  await page.locator("[data-index='0'] a").click();
  await page.getByRole("heading", { name: "a red circle on a blue background" }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "a red circle on a blue background" }).waitFor();
  expect((await page.goto("/nowhere/"))?.status()).toBe(404);
  await page.getByText("There is no such page").waitFor();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
  vercel.stop();
});
