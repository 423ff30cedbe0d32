// What people need of their browser: nothing that moves, twice the size, few colours of their own, text from right to left.
import type { Locator, Page } from "playwright-core";
import { expect, test } from "vitest";

import { DESK, shoot, violations, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";

const SCREENS = ["/", "/gallery/", "/collections/", "/credits/", "/developers/", "/account/", "/status/"];

const visit = withBrowser();

/** Goes to a screen and waits until it has what it shows. */
async function open(page: Page, path: string): Promise<void> {
  await page.goto(path);
  await page.locator("main h1").first().waitFor({ state: "attached" });
  await page.waitForFunction(() => document.querySelector(".animate-shimmer") === null);
}

const sideways = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);

/** What can be pressed or written in and is cut off at the side, where nobody could scroll to it. */
const cut = (page: Page): Promise<string[]> =>
  page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>("a, button, input, select, textarea, summary")]
      .filter((one) => one.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }))
      .filter((one) => {
        const { left, right, width } = one.getBoundingClientRect();
        const scrolls = one.closest("[data-scrolls], .overflow-x-auto") !== null;
        return width > 1 && !scrolls && (left < -1 || right > window.innerWidth + 1);
      })
      .map((one) => one.outerHTML.slice(0, 120)),
  );

const nameOf = (path: string) => (path === "/" ? "create" : path.replaceAll("/", ""));

test("at twice the size everything is there, nothing is cut off, and a picture can be made", async () => {
  const somebody = await visit({ zoom: 2 });
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 2);
  for (const path of SCREENS) {
    await open(page, path);
    await shoot(page, `zoom-${nameOf(path)}`);
    expect(await sideways(page), path).toBeLessThanOrEqual(0);
    expect(await cut(page), path).toEqual([]);
    expect(await violations(page), path).toEqual([]);
  }
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("from right to left nothing is cut off", async () => {
  const somebody = await visit();
  const { context, page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 2);
  // No such language is there yet: the words are marked ones, the direction is what counts.
  await context.addInitScript(() => {
    localStorage.setItem("tintype.locale", "pseudo");
    document.addEventListener("DOMContentLoaded", () => (document.documentElement.dir = "rtl"));
  });
  for (const size of [DESK, { width: 390, height: 844 }]) {
    await page.setViewportSize(size);
    for (const path of SCREENS) {
      await open(page, path);
      await page.getByText(/^⟦/).first().waitFor();
      expect(await page.evaluate(() => getComputedStyle(document.body).direction)).toBe("rtl");
      const left = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      expect(left, `${path}, ${size.width}`).toBeLessThanOrEqual(0);
      expect(await cut(page), `${path}, ${size.width}`).toEqual([]);
      expect(await violations(page), `${path}, ${size.width}`).toEqual([]);
    }
    await shoot(page, `rtl-${size.width}`);
  }
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("with colours of one's own, what is chosen and what is not still look different", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 1);
  await page.emulateMedia({ forcedColors: "active" });
  /** Whether a control changes its looks by what `act` does; compared where the pointer is elsewhere. */
  const differs = async (one: Locator, act: () => Promise<void>) => {
    const look = async () => {
      await page.mouse.move(0, 0);
      await page.locator("main").focus();
      return one.screenshot();
    };
    const before = await look();
    await act();
    return !before.equals(await look());
  };
  await open(page, "/");
  const four = page.getByRole("radio", { name: "4", exact: true });
  expect(await differs(four.locator(".."), () => four.check()), "a radio").toBe(true);
  await shoot(page, "forced-create");
  expect(await violations(page, false)).toEqual([]);
  await open(page, "/account/");
  const shortcuts = page.getByRole("switch", { name: "Single-key shortcuts" });
  expect(await differs(shortcuts, () => shortcuts.uncheck()), "a switch").toBe(true);
  await shortcuts.check();
  await shoot(page, "forced-account");
  expect(await violations(page, false)).toEqual([]);
  await open(page, "/gallery/");
  const choose = page.getByRole("checkbox").first();
  await choose.click();
  expect(await differs(choose, () => choose.click()), "a picture that is chosen").toBe(true);
  const link = page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Gallery" });
  const other = page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Credits" });
  const marked = (one: Locator) => one.evaluate((node) => getComputedStyle(node).textDecorationLine);
  expect([await marked(link), await marked(other)], "where one is").toEqual(["underline", "none"]);
  await shoot(page, "forced-gallery");
  await somebody.context.close();
});

test("nothing moves for who wants nothing to move", async () => {
  const moving = (page: Page) => page.evaluate(() => document.getAnimations().length);
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  /** Where something would move: a picture on its way, a dialog that opens. */
  const stir = async () => {
    await page.goto("/");
    // By then the page listens to keys.
    await page.getByTestId("price").waitFor();
    await page.evaluate(() => {
      const frame = Object.assign(document.createElement("div"), { className: "animate-shimmer" });
      document.body.append(frame);
    });
    return moving(page);
  };
  expect(await stir()).toBe(0);
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Shortcuts" }).waitFor();
  expect(await moving(page)).toBe(0);
  await page.emulateMedia({ reducedMotion: "no-preference" });
  expect(await stir(), "others see it move").toBeGreaterThan(0);
  await somebody.context.close();
});
