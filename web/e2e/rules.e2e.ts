// What holds for every page: how much script the first one loads, words in every language, directions and sizes people need.
import { gzipSync } from "node:zlib";

import { expect, inject, test } from "vitest";

import { bareWords, inspect, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";
import { SCREENS } from "./support/screens";

/** Most script a screen may load before it can be used, gzipped, in bytes. */
const FIRST_LOAD_MAX = 200_000;

const EVERY = [...SCREENS, "/edit/"];

const visit = withBrowser();

/** The scripts a page names itself. */
const scriptsOf = async (page: string): Promise<Buffer[]> => {
  const url = inject("url");
  const html = await (await fetch(new URL(page, url))).text();
  const tags = [...html.matchAll(/<script[^>]*\ssrc="([^"]+)"[^>]*>/g)].filter(([tag]) => !/nomodule/i.test(tag));
  expect(tags.length).toBeGreaterThan(3);
  return Promise.all(
    tags.map(async ([, src]) => Buffer.from(await (await fetch(new URL(src ?? "", url))).arrayBuffer())),
  );
};

test.each(EVERY)("the first load of %s has at most 200 kB of script", async (screen) => {
  const sizes = (await scriptsOf(screen)).map((script) => gzipSync(script, { level: 9 }).length);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(FIRST_LOAD_MAX);
});

test("scripts a page cannot do without are compiled as they come in", async () => {
  for (const page of ["/", "/gallery/", "/login/"]) {
    const starts = (await scriptsOf(page)).map((script) => script.subarray(0, 29).toString());
    expect(new Set(starts), page).toEqual(new Set(["//# allFunctionsCalledOnLoad\n"]));
  }
});

test("nothing of the generator is covered on a desk: all of it can be scrolled to and pressed", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  for (const height of [600, 860]) {
    await page.setViewportSize({ width: 1280, height });
    const covered = await page.getByRole("form", { name: "Create" }).evaluate((form) => {
      const boxes = [...form.children].map((part) => part.getBoundingClientRect());
      return boxes.slice(1).filter(({ top }, n) => top < (boxes[n]?.bottom ?? 0));
    });
    expect(covered, `${height} pixels high`).toEqual([]);
    await page.locator("summary", { hasText: "Advanced" }).click();
    await page.getByRole("button", { name: "Generate" }).click({ trial: true });
  }
  await somebody.context.close();
});

test("no word goes past the catalogues", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 1);
  await page.evaluate(() => localStorage.setItem("tintype.locale", "pseudo"));
  for (const path of EVERY) {
    await page.goto(path);
    expect(await bareWords(page), path).toEqual([]);
  }
  await somebody.context.close();
});

test("German is there for who wants it, and stays", async () => {
  const somebody = await visit({ locale: "de-DE" });
  const { page } = somebody;
  await page.goto("/");
  await page.getByRole("link", { name: "Zum Erzeugen anmelden" }).waitFor();
  expect(await page.evaluate(() => document.documentElement.lang)).toBe("de");
  await inspect(somebody, "create-german");
  await page.getByRole("combobox", { name: "Sprache" }).selectOption("en");
  await page.reload();
  await page.getByRole("link", { name: "Sign in to generate" }).waitFor();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("the whole first visit by keyboard alone", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await page.goto("/welcome/");
  await page.keyboard.press("Tab");
  await page.getByRole("link", { name: "Skip to content" }).press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.type(`keys-${Date.now()}@example.org`);
  await page.keyboard.press("Tab");
  await page.keyboard.type("a tin plate and a lamp");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname === "/");
  await page.getByText("Your first picture is one line away").waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("a red circle on a blue background");
  await page.keyboard.press("Control+Enter");
  await page.locator("[data-stand=complete] img:not([data-preview])").waitFor();
  await page.locator("body").press("Escape");
  await page
    .locator("article")
    .first()
    .click({ position: { x: 2, y: 2 } });
  await page.keyboard.press("g");
  await page.waitForURL(/\/gallery\/$/);
  await page.locator("[data-index='0'] a").focus();
  await page.keyboard.press("s");
  await page.locator("[data-index='0'] [aria-pressed=true]").waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "a red circle on a blue background" }).waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("d")]);
  await page.keyboard.press("r");
  await page.waitForURL((url) => url.pathname === "/");
  const prompt = page.getByLabel("Prompt", { exact: true });
  expect(await prompt.inputValue()).toBe("a red circle on a blue background");
  // The file back into the form: a keyboard drags nothing, so there is a button.
  await prompt.fill("");
  const [chooser] = await Promise.all([
    page.waitForEvent("filechooser"),
    page.getByRole("button", { name: "Settings of a picture" }).press("Enter"),
  ]);
  await chooser.setFiles(await download.path());
  await page.getByText("Settings taken from the picture").waitFor();
  expect(await prompt.inputValue()).toBe("a red circle on a blue background");
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
