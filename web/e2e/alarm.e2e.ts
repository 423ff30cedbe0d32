// The budget alarm: set, said when it comes to that, kept by the server, taken away.
import { expect, test } from "vitest";

import { inspect, withBrowser } from "./support/browser";
import { makePicture, signUp } from "./support/people";

const visit = withBrowser();

test("who wants to is told when credits were spent or run low", async () => {
  const somebody = await visit();
  const { page } = somebody;
  await signUp(somebody);
  await page.goto("/credits/");
  const alarm = page.getByRole("region", { name: "Budget alarm" });
  const save = alarm.getByRole("button", { name: "Save" });
  await alarm.waitFor();
  expect(await save.isDisabled(), "there is nothing to save").toBe(true);
  await alarm.getByLabel("When spent in a month").fill("much");
  await alarm.getByText("How many credits, such as 20?").waitFor();
  expect(await save.isDisabled()).toBe(true);

  // As many as one picture costs, and one more than there are.
  await alarm.getByLabel("When spent in a month").fill("0.001");
  await alarm.getByLabel("When fewer are left than").fill("10,5");
  await save.press("Enter");
  await page.getByText("You will be told").waitFor();
  await alarm.getByText("You have fewer than 10.5 credits left.").waitFor();
  expect(await alarm.getByText("this month, or more").count()).toBe(0);
  await alarm.getByText("Spent this month: 0 credits.").waitFor();

  await makePicture(somebody, "a red circle on a blue background", 1);
  await page.goto("/credits/");
  await alarm.getByText("You have spent 0.001 credits this month, or more.").waitFor();
  expect(await alarm.getByLabel("When fewer are left than").inputValue()).toBe("10.5");
  await inspect(somebody, "credits-alarm");

  await alarm.getByRole("button", { name: "No alarm" }).click();
  await alarm.getByText("You have fewer than").waitFor({ state: "detached" });
  await expect.poll(() => alarm.getByLabel("When fewer are left than").inputValue()).toBe("");
  const wallet = await page.evaluate(async () => (await fetch("/api/v1/wallet")).json());
  expect(wallet.alarm).toBeUndefined();
  expect(somebody.faults).toEqual([]);
  await somebody.context.close();
});
