// Flow 6: part of a picture is painted over with a finger on a phone, and only that part changes; then the same by keyboard.
import { readFileSync } from "node:fs";

import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { inspect, shoot, violations, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";
import { apart, newest, pixelsOf } from "./support/pixels";

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

/** A picture that is larger than its frame is moved by mouse and by keys, and nothing is painted by that. */
async function moves(page: Page): Promise<void> {
  const canvas = page.getByTestId("canvas");
  const middle = async (part: string) => {
    const box = await canvas.locator(part).boundingBox();
    if (!box) throw new Error(`there is no ${part}`);
    return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  };
  const before = await painted(page);
  for (let n = 0; n < 4; n++) await page.getByRole("button", { name: "Zoom in" }).press("Enter");
  const frame = await canvas.boundingBox();
  if (!frame) throw new Error("there is no canvas");
  // The brush goes to the corner, and stays to be seen.
  await canvas.focus();
  for (let n = 0; n < 50; n++) await page.keyboard.press("ArrowLeft");
  for (let n = 0; n < 50; n++) await page.keyboard.press("ArrowUp");
  const brush = await middle("span");
  expect(brush.x).toBeGreaterThanOrEqual(frame.x);
  expect(brush.y).toBeGreaterThanOrEqual(frame.y);
  const corner = await middle("img");
  const start = { x: frame.x + frame.width / 2, y: frame.y + frame.height / 2 };
  await page.mouse.move(start.x, start.y);
  await page.mouse.down({ button: "middle" });
  await page.mouse.move(start.x - 60, start.y - 40);
  await page.mouse.up({ button: "middle" });
  const dragged = await middle("img");
  expect([dragged.x - corner.x, dragged.y - corner.y].map(Math.round)).toEqual([-60, -40]);
  // The wheel zooms around what it points at.
  await page.mouse.move(start.x, start.y);
  await page.mouse.wheel(0, 200);
  await expect
    .poll(async () => Math.round((await middle("img")).x - start.x))
    .not.toBe(Math.round(dragged.x - start.x));
  const smaller = await middle("img");
  const share = Math.exp(-200 / 400);
  expect(Math.abs(smaller.x - start.x - (dragged.x - start.x) * share)).toBeLessThan(2);
  expect(Math.abs(smaller.y - start.y - (dragged.y - start.y) * share)).toBeLessThan(2);
  expect(await painted(page)).toBe(before);
  for (let n = 0; n < 4; n++) await page.mouse.wheel(0, 400);
  await page.getByRole("button", { name: "Zoom out", disabled: true }).waitFor();
}

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
  // What it would cost is said beside the button: the same as what this one did.
  const { data: jobs } = (await (await page.request.get("/api/v1/jobs?limit=1")).json()) as {
    data: { priceMillis: number }[];
  };
  await expect
    .poll(() => page.getByTestId("price").textContent())
    .toContain(`${(jobs[0]?.priceMillis ?? 0) / 1000} credits`);
  // The first picture and the second, pixel by pixel: some differ, and the far corner does not.
  const [after, before] = await Promise.all((await newest(page, 2)).map((file) => pixelsOf(page, file)));
  if (!after || !before) throw new Error("there should be two pictures");
  const { width, height } = after;
  const most = (left: number, right: number, top: number, bottom: number) =>
    apart(after, before, {
      left: Math.floor(left * width),
      right: Math.ceil(right * width),
      top: Math.floor(top * height),
      bottom: Math.ceil(bottom * height),
    }).most;
  const changed = { painted: most(0.35, 0.65, 0.3, 0.5), kept: most(0, 1, 0.85, 1) };
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

  await moves(page);

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

test("a picture is extended: the room is drawn anew, and the picture in it stays", async () => {
  const somebody = await visit({ phone: true });
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a large red circle on a blue background", 1);
  await page.goto("/gallery/");
  await page.locator("[data-index='0'] a").click();
  await page.getByRole("link", { name: "Edit", exact: true }).click();
  await page.getByText("Extend the picture").click();
  const extend = page.getByRole("button", { name: "Extend", exact: true });
  const amount = (side: string) => page.getByRole("spinbutton", { name: side, exact: true });

  // A size the API does not take is refused before anything is sent.
  await amount("Left").fill("40");
  await page.getByRole("alert").filter({ hasText: "104 × 64 pixels" }).waitFor();
  expect(await extend.isDisabled()).toBe(true);
  await inspect(somebody, "edit-extend-refused");
  await page.getByRole("button", { name: "Wider" }).click();
  expect(await amount("Left").inputValue()).toBe("32");
  await amount("Left").fill("64");
  await amount("Right").fill("0");
  await page.getByTestId("extended").getByText("128 × 64").waitFor();
  await amount("Right").press("Enter");
  await page.getByText("Only what is painted changes.").waitFor();
  // All that is new is painted, and nothing of what was there.
  await page.waitForFunction(() => document.querySelector("canvas")?.height === 384);
  expect(await painted(page)).toBe(384 * 384);
  // Starting over does not lay the picture itself open.
  await page.getByTestId("canvas").focus();
  await page.keyboard.press("Space");
  await page.waitForFunction(() => !document.querySelector<HTMLButtonElement>("[aria-label='Start over']")?.disabled);
  await page.getByRole("button", { name: "Start over" }).click();
  await expect.poll(() => painted(page)).toBe(384 * 384);
  await inspect(somebody, "edit-extend");

  await page.getByLabel("Prompt", { exact: true }).fill("a yellow square on a green background");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator("[data-stand=complete] img:not([data-preview])").waitFor();
  const [after, before] = await Promise.all((await newest(page, 2)).map((file) => pixelsOf(page, file)));
  if (!after || !before) throw new Error("there should be two pictures");
  expect([after.width, after.height]).toEqual([128, 64]);
  // A cell of the model's at the seam is both's.
  const kept = apart(after, before, { left: 72, top: 0, right: 128, bottom: 64 }, { x: 64, y: 0 });
  const drawn = apart(after, before, { left: 0, top: 0, right: 56, bottom: 64 });
  expect(kept.mean, "the picture stays").toBeLessThan(30);
  expect(drawn.mean, "the room is something else").toBeGreaterThan(60);

  await page.getByRole("button", { name: "Back to its own size" }).click();
  await page.getByText("Nothing is painted").waitFor();
  await page.waitForFunction(() => document.querySelector("canvas")?.height === 768);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
