// What is made of one picture: a link for others, four near it, the same one larger; and a style for a new one.
import { expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";

const visit = withBrowser();
const PROMPT = "a red circle on a blue background";

test("a picture is shared by its link, seen by somebody without an account, and taken back", async () => {
  const owner = await visit();
  const { page } = owner;
  await signUp(owner);
  await makePicture(owner, PROMPT, 1);
  await page.goto("/gallery/");
  await page.locator("[data-index='0'] a").click();
  await page.waitForURL(/\/g\/[0-9a-f-]{36}\/$/);
  await page.getByRole("button", { name: "Share" }).click();
  const dialog = page.getByRole("dialog", { name: "Share this picture" });
  await dialog.waitFor();
  await inspect(owner, "share-private");
  const stranger = await visit();
  await stranger.page.goto(page.url());
  await stranger.page.getByText("This is behind your account").waitFor();

  await dialog.getByRole("button", { name: "Make a link" }).click();
  const link = await dialog.getByLabel("Link", { exact: true }).inputValue();
  await inspect(owner, "share-public");
  await stranger.page.goto(link);
  await stranger.page.getByRole("heading", { name: "Somebody shares this picture with you." }).waitFor();
  await inspect(stranger, "shared");
  const drawn = await stranger.page
    .getByRole("img", { name: "A shared picture" })
    .evaluate((image: HTMLImageElement) => image.decode().then(() => image.naturalWidth));
  expect(drawn).toBe(64);
  expect(await stranger.page.content()).not.toContain(PROMPT);
  const token = new URL(link).pathname.split("/")[2];
  const file = await (await stranger.page.request.get(`/api/v1/shared/${token}/file`)).body();
  expect([file.includes("IDAT"), file.includes(PROMPT)], "no prompt in the file either").toEqual([true, false]);

  await dialog.getByRole("switch", { name: "Show the prompt and settings too" }).click();
  await dialog.getByRole("switch", { checked: true }).waitFor();
  await stranger.page.reload();
  await stranger.page.getByRole("heading", { name: PROMPT }).waitFor();
  await inspect(stranger, "shared-settings");
  await stranger.page.getByRole("button", { name: "Make one like it" }).click();
  await stranger.page.waitForURL((url) => url.pathname === "/");
  expect(await stranger.page.getByLabel("Prompt", { exact: true }).inputValue()).toBe(PROMPT);

  await dialog.getByRole("button", { name: "Take the link back" }).click();
  await dialog.getByRole("button", { name: "Make a link" }).waitFor();
  await stranger.page.goto(link);
  await stranger.page.getByText("This is behind your account").waitFor();
  expect([...owner.faults, ...stranger.faults]).toEqual([]);
  await Promise.all([owner.context.close(), stranger.context.close()]);
});

test("a whole collection is shared by its link, seen by somebody without an account, and taken back", async () => {
  const owner = await visit();
  const { page } = owner;
  await signUp(owner);
  await makePicture(owner, PROMPT, 2);
  await page.goto("/gallery/");
  await page.locator("[data-index] img").nth(1).waitFor();
  for (const n of [0, 1]) await page.getByRole("checkbox").nth(n).click();
  await page.getByRole("button", { name: "Add to collection" }).click();
  await page.getByLabel("Name").fill("Circles");
  await page.getByRole("button", { name: "New collection" }).click();
  await page.getByText("2 pictures added").waitFor();
  await page.goto("/collections/");
  const share = async () => {
    await page.getByRole("button", { name: "What can be done with Circles" }).click();
    await page.getByRole("menuitem", { name: "Share" }).click();
  };
  await share();
  const dialog = page.getByRole("dialog", { name: "Share this collection" });
  await dialog.getByRole("button", { name: "Make a link" }).click();
  const link = await dialog.getByLabel("Link", { exact: true }).inputValue();
  await inspect(owner, "collection-shared");

  const stranger = await visit();
  await stranger.page.goto(link);
  await stranger.page.getByRole("heading", { name: "Circles" }).waitFor();
  await stranger.page.getByText("2 pictures", { exact: true }).waitFor();
  await stranger.page
    .getByRole("button", { name: /^Picture \d, larger/ })
    .nth(1)
    .waitFor();
  expect(await stranger.page.content()).not.toContain(PROMPT);
  await inspect(stranger, "shared-collection");
  await stranger.page.getByRole("button", { name: "Picture 1, larger" }).click();
  const drawn = await stranger.page
    .getByRole("dialog", { name: "Circles" })
    .getByRole("img", { name: "A shared picture" })
    .evaluate((image: HTMLImageElement) => image.decode().then(() => image.naturalWidth));
  expect(drawn).toBe(64);

  await dialog.getByRole("button", { name: "Take the link back" }).click();
  await dialog.getByRole("button", { name: "Make a link" }).waitFor();
  await stranger.page.goto(link);
  await stranger.page.getByText("This is behind your account").waitFor();
  expect([...owner.faults, ...stranger.faults]).toEqual([]);
  await Promise.all([owner.context.close(), stranger.context.close()]);
});

test("four pictures near one are made of it, and the same one twice as large", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, PROMPT, 1);
  const open = async () => {
    await page.goto("/gallery/");
    await page.locator("[data-index] a").last().click();
    await page.waitForURL(/\/g\//);
    await page.getByRole("heading", { name: PROMPT }).waitFor();
  };
  await open();
  await page.getByRole("button", { name: "Vary" }).click();
  await page.getByRole("menuitem", { name: "Four that are close to it" }).waitFor();
  await inspect(somebody, "picture-vary");
  await page.getByRole("menuitem", { name: "Four that are close to it" }).click();
  await page.waitForURL((url) => url.pathname === "/");
  await page.locator("[data-stand=complete]").nth(1).waitFor();
  expect(await page.locator("[data-job]").first().locator("img:not([data-preview])").count()).toBe(4);

  await open();
  await page.keyboard.press("u");
  await page.waitForURL((url) => url.pathname === "/");
  await page.locator("[data-stand=complete]").nth(2).waitFor();
  const jobs = await page.evaluate(async () => {
    type Made = { seed: number; width: number; height: number };
    return (await (await fetch("/api/v1/jobs")).json()).data as { outputs: Made[] }[];
  });
  const [larger, near, first] = jobs.map(({ outputs }) => outputs);
  expect(larger?.map(({ seed, width, height }) => ({ seed, width, height }))).toEqual([
    { seed: first?.[0]?.seed, width: 128, height: 128 },
  ]);
  expect(near?.length).toBe(4);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("a style adds its words to the prompt, and is taken off again", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  const ink = page.getByRole("button", { name: "Ink" });
  await ink.click();
  await page.getByLabel("Prompt", { exact: true }).fill("a red circle on blue");
  await inspect(somebody, "create-style");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator("[data-job]", { hasText: "a red circle on blue, ink drawing" }).waitFor();
  expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("a red circle on blue");
  await ink.click();
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByRole("article", { name: "a red circle on blue", exact: true }).waitFor();
  await page.locator("[data-stand=complete]").nth(1).waitFor();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
