// Flow 6: part of a picture is painted over with a finger on a phone, and only that part changes; then the same by keyboard.
import { readFileSync } from "node:fs";

import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { inspect, shoot, violations, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";

const visit = withBrowser();

/** Draws a line on the canvas with one finger; shares of its box. */
async function finger(page: Page, from: [number, number], to: [number, number]): Promise<void> {
  await page.getByTestId("canvas").scrollIntoViewIfNeeded();
  const box = await page.getByTestId("canvas").boundingBox();
  if (!box) throw new Error("there is no canvas");
  const at = ([x, y]: [number, number]) => ({ x: box.x + x * box.width, y: box.y + y * box.height });
  const cdp = await page.context().newCDPSession(page);
  const touch = (type: "touchStart" | "touchMove" | "touchEnd", points: { x: number; y: number }[]) =>
    cdp.send("Input.dispatchTouchEvent", { type, touchPoints: points });
  await touch("touchStart", [at(from)]);
  for (let n = 1; n <= 8; n++)
    await touch("touchMove", [at([from[0] + ((to[0] - from[0]) * n) / 8, from[1] + ((to[1] - from[1]) * n) / 8])]);
  await touch("touchEnd", []);
}

/** How many pixels of the mask are painted. */
const painted = (page: Page): Promise<number> =>
  page.locator("canvas").evaluate((canvas: HTMLCanvasElement) => {
    const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((_, n) => n % 4 === 3).filter((alpha) => alpha > 0).length;
  });

test("a finger paints and never moves the page; what is painted is redrawn and the rest stays", async () => {
  const somebody = await visit({ phone: true });
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a large red circle on a blue background", 1);
  await page.goto("/gallery/");
  await page.locator("[data-index='0'] a").click();
  await page.getByRole("link", { name: "Edit", exact: true }).click();
  await page.getByTestId("canvas").waitFor();
  await page.locator("canvas").waitFor();
  await page.getByText("Nothing is painted").waitFor();

  const scrolled = await page.evaluate(() => window.scrollY);
  await finger(page, [0.3, 0.3], [0.7, 0.5]);
  await page.getByText("Only what is painted changes.").waitFor();
  expect(await page.evaluate(() => window.scrollY)).toBe(scrolled);
  const brushed = await painted(page);
  expect(brushed).toBeGreaterThan(1_000);
  await page.getByRole("radio", { name: "Eraser" }).check();
  await finger(page, [0.3, 0.3], [0.5, 0.4]);
  expect(await painted(page)).toBeLessThan(brushed);
  await page.getByRole("button", { name: "Undo" }).click();
  expect(await painted(page)).toBe(brushed);
  await page.getByRole("button", { name: "Redo" }).click();
  expect(await painted(page)).toBeLessThan(brushed);
  await page.getByRole("button", { name: "Undo" }).click();
  await inspect(somebody, "edit");
  // The model that ships sees a picture of 64 pixels as 8 by 8 cells: a broad stroke, and all of what is under it anew.
  await page.getByRole("radio", { name: "Brush" }).check();
  await page.getByRole("slider", { name: "Brush size" }).fill("50");
  await page.getByRole("slider", { name: "How much is redrawn" }).fill("100");
  await finger(page, [0.3, 0.35], [0.7, 0.35]);

  await page.getByLabel("Prompt", { exact: true }).fill("a yellow square on a green background");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator("[data-stand=complete] img:not([data-preview])").waitFor();
  // The first picture and the second, pixel by pixel: some differ, and the far corner does not.
  const changed = await page.evaluate(async () => {
    const { data } = await (await fetch("/api/v1/images")).json();
    const pixels = async (file: string) => {
      const bitmap = await createImageBitmap(await (await fetch(`${file}?inline=true`)).blob());
      const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
      const context = canvas.getContext("2d")!;
      context.drawImage(bitmap, 0, 0);
      return context.getImageData(0, 0, bitmap.width, bitmap.height);
    };
    const [after, before] = await Promise.all([pixels(data[0].file), pixels(data[1].file)]);
    const apart = (x: number, y: number) => {
      const at = 4 * (y * after.width + x);
      return [0, 1, 2].reduce((sum, n) => sum + Math.abs(after.data[at + n]! - before.data[at + n]!), 0);
    };
    const { width, height } = after;
    const most = (left: number, right: number, top: number, bottom: number) => {
      let found = 0;
      for (let y = Math.floor(top * height); y < bottom * height; y++)
        for (let x = Math.floor(left * width); x < right * width; x++) found = Math.max(found, apart(x, y));
      return found;
    };
    return { painted: most(0.35, 0.65, 0.3, 0.5), kept: most(0, 1, 0.85, 1) };
  });
  expect(changed.painted).toBeGreaterThan(100);
  expect(changed.kept).toBeLessThan(30);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("the keyboard paints too", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a large red circle on a blue background", 1);
  await page.goto("/gallery/");
  await page.locator("[data-index='0'] a").press("Enter");
  await page.getByRole("link", { name: "Edit", exact: true }).press("Enter");
  await page.getByTestId("canvas").focus();
  await page.keyboard.press("Space");
  const dab = await painted(page);
  expect(dab).toBeGreaterThan(100);
  for (let n = 0; n < 5; n++) await page.keyboard.press("Shift+ArrowRight");
  expect(await painted(page)).toBeGreaterThan(dab);

  // The mask as a file, and back.
  const brushed = await painted(page);
  const [saved] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save the mask as a file" }).press("Enter"),
  ]);
  await page.getByRole("button", { name: "Start over" }).press("Enter");
  await expect.poll(() => painted(page)).toBe(0);
  const file = page.locator("input[type=file]");
  await file.setInputFiles({ name: "a.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
  await page.getByText("This file is no picture").waitFor();
  await file.setInputFiles({ name: "m.png", mimeType: "image/png", buffer: readFileSync(await saved.path()) });
  await page.getByText("Only what is painted changes.").waitFor();
  await expect.poll(() => painted(page)).toBeGreaterThan(brushed * 0.9);
  expect(await painted(page), "a soft edge and no more").toBeLessThan(brushed * 2);
  // A loaded mask is painted over like any other.
  await page.getByTestId("canvas").focus();
  for (let n = 0; n < 9; n++) await page.keyboard.press("ArrowDown");
  const loaded = await painted(page);
  await page.keyboard.press("Space");
  await expect.poll(() => painted(page)).toBeGreaterThan(loaded);

  const whole = page.getByRole("button", { name: "Whole screen" });
  await whole.press("Enter");
  await page.waitForFunction(() => document.fullscreenElement?.contains(document.querySelector("canvas")));
  await page.locator("[aria-label='Whole screen'][aria-pressed=true]").waitFor();
  expect(await violations(page)).toEqual([]);
  await shoot(page, "edit-whole");
  await whole.press("Enter");
  await page.waitForFunction(() => document.fullscreenElement === null);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
