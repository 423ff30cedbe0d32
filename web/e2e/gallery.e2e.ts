// Flow 8: a gallery of 100,000 pictures is scrolled without a gap that stays, searched, and is where one left it.
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";
import { seedPictures } from "./support/seed";
import { Stack } from "./support/stack";

const MANY = 100_000;

const visit = withBrowser();
let stack: Stack;
beforeAll(async () => {
  stack = await Stack.start();
});
afterAll(async () => {
  await stack.stop();
});

/** Waits until everything that can be seen is a picture that has been drawn, and something can be seen. */
const filled = (page: Page) =>
  page.waitForFunction(() => {
    const seen = [...document.querySelectorAll<HTMLElement>("[data-index]")].filter((tile) => {
      const { top, bottom } = tile.getBoundingClientRect();
      return bottom > 0 && top < window.innerHeight;
    });
    const drawn = (tile: HTMLElement) => {
      const image = tile.querySelector("img");
      return Boolean(image?.complete && image.naturalWidth > 0);
    };
    return seen.length > 0 && seen.every(drawn);
  });

/** Where the page is, once it has been there for a while: a wheel, and a jump to a row, go on for some frames. */
const place = (page: Page): Promise<number> =>
  page.evaluate(
    () =>
      new Promise<number>((done) => {
        let [top, frames] = [window.scrollY, 0];
        const look = () => {
          frames = window.scrollY === top ? frames + 1 : 0;
          top = window.scrollY;
          if (frames < 20) requestAnimationFrame(look);
          else done(Math.round(top));
        };
        requestAnimationFrame(look);
      }),
  );

test("100,000 pictures are scrolled through, searched, starred and come back to", async () => {
  const somebody = await visit({ url: stack.url });
  const { page } = somebody;
  const email = await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 1);
  await seedPictures(stack, email, MANY);
  await page.goto("/gallery/");
  await page.getByText("100,001 pictures", { exact: true }).first().waitFor();
  await filled(page);
  await inspect(somebody, "gallery-many");

  // As far as a hand on the scroll bar, there and back, each place as soon as the last is asked for.
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  expect(height, "the scroll bar is of all of them").toBeGreaterThan(1_000_000);
  for (const share of [0.9, 0.1, 0.5, 0.99, 0.33]) {
    await page.evaluate((top) => window.scrollTo(0, top), share * height);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => done(null))));
  }
  await filled(page);
  // And as a wheel: in small steps, without waiting.
  const before = await place(page);
  for (let n = 0; n < 40; n++) await page.mouse.wheel(0, 700);
  await page.waitForFunction((top) => window.scrollY > top, before + 20_000);
  await place(page);
  await filled(page);

  await page
    .getByRole("navigation", { name: "Dates" })
    .getByRole("button", { name: /^2024$/ })
    .click();
  await page.waitForFunction(() =>
    [...document.querySelectorAll("h2")].some((head) => /2024/.test(head.textContent ?? "")),
  );
  await place(page);
  await page.evaluate(() => window.scrollBy(0, 2_000));
  await filled(page);
  const left = await place(page);
  // One that is wholly on the screen, by its number: what is drawn around it changes.
  const found = await page.waitForFunction(() => {
    const whole = [...document.querySelectorAll<HTMLElement>("[data-index]")].find((tile) => {
      const { top, bottom } = tile.getBoundingClientRect();
      return top > 120 && bottom < window.innerHeight && /the year 2024/.test(tile.querySelector("img")?.alt ?? "");
    });
    return whole?.dataset.index;
  });
  const index = await found.jsonValue();
  const one = page.locator(`[data-index='${index}']`);
  await one.hover();
  await one.getByRole("button", { name: /^Star/ }).click();
  await one.locator("[aria-pressed=true]").waitFor();
  expect(await place(page), "starring moves nothing").toBe(left);
  await one.locator("a").click();
  await page.getByRole("heading", { name: /^a picture of the year 2024/ }).waitFor();
  await page.goBack();
  await one.locator("[aria-pressed=true]").waitFor();
  expect(await place(page), "back is the same place").toBe(left);
  await filled(page);

  await page.getByRole("searchbox", { name: "Search prompts" }).fill("2025 number 290");
  await page.getByText("100 pictures", { exact: true }).first().waitFor();
  await filled(page);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
