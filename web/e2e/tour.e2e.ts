// Flow 1 goes on: the picture is found again, starred, collected, opened, downloaded with its settings, remixed, deleted and
// brought back; and every other screen is looked at.
import { readFileSync } from "node:fs";

import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { makePicture, PASSWORD, signUp } from "./support/people";

const visit = withBrowser();

/** Drops a file on the page, as a hand would. */
async function dropFile(page: Page, body: Buffer, name: string): Promise<void> {
  const data = await page.evaluateHandle(
    ({ base64, name }) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name, { type: "image/png" }));
      return transfer;
    },
    { base64: body.toString("base64"), name },
  );
  await page.locator("main").dispatchEvent("drop", { dataTransfer: data });
}

test("pictures are found again, starred, collected, deleted and brought back", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await page.goto("/gallery/");
  await page.getByText("Nothing here yet").waitFor();
  await inspect(somebody, "gallery-empty");
  await page.goto("/collections/");
  await page.getByText("No collections yet").waitFor();
  await inspect(somebody, "collections-empty");
  await makePicture(somebody, "a red circle on a blue background", 2);
  await makePicture(somebody, "a small yellow square on a green background", 2);
  await makePicture(somebody, "a white star on a purple background", 2);
  await page.goto("/gallery/");
  const tiles = page.locator("[data-index] img");
  await tiles.nth(5).waitFor();
  await inspect(somebody, "gallery");

  await page.getByRole("searchbox", { name: "Search prompts" }).fill("purple star");
  await page.getByText("2 pictures", { exact: true }).first().waitFor();
  expect(new URL(page.url()).searchParams.get("q")).toBe("purple star");
  // One picture alone has its seed.
  const seed = await page.evaluate(async () => (await (await fetch("/api/v1/images?limit=1")).json()).data[0].seed);
  await page.getByRole("button", { name: "More filters" }).click();
  await page.getByRole("textbox", { name: "Seed" }).fill(String(seed));
  await page.getByText("1 picture", { exact: true }).first().waitFor();
  await page.getByRole("textbox", { name: "Seed" }).fill("");
  await page.getByText("2 pictures", { exact: true }).first().waitFor();
  // By shape, and by the day it was made.
  const shape = page.getByRole("combobox", { name: "Shape" });
  await shape.selectOption("16:9");
  await page.getByText("No picture is like that").waitFor();
  await inspect(somebody, "gallery-filters");
  await shape.selectOption("1:1");
  await page.getByText("2 pictures", { exact: true }).first().waitFor();
  const made = await page.evaluate(
    async () => (await (await fetch("/api/v1/images?limit=1")).json()).data[0].createdMs as number,
  );
  const dayOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);
  await page.getByLabel("From").fill(dayOf(made + 86_400_000));
  await page.getByText("No picture is like that").waitFor();
  await page.getByLabel("From").fill(dayOf(made - 86_400_000));
  await page.getByLabel("To", { exact: true }).fill(dayOf(made + 86_400_000));
  await page.getByText("2 pictures", { exact: true }).first().waitFor();
  expect([...new URL(page.url()).searchParams.keys()].sort()).toEqual(["from", "q", "ratio", "to"]);
  await page.getByRole("searchbox", { name: "Search prompts" }).fill("nothing like it");
  await page.getByText("No picture is like that").waitFor();
  await page.getByRole("button", { name: "Clear filters" }).click();
  await tiles.nth(5).waitFor();

  await page
    .getByRole("button", { name: /^Star: a white star/ })
    .first()
    .click();
  for (const n of [0, 2]) await page.getByRole("checkbox").nth(n).click();
  await page.getByText("2 selected").first().waitFor();
  await inspect(somebody, "gallery-selected");
  await page.getByRole("button", { name: "Add to collection" }).click();
  await page.getByLabel("Name").fill("Shapes");
  await inspect(somebody, "gallery-collect");
  await page.getByRole("button", { name: "New collection" }).click();
  await page.getByText("2 pictures added").waitFor();
  await page.getByRole("button", { name: "Starred", exact: true }).click();
  await page.getByText("1 picture", { exact: true }).first().waitFor();
  await page.getByRole("button", { name: "Clear filters" }).click();
  await tiles.nth(5).waitFor();

  await page.getByRole("checkbox").nth(5).click();
  await page.getByRole("toolbar").getByRole("button", { name: "Delete" }).click();
  await page.getByText("1 picture deleted").waitFor();
  await page.getByText("5 pictures", { exact: true }).first().waitFor();
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByText("6 pictures", { exact: true }).first().waitFor();

  await page.goto("/collections/");
  await page.getByRole("link", { name: /Shapes/ }).waitFor();
  await inspect(somebody, "collections");
  await page.getByRole("link", { name: /Shapes/ }).click();
  await page.getByText("2 pictures", { exact: true }).first().waitFor();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("a picture is opened, walked from, downloaded with its settings, and made again", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 2);
  await page.goto("/gallery/");
  await page.locator("[data-index] img").nth(1).waitFor();
  await page.locator("[data-index='0'] a").click();
  await page.getByRole("heading", { name: "a red circle on a blue background" }).waitFor();
  await page.waitForURL(/\/g\/[0-9a-f-]{36}\/$/);
  const first = page.url();
  await inspect(somebody, "picture");
  await page.keyboard.press("ArrowRight");
  await page.waitForURL((url) => url.href !== first);
  await page.keyboard.press("ArrowLeft");
  await page.waitForURL(first);

  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "Download" }).click(),
  ]);
  const file = readFileSync(await download.path());
  expect(file.subarray(1, 4).toString()).toBe("PNG");
  expect(file.includes("a red circle on a blue background")).toBe(true);

  // Dragged back into the studio, it fills the form.
  const seed = await page.evaluate(async (url) => {
    const id = url.split("/g/")[1]?.replace("/", "");
    return ((await (await fetch(`/api/v1/images/${id}`)).json()) as { seed: number }).seed;
  }, first);
  await page.goto("/");
  await page.getByLabel("Prompt", { exact: true }).fill("");
  await dropFile(page, file, "picture.png");
  await page.getByText("Settings taken from the picture").waitFor();
  expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("a red circle on a blue background");
  await page.locator("summary", { hasText: "Advanced" }).click();
  expect(await page.getByLabel("Seed", { exact: true }).inputValue()).toBe(String(seed));
  // A file that says nothing changes nothing; this one is chosen by button.
  await page.getByTestId("recall").setInputFiles({ name: "x.png", mimeType: "image/png", buffer: Buffer.from("x") });
  await page.getByText("This file says nothing of how it was made.").waitFor();
  expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("a red circle on a blue background");

  // Opened by its address, without what the gallery remembers.
  await page.goto(first);
  await page.reload();
  await page.getByRole("heading", { name: "a red circle on a blue background" }).waitFor();
  await page.getByRole("button", { name: "Reuse" }).click();
  await page.waitForURL((url) => url.pathname === "/");
  expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("a red circle on a blue background");
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator("[data-stand=complete]").nth(1).waitFor();
  // Files are signed, each with its own time: what is equal is every pixel.
  const apart = await page.evaluate(async () => {
    type Output = { url: string; seed: number };
    const jobs = (await (await fetch("/api/v1/jobs")).json()).data as { outputs: Output[] }[];
    const again = jobs[0]!.outputs[0]!;
    const before = jobs[1]!.outputs.find(({ seed }) => seed === again.seed)!;
    const pixels = async ({ url }: Output) => {
      const bitmap = await createImageBitmap(await (await fetch(`${url}?inline=true`)).blob());
      const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
      const context = canvas.getContext("2d")!;
      context.drawImage(bitmap, 0, 0);
      return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    };
    const [one, two] = [await pixels(again), await pixels(before)];
    return one.length === two.length ? one.filter((value, n) => value !== two[n]).length : -1;
  });
  expect(apart, "pixels that differ though settings and seed are the same").toBe(0);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("money and keys say what is", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 1);
  await page.goto("/credits/");
  await page.locator("[data-line=capture]").waitFor();
  await page.locator("[data-line=grant]").getByText("+10").waitFor();
  await inspect(somebody, "credits");

  await page.goto("/developers/");
  await page.getByRole("button", { name: "New key" }).click();
  await page.getByLabel("Name").fill("a program");
  await page.getByRole("dialog").getByRole("button", { name: "New key" }).click();
  const key = await page.getByTestId("secret").innerText();
  await inspect(somebody, "developers-key");
  const asked = await page.request.get("/api/v1/me", { headers: { authorization: `Bearer ${key}` } });
  expect(asked.status()).toBe(200);
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();
  await page.getByRole("button", { name: "Revoke a program" }).click();
  await page.getByText("No keys yet.").waitFor();
  // The reference is read when somebody comes to it.
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  await page.getByRole("button", { name: /^\/api\/v1\/jobs/ }).click();
  await page.getByText("/api/v1/jobs/{id}", { exact: true }).first().click();
  await inspect(somebody, "developers");

  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("account, status, shortcuts and what is not there", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await page.goto("/account/");
  await page.getByText("This one").waitFor();
  await inspect(somebody, "account");
  await page.goto("/status/");
  await page.getByText("Everything works.").waitFor();
  await inspect(somebody, "status");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Shortcuts" }).waitFor();
  await inspect(somebody, "shortcuts");
  await page.goto("/nowhere/");
  await page.getByText("There is no such page").waitFor();
  await inspect(somebody, "lost");
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("people take all that is theirs with them, and end their account", async () => {
  const somebody = await visit();
  const { page } = somebody;
  const email = await signUp(somebody);
  await makePicture(somebody, "a red circle on a blue background", 1);
  await page.goto("/account/");
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "Download everything" }).click(),
  ]);
  expect(download.suggestedFilename()).toBe("tintype-export.tar");
  const archive = readFileSync(await download.path());
  expect(archive.includes("a red circle on a blue background"), "the prompt").toBe(true);
  expect(archive.includes(email), "the address").toBe(true);
  expect(archive.includes(Buffer.from("\x89PNG\r\n", "latin1")), "the picture").toBe(true);

  await page.getByRole("button", { name: "Delete account" }).click();
  const dialog = page.getByRole("dialog", { name: "Delete your account?" });
  await dialog.getByLabel("Password").fill("not the password");
  await dialog.getByRole("button", { name: "Yes, delete everything" }).click();
  await dialog.getByRole("alert").waitFor();
  await inspect(somebody, "account-erase");
  await dialog.getByLabel("Password").fill(PASSWORD);
  await dialog.getByRole("button", { name: "Yes, delete everything" }).click();
  await page.getByText("This is behind your account").waitFor();
  await page.goto("/login/");
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("You could not be signed in").waitFor();
  await inspect(somebody, "login-refused");
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
