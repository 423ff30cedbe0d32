// Flows 2, 3 and 5: many jobs, two browsers, a server that dies and a worker that does. Each breaks its own stack.
import { readdirSync, readFileSync } from "node:fs";

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { inspect, launch, PATIENCE_MS, visitor } from "./support/browser";
import { PASSWORD, signIn, signUp } from "./support/people";
import { Stack } from "./support/stack";

/** Longest eight long jobs may take, one after another, on a machine that others use too. */
const ALL_DONE_MS = 240_000;

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

/** Presses Generate for jobs long enough to be looked at. */
async function start(page: Page, count: number): Promise<void> {
  await page.locator("summary", { hasText: "Advanced" }).click();
  await page.getByRole("slider", { name: "Steps" }).fill("150");
  await page.getByRole("radio", { name: "4", exact: true }).check();
  for (let n = 1; n <= count; n++) {
    await page.getByLabel("Prompt", { exact: true }).fill(`a red circle, number ${n}`);
    await page.getByRole("button", { name: "Generate" }).click();
    await page.locator("[data-job]", { hasText: `number ${n}` }).waitFor();
  }
}

interface Seen {
  id: string;
  stand: string;
}

const stands = (page: Page): Promise<Seen[]> =>
  page
    .locator("[data-job]")
    .evaluateAll((cards) =>
      cards.map((card) => ({ id: card.getAttribute("data-job") ?? "", stand: card.getAttribute("data-stand") ?? "" })),
    );

/** What the API says, in the words of the page; what is not yet over is one word, for it moves while one looks. */
async function truth(page: Page): Promise<Seen[]> {
  const jobs = await page.evaluate(async () => (await (await fetch("/api/v1/jobs?limit=20")).json()).data);
  return (jobs as { id: string; state: string; failure?: string }[]).map(({ id, state, failure }) => ({
    id,
    stand:
      state === "Complete"
        ? "complete"
        : state === "Failed"
          ? failure === "Cancelled"
            ? "cancelled"
            : "failed"
          : "open",
  }));
}

const settled = ({ id, stand }: Seen): Seen => ({
  id,
  stand: ["complete", "failed", "cancelled"].includes(stand) ? stand : "open",
});

/** Waits until the page shows what the API says. */
const untilTrue = (page: Page): Promise<void> =>
  expect
    .poll(
      async () => {
        const seen = (await stands(page)).map(settled);
        const said = await truth(page).catch(() => null);
        return { seen, said, same: JSON.stringify(seen) === JSON.stringify(said) };
      },
      { timeout: PATIENCE_MS, interval: 100, message: "the page and the API say the same" },
    )
    .toMatchObject({ same: true });

test("jobs outlive a reload, a second browser and the server's death, and every page tells the truth again", async () => {
  const first = await Stack.start();
  const one = await visitor(browser, { url: first.url, outages: true });
  const two = await visitor(browser, { url: first.url, outages: true });
  const email = await signUp(one);
  await start(one.page, 8);
  await one.page.reload();
  await signIn(two, email, PASSWORD);
  await two.page.locator("[data-job]").nth(7).waitFor();
  expect((await stands(two.page)).map(({ id }) => id)).toEqual((await stands(one.page)).map(({ id }) => id));

  await one.page.getByLabel("Prompt", { exact: true }).fill("what is written when the server dies");
  await first.kill();
  await one.page.getByText("The connection to the server is lost").waitFor();
  await inspect(one, "create-offline");
  const second = await Stack.start({ folder: first.folder, listen: first.address });
  await Promise.all([untilTrue(one.page), untilTrue(two.page)]);
  await one.page.getByText("The connection to the server is lost").waitFor({ state: "detached" });
  expect(await one.page.getByLabel("Prompt", { exact: true }).inputValue()).toBe(
    "what is written when the server dies",
  );

  for (const { page } of [one, two])
    await page.locator("[data-stand=complete]").nth(7).waitFor({ timeout: ALL_DONE_MS });
  await one.context.close();
  await two.context.close();
  await second.stop();
});

test("one of eight is cancelled while it waits; the others keep their order and nothing is charged for it", async () => {
  const stack = await Stack.start();
  const somebody = await visitor(browser, { url: stack.url });
  const { page } = somebody;
  await signUp(somebody);
  await start(page, 8);
  const before = (await stands(page)).map(({ id }) => id);
  const third = page.locator("[data-job]", { hasText: "number 3" });
  await third.getByRole("button", { name: "Cancel" }).click();
  await third.getByText("Cancelled. Not charged.").waitFor();
  await page.locator("[data-stand=complete]").nth(6).waitFor({ timeout: ALL_DONE_MS });
  expect((await stands(page)).map(({ id }) => id)).toEqual(before);
  const prices: number[] = await page.evaluate(async () => {
    const jobs = (await (await fetch("/api/v1/jobs?limit=20")).json()).data as { state: string; priceMillis: number }[];
    return jobs.filter(({ state }) => state === "Complete").map(({ priceMillis }) => priceMillis);
  });
  const spent = prices.reduce((sum, price) => sum + price, 0);
  const left = ((10_000 - spent) / 1000).toLocaleString("en", { maximumFractionDigits: 3 });
  await page.getByTestId("balance").getByText(left, { exact: true }).waitFor();
  expect(prices).toHaveLength(7);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
  await stack.stop();
});

/** The worker of this stack: its one child that says so. */
function workerOf(stack: Stack): number {
  const found = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => {
      try {
        const parent = /\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];
        return Number(parent) === stack.pid && readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[1] === "worker";
      } catch {
        return false;
      }
    });
  if (!found) throw new Error("the stack has no worker");
  return found;
}

test("a worker dies in the middle; another takes over, with each picture once and one charge", async () => {
  const stack = await Stack.start();
  const somebody = await visitor(browser, { url: stack.url });
  const { page } = somebody;
  await signUp(somebody);
  await start(page, 1);
  await page.locator("[data-stand=running]").waitFor();
  process.kill(workerOf(stack), "SIGKILL");
  await page.getByText("Moved to another worker, try 2").or(page.locator("[data-stand=complete]")).first().waitFor();
  await page.locator("[data-stand=complete] img:not([data-preview])").nth(3).waitFor();
  const [job] = await page.evaluate(async () => (await (await fetch("/api/v1/jobs")).json()).data);
  expect({ attempt: job.attempt, outputs: job.outputs.length }).toEqual({ attempt: 2, outputs: 4 });
  const left = ((10_000 - job.priceMillis) / 1000).toLocaleString("en", { maximumFractionDigits: 3 });
  await page.getByTestId("balance").getByText(left, { exact: true }).waitFor();
  await somebody.context.close();
  await stack.stop();
});
