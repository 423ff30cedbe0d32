// A picture to start from: taken from a picture's page, chosen, dropped and pasted; kept over a reload, priced, taken away.
import type { Locator, Page } from "playwright-core";
import { expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";
import { apart, newest, pixelsOf } from "./support/pixels";

const visit = withBrowser();
const PROMPT = "a large red circle on a blue background";

/** Lets a file go over a part of the page, or puts it in by the clipboard. */
async function give(target: Locator, kind: "drop" | "paste", body: Buffer, type: string): Promise<void> {
  await target.evaluate(
    (element, { base64, kind, type }) => {
      const transfer = new DataTransfer();
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([bytes], "picture", { type }));
      const how = { bubbles: true, cancelable: true };
      element.dispatchEvent(
        kind === "drop"
          ? new DragEvent("drop", { ...how, dataTransfer: transfer })
          : new ClipboardEvent("paste", { ...how, clipboardData: transfer }),
      );
    },
    { base64: body.toString("base64"), kind, type },
  );
}

const taken = (page: Page) => page.getByRole("img", { name: "The picture to start from" });

/** It is there, and seen. */
async function isShown(page: Page): Promise<void> {
  await taken(page).waitFor();
  await expect.poll(() => taken(page).evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(64);
}

/** What the newest job was asked for. */
const newestRequest = (page: Page) =>
  page.evaluate(async () => (await (await fetch("/api/v1/jobs?limit=1")).json()).data[0].request);

test("a picture made before is started from, and little of it changes", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, PROMPT, 1);
  await page.goto("/gallery/");
  await page.locator("[data-index='0'] a").click();
  await page.getByRole("button", { name: "Start from it" }).click();
  await page.waitForURL((url) => url.pathname === "/");
  await isShown(page);
  expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe(PROMPT);

  // The price is asked for with it, as it is to be.
  const quoted = page.waitForRequest(
    (asked) => asked.url().endsWith("/api/v1/quotes") && asked.postDataJSON().init?.strength === 0.1,
  );
  await page.getByRole("slider", { name: "How much is redrawn" }).fill("10");
  await quoted;
  await page.locator("[data-testid=price][aria-busy=false]").waitFor();
  await inspect(somebody, "create-start");

  await page.reload();
  await isShown(page);
  const job = page.locator("[data-stand=complete]").nth(1);
  await page.getByLabel("Prompt", { exact: true }).fill("a small yellow square on a green background");
  await page.getByRole("button", { name: "Generate" }).click();
  await job.waitFor();
  const { init, width, height } = await newestRequest(page);
  expect([init.strength, width, height]).toEqual([0.1, 64, 64]);
  const [after, before] = await Promise.all((await newest(page, 2)).map((file) => pixelsOf(page, file)));
  if (!after || !before) throw new Error("there should be two pictures");
  const all = { left: 0, top: 0, right: after.width, bottom: after.height };
  expect(apart(after, before, all).mean, "a tenth is redrawn").toBeLessThan(60);

  // Taken away by the keyboard, which then is where a picture is put.
  await page.getByRole("button", { name: "Start from no picture" }).press("Enter");
  const zone = page.getByRole("button", { name: "Drop, paste or choose one" });
  await zone.waitFor();
  await page.waitForFunction(() => document.activeElement?.getAttribute("aria-describedby") === "start");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator("[data-stand=complete]").nth(2).waitFor();
  expect((await newestRequest(page)).init ?? null).toBeNull();
  const [anew] = await Promise.all((await newest(page, 1)).map((file) => pixelsOf(page, file)));
  if (!anew) throw new Error("there should be a picture");
  expect(apart(anew, before, all).mean, "nothing is kept").toBeGreaterThan(100);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("a picture is chosen, dropped or pasted; what is none is refused in words", async () => {
  const somebody = await visit({ phone: true });
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, PROMPT, 1);
  const [file = ""] = await newest(page, 1);
  const picture = await (await page.request.get(file)).body();
  const remove = page.getByRole("button", { name: "Start from no picture" });

  const [chooser] = await Promise.all([
    page.waitForEvent("filechooser"),
    page.getByRole("button", { name: "Drop, paste or choose one" }).press("Enter"),
  ]);
  await chooser.setFiles({ name: "no.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
  await page.getByRole("alert").filter({ hasText: "not a picture" }).waitFor();
  await chooser.setFiles({ name: "one.png", mimeType: "image/png", buffer: picture });
  await isShown(page);
  expect(await page.getByRole("alert").filter({ hasText: "not a picture" }).count()).toBe(0);
  await remove.click();

  await give(page.getByTestId("start"), "drop", picture, "image/png");
  await isShown(page);
  // Here it is started from; elsewhere on the page its settings are taken.
  expect(await page.getByText("Settings taken from the picture").count()).toBe(0);
  await remove.click();

  await page.getByLabel("Prompt", { exact: true }).focus();
  await give(page.getByLabel("Prompt", { exact: true }), "paste", picture, "image/png");
  await isShown(page);

  await page.getByRole("combobox", { name: "Language" }).selectOption("de");
  await page.getByText("Bild als Ausgangspunkt", { exact: true }).waitFor();
  await page.getByRole("slider", { name: "Wie viel neu gezeichnet wird" }).waitFor();
  // Uploads are not kept for ever: the form says so when it comes back to one that is gone.
  await page.evaluate(async () => {
    const { data } = (await (await fetch("/api/v1/assets")).json()) as { data: { id: string }[] };
    await Promise.all(data.map(({ id }) => fetch(`/api/v1/assets/${id}`, { method: "DELETE" })));
  });
  await page.reload();
  await page.getByText("Dieses Bild wird hier nicht mehr aufbewahrt.").waitFor();
  await page.getByRole("button", { name: "Von keinem Bild ausgehen" }).click();
  await page.getByRole("button", { name: "Ablegen, einfügen oder auswählen" }).waitFor();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
