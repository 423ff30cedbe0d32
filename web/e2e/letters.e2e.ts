// Which letters one wants: kept by the server, and asked for nowhere where it sends none.
import { afterAll, beforeAll, expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { signUp } from "./support/people";
import { Stack } from "./support/stack";

const visit = withBrowser();
let stack: Stack;

beforeAll(async () => {
  // Nobody takes its letters; that it would send some is all that is needed.
  stack = await Stack.start({
    env: { TINTYPE_MAIL_FROM: "Tintype <hello@pictures.example>", TINTYPE_SMTP_URL: "smtp://127.0.0.1:9" },
  });
});
afterAll(() => stack.stop());

test("people choose which letters they get", async () => {
  const somebody = await visit({ url: stack.url });
  const { page } = somebody;
  await signUp(somebody);
  await page.goto("/account/");
  const letters = page.getByRole("region", { name: "Letters" });
  await letters.getByText("Your address is not confirmed yet").waitFor();
  const week = letters.getByRole("switch", { name: "Your week" });
  const ready = letters.getByRole("switch", { name: "When images are ready" });
  expect([await week.isChecked(), await ready.isChecked()]).toEqual([false, false]);
  const chosen = async () => {
    const me = await page.evaluate(async () => (await fetch("/api/v1/me")).json());
    return [me.user.digest, me.user.notifyReady];
  };
  await week.click();
  await expect.poll(chosen).toEqual([true, false]);
  await ready.press("Space");
  await expect.poll(chosen).toEqual([true, true]);
  await page.reload();
  await expect.poll(() => week.isChecked()).toBe(true);
  await inspect(somebody, "account-letters");
  await week.click();
  await expect.poll(chosen).toEqual([false, true]);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});

test("where no letters are sent, none are offered", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await page.goto("/account/");
  await page.getByText("This one").waitFor();
  expect(await page.getByRole("region", { name: "Letters" }).count()).toBe(0);
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
